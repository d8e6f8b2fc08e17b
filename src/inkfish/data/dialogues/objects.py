"""Dialogues in JSON: an object a line, an array of objects, or the one object of PERSONA-CHAT's release."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from inkfish.data.dialogues.talk import Found, Talk, sentences
from inkfish.data.files import open_text
from inkfish.data.rules import Reason
from inkfish.errors import DataError

__all__ = ["read"]

ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "bot",
    "gpt": "bot",
    "bot": "bot",
    "chatgpt": "bot",
    "model": "bot",
    "system": "system",
    "developer": "system",
}
"""Who speaks, as OpenAI, ShareGPT and their imitators call them."""
BETWEEN = re.compile(r"[ \t\r\n,]*")
"""What stands between the items of an array."""


def read(path: Path, encoding: str | None) -> Iterator[Found]:
    """Yield the dialogues of a .json or .jsonl file.

    Raises:
        DataError: a file that is no JSON, or the release of PERSONA-CHAT with parts missing.
    """
    with open_text(path, encoding) as file:
        text = file.read()
    document = whole(text)
    if isinstance(document, dict) and {"train", "valid"} & document.keys():
        yield from persona_chat(document, path)
        return
    rows = array_items(text, path) if text.lstrip().startswith("[") else line_items(text)
    for line, row in rows:
        yield Found(line, row if isinstance(row, Reason) else talk_of(row))


def whole(text: str) -> Any:
    """Return a file's one JSON object, None where it has many or none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def line_items(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the object of each line with the line's number."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, Reason("not JSON")


def array_items(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the items of a JSON array with the line where each begins.

    Raises:
        DataError: the array breaks off or is damaged.
    """
    decoder, place = json.JSONDecoder(), text.index("[") + 1
    line, counted = 1 + text.count("\n", 0, place), place
    while True:
        between = BETWEEN.match(text, place)
        assert between is not None, "matches nothing too"
        place = between.end()
        if text[place : place + 1] == "]":
            return
        line, counted = line + text.count("\n", counted, place), place
        try:
            item, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise DataError(f"{path}, line {line} is not JSON ({reason}); get the file again") from None
        yield line, item


def talk_of(row: Any) -> Talk | Reason:
    """Return the dialogue of one object, by the fields that it has."""
    if not isinstance(row, dict):
        return Reason("not an object")
    for field, reader in (("messages", messages), ("conversations", messages), ("turns", plain)):
        if field in row:
            found = row[field]
            return reader(row, found) if isinstance(found, list) else Reason(f"{field!r} is no list")
    for said, reply in (("prompt", "completion"), ("prompt", "response"), ("instruction", "output")):
        if said in row and reply in row:
            return plain(row, [row[said], row[reply]])
    return Reason("no field 'turns', 'messages' or 'conversations'")


def plain(row: Mapping[str, Any], turns: Sequence[Any]) -> Talk | Reason:
    """Read turns in alternation: texts, or objects with a text each."""
    texts: list[Any] = [turn.get("text") if isinstance(turn, dict) else turn for turn in turns]
    bad = next((number for number, text in enumerate(texts, 1) if not isinstance(text, str)), None)
    if bad is not None:
        return Reason(f"turn {bad} is no text")
    personas = row.get("personas") or [row.get("about_user") or [], row.get("about_bot") or []]
    if not (isinstance(personas, list) and len(personas) == 2 and all(map(is_texts, personas))):
        return Reason("'personas' are no two lists of texts")
    topic = row.get("topic") or ""
    if not isinstance(topic, str):
        return Reason("'topic' is no text")
    return Talk(tuple(texts), (tuple(personas[0]), tuple(personas[1])), topic=topic)


def is_texts(value: Any) -> bool:
    """Say whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def messages(row: Mapping[str, Any], found: Sequence[Any]) -> Talk | Reason:
    """Read messages with roles; only what the assistant says is learned, what system says is its persona."""
    said: list[tuple[str, str]] = []
    for number, message in enumerate(found, 1):
        one = spoken(message)
        if one is None:
            return Reason(f"message {number} has no known role with a text")
        said.append(one)
    persona = [text for role, text in said if role == "system"]
    if isinstance(row.get("system"), str):
        persona.insert(0, row["system"])
    turns = [
        (role, " ".join(text for _, text in group))
        for role, group in groupby((one for one in said if one[0] != "system"), key=lambda one: one[0])
    ]
    replies = tuple(i for i, (role, _) in enumerate(turns) if role == "bot" and i)
    if not replies:
        return Reason("the assistant does not reply")
    about = sentences("\n".join(persona))
    first_is_bot = turns[0][0] == "bot"
    return Talk(
        tuple(text for _, text in turns), (about, ()) if first_is_bot else ((), about), replies=replies
    )


def spoken(message: Any) -> tuple[str, str] | None:
    """Return a message's role and text, None where it has none that is known."""
    if not isinstance(message, dict):
        return None
    role = ROLES.get(str(message.get("role", message.get("from"))).lower())
    content = message.get("content", message.get("value"))
    if isinstance(content, list):  # OpenAI's parts
        parts: list[Any] = [part.get("text") if isinstance(part, dict) else None for part in content]
        content = " ".join(parts) if parts and all(isinstance(part, str) for part in parts) else None
    return (role, content) if role and isinstance(content, str) else None


def persona_chat(document: Mapping[str, Any], path: Path) -> Iterator[Found]:
    """Read the release of Hugging Face's transfer-learning-conv-ai: the last candidate is the reply.

    Raises:
        DataError: a dialogue that has not the release's form.
    """
    for part in ("train", "valid"):
        for number, dialogue in enumerate(document.get(part) or [], 1):
            try:
                yield from (Found(1, talk) for talk in released(dialogue, held_out=part == "valid"))
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise DataError(
                    f"{path}: {part}, dialogue {number} has not the form of personachat_self_original.json "
                    f"({type(error).__name__}: {error}); get the file again"
                ) from None


def released(dialogue: Mapping[str, Any], *, held_out: bool) -> list[Talk]:
    """Return one dialogue of the release; utterances whose histories go on from one another are one talk."""
    persona = tuple(dialogue["personality"])
    found: list[Talk] = []
    for utterance in dialogue["utterances"]:
        history, choices = tuple(utterance["history"]), tuple(utterance["candidates"])
        if not all(isinstance(text, str) for text in (*history, *choices, *persona)):
            raise TypeError("a text that is none")
        turns, number = (*history, choices[-1]), len(history)
        about = (persona, ()) if number % 2 == 0 else ((), persona)
        replies: tuple[int, ...] = (number,)
        candidates = {number: choices[:-1]}
        if found and turns[: len(found[-1].turns)] == found[-1].turns and found[-1].personas == about:
            before = found.pop()
            replies, candidates = (*before.replies, number), {**before.candidates, **candidates}
        found.append(Talk(turns, about, replies, candidates, held_out=held_out))
    return found
