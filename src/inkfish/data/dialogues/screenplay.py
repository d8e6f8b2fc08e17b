r"""Dialogues in plain text: "NAME: words", or a name in capitals alone on its line and the words below it.

    INT. KITCHEN - DAY                      Anna: Is there bread?
                                            Ben: I ate it.
                  ANNA (softly)
        Is there bread?

What nobody says (headings, actions, remarks in brackets) is left out. A heading of a scene or two empty lines
begin a new dialogue, and so does a third speaker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from inkfish.data.dialogues.talk import Found, Said, two_party
from inkfish.data.files import open_text

__all__ = ["read"]

NAMED = re.compile(r"\s*([^\W\d_][\w.'’ -]{0,29}?)\s*(?:\([^)]*\))?:\s+(\S.*)")
CUE = re.compile(r"\s*([A-Z][A-Z0-9.'’ -]{0,29}?)\s*(?:\([^)]*\)\s*)*")
HEADING = re.compile(r"\s*(?:(?:INT|EXT|EST)[./ ]|(?:SCENE|ACT|CUT TO|FADE)\b|[*=-]{3,}\s*$)", re.IGNORECASE)
REMARK = re.compile(r"\([^)]*\)|\[[^\]]*\]")


def read(path: Path, encoding: str | None) -> Iterator[Found]:
    """Yield the dialogues of a file."""
    with open_text(path, encoding) as file:
        for scene in scenes(file):
            yield from two_party(said for said in speeches(scene) if said.text)


def scenes(lines: Iterable[str]) -> Iterator[list[tuple[int, str]]]:
    """Yield numbered lines, parted by headings and by two empty lines."""
    scene: list[tuple[int, str]] = []
    empty = 0
    for number, line in enumerate(lines, 1):
        empty = 0 if line.strip() else empty + 1
        if HEADING.match(line) or empty == 2:
            yield scene
            scene = []
        scene.append((number, line.rstrip()))
    yield scene


def speeches(scene: Iterable[tuple[int, str]]) -> Iterator[Said]:
    """Yield who says what; lines right below go on with a speech."""
    current: Said | None = None
    for number, line in scene:
        named = NAMED.fullmatch(line)
        cue = None if named else CUE.fullmatch(line)
        if named or cue or not line.strip() or HEADING.match(line):
            if current is not None:
                yield current
            current = None
        if named:
            current = Said(named[1], spoken(named[2]), number)
        elif cue and not HEADING.match(line):
            current = Said(cue[1], "", number)
        elif current is not None:
            current = current._replace(text=f"{current.text} {spoken(line)}".strip())
    if current is not None:
        yield current


def spoken(line: str) -> str:
    """Return a line without the remarks in brackets."""
    return " ".join(REMARK.sub(" ", line).split())
