"""The public text collections of the starter model, each row read and cleaned into a `Source`.

stories         {title, author, collection, text; moral}  stories, tales, fables (Project Gutenberg)
poems           {file, text}                              books of verse (Project Gutenberg)
dialogues       {source, turns; topic, personas}          chitchat-dataset, self-dialogue,
                                                          Synthetic-Persona-Chat
english-french  {en, fr}                                  Tatoeba sentence pairs
summaries       {title, text, summaries}                  SciTLDR; summaries-validation is held out

All are gzip-compressed JSON lines in UTF-8.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkfish.data.gutenberg import ascii_punctuation, poems, prose, story_title
from inkfish.errors import DataError

__all__ = ["KINDS", "Source", "dialogues", "read", "sentence_key"]

KINDS = ("tales", "stories", "morals", "dialogues", "pairs", "poems", "summaries")
"""Kinds of documents. Tales are fairy tales and fables without a moral; morals are fables with one."""
TALES = {"fairytales", "grimm", "anderson", "aesop", "wilde_happy_prince"}
SHORTEST = {"tales": 100, "morals": 100, "stories": 2_000, "summaries": 200}
"""Fewest characters of a document, where there is a limit."""
NAMES = [
    *("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack", "Kate", "Leo"),
    *("Mary", "Nick", "Olivia", "Paul", "Rosa", "Sam", "Tina", "Will", "Alice", "Peter", "Lucy", "Tom"),
    *("Sarah", "James", "Julia", "Max", "Nora", "Oscar"),
]
"""Stand in for "[user 1's name]" and its like."""
OWN_NAME = re.compile(r"(?i)\b(i'm|i am|name is|name's|call me|this is) [\[(](?:your |my |user)?name[\])]")
OTHER_NAME = re.compile(r"(?i)[\[(](?:your |my |user)?name[\])]")
USER_NAME = re.compile(r"(?i)[\[(]\s*user ?([12])(?:'?s)?(?: name)?\s*[\])]")
UNSUITED = re.compile(r"https?:|www\.|@\w|[\[\]<>{}]")
"""Links, handles, and placeholders that are left."""


@dataclass(frozen=True)
class Source:
    """One document as read and cleaned, not yet rendered."""

    kind: str
    """One of KINDS."""
    text: str
    """All its words, for filter, duplicates and split; empty when the row is of no use."""
    row: dict[str, Any]
    """What is rendered: the fields of its task, except `pairs` (all translations of one English sentence)."""
    held_out: bool = False
    """Whether the collection keeps it apart for validation."""


def read(folder: Path) -> Iterator[Source]:
    """Read all collections, preferred documents first: of two near-duplicates the earlier may stay.

    Raises:
        DataError: a missing or damaged file.
    """
    rows = sorted(_rows(folder / "stories.jsonl.gz"), key=lambda row: row["collection"] not in TALES)
    yield from map(_story, rows)
    for row in _rows(folder / "poems.jsonl.gz"):
        for poem in poems(row["text"]):
            yield Source("poems", poem.text, {"title": poem.title, "text": poem.text})
    yield from dialogues(folder)
    yield from _pairs(_rows(folder / "english-french.jsonl.gz"))
    for row in _rows(folder / "summaries.jsonl.gz"):
        yield _summary(row)
    for row in _rows(folder / "summaries-validation.jsonl.gz"):
        yield _summary(row, held_out=True)


def dialogues(folder: Path) -> Iterator[Source]:
    """Read the dialogues alone.

    Raises:
        DataError: a missing or damaged file.
    """
    yield from map(_dialogue, _rows(folder / "dialogues.jsonl.gz"))


def sentence_key(sentence: str) -> str:
    """Return a sentence without case and punctuation: equal for two that differ in nothing else."""
    return re.sub(r"\W+", " ", sentence.lower()).strip()


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
    except FileNotFoundError:
        raise DataError(f"{file} is missing; docs/starter.md says where the data comes from") from None
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error}); get it again") from None


def _story(row: Mapping[str, Any]) -> Source:
    text, moral = prose(row["text"]), _flat(row.get("moral") or "")
    if moral and moral[-1] not in ".!?\"'":
        moral += "."
    kind = "morals" if moral else "tales" if row["collection"] in TALES else "stories"
    fields = {"title": story_title(row["title"] or ""), "text": text}
    if moral:
        fields["summary"] = moral
    return Source(kind, text if len(text) > SHORTEST[kind] else "", fields)


def _dialogue(row: Mapping[str, Any]) -> Source:
    """A dialogue of four turns and more, placeholders for names filled with two names drawn by its words."""
    names = random.Random(json.dumps(row["turns"])).sample(NAMES, 2)
    turns = [_turn(turn, number % 2, names) for number, turn in enumerate(row["turns"])]
    usable = len(turns) >= 4 and all(turns) and not UNSUITED.search(" ".join(turns))
    personas: list[list[str]] = row.get("personas") or [[], []]
    about = [[_sentence(line) for line in lines] for lines in personas]
    topic = row.get("topic") or ""
    fields = {
        "turns": turns,
        "about_user": about[0],
        "about_bot": about[1],
        "topic": _sentence(topic.replace("_", " ")),
        "source": row["source"],
    }
    return Source("dialogues", "\n".join(turns) if usable else "", fields)


def _turn(turn: str, speaker: int, names: list[str]) -> str:
    """Clean what one speaker said; a placeholder for a name becomes the speaker's or the other's name."""
    turn = USER_NAME.sub(lambda m: names[int(m[1]) - 1], _flat(turn))
    turn = OWN_NAME.sub(lambda m: f"{m[1]} {names[speaker]}", turn)
    return re.sub(r"^[AB]: ?", "", OTHER_NAME.sub(names[1 - speaker], turn))


def _sentence(line: str) -> str:
    """A persona's sentence or a topic with a capital at its beginning and for "I"."""
    line = re.sub(r"\bi\b|^A(?= already\b)", "I", _flat(line))
    return line[:1].upper() + line[1:]


def _pairs(rows: Iterable[Mapping[str, Any]]) -> Iterator[Source]:
    """Gather all translations of one English sentence, so that a split never parts them."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        english, french = _flat(row["en"]), _flat(row["fr"])
        if english and french and "=" not in english + french:
            found[sentence_key(english)].append((english, french))
    for pairs in found.values():
        yield Source("pairs", " ".join(f"{en} {fr}" for en, fr in pairs), {"pairs": pairs})


def _summary(row: Mapping[str, Any], *, held_out: bool = False) -> Source:
    text, summaries = _flat(row["text"]), [_flat(summary) for summary in row["summaries"]]
    usable = len(text) > SHORTEST["summaries"] and any(summaries)
    fields = {"text": text, "summaries": [summary for summary in summaries if summary]}
    return Source("summaries", text if usable else "", fields, held_out)


def _flat(text: str) -> str:
    """A text on one line with the punctuation of a keyboard."""
    return " ".join(ascii_punctuation(text).split())
