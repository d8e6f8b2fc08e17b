"""What a suite is: files to items, items to records, records to numbers; and how a run is carried on.

Items are measured one by one and in order, so a record depends on its item alone and a run that was cut
short goes on after its last record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inkfish.errors import DataError, SettingError
from inkfish.generate import LanguageModel

__all__ = ["Fact", "Records", "Settings", "Suite", "read_json_lines", "read_text"]

Item = Any
Record = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What a user may choose; each suite uses what concerns it."""

    limit: int | None = None
    """Most items (of running text: lines, of enwik8 and text8: bytes), for a quick look."""
    stride: int | None = None
    """How far windows over running text move; by default the whole context, as in the paper's figures."""
    raw: bool = False
    """Leave the text as the data has it, without de-tokeniser."""
    shots: int = 5
    """Example pairs before a question or sentence."""
    source: str = "en"
    """Language to translate from."""
    target: str = "fr"
    """Language to translate into."""
    stop_words: bool = False
    """LAMBADA: also find the likeliest last word that is no stop word (slower)."""
    no_hint: bool = False
    """Summaries: the text alone, without TL;DR: after it."""
    history: int = 2
    """Dialogues: exchanges before that of the reply that the model sees; 2 are five turns."""
    seed: int = 0
    """For what is drawn."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise SettingError(f"limit is {self.limit}; it must be at least 1", param="limit")
        if self.history < 0:
            raise SettingError(f"history is {self.history}; it must be at least 0", param="history")


@dataclass(frozen=True)
class Fact:
    """A count of a data set that needs no model: a wrong file or normalisation shows here first."""

    name: str
    found: float
    expected: float | None = None
    """What is published for the whole set, where it is."""


@dataclass(frozen=True)
class Suite:
    """One evaluation."""

    name: str
    """As the command line has it."""
    about: str
    """What it measures, in a line."""
    files: str
    """Which files it reads, and of whom."""
    load: Callable[[Sequence[Path], Settings, LanguageModel], Sequence[Item]]
    """Files to items."""
    measure: Callable[[LanguageModel, Sequence[Item], Settings], Iterator[Record]]
    """One record for each item, in order."""
    table: Callable[[Sequence[Record]], Mapping[str, float]]
    """All records to numbers."""
    facts: Callable[[Sequence[Path], Settings, LanguageModel], Sequence[Fact]] = (
        lambda files, settings, model: ()
    )
    """What can be counted without running the model."""
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Number → system → what is published of others on the same data."""


class Records:
    """The records of one run in a JSON-lines file: what is there is not measured again."""

    def __init__(
        self, path: Path | None, *, suite: str, model: str, items: Sequence[Item], settings: Settings
    ) -> None:
        """Open or begin the file.

        Args:
            path: the file; None keeps the records in memory only.
            suite: name of the suite.
            model: what identifies the model.
            items: what is measured.
            settings: how.

        Raises:
            DataError: the file belongs to another run.
        """
        content = json.dumps([suite, model, len(items), asdict(settings), repr(items[:1]), repr(items[-1:])])
        self.head = {"suite": suite, "model": model, "run": hashlib.sha256(content.encode()).hexdigest()[:16]}
        self.path = path
        self.done: list[Record] = []
        if path is not None and path.exists():
            self.resume(path)
        elif path is not None:
            path.write_text(json.dumps(self.head) + "\n", encoding="utf-8")

    def resume(self, path: Path) -> None:
        """Read what is there; a last line that was cut short is dropped.

        Raises:
            DataError: another run's records, or no records at all.
        """
        lines = path.read_bytes().split(b"\n")
        try:
            head = json.loads(lines[0])
            self.done = [json.loads(line) for line in lines[1:-1]]
        except ValueError:
            head = None
        if head != self.head:
            raise DataError(
                f"{path} holds no records of this suite, model, data and settings; choose another --records, "
                "or remove the file to start again",
                param="records",
            )
        whole = b"\n".join(lines[:-1]) + b"\n"
        with path.open("r+b") as file:
            file.truncate(len(whole))

    def add(self, record: Record) -> None:
        """Append a record."""
        self.done.append(record)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_text(path: Path) -> str:
    """Return a file's text, UTF-8, with its own line ends made newlines.

    Raises:
        DataError: a file that can't be read, or is of another encoding.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 at byte {error.start:,}; this suite reads the publisher's file"
        ) from None


def read_json_lines(path: Path, *fields: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file, each of which has the fields.

    Raises:
        DataError: a line that is no JSON object, or lacks a field.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number} is not JSON ({error})") from None
        missing = [name for name in fields if not isinstance(row, dict) or name not in row]
        if missing:
            raise DataError(
                f"{path}, line {number} has no {missing[0]!r}; this suite needs {', '.join(fields)}"
            )
        rows.append(row)
    return rows
