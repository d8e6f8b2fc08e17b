"""TRL's preference rows: prompt, chosen and rejected as text, one JSON object a line."""

from __future__ import annotations

import json

from inkfish.labels.exchange.labelled import Labelled, Labels, Text, json_lines, named, rows, take
from inkfish.labels.exchange.pairs import pairs
from inkfish.labels.records import Candidate, Item, Label

__all__ = ["read", "write"]


def read(content: str, text: Text) -> list[Labelled]:
    """Read rows; each is a pair of which the first was chosen."""
    values = rows(content)
    found = []
    for number, (value, request) in enumerate(
        zip(values, named("trl", map(json.dumps, values)), strict=True), 1
    ):
        prompt, chosen, rejected = (take(value, n, str, number) for n in ("prompt", "chosen", "rejected"))
        item = Item("pair", prompt, (Candidate(chosen), Candidate(rejected)))
        found.append(Labelled(item, Label(request, item.key, "trl", "best", (0,), tool="imported")))
    return found


def write(labels: Labels, text: Text) -> str:
    """Write pairs."""
    return json_lines(
        {
            "prompt": pair.item.query,
            "chosen": pair.item.candidates[pair.better].text,
            "rejected": pair.item.candidates[pair.worse].text,
        }
        for pair in pairs(labels)
    )
