"""Poems out of files: parted by wide gaps, rules or blank lines, or cut out of a book of Project Gutenberg.

Lines and stanzas stay as they are; a heading over a poem becomes its title, "by NAME" under it its author.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

from inkfish.data import gutenberg

__all__ = ["PartedBy", "Verse", "parting", "poems"]

PartedBy = Literal["auto", "file", "gap", "rule", "blank", "gutenberg"]
BOOK = re.compile(r"^\*\*\* ?START OF .*?\*\*\*[^\n]*\n(.*?)(?=^\*\*\* ?END OF|\Z)", re.M | re.S)
"""What stands between the licence's two parts in a file of Project Gutenberg."""
GAP = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
"""Two blank lines or more."""
RULE = re.compile(r"^[ \t]*(?:-{3,}|\*{3,}|(?:\* ){2,}\*|={3,}|~{3,}|_{3,}|#{3,})[ \t]*$", re.M)
BLANK = re.compile(r"\n[ \t]*\n")
AUTHOR = re.compile(r"(?i)by\s+(\S.*)")
LONGEST_TITLE = 80


@dataclass(frozen=True)
class Verse:
    """One poem."""

    title: str
    """Its heading, or empty."""
    author: str
    """Who wrote it, where that stands under the title; or empty."""
    stanzas: tuple[str, ...]
    """Blocks of lines."""

    @property
    def text(self) -> str:
        """Title and author on lines of their own, then the stanzas, with blank lines between."""
        head = "\n".join(filter(None, [self.title, f"by {self.author}" if self.author else ""]))
        return "\n\n".join(filter(None, [head, *self.stanzas]))


def parting(text: str) -> PartedBy:
    """Return how the poems of a text seem to be parted: by what stands in it that parts most clearly."""
    if BOOK.search(text):
        return "gutenberg"
    if GAP.search(text.strip()):
        return "gap"
    return "rule" if RULE.search(text) else "file"


def poems(text: str, parted_by: PartedBy = "auto") -> list[Verse]:
    """Return the poems of a text in their order.

    Args:
        text: with line feeds at the ends of lines.
        parted_by: gap (two or more blank lines), rule (a line of dashes or stars), blank (each blank line),
            file (the text is one poem), gutenberg (a book, see `inkfish.data.gutenberg.poems`), or auto.
    """
    text = text.removeprefix("\ufeff")
    if parted_by == "auto":
        parted_by = parting(text)
    if parted_by == "gutenberg":
        book = BOOK.search(text)
        found = gutenberg.poems(book[1] if book else text)
        kept = [poem for poem in found if not gutenberg.RIGHTS.search(poem.text)]
        return [Verse(poem.title, "", tuple(poem.stanzas)) for poem in kept]
    pattern = {"gap": GAP, "rule": RULE, "blank": BLANK}.get(parted_by)
    pieces = pattern.split(text) if pattern is not None else [text]
    if parted_by == "blank":
        return [Verse("", "", (_lines(piece),)) for piece in pieces if piece.strip()]
    return [verse for piece in _with_headings(pieces) if (verse := _poem(piece)).stanzas]


def _with_headings(pieces: list[str]) -> list[str]:
    """Put a heading that stands alone, wide gaps around it, back over its poem."""
    joined: list[str] = []
    heading = ""
    for piece in filter(str.strip, pieces):
        if "\n" not in piece.strip() and _is_title(piece.strip()):
            heading += f"{piece.strip()}\n\n"
        else:
            joined.append(heading + piece.strip("\n"))
            heading = ""
    return [*joined, heading] if heading else joined


def _poem(piece: str) -> Verse:
    blocks = [_lines(block) for block in BLANK.split(piece.strip("\n")) if block.strip()]
    title, blocks = _title(blocks)
    author, blocks = _author(blocks) if title else ("", blocks)
    return Verse(title, author, tuple(blocks)) if blocks else Verse("", "", (title,) if title else ())


def _title(blocks: list[str]) -> tuple[str, list[str]]:
    """Take the title off: a block of one line over others, a line in capitals, or one that begins with #."""
    line, _, rest = blocks[0].partition("\n") if blocks else ("", "", "")
    by_author = bool(AUTHOR.fullmatch(rest.strip()))
    marked = line.startswith("#")
    alone = (not rest or by_author) and len(blocks) > 1
    capitals = line.isupper() and bool(rest) and not rest.isupper()
    if not (marked or ((alone or capitals) and _is_title(line.strip()))):
        return "", blocks
    return line.strip("# \t"), [*([rest] if rest else []), *blocks[1:]]


def _author(blocks: list[str]) -> tuple[str, list[str]]:
    line, _, rest = blocks[0].partition("\n") if blocks else ("", "", "")
    match = AUTHOR.fullmatch(line.strip())
    if match is None:
        return "", blocks
    return match[1].strip(), [*([rest] if rest else []), *blocks[1:]]


def _is_title(line: str) -> bool:
    return len(line) <= LONGEST_TITLE and line[-1:] not in ",;:-"


def _lines(block: str) -> str:
    """Return a stanza without the indentation that all its lines share, nor space at the ends of lines."""
    return "\n".join(line.rstrip() for line in dedent(block.expandtabs(4)).strip("\n").split("\n"))
