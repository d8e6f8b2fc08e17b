"""What is labelled and what a label says: items with candidates, and labels, as plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from inkfish.errors import DataError

__all__ = ["KINDS", "VERDICTS", "Candidate", "Item", "Kind", "Label", "Verdict", "check_item", "check_label"]
__all__ += ["shuffled"]

Kind = Literal["best", "pair", "rating"]
Verdict = Literal["best", "tie", "bad", "skip", "rating"]
KINDS: tuple[str, ...] = get_args(Kind)
VERDICTS: tuple[str, ...] = get_args(Verdict)
RATINGS = (1, 7)
"""Lowest and highest rating."""
CANDIDATES: Mapping[str, tuple[int, int]] = {"best": (2, 10**6), "pair": (2, 2), "rating": (1, 1)}
"""Fewest and most candidates of each kind of item."""


@dataclass(frozen=True)
class Candidate:
    """One of the texts to choose from."""

    text: str
    """What the labeller reads, truncated as the rule of its sampling says."""
    ids: tuple[int, ...] | None = None
    """Its tokens, not padded; None where only the text is known."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from: model, seed, parameters. Never shown to a labeller."""


@dataclass(frozen=True)
class Item:
    """A query with candidates."""

    kind: Kind
    """best: which of several; pair: which of two; rating: how good is the one."""
    query: str
    """What the candidates continue or answer."""
    candidates: tuple[Candidate, ...]
    """In the order of their sampling; labellers see them shuffled."""
    query_ids: tuple[int, ...] | None = None
    """The query's tokens, not padded; None where only the text is known."""
    gold: tuple[int, ...] | None = None
    """The best ones, where that is known: to see how well a labeller does."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What a file format says besides, so that it can be written again."""

    @property
    def key(self) -> str:
        """SHA-256 of kind, query and candidates: the same item is stored once."""
        candidates = [candidate.ids or candidate.text for candidate in self.candidates]
        content = json.dumps([self.kind, self.query_ids or self.query, candidates])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def seed(self) -> int:
        """Of the orders in which labellers see the candidates."""
        return int(self.key[:12], 16)


@dataclass(frozen=True)
class Label:
    """What one labeller said of one item."""

    request: str
    """Unique: the same request again changes nothing and gets the same answer."""
    item: str
    """Key of the item."""
    labeller: str
    """Name or number of who said it."""
    verdict: Verdict
    """best: a choice; tie: several are equally good; bad: none is; skip: no opinion; rating: a number."""
    best: tuple[int, ...] = ()
    """Numbers of the best candidates: one, or those that tie."""
    rating: float | None = None
    """1 to 7."""
    note: str = ""
    """What the labeller wrote besides."""
    order: tuple[int, ...] = ()
    """Candidates in the order shown; () where that is not known."""
    shown: float | None = None
    """When, seconds since 1970."""
    answered: float | None = None
    """When, seconds since 1970."""
    rubric: str = ""
    """Version of the instructions."""
    tool: str = ""
    """What recorded it, with its version."""
    repeat: bool = False
    """Whether the labeller had this item before, to see how steady the judgement is."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What a file format says besides."""

    @property
    def slot(self) -> int | None:
        """Place on the screen of the chosen candidate, from 0; None for ties, or where it is not known."""
        return self.order.index(self.best[0]) if len(self.best) == 1 and self.order else None


def check_item(item: Item) -> None:
    """Refuse an item that is not what its kind says.

    Raises:
        DataError: in one line what is wrong.
    """
    if item.kind not in KINDS:
        raise DataError(f"kind is {item.kind!r}; it must be one of {', '.join(KINDS)}", param="kind")
    n, (low, high) = len(item.candidates), CANDIDATES[item.kind]
    if not low <= n <= high:
        raise DataError(
            f"an item {item.kind!r} has {n} candidates; it must have {low}{' or more' * (high > low)}",
            param="candidates",
        )
    check_numbers("gold", item.gold or (), n)


def check_label(item: Item, label: Label) -> None:
    """Refuse a label that says nothing about its item.

    Raises:
        DataError: in one line what is wrong.
    """
    n = len(item.candidates)
    check_verdict(item, label)
    if not label.labeller.strip() or len(label.labeller) > 100:
        raise DataError("labeller must be a name of 1 to 100 characters", param="labeller")
    check_numbers("best", label.best, n)
    low, high = {"best": (1, 1), "tie": (2, n)}.get(label.verdict, (0, 0))
    if not low <= len(label.best) <= high:
        raise DataError(
            f"a label {label.verdict!r} names {len(label.best)} candidates; it must name "
            f"{low if low == high else f'{low} to {high}'}",
            param="best",
        )
    if label.order and sorted(label.order) != list(range(n)):
        raise DataError(f"order is {list(label.order)}; it must be an order of 0 to {n - 1}", param="order")
    check_rating(label)


def check_verdict(item: Item, label: Label) -> None:
    """Refuse a verdict that there is not, or that is not one on such an item: anything may be skipped."""
    if label.verdict not in VERDICTS:
        raise DataError(
            f"verdict is {label.verdict!r}; it must be one of {', '.join(VERDICTS)}", param="verdict"
        )
    rates = item.kind == "rating"
    if label.verdict != "skip" and rates != (label.verdict == "rating"):
        raise DataError(
            f"verdict is {label.verdict!r} on an item {item.kind!r}; it must be "
            f"{'rating' if rates else 'best, tie, bad'} or skip",
            param="verdict",
        )


def check_numbers(name: str, chosen: Sequence[int], n: int) -> None:
    """Refuse numbers that are not those of n candidates, or one twice."""
    if any(not 0 <= i < n for i in chosen) or len(set(chosen)) < len(chosen):
        raise DataError(
            f"{name} is {list(chosen)}; this item's candidates are 0 to {n - 1}, each named once at most",
            param=name,
        )


def check_rating(label: Label) -> None:
    """Refuse a rating outside the scale, a missing one, or one where none belongs."""
    low, high = RATINGS
    given = label.rating is not None
    if given != (label.verdict == "rating"):
        raise DataError(
            f"a label {label.verdict!r} {'has a' if given else 'lacks its'} rating", param="rating"
        )
    if label.rating is not None and not low <= label.rating <= high:
        raise DataError(f"rating is {label.rating}; it must be from {low} to {high}", param="rating")


def shuffled(item: Item, labeller: str, *, repeat: bool = False) -> tuple[int, ...]:
    """Return the order in which a labeller sees the candidates; the stored seed and the name decide it."""
    who = hashlib.sha256(f"{labeller}\n{repeat}".encode()).digest()[:8]
    draw = np.random.Generator(
        np.random.Philox(key=np.array([item.seed, int.from_bytes(who, "little")], np.uint64))
    )
    return tuple(int(i) for i in draw.permutation(len(item.candidates)))


def compact(value: Sequence[Any] | Mapping[str, Any] | None) -> str | None:
    """Return JSON for a column, None for none."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
