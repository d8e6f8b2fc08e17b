"""Measure a model on held-out text and print the table of its card.

    inkfish evaluate card --model starter --data DIR
    inkfish evaluate card --model runs/mine --data DIR --against starter --report card.json

DIR is what `python -m inkfish.recipes.starter` makes. What is measured, and beside what:
`inkfish.evaluation.card`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import inkfish
from inkfish.errors import SettingError
from inkfish.evaluation.card import PARTS, Measure, measure
from inkfish.evaluation.heldout import Heldout
from inkfish.evaluation.tables import markdown, number
from inkfish.generate import load

__all__ = ["Config", "run", "table"]


@dataclass(frozen=True)
class Config:
    """What to measure."""

    data: Path
    """Folder of the data recipe, with training and held-out text."""
    model: str = "starter"
    """Name or folder of the model."""
    against: str | None = None
    """Name or folder of a second model for a column of its own, such as the previous edition."""
    parts: tuple[str, ...] = tuple(PARTS)
    """Which parts: likelihood, chat, translation, summaries, stories."""
    limit: int | None = None
    """Most examples of each part, for a quick look; None takes all that the card takes."""
    seed: int = 0
    """For openings, distractors and samples."""

    def __post_init__(self) -> None:
        if unknown := set(self.parts) - set(PARTS):
            raise SettingError(
                f"parts names {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}", param="parts"
            )
        if self.limit is not None and self.limit < 1:
            raise SettingError(f"limit is {self.limit}; it must be at least 1", param="limit")


def run(config: Config, **settings: Any) -> dict[str, Any]:
    """Measure, saying on standard error what is done, and return the report.

    Args:
        config: what to measure.
        **settings: how the models are run: `backend`, `dtype`, `threads` of `inkfish.load`.

    Raises:
        InkfishError: a model or data that can't be read.
    """
    data = Heldout(config.data)
    data.tokenizer  # noqa: B018  # a folder of another kind is refused before a model is loaded
    names = [config.model, *([config.against] if config.against else [])]
    started = time.monotonic()
    found = {name: measured(name, data, config, settings) for name in names}
    return {
        "model": config.model,
        "against": config.against,
        "data": data.train.fingerprint,
        "seed": config.seed,
        "limit": config.limit,
        "inkfish": inkfish.__version__,
        "seconds": round(time.monotonic() - started, 1),
        "measures": [
            asdict(own) | {"against": other.value if other else None}
            for own, other in joined(found[config.model], found.get(config.against or "", []))
        ],
    }


def measured(name: str, data: Heldout, config: Config, settings: dict[str, Any]) -> list[Measure]:
    """Load and measure one model."""
    model = load(name, **{"dtype": "float32", **settings})
    found = []
    for one in measure(model, data, parts=config.parts, limit=config.limit, seed=config.seed):
        print(f"{name}: {one.part}, {one.name}: {number(one.value)}", file=sys.stderr, flush=True)
        found.append(one)
    return found


def joined(own: Sequence[Measure], others: Sequence[Measure]) -> list[tuple[Measure, Measure | None]]:
    """Pair each measure with the same one of the other model."""
    by_name = {(one.part, one.name): one for one in others}
    return [(one, by_name.get((one.part, one.name))) for one in own]


def table(report: dict[str, Any]) -> str:
    """Return a report as Markdown."""
    head = ["what", "measure", report["model"], *([report["against"]] if report["against"] else [])]
    rows = []
    for one in report["measures"]:
        baselines = ", ".join(f"{name} {number(value)}" for name, value in one["baselines"].items())
        cells = [one["part"], one["name"], number(one["value"])]
        if report["against"]:
            cells.append(number(one["against"]))
        rows.append([*cells, baselines, f"{one['examples']:,}"])
    notes = sorted({one["note"] for one in report["measures"] if one["note"]})
    return markdown([*head, "beside", "examples"], rows) + "".join(f"\n{note}\n" for note in notes)
