"""The Label page: people say which of several texts is best; who wrote them stays hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

import inkfish
from inkfish.labels.dashboard import dashboard
from inkfish.labels.queue import Shown, answer, next_item, undo
from inkfish.labels.records import Label, shuffled
from inkfish.labels.store import Store
from inkfish.server.answers import ERRORS, as_json
from inkfish.server.candidates import add_writing
from inkfish.server.page_replies import Answered, Dashboard, Handed, Paused, Undone
from inkfish.server.problems import RequestError
from inkfish.server.runs import held_by_another
from inkfish.server.schema import Strict
from inkfish.server.service import Service
from inkfish.server.site import Page

__all__ = ["page"]

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]
Request = Annotated[str, Field(min_length=8, max_length=100, pattern=r"^[A-Za-z0-9-]+$")]
LAST = 2000
"""Characters of a paused run's newest samples that are shown."""


class Who(Strict):
    """A labeller."""

    labeller: Name


class Again(Who):
    """A labeller's request that may be sent twice."""

    request: Request


class Answer(Again):
    """What a labeller says of an item."""

    item: Annotated[str, Field(min_length=64, max_length=64)]
    verdict: Literal["best", "tie", "bad", "skip", "rating"]
    slots: Annotated[list[int], Field(max_length=64)] = Field(default_factory=list)
    """Places on the screen, from 0, of what is best."""
    repeat: bool = False
    rating: Annotated[float, Field(ge=1, le=7)] | None = None
    note: Annotated[str, Field(max_length=10_000)] = ""
    shown: Annotated[float, Field(ge=0, le=1e11)]
    """Seconds since 1970."""


def page(path: Path, runs: Path = Path("runs"), *, service: Service | None = None) -> Page:
    """Return the page for one label store.

    Args:
        path: the store.
        runs: folder of runs that a labeller may pause.
        service: models that write new texts to label; the store is made where it is missing.
    """
    made = APIRouter(prefix="/label", tags=["Label"], responses=ERRORS)
    if service is not None:
        add_writing(made, path, service)
    add_labelling(made, path, create=service is not None)
    add_looking(made, path, runs)
    return Page("label", "Label", router=made)


def add_labelling(made: APIRouter, path: Path, *, create: bool) -> None:
    """Add what hands out items and takes answers; where there may be no store yet, it is made."""

    @made.post("/next", response_model=Handed)
    def following(body: Who) -> Response:
        """Give the labeller's next item, the same one until it is answered; null when there is none."""
        with Store(path, create=create) as store:
            shown = next_item(store, body.labeller)
            item = None if shown is None else seen(shown)
            return as_json({"item": item, "writes": create} | facts(store, body.labeller))

    @made.post("/answer", response_model=Answered)
    def answered(body: Answer) -> Response:
        """Take an answer; it is on the disk when this says so, and the same request again changes nothing."""
        with Store(path) as store:
            _, item = store.find(body.item)
            order = shuffled(item, body.labeller, repeat=body.repeat)
            if any(not 0 <= slot < len(order) for slot in body.slots):
                raise RequestError(400, f"slots go from 0 to {len(order) - 1}", param="slots")
            answer(
                store,
                Label(
                    body.request,
                    body.item,
                    body.labeller,
                    body.verdict,
                    best=tuple(sorted(order[slot] for slot in body.slots)),
                    rating=body.rating,
                    note=body.note,
                    order=order,
                    shown=body.shown,
                    rubric=store.settings.rubric_version,
                    tool=f"inkfish {inkfish.__version__}",
                ),
            )
            return as_json(facts(store, body.labeller))

    @made.post("/undo", response_model=Undone)
    def undone(body: Again) -> Response:
        """Take back the labeller's last answer; its item comes next."""
        with Store(path) as store:
            found = undo(store, body.labeller, body.request)
            return as_json({"undone": found is not None} | facts(store, body.labeller))


def add_looking(made: APIRouter, path: Path, runs: Path) -> None:
    """Add the dashboard and the cord that stops runs."""

    @made.get("/dashboard", response_model=Dashboard)
    def figures() -> Response:
        """Say how far, how fast and how much in agreement the labellers are."""
        with Store(path) as store:
            return as_json(finite(dashboard(store)))

    @made.post("/pause", response_model=Paused)
    def pause(body: Who) -> Response:
        """Stop every optimisation among the runs after its present update, and show its last samples."""
        places = [*runs.glob("*/config.toml"), *runs.glob("*/round-*/policy/config.toml")]
        found = [place.parent for place in places if learns(place)]
        for folder in found:
            (folder / "pause").touch()  # also where another machine may be training
        stopping = [folder for folder in found if held_by_another(folder)]
        return as_json(
            {"runs": [{"name": str(f.relative_to(runs)), "samples": samples(f)} for f in stopping]}
        )


def seen(shown: Shown) -> dict[str, Any]:
    """Return what a labeller sees: texts in the order of the screen, nothing about where they come from."""
    return {
        "key": shown.item.key,
        "kind": shown.item.kind,
        "query": shown.item.query,
        "candidates": [shown.item.candidates[i].text for i in shown.order],
        "repeat": shown.repeat,
    }


def facts(store: Store, labeller: str) -> dict[str, Any]:
    """Return how far the work has come, and the instructions."""
    progress = store.progress()
    (mine,) = store.db.execute("SELECT count(*) FROM given WHERE labeller = ?", (labeller,)).fetchone()
    return {
        "mine": mine,
        "items": progress.items,
        "complete": progress.complete,
        "labels": progress.labels,
        "rubric": store.settings.rubric,
    }


def learns(config: Path) -> bool:
    """Whether a run folder is an optimisation's."""
    return "\nalgorithm = " in config.read_text(encoding="utf-8", errors="replace")


def samples(folder: Path) -> str:
    """Return the newest samples of a run."""
    files = [file for file in folder.glob("samples/*.txt") if file.stem.isdecimal()]
    if not files:
        return ""
    newest = max(files, key=lambda file: int(file.stem))
    return newest.read_text(encoding="utf-8", errors="replace")[:LAST]


def finite(value: Any) -> Any:
    """Return figures with None for NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and value != value else value
