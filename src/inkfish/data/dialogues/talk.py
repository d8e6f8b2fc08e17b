"""The one form that all dialogues are read into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from inkfish.data.rules import Reason

__all__ = ["Found", "Said", "Talk", "checked", "sentences", "two_party"]

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""Control characters that are no white space."""


@dataclass(frozen=True)
class Talk:
    """A dialogue of two who take turns."""

    turns: tuple[str, ...]
    """What was said, each on one line; two or more."""
    personas: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Sentences about who speaks first, and about the other."""
    replies: tuple[int, ...] = ()
    """Numbers of the turns to be learned, from 1 on; left out, all of them."""
    candidates: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Number of a reply → wrong replies that the data set has beside it."""
    topic: str = ""
    """What it is about."""
    names: tuple[str, str] = ("", "")
    """What the two are called."""
    held_out: bool = False
    """Whether the data set keeps it for validation."""


class Found(NamedTuple):
    """What a reader yields."""

    line: int
    """Where it begins in its file, counted from 1."""
    talk: Talk | Reason
    """A dialogue, or why there is none."""


class Said(NamedTuple):
    """One speech."""

    speaker: str
    text: str
    line: int


def checked(found: Talk | Reason) -> Talk | Reason:
    """Return a dialogue with each text on one line, or why it is of no use."""
    if isinstance(found, Reason):
        return found
    turns = tuple(map(one_line, found.turns))
    if len(turns) < 2:
        return Reason("fewer than two turns")
    if not all(turns):
        return Reason(f"turn {turns.index('') + 1} is empty")
    for number, turn in enumerate(turns, 1):
        if bad := CONTROL.search(turn):
            return Reason(f"turn {number} has the control character U+{ord(bad[0]):04X}")
    about = tuple(tuple(filter(None, map(one_line, persona))) for persona in found.personas)
    if re.search("[\ud800-\udfff]", " ".join([*turns, *about[0], *about[1]])):
        return Reason("half a surrogate pair, not valid Unicode")
    replies = found.replies or tuple(range(1, len(turns)))
    return replace(found, turns=turns, personas=(about[0], about[1]), replies=replies)


def one_line(text: str) -> str:
    """Return a text with single spaces."""
    return " ".join(text.split())


def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences of a persona that was written as one text."""
    return tuple(part for part in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if part)


def two_party(speeches: Iterable[Said]) -> list[Found]:
    """Cut a talk of many into dialogues of two; what one says in a row is one turn.

    Where a third one speaks, a new dialogue begins with the turn before.
    """
    dialogues: list[list[Said]] = [[]]
    for said in speeches:
        current = dialogues[-1]
        if current and current[-1].speaker == said.speaker:
            current[-1] = current[-1]._replace(text=f"{current[-1].text} {said.text}")
        elif len(current) < 2 or said.speaker == current[-2].speaker:
            current.append(said)
        else:
            dialogues.append([current[-1], said])
    return [Found(each[0].line, _talk(each)) for each in dialogues if each]


def _talk(dialogue: Sequence[Said]) -> Talk:
    names = (dialogue[0].speaker, dialogue[1].speaker if len(dialogue) > 1 else "")
    return Talk(tuple(said.text for said in dialogue), names=names)
