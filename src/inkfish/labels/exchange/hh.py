"""Anthropic's hh-rlhf: JSON lines with two whole dialogues, chosen and rejected, alike up to a reply."""

from __future__ import annotations

import json

from inkfish.errors import DataError
from inkfish.labels.exchange.labelled import Labelled, Labels, Text, json_lines, named, rows, take
from inkfish.labels.exchange.pairs import pairs
from inkfish.labels.records import Candidate, Item, Label

__all__ = ["read", "write"]

REPLY = "\n\nAssistant:"
"""Stands before each reply."""


def read(content: str, text: Text) -> list[Labelled]:
    """Read rows. What both dialogues share, up to the last reply that begins there, is the query.

    Raises:
        DataError: two dialogues that share no beginning with a reply.
    """
    values = rows(content)
    found = []
    for number, (value, request) in enumerate(
        zip(values, named("hh", map(json.dumps, values)), strict=True), 1
    ):
        chosen, rejected = (take(value, name, str, number) for name in ("chosen", "rejected"))
        cut = shared(chosen, rejected).rfind(REPLY)
        if cut < 0:
            raise DataError(
                f'row {number}: the dialogues share no "Assistant:"; nothing was imported', param="file"
            )
        cut += len(REPLY)
        item = Item("pair", chosen[:cut], (Candidate(chosen[cut:]), Candidate(rejected[cut:])))
        found.append(Labelled(item, Label(request, item.key, "hh", "best", (0,), tool="imported")))
    return found


def shared(one: str, other: str) -> str:
    """Return the beginning that two texts share."""
    length = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return one[:length]


def write(labels: Labels, text: Text) -> str:
    """Write pairs; a query that is no dialogue becomes what a person says."""
    return json_lines(
        {
            "chosen": dialogue(pair.item.query, pair.item.candidates[pair.better].text),
            "rejected": dialogue(pair.item.query, pair.item.candidates[pair.worse].text),
        }
        for pair in pairs(labels)
    )


def dialogue(query: str, reply: str) -> str:
    """Return a query and its reply in the format's form."""
    if REPLY in query:
        return query + reply
    return f"\n\nHuman: {query.strip()}{REPLY} {reply.lstrip()}"
