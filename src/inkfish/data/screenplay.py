"""Screenplays: Fountain files, indented scripts and plays ("ANNA: Hello.") read, and written as Fountain.

The marks are Fountain's own (fountain.io/syntax): a scene begins INT. or EXT., a character's name stands in
capitals over what is said. Left out: notes, comments, sections, synopses, page numbers, emphasis.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

__all__ = ["Element", "Script", "parse", "scenes", "written"]

Kind = Literal["scene", "action", "character", "parenthetical", "dialogue", "transition"]
HIDDEN = re.compile(r"/\*.*?\*/|\[\[.*?\]\]", re.S)
"""Comments and notes."""
TITLE_PAGE = re.compile(
    r"(?i)^(?:title|credit|authors?|source|draft date|contact|copyright|notes|revision|date)[ \t]*:"
)
SCENE = re.compile(r"(?i)^(?:\d+[A-Z]?\.?\s+)?((?:INT|EXT|EST|INT\./EXT|INT/EXT|EXT/INT|I/E)[. ].*|\.\w.*)$")
ACT = re.compile(r"^(?:ACT|SCENE|Act|Scene) (?:[IVXLC]+|\d+|[A-Z]+)\b.*$")
NUMBER = re.compile(r"\s+#?\d+[A-Z]?#?\s*$")
"""A scene's number at the end of its heading."""
CUE = re.compile(r"^(?=[^a-z(]*[A-Z])([^a-z(]*[^a-z(!?:,;\s])\s*((?:\([^)]*\)\s*)*)\^?$")
"""A line in capitals, perhaps with (V.O.) behind it."""
SPEECH = re.compile(r"^([A-Z][\w'’.-]*(?: [A-Z][\w'’.-]*){0,3})(?: ?\(([^)]*)\))?:(?: +(.*))?$")
PLAY_SPEECH = re.compile(r"^([A-Z][A-Z'’ -]*[A-Z])\.\s+(.*)$")
"""ANNA: Hello. and ANNA. Hello."""
TRANSITION = re.compile(r"^(?:[^a-z]*TO:|FADE (?:IN|OUT)[.:]?|>.*[^<])$")
DROPPED = re.compile(
    r"(?i)^(?:={3,}|=[^=].*|#.*|\(?(?:CONTINUED|MORE)\)?:?(?: \(\d+\))?|(?:page )?\d{1,3}\.?)$"
)
"""Page breaks and numbers, sections, synopses, and what a script's pages say at their ends."""
EMPHASIS = re.compile(r"(\*{1,3}|_)(?=\S)(.+?)(?<=\S)\1")
OFTEN = 2
"""A name before a colon speaks if it does so at least this often: "Note: …" does not."""


@dataclass(frozen=True)
class Element:
    """A paragraph of a script."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Script:
    """A script as it was read."""

    title: str
    """From its title page, or empty."""
    elements: tuple[Element, ...]

    @property
    def characters(self) -> list[str]:
        """Who speaks, each once, in the order of their first words."""
        names = (re.sub(r"\s*\(.*", "", e.text) for e in self.elements if e.kind == "character")
        return list(dict.fromkeys(names))


def parse(text: str) -> Script:
    """Read a script of any of the three kinds; what is no heading, cue or speech is action."""
    title, body = _title_page(HIDDEN.sub("", text.expandtabs(8)))
    speakers = Counter(match[1] for line in body.split("\n") if (match := _speech(line.strip())))
    names = {name for name, count in speakers.items() if count >= OFTEN}
    elements: list[Element] = []
    for block in re.split(r"\n[ ]*\n", _with_room(body)):
        lines = [line for line in block.split("\n") if line.strip() and not DROPPED.match(line.strip())]
        if lines:
            elements += _block(lines, names)
    return Script(title, tuple(elements))


def scenes(script: Script) -> list[Script]:
    """Cut a script before each scene heading; each part bears the script's title."""
    parts: list[list[Element]] = [[]]
    for element in script.elements:
        if element.kind == "scene" and parts[-1]:
            parts.append([])
        parts[-1].append(element)
    return [Script(script.title, tuple(part)) for part in parts if part]


def written(script: Script) -> str:
    """Return a script as Fountain: a blank line before everything but what belongs to a cue."""
    pieces: list[str] = []
    for element in script.elements:
        close = element.kind in ("parenthetical", "dialogue")
        pieces += ["\n" if close else "\n\n", element.text]
    return "".join(pieces).strip()


def _title_page(text: str) -> tuple[str, str]:
    """Take off Fountain's title page, "Key: value" at the very beginning, and return the title."""
    text = text.strip("\n")
    if not TITLE_PAGE.match(text):
        return "", text
    page, _, body = text.partition("\n\n")
    title = re.search(r"(?im)^title[ \t]*:[ \t]*(\S.*)?((?:\n[ ]{3,}\S.*)*)", page)
    words = " ".join(filter(None, title.groups())).split() if title else []
    return _plain(" ".join(words)), body


def _with_room(body: str) -> str:
    """Put blank lines around scene headings and transitions, which not all scripts have."""
    lines = body.split("\n")
    alone = [SCENE.match(line.strip()) or TRANSITION.match(line.strip()) for line in lines]
    return "\n".join(f"\n{line}\n" if own else line for line, own in zip(lines, alone, strict=True))


def _speech(line: str) -> re.Match[str] | None:
    return None if SCENE.match(line) or ACT.match(line) else SPEECH.match(line) or PLAY_SPEECH.match(line)


def _block(lines: list[str], names: set[str]) -> Iterator[Element]:
    """Yield the elements of lines without a blank one among them."""
    first = lines[0].strip()
    heading = SCENE.match(first) or ACT.match(first)
    if heading:
        yield Element("scene", _plain(NUMBER.sub("", heading[heading.lastindex or 0]).lstrip(".")).upper())
        if lines[1:]:
            yield from _block(lines[1:], names)
    elif TRANSITION.match(first) and len(lines) == 1:
        yield Element("transition", _plain(first.lstrip("> ")).upper())
    elif any((match := _speech(line.strip())) and match[1] in names for line in lines):
        yield from _speeches(lines, names)
    elif len(lines) > 1 and (first.startswith("@") or CUE.match(first)) and not first.startswith("!"):
        yield from _cue(lines)
    else:
        yield Element("action", _plain(_joined(lines)).lstrip("!>").removesuffix("<").strip())


def _cue(lines: list[str]) -> Iterator[Element]:
    """A character's name, then what is said, with directions in parentheses between."""
    yield Element("character", _plain(lines[0].strip().lstrip("@").rstrip("^ ")).upper())
    said: list[str] = []
    for line in lines[1:]:
        if re.fullmatch(r"\s*\([^)]*\)\s*", line):
            if said:
                yield Element("dialogue", _plain(_joined(said)))
            said = []
            yield Element("parenthetical", _plain(line.strip()))
        else:
            said.append(line)
    if said:
        yield Element("dialogue", _plain(_joined(said)))


def _speeches(lines: list[str], names: set[str]) -> Iterator[Element]:
    """Lines of a play: "ANNA (softly): Hello." and what follows on the next lines."""
    said: list[str] = []
    begun = False
    for line in [*lines, ""]:
        match = _speech(line.strip())
        begins = match is not None and match[1] in names
        if (begins or not line) and said:
            yield Element("dialogue" if begun else "action", _plain(" ".join(said)))
            said = []
        if match is not None and begins:
            begun = True
            yield Element("character", match[1].upper())
            how, line = _direction(match)
            if how:
                yield Element("parenthetical", how)
        if line.strip():
            said.append(line.strip())


def _direction(speech: re.Match[str]) -> tuple[str, str]:
    """Part a direction such as (softly), before or behind the colon, from what is said."""
    *_, words = speech.groups(default="")
    if len(speech.groups()) > 2 and speech[2]:
        return f"({speech[2]})", words
    found = re.match(r"(\([^)]*\))\s*(.*)", words)
    return (found[1], found[2]) if found else ("", words)


def _joined(lines: list[str]) -> str:
    """Join the lines of an indented script, which were broken to fit a page; keep those of others."""
    if all(line.startswith("  ") for line in lines):
        return " ".join(line.strip() for line in lines)
    return dedent("\n".join(line.rstrip() for line in lines))


def _plain(text: str) -> str:
    """Take emphasis off, which may be nested: _**bold and underlined**_."""
    while (plainer := EMPHASIS.sub(r"\2", text)) != text:
        text = plainer
    return text.strip()
