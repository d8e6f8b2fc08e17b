r"""Dialogues as ParlAI keeps them: ConvAI2's numbered lines, and lines of named fields.

    1 your persona: i like cats .                       text:your persona: i like cats .\nhi<TAB>labels:hello
    2 hi<TAB>hello<TAB><TAB>wrong|hello
    3 how are you ?<TAB>fine

"your" is who replies. Where a line is numbered 1, or after episode_done:True, a new dialogue begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from inkfish.data.dialogues.talk import Found, Talk
from inkfish.data.files import open_text
from inkfish.data.rules import Reason

__all__ = ["is_parlai", "read"]

NUMBERED = re.compile(r"(\d+) (.*)")
PERSONA = re.compile(r"(your|partner's) persona: ?(.*)", re.IGNORECASE)


@dataclass
class Episode:
    """A dialogue as it is read."""

    line: int
    turns: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    partner: list[str] = field(default_factory=list)
    candidates: dict[int, tuple[str, ...]] = field(default_factory=dict)
    fault: Reason | None = None
    done: bool = False

    def persona(self, text: str) -> bool:
        """Take a persona's sentence; say whether it was one."""
        match = PERSONA.fullmatch(text)
        if match is not None:
            (self.own if match[1].lower() == "your" else self.partner).append(match[2])
        return match is not None

    def exchange(self, said: str, reply: str, choices: list[str]) -> None:
        """Take something said and its reply."""
        self.turns += [said, reply]
        wrong = tuple(choice for choice in choices if choice != reply)
        if wrong:
            self.candidates[len(self.turns) - 1] = wrong

    def found(self) -> Found:
        """Return the dialogue, or why there is none."""
        replies = tuple(range(1, len(self.turns), 2))
        personas = (tuple(self.partner), tuple(self.own))
        return Found(
            self.line, self.fault or Talk(tuple(self.turns), personas, replies, dict(self.candidates))
        )


def is_parlai(line: str) -> bool:
    """Say whether a file that begins with this line is one of ParlAI's."""
    match = NUMBERED.match(line)
    numbered = match is not None and match[1] == "1" and ("\t" in line or PERSONA.match(match[2]) is not None)
    return numbered or (line.startswith("text:") and "\t" in line)


def read(path: Path, encoding: str | None) -> Iterator[Found]:
    """Yield the dialogues of a file."""
    with open_text(path, encoding) as file:
        episode: Episode | None = None
        for number, raw in enumerate(file, 1):
            line = raw.rstrip("\n")
            if not line.strip():
                continue
            if episode is not None and (episode.done or line.startswith("1 ")):
                yield episode.found()
                episode = None
            episode = episode or Episode(number)
            take(episode, line, number)
        if episode is not None:
            yield episode.found()


def take(episode: Episode, line: str, number: int) -> None:
    """Take a line of either kind."""
    match = NUMBERED.fullmatch(line)
    if line.startswith("text:"):
        take_fields(episode, line, number)
    elif match is not None:
        take_numbered(episode, match[2], number)
    else:
        episode.fault = Reason(f"line {number} has no number")


def take_numbered(episode: Episode, text: str, number: int) -> None:
    """Take what stands after a line's number."""
    if episode.persona(text):
        return
    said, *rest = text.split("\t")
    if not rest or not rest[0].strip():
        episode.fault = Reason(f"line {number} has no reply after a tab")
        return
    episode.exchange(said, rest[0], rest[2].split("|") if len(rest) > 2 and rest[2] else [])


def take_fields(episode: Episode, line: str, number: int) -> None:
    """Take a line of fields."""
    fields = dict(part.partition(":")[::2] for part in line.split("\t"))
    said = [part for part in fields["text"].split("\\n") if not episode.persona(part)]
    reply = fields.get("labels") or fields.get("eval_labels") or ""
    if not reply:
        episode.fault = Reason(f"line {number} has no labels")
    choices = fields.get("label_candidates", "")
    episode.exchange(" ".join(said), reply.split("|")[0], choices.split("|") if choices else [])
    episode.done = fields.get("episode_done", "").lower() == "true"
