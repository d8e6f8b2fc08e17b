"""Anthropic's hh-rlhf: JSON lines with two whole dialogues, chosen and rejected, alike up to a reply."""

from __future__ import annotations

from typing import Any

from inkfish.labels.exchange.labelled import (
    Labelled,
    Labels,
    Vocabulary,
    besides,
    each,
    kept,
    refused,
    rows,
    storable,
    take,
)
from inkfish.labels.exchange.pairs import pairs
from inkfish.labels.records import Candidate, Item, Label

__all__ = ["read", "write"]

REPLY = "\n\nAssistant:"
"""Stands before each reply."""
FIELDS = ("chosen", "rejected")


def read(content: str, vocabulary: Vocabulary) -> list[Labelled]:
    """Read rows. What both dialogues share, up to the last reply that begins there, is the query.

    Raises:
        DataError: two dialogues that share no beginning with a reply.
    """
    return each("hh", rows(content), pair)


def pair(value: dict[str, Any], number: int, request: str) -> Labelled:
    """Read one row; further fields are kept with the label."""
    chosen, rejected = (take(value, name, str, number) for name in FIELDS)
    cut = shared(chosen, rejected).rfind(REPLY)
    if cut < 0:
        raise refused(number, 'the dialogues share no "Assistant:"')
    cut += len(REPLY)
    item = Item("pair", chosen[:cut], (Candidate(chosen[cut:]), Candidate(rejected[cut:])))
    meta = {"hh": besides(value, *FIELDS)}
    return storable(item, Label(request, item.key, "hh", "best", (0,), tool="imported", meta=meta), number)


def shared(one: str, other: str) -> str:
    """Return the beginning that two texts share."""
    length = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return one[:length]


def write(labels: Labels, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return pairs as rows; a query that is no dialogue becomes what a person says."""
    return [
        {
            "chosen": dialogue(pair.item.query, pair.item.candidates[pair.better].text),
            "rejected": dialogue(pair.item.query, pair.item.candidates[pair.worse].text),
        }
        | kept(pair.label, "hh")
        for pair in pairs(labels)
    ]


def dialogue(query: str, reply: str) -> str:
    """Return a query and its reply in the format's form."""
    if REPLY in query:
        return query + reply
    return f"\n\nHuman: {query.strip()}{REPLY} {reply.lstrip()}"
