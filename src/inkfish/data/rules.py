"""What all readers of files share: the rules, the documents they yield, and the rows they leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from inkfish.errors import SettingError

if TYPE_CHECKING:
    from inkfish.data.dialogues.talk import Talk

__all__ = ["BadRows", "Document", "Form", "Reason", "Rules", "Span"]

LINES_SHOWN = 5
"""Line numbers that are kept for each reason."""
Form = Literal["documents", "lines", "pairs"]


class Span(NamedTuple):
    """A stretch of a text that is tokenized by itself."""

    text: str
    learned: bool
    """Whether its loss counts."""


@dataclass(frozen=True)
class Document:
    """What a reader yields. The pieces of one must be read before the next is taken."""

    pieces: Iterable[str]
    """The text."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What is known about it, for prefixes."""
    completion: str | None = None
    """Where there is one, it alone is learned, and `pieces` is the prompt before it."""
    line: int = 1
    """Where it begins in its file, counted from 1."""
    spans: tuple[Span, ...] = ()
    """A conversation, in place of `pieces`."""


@dataclass(frozen=True)
class Rules:
    """How files become documents."""

    encoding: str | None = None
    """Of the files, as Python names it; None detects it."""
    field: str = "text"
    """Where the text stands in a row of JSON or a table."""
    part: int = 16_384
    """Most characters of a part; a longer word stays in one piece up to a hundred times that."""
    form: Form = "documents"
    """Of plain text: a file is a document, or each line is, or each line is a pair "this = that"."""
    template: str | None = None
    """A document from a row's fields, such as "{name}, a {race}: {story}"; with `completion` the prompt."""
    completion: str | None = None
    """What is learned of a row, as a template."""
    prefix: str | None = None
    """Put before each document, as a template; a text file has the fields file and folder."""
    line_prefix: str | None = None
    """Put before each line that is not empty, as a template."""
    header: bool = True
    """Whether a table's first row names its columns; without it they are called 1, 2, 3."""
    keep_duplicates: bool = False
    """Whether texts that are there already, or nearly, stay in what is trained on."""
    equalise: bool = False
    """Whether each path that was named counts equally: what has fewer tokens is repeated."""
    render: Callable[[Talk], tuple[Span, ...]] | None = None
    """How a conversation, a row with messages, becomes a text; without it such rows are left out."""

    def __post_init__(self) -> None:
        assert self.part > 0, "a part has at least one character"
        if self.completion is not None and self.template is None:
            raise SettingError("completion needs a template, which is the prompt before it", param="template")


@dataclass(frozen=True)
class Reason:
    """Why a row is of no use."""

    name: str


@dataclass
class BadRows:
    """Rows that were left out, by file and reason."""

    counts: dict[tuple[Path, str], int] = field(default_factory=dict)
    """How many."""
    lines: dict[tuple[Path, str], list[int]] = field(default_factory=dict)
    """Numbers of the first of them, counted from 1."""

    def add(self, path: Path, reason: str, line: int) -> None:
        """Count one row."""
        key = path, reason
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] <= LINES_SHOWN:
            self.lines.setdefault(key, []).append(line)

    @property
    def total(self) -> int:
        """Rows left out altogether."""
        return sum(self.counts.values())

    def messages(self) -> list[str]:
        """Return one line for each file and reason, with the first line numbers."""
        return [
            f"{path}: {count:,} row{'s' * (count > 1)} left out: {reason} (line{'s' * (count > 1)} "
            f"{', '.join(map(str, self.lines[path, reason]))}{', …' * (count > LINES_SHOWN)})"
            for (path, reason), count in self.counts.items()
        ]
