"""Training runs on this machine: which there are, and the curves of several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from inkfish.errors import MissingExtraError, RunError
from inkfish.training.curve import draw_together
from inkfish.training.metrics import read_metrics
from inkfish.training.settings import read_toml

__all__ = ["Summary", "compared", "pictured", "runs_in", "summary"]

ROWS = 12
"""Lines of a comparison, spread over the steps."""


class Summary(NamedTuple):
    """One run in a word."""

    name: str
    """Its folder."""
    step: int
    """Steps taken."""
    best: float | None
    """Lowest bits a byte of held-out text."""
    base: str
    """What it started from."""


def runs_in(folder: Path = Path("runs")) -> Iterator[Summary]:
    """Yield the runs in a folder, those that have saved a checkpoint."""
    for path in sorted(folder.glob("*/config.toml")):
        if (path.parent / "last").is_file():
            yield summary(path.parent)


def summary(run: Path) -> Summary:
    """Return what a run has come to.

    Raises:
        RunError: no run is there.
    """
    settings, records = read_toml(run / "config.toml"), read_metrics(run / "metrics.jsonl")
    scores = [record["validation"] for record in records if record.get("validation") is not None]
    steps = max((record["step"] for record in records), default=0)
    base = str(settings.get("model") or settings.get("start_from") or "nothing")
    return Summary(str(run), steps, min(scores, default=None), base)


def scores_of(run: Path) -> dict[int, float]:
    """Return held-out bits a byte by step."""
    records = read_metrics(run / "metrics.jsonl")
    return {r["step"]: r["validation"] for r in records if r.get("validation") is not None}


def compared(runs: Sequence[Path]) -> list[tuple[str, ...]]:
    """Return a table: a row for some steps, a column of held-out bits a byte for each run, the best last.

    Raises:
        RunError: one of the folders is no run.
    """
    found = [summary(run) for run in runs]
    columns = [scores_of(run) for run in runs]
    steps = sorted({step for column in columns for step in column})
    if not steps:
        raise RunError("none of these runs has measured held-out text; train them further")
    spread = steps[:: max(1, -(-len(steps) // ROWS))]
    rows = [("step", *(each.name for each in found))]
    rows += [(f"{step:,}", *(shown(column.get(step)) for column in columns)) for step in spread]
    return [*rows, ("best", *(shown(each.best) for each in found))]


def shown(score: float | None) -> str:
    """Return a score for a table."""
    return "" if score is None else f"{score:.4f}"


def pictured(runs: Sequence[Path]) -> bytes:
    """Return a PNG of the runs' curves, held-out bits a byte over the steps.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        return draw_together({str(run): scores_of(run) for run in runs})
    except ModuleNotFoundError:
        raise MissingExtraError("drawing curves", "train") from None
