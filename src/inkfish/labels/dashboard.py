"""What the labels say about the labellers: how far, how fast, how steady, how much they agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from inkfish.labels.records import Item, Label
from inkfish.labels.store import Store
from inkfish.metrics.agreement import (
    Metric,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    krippendorff_interval,
    percent_agreement,
)
from inkfish.metrics.winrate import wilson

__all__ = ["dashboard"]

Value = str | float
"""What a label says, for comparison."""
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
        "agreement": agreement(units(labels, ratings=False), store.settings.overlap, metric="nominal"),
        "ratings": agreement(units(labels, ratings=True), store.settings.overlap, metric="interval"),
    }


def labeller(name: str, labels: Sequence[Label], items: dict[str, Item]) -> dict[str, Any]:
    """Return one labeller's figures; None where there is nothing to count."""
    seconds = [x.answered - x.shown for x in labels if x.answered is not None and x.shown is not None]
    chosen = [label for label in labels if label.slot is not None and len(label.order) > 1]
    places = max((len(label.order) for label in chosen), default=0)
    slots = Counter(label.slot for label in chosen)
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
        "first": share([label.slot == 0 for label in chosen]),
        "chance": mean([1 / len(label.order) for label in chosen]) if chosen else None,
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


def units(labels: Sequence[Label], *, ratings: bool) -> list[dict[str, Value]]:
    """Return for each item that several have labelled what each of them said first, choices or ratings."""
    found: dict[str, dict[str, Value]] = defaultdict(dict)
    for label in labels:
        if not label.repeat and (label.rating is not None) == ratings:
            found[label.item][label.labeller] = value(label) if label.rating is None else label.rating
    return [said for said in found.values() if len(said) >= 2]


def agreement(shared: Sequence[dict[str, Value]], overlap: int, *, metric: Metric) -> dict[str, Any] | None:
    """Return how far labellers of the same items agree, None where no item has two.

    Args:
        shared: for each item what each labeller said.
        overlap: labellers that see each item.
        metric: how values differ; kappa only knows equal ones, so that numbers have none.
    """
    if not shared:
        return None
    said = [list(one.values()) for one in shared]
    interval = krippendorff_interval(said, metric=metric) if len(said) >= FEWEST else None
    level = alike(shared, overlap) if metric == "nominal" else []
    return {
        "items": len(said),
        "percent": percent_agreement(said),
        "alpha": krippendorff_alpha(said, metric=metric),
        "alpha_low": None if interval is None else interval.low,
        "alpha_high": None if interval is None else interval.high,
        "kappa": kappa(level) if level else None,
        "kappa_items": len(level),
    }


def alike(shared: Sequence[dict[str, Value]], overlap: int) -> list[dict[str, Value]]:
    """Return the items with exactly as many labels as the overlap says, or else as most of them have."""
    sizes = Counter(map(len, shared))
    size = overlap if overlap in sizes else sizes.most_common(1)[0][0]
    return [said for said in shared if len(said) == size]


def kappa(level: Sequence[dict[str, Value]]) -> float:
    """Return Cohen's kappa of the same two labellers, Fleiss' of others; each item has as many labels."""
    names = {tuple(sorted(said)) for said in level}
    if len(names) == 1 and len(level[0]) == 2:
        one, two = names.pop()
        return cohen_kappa([said[one] for said in level], [said[two] for said in level])
    return fleiss_kappa([list(said.values()) for said in level])
