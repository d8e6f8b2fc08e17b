"""What the formats have in common: items with labels, tokens and texts, rows of JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from inkfish.errors import DataError
from inkfish.labels.records import Item, Label

__all__ = ["Labelled", "Labels", "Text", "json_lines", "named", "rows", "take"]


class Labelled(NamedTuple):
    """An item with one of its labels, or with none."""

    item: Item
    label: Label | None


Labels = Sequence[Labelled]


class Text(Protocol):
    """What turns ids into text and back: a tokenizer."""

    def decode(self, ids: Sequence[int], /) -> str:
        """Ids → text."""
        ...

    def encode(self, text: str, /) -> list[int]:
        """Text → ids."""
        ...


def named(form: str, contents: Iterable[str]) -> list[str]:
    """Return a request for each row that depends on its content, and on how often that came before."""
    seen: Counter[str] = Counter()
    found = []
    for content in contents:
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        seen[digest] += 1
        found.append(f"{form}:{digest}:{seen[digest]}")
    return found


def rows(content: str) -> list[dict[str, Any]]:
    """Return the objects of JSON lines.

    Raises:
        DataError: a line that is no JSON object, with its number.
    """
    found = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataError(f"line {number}: not a JSON object; nothing was imported", param="file")
        found.append(row)
    return found


def take(row: dict[str, Any], name: str, kind: type, number: int) -> Any:
    """Return a field of a row.

    Raises:
        DataError: it is missing or of another type.
    """
    value = row.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {str: "text", int: "a whole number", list: "a list", dict: "an object"}[kind]
        raise DataError(f"row {number}: {name} must be {wanted}; nothing was imported", param="file")
    return value


def json_lines(values: Iterable[Any]) -> str:
    """Return JSON lines."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
