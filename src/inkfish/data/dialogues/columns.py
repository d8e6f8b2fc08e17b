"""Dialogues in tables of two columns: something said and its reply, or a speaker and what they say.

A header that names a speaker's column makes it the second kind, in which an empty row begins a new dialogue;
a header is left out where its words are known, such as prompt and response. Further columns need a header.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from inkfish.data.dialogues.talk import Found, Said, Talk, two_party
from inkfish.data.files import kind_of, open_text
from inkfish.data.rules import Reason

__all__ = ["read"]

SPEAKERS = ("speaker", "name", "character", "who", "role", "from")
WORDS = ("text", "line", "utterance", "message", "content", "words", "dialogue", "dialog", "value")
SAID = ("prompt", "input", "question", "context", "said", "user", "message", "source", "a")
REPLIES = ("response", "completion", "output", "answer", "reply", "bot", "assistant", "target", "b")
SAMPLE = 1 << 16
"""Characters from which the delimiter is guessed."""


def read(path: Path, encoding: str | None) -> Iterator[Found]:
    """Yield the dialogues of a table."""
    csv.field_size_limit(1 << 27)
    with open_text(path, encoding) as file:
        delimiter = "\t" if kind_of(path) == ".tsv" else guessed(file.read(SAMPLE))
    with open_text(path, encoding) as file:
        rows = numbered(csv.reader(file, delimiter=delimiter))
        first = next(rows, None)
        if first is None:
            return
        head = [cell.strip().lower() for cell in first[1]]
        spoken, pair = places(head, SPEAKERS, WORDS), places(head, SAID, REPLIES)
        if spoken is not None:
            yield from speeches(rows, spoken, len(head))
            return
        if pair is None:
            pair = (0, 1)
            yield pair_of(first, pair, 2)
        for row in rows:
            if any(map(str.strip, row[1])):
                yield pair_of(row, pair, len(head))


def guessed(sample: str) -> str:
    """Return the delimiter that csv guesses; a comma where it can't tell."""
    try:
        return csv.Sniffer().sniff(sample, ",;\t|").delimiter
    except csv.Error:
        return ","


def numbered(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield rows, the empty ones too, each with the line where it begins."""
    line = 1
    for cells in reader:
        yield line, cells
        line = getattr(reader, "line_num", line) + 1


def places(head: Sequence[str], left: Sequence[str], right: Sequence[str]) -> tuple[int, int] | None:
    """Return the first columns whose names are among the left and among the right ones."""
    a = next((i for i, name in enumerate(head) if name in left), None)
    b = next((i for i, name in enumerate(head) if name in right and i != a), None)
    return None if a is None or b is None else (a, b)


def pair_of(row: tuple[int, list[str]], pair: tuple[int, int], width: int) -> Found:
    """Return the exchange of one row."""
    line, cells = row
    if len(cells) != width:
        return Found(line, Reason(f"{len(cells)} cells instead of {width}"))
    return Found(line, Talk((cells[pair[0]], cells[pair[1]])))


def speeches(rows: Iterator[tuple[int, list[str]]], spoken: tuple[int, int], width: int) -> Iterator[Found]:
    """Yield dialogues from rows of a speaker and what they say."""
    said: list[Said] = []
    for line, cells in rows:
        if not any(map(str.strip, cells)):
            yield from two_party(said)
            said = []
        elif len(cells) != width:
            yield Found(line, Reason(f"{len(cells)} cells instead of {width}"))
        else:
            said.append(Said(cells[spoken[0]].strip(), cells[spoken[1]], line))
    yield from two_party(said)
