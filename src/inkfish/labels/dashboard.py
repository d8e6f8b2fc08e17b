"""What the labels say about the labellers: how far, how fast, how steady, how much they agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from inkfish.labels.records import Item, Label
from inkfish.labels.store import Store
from inkfish.metrics.agreement import (
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    krippendorff_interval,
    percent_agreement,
)
from inkfish.metrics.winrate import wilson

__all__ = ["dashboard"]

SAID_NOTHING = "skip"
FEWEST = 10
"""Items that several have labelled, from which on alpha has an interval."""


def dashboard(store: Store) -> dict[str, Any]:
    """Return the figures of a store: its progress, each labeller's, and the agreement of all."""
    items = {item.key: item for item in store.items()}
    labels = [label for label in store.labels() if label.verdict != SAID_NOTHING]
    progress = store.progress()
    people: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        people[label.labeller].append(label)
    return {
        "items": progress.items,
        "complete": progress.complete,
        "labels": progress.labels,
        "labellers": [labeller(name, given, items) for name, given in sorted(people.items())],
        "agreement": agreement([label for label in labels if not label.repeat]),
    }


def labeller(name: str, labels: Sequence[Label], items: dict[str, Item]) -> dict[str, Any]:
    """Return one labeller's figures; None where there is nothing to count."""
    seconds = [x.answered - x.shown for x in labels if x.answered is not None and x.shown is not None]
    slots = Counter(label.slot for label in labels if label.slot is not None)
    places = max((len(label.order) for label in labels if label.slot is not None), default=0)
    gold = [
        set(label.best) <= set(items[label.item].gold or ()) for label in labels if has_gold(label, items)
    ]
    first = {label.item: value(label) for label in labels if not label.repeat}
    again = [value(label) == first.get(label.item) for label in labels if label.repeat]
    return {
        "name": name,
        "labels": len(labels),
        "seconds": median(seconds) if seconds else None,
        "slots": [slots[i] for i in range(places)],
        "ties": sum(label.verdict == "tie" for label in labels),
        "gold": share(gold),
        "steady": share(again),
    }


def has_gold(label: Label, items: dict[str, Item]) -> bool:
    """Whether it is known which candidates are best, and the label names some."""
    return items[label.item].gold is not None and bool(label.best)


def share(found: Sequence[bool]) -> dict[str, float] | None:
    """Return a share with Wilson's interval, None of nothing."""
    return {**wilson(sum(found), len(found))._asdict(), "count": len(found)} if found else None


def value(label: Label) -> str:
    """Return what a label says, for comparison."""
    if label.rating is not None:
        return f"{label.rating:g}"
    return f"{label.verdict} {sorted(label.best)}"


def agreement(labels: Sequence[Label]) -> dict[str, Any] | None:
    """Return how far labellers of the same items agree, None where no item has two."""
    by_item: dict[str, dict[str, str]] = defaultdict(dict)
    for label in labels:
        by_item[label.item][label.labeller] = value(label)
    shared = [said for said in by_item.values() if len(said) >= 2]
    if not shared:
        return None
    units = [list(said.values()) for said in shared]
    interval = krippendorff_interval(units) if len(units) >= FEWEST else None
    return {
        "items": len(units),
        "percent": percent_agreement(units),
        "alpha": krippendorff_alpha(units),
        "alpha_low": None if interval is None else interval.low,
        "alpha_high": None if interval is None else interval.high,
        "kappa": kappa(shared),
    }


def kappa(shared: Sequence[dict[str, str]]) -> float | None:
    """Return Cohen's kappa of the same two labellers, Fleiss' of as many for each item; None for others."""
    names = {tuple(sorted(said)) for said in shared}
    if len(names) == 1 and len(shared[0]) == 2:
        one, two = names.pop()
        return cohen_kappa([said[one] for said in shared], [said[two] for said in shared])
    if len({len(said) for said in shared}) == 1:
        return fleiss_kappa([list(said.values()) for said in shared])
    return None
