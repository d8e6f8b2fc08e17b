"""The log of a run, `metrics.jsonl`: one JSON object a line, each with its step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from inkfish.errors import RunError
from inkfish.training.checkpoints import Progress
from inkfish.training.files import Disk

__all__ = ["Metrics", "read_metrics"]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return all whole lines; a torn one, which a crash can leave at the end, is left out."""
    if not path.is_file():
        return []
    records = []
    for text in path.read_bytes().splitlines():
        with suppress(ValueError):
            record = json.loads(text)
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                records.append(record)
    return records


class Metrics:
    """Writes the log."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.path, self.disk = folder / "metrics.jsonl", disk

    def cut(self, progress: Progress) -> None:
        """Forget what came after `progress`, so that nothing is there twice when it is done again."""
        kept = [
            line(record)
            for record in read_metrics(self.path)
            if progress.step
            and record["step"] <= (progress.evaluated if "validation" in record else progress.step)
        ]
        self.disk.replace(self.path, b"".join(kept))

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            RunError: the disk is full.
        """
        try:
            self.disk.append(self.path, line(record))
        except OSError as error:
            raise RunError(
                f"can't write {self.path}: {error.strerror}; free space and start again: "
                "the run goes on from its last checkpoint"
            ) from None

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        if self.path.is_file():
            self.disk.sync(self.path)


def line(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of JSON; a number that is not finite, which JSON lacks, becomes null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    return (json.dumps(finite, allow_nan=False) + "\n").encode()
