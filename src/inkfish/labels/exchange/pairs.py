"""What a label says of pairs: one better, one worse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from inkfish.labels.exchange.labelled import Labels
from inkfish.labels.records import Item, Label

__all__ = ["Pair", "pairs"]


class Pair(NamedTuple):
    """The numbers of two candidates."""

    item: Item
    label: Label
    better: int
    worse: int


def pairs(labels: Labels) -> Iterator[Pair]:
    """Yield what each choice says: the best against each other one, so three pairs for one of four.

    Ties, skipped items and those without a good candidate say nothing of this kind.
    """
    for item, label in labels:
        if label is not None and label.verdict == "best":
            (best,) = label.best
            for other in range(len(item.candidates)):
                if other != best:
                    yield Pair(item, label, best, other)
