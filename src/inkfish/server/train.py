"""The Train page: texts go in, a plan is shown, a model comes out that writes like them."""

from __future__ import annotations

import asyncio
import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from inkfish import weights
from inkfish.data.prepare import prepare
from inkfish.data.rules import Rules
from inkfish.errors import InkfishError
from inkfish.recipes.transcripts import transcript
from inkfish.server.answers import ERRORS, as_json
from inkfish.server.page_replies import KeptFile, Overview, Plan, Progress, Removed, RunState, Timing
from inkfish.server.problems import RequestError
from inkfish.server.runs import MOST_FILES, SUFFIXES, TABLES, Runs, file_name
from inkfish.server.schema import Strict
from inkfish.server.service import Service
from inkfish.server.site import Page
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub

__all__ = ["page", "timing"]

Opening = Annotated[str, Field(max_length=500)]
BATCH = 8
"""Sequences of a step, as the recipe has it."""


FILE = {"requestBody": {"content": {"application/octet-stream": {}}, "required": True}}
"""For the description: the body is a file, as it lies there."""


class Named(Strict):
    """A run."""

    name: str


class Recipe(Strict):
    """What to train, and how."""

    name: str
    model: Annotated[str, Field(min_length=1, max_length=512)]
    train: Literal["all", "lora"] = "all"
    epochs: Annotated[float, Field(ge=0.1, le=1000)] = 4.0
    form: Literal["documents", "lines", "pairs"] = "documents"
    column: Annotated[str, Field(max_length=2000)] = ""
    """Of tables: a column's name, or a template such as "{name}: {story}"."""
    openings: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=5)] = Field(
        default_factory=list
    )
    """Beginnings that samples continue."""

    @property
    def rules(self) -> Rules:
        """How the files become documents."""
        column = self.column.strip()
        if "{" in column:
            return Rules(form=self.form, template=column, render=transcript)
        return Rules(form=self.form, field=column or "text", render=transcript)

    def options(self, source: str) -> list[str]:
        """Return the options of `inkfish finetune`."""
        column = self.column.strip()
        words = ["--model", source, "--train", self.train, "--epochs", str(self.epochs), "--form", self.form]
        if column:
            words += ["--template" if "{" in column else "--field", column]
        for opening in self.openings or [""]:
            words += ["--prompts", opening]
        return [*words, "--sample-every", "25", "--save-every", "50"]


def page(service: Service, runs: Runs) -> Page:
    """Return the page."""
    made = APIRouter(prefix="/train", tags=["Train"], responses=ERRORS)
    add_files(made, runs)
    add_training(made, service, runs)
    return Page("train", "Train", router=made, close=runs.close)


def add_files(made: APIRouter, runs: Runs) -> None:
    """Add what takes files."""

    @made.put("/files/{name}/{file}", response_model=KeptFile, openapi_extra=FILE)
    async def upload(name: str, file: str, request: Request) -> Response:
        """Take a file for a run that has not begun."""
        kept = file_name(file)
        aside = runs.room_for(name, kept)
        try:
            await store(request, aside)
            aside.replace(aside.with_name(kept))
        finally:
            aside.unlink(missing_ok=True)
        return as_json({"name": kept, "bytes": aside.with_name(kept).stat().st_size, "most": MOST_FILES})

    @made.delete("/files/{name}/{file}", response_model=Removed)
    def remove(name: str, file: str) -> Response:
        """Take a file away again."""
        runs.remove_file(name, file)
        return as_json({"removed": file_name(file)})


def add_training(made: APIRouter, service: Service, runs: Runs) -> None:
    """Add what makes and shows runs."""

    @made.get("/runs", response_model=Overview)
    def overview() -> Response:
        """List runs, and what is needed to begin one."""
        listed = [{"name": name, "state": runs.state(name)} for name in runs.names()]
        able = importlib.util.find_spec("torch") is not None
        kinds = {"suffixes": SUFFIXES, "tables": TABLES}
        return as_json({"runs": listed, "models": sorted(bases(service)), "able": able} | kinds)

    @made.get("/runs/{name}", response_model=Progress)
    def progress(name: str, after: Annotated[int, Query(ge=0)] = 0) -> Response:
        """Show how a run goes."""
        return as_json(runs.progress(name, after))

    @made.post("/plan", response_model=Plan)
    async def plan(body: Recipe) -> Response:
        """Read the texts, and say what training on them means."""
        return as_json(await asyncio.to_thread(planned, service, runs, body))

    @made.post("/measure", response_model=Timing)
    async def measure(body: Recipe) -> Response:
        """Measure on this machine how long training would take, and say what memory it needs."""
        options = body.options(source_of(service, body.model))
        return as_json(timing(await asyncio.to_thread(runs.measure, body.name, options)))

    @made.post("/start", response_model=RunState)
    def start(body: Recipe) -> Response:
        """Begin."""
        runs.start(body.name, body.options(source_of(service, body.model)))
        return as_json({"state": runs.state(body.name)})

    @made.post("/pause", response_model=RunState)
    def pause(body: Named) -> Response:
        """Save, and stop for now."""
        runs.pause(body.name)
        return as_json({"state": runs.state(body.name)})

    @made.post("/resume", response_model=RunState)
    def resume(body: Named) -> Response:
        """Go on."""
        runs.resume(body.name)
        return as_json({"state": runs.state(body.name)})


async def store(request: Request, path: Path) -> None:
    """Write an upload to a file as it comes."""
    with path.open("xb") as out:
        async for part in request.stream():
            out.write(part)
        if out.tell() == 0:
            raise RequestError(400, "the file is empty", param="file")


def bases(service: Service) -> dict[str, str]:
    """Return the models that training can begin with, by their names here."""
    fetched = {name: name for name, _ in hub.stored()}
    return (
        {"starter": "starter"}
        | fetched
        | {name: service.models.entry(name).source for name in service.models.names()}
    )


def source_of(service: Service, model: str) -> str:
    """Return what the command calls a model.

    Raises:
        RequestError: there is none of this name.
    """
    found = bases(service)
    if model not in found:
        raise RequestError(404, "there is no model of this name here", param="model", code="model_not_found")
    return found[model]


def planned(service: Service, runs: Runs, body: Recipe) -> dict[str, Any]:
    """Return what training on a run's texts means.

    Raises:
        RequestError: texts that can't be read, in the reader's words, without the place of our folder.
    """
    texts = runs.files(body.name)
    if not texts:
        raise RequestError(400, "there are no texts yet; add a file", param="name")
    place = texts[0].parent
    try:
        folder = hub.find(source_of(service, body.model))
        config = weights.read(folder).config
        tokenizer = Tokenizer.load(folder, vocab_size=config.vocab_size)
        found = prepare(texts, tokenizer, place.parent / "data", rules=body.rules)
    except InkfishError as error:
        said = str(error).replace(f"{place}/", "")
        raise RequestError(400, said, param="file", code="unusable_texts") from None
    tokens = len(found.train.ids)
    return {
        "files": found.files,
        "documents": found.documents,
        "words": found.words,
        "tokens": tokens,
        "held_out": 0 if found.validation is None else len(found.validation.ids),
        "near_duplicates": found.near_duplicates,
        "notes": [line.replace(f"{place}/", "") for line in found.bad_rows],
        "parameters": config.parameters,
        "context": config.n_positions,
        "steps": max(1, math.ceil(body.epochs * tokens / (BATCH * min(config.n_positions, max(1, tokens))))),
        "short": tokens < config.n_positions,
    }


def timing(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the trainer's plan adds to ours: seconds and bytes, as its command shows them."""
    each = plan["seconds_an_epoch"]
    return {
        "steps": plan["steps"],
        "seconds_each": each,
        "seconds": each * plan["steps"] * plan["tokens_a_step"] / plan["tokens"],
        "memory": plan["memory"],
        "available": plan["available"],
        "advice": plan["advice"],
    }
