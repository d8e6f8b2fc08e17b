"""What the labels of an item come to: second answers count once, and a majority is more than half."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from inkfish.labels.records import Label

__all__ = ["JUDGED", "by_item", "first_answers", "majorities", "majority"]

JUDGED = ("best", "tie", "bad")
"""Verdicts that are votes; a skip is none."""
Option = TypeVar("Option", bound=Hashable)


def first_answers(labels: Iterable[Label]) -> list[Label]:
    """Return labels without those of an item that its labeller had before, which tell how steady they are."""
    seen: set[tuple[str, str]] = set()
    found = []
    for label in labels:
        place = (label.item, label.labeller)
        if not label.repeat or place not in seen:
            found.append(label)
        seen.add(place)
    return found


def by_item(labels: Iterable[Label]) -> dict[str, list[Label]]:
    """Return the labels of each item."""
    found: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        found[label.item].append(label)
    return dict(found)


def majority(votes: Sequence[Option]) -> Option | None:
    """Return what more than half of the votes say, None where nothing has so many."""
    ((option, count),) = Counter(votes).most_common(1)
    return option if 2 * count > len(votes) else None


def majorities(labels: Iterable[Label]) -> list[Label]:
    """Return one label for each item whose labellers have a majority, and that for a choice or a tie."""
    found = []
    for said in by_item(labels).values():
        option = majority([(label.verdict, tuple(sorted(label.best))) for label in said])
        if option is not None and option[0] != "bad":
            found.append(replace(said[0], labeller="majority", verdict=option[0], best=option[1]))
    return found
