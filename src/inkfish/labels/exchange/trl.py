"""TRL's preference rows: prompt, chosen and rejected as text, one JSON object a line."""

from __future__ import annotations

from typing import Any

from inkfish.labels.exchange.labelled import (
    Labelled,
    Labels,
    Vocabulary,
    besides,
    each,
    kept,
    rows,
    storable,
    take,
)
from inkfish.labels.exchange.pairs import pairs
from inkfish.labels.records import Candidate, Item, Label

__all__ = ["read", "write"]

FIELDS = ("prompt", "chosen", "rejected")


def read(content: str, vocabulary: Vocabulary) -> list[Labelled]:
    """Read rows; each is a pair of which the first was chosen. Further fields are kept with the label."""
    return each("trl", rows(content), pair)


def pair(value: dict[str, Any], number: int, request: str) -> Labelled:
    """Read one row."""
    prompt, chosen, rejected = (take(value, name, str, number) for name in FIELDS)
    item = Item("pair", prompt, (Candidate(chosen), Candidate(rejected)))
    meta = {"trl": besides(value, *FIELDS)}
    return storable(item, Label(request, item.key, "trl", "best", (0,), tool="imported", meta=meta), number)


def write(labels: Labels, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return pairs as rows."""
    return [
        {
            "prompt": pair.item.query,
            "chosen": pair.item.candidates[pair.better].text,
            "rejected": pair.item.candidates[pair.worse].text,
        }
        | kept(pair.label, "trl")
        for pair in pairs(labels)
    ]
