"""Who gets which item: leases, overlap, repeats, answers that may be sent twice, and undoing.

Each function is one transaction, so any number of labellers and processes may work on one store.
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass, replace

from inkfish.errors import DataError
from inkfish.labels.records import Item, Label, shuffled
from inkfish.labels.store import Settings, Store, to_label

__all__ = ["Shown", "answer", "next_item", "undo", "why_nothing"]

OPEN = """
SELECT * FROM items WHERE done < :overlap AND (gold IS NULL OR NOT :gold_every)
AND done + (
    SELECT count(*) FROM leases WHERE leases.item = items.id
    AND NOT EXISTS (SELECT 1 FROM given WHERE given.item = items.id AND given.labeller = leases.labeller)
) < :overlap
AND NOT EXISTS (SELECT 1 FROM given WHERE given.item = items.id AND given.labeller = :labeller)
ORDER BY done DESC, id LIMIT 1
"""
"""The first item that still needs this labeller; those that others have begun come first. Those of which the
best is known come only as `GOLD` while that is asked for: else they would be first of all."""
LEFT = """
SELECT count(*) FROM items WHERE done < :overlap AND (gold IS NULL OR NOT :gold_every)
AND NOT EXISTS (SELECT 1 FROM given WHERE given.item = items.id AND given.labeller = :labeller)
"""
"""How many items need this labeller, though others may look at them."""
REPEATED = """
SELECT items.* FROM given JOIN items ON items.id = given.item WHERE labeller = ?
GROUP BY items.id HAVING count(*) = 1 AND max(verdict) != 'skip' ORDER BY min(given.id) LIMIT 1
"""
"""What a labeller judged longest ago, and once only; what was skipped does not come back."""
GOLD = """
SELECT * FROM items WHERE gold IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM given WHERE given.item = items.id AND given.labeller = ?) ORDER BY id LIMIT 1
"""
"""The first item of which the best is known that a labeller has not seen."""


@dataclass(frozen=True)
class Shown:
    """What a labeller gets to see."""

    item: Item
    """With candidates in the order of their sampling."""
    order: tuple[int, ...]
    """Candidates in the order to show."""
    repeat: bool
    """Whether this labeller had it before."""


def next_item(store: Store, labeller: str) -> Shown | None:
    """Return what a labeller is to look at, and keep it for them; None when there is nothing left.

    Asked again before an answer, it is the same item.
    """
    with store.writing():
        settings, now = store.settings, store.clock()
        store.db.execute("DELETE FROM leases WHERE until <= ?", (now,))
        row = kept(store, labeller) or due_gold(store, labeller, settings)
        row = row or due_again(store, labeller, settings)
        row = row or first_row(store, OPEN, asdict(settings) | {"labeller": labeller})
        if row is None:
            return None
        keep(store, row["id"], labeller)
        item, repeat = store.item(row), bool(store.said(row["id"], labeller))
    return Shown(item, shuffled(item, labeller, repeat=repeat), repeat)


def why_nothing(store: Store, labeller: str) -> str:
    """Say in one line why there is nothing for a labeller, and what to do."""
    settings, progress = store.settings, store.progress()
    (left,) = first_row(store, LEFT, asdict(settings) | {"labeller": labeller}) or (0,)
    (mine,) = first_row(store, "SELECT count(DISTINCT item) FROM given WHERE labeller = ?", (labeller,)) or (
        0,
    )
    if mine == progress.items:
        return f"{labeller} has labelled every item; another name labels them once more"
    if left:
        return f"what is left is with others; come again in {settings.lease:.0f} seconds"
    others, labels = " other" if mine else "", "label" if settings.overlap == 1 else "labels"
    return (
        f"every{others} item has its {settings.overlap} {labels}; --overlap {settings.overlap + 1} lets "
        f"{labeller} see them"
    )


def first_row(store: Store, query: str, values: object = ()) -> sqlite3.Row | None:
    """Return the first row of a query."""
    found: sqlite3.Row | None = store.db.execute(query, values).fetchone()  # type: ignore[arg-type]
    return found


def kept(store: Store, labeller: str) -> sqlite3.Row | None:
    """Return the item that is kept for a labeller."""
    return first_row(
        store, "SELECT items.* FROM leases JOIN items ON items.id = item WHERE labeller = ?", (labeller,)
    )


def keep(store: Store, number: int, labeller: str) -> None:
    """Keep an item for a labeller for a while."""
    lease = (number, labeller, store.clock() + store.settings.lease)
    store.db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", lease)


def due_gold(store: Store, labeller: str, settings: Settings) -> sqlite3.Row | None:
    """Return an item of which the best is known, if it is time for one."""
    if not settings.gold_every:
        return None
    plain, gold = store.db.execute(
        "SELECT coalesce(sum(gold IS NULL), 0), coalesce(sum(gold IS NOT NULL), 0) "
        "FROM given JOIN items ON items.id = given.item WHERE labeller = ? AND NOT repeat",
        (labeller,),
    ).fetchone()
    return first_row(store, GOLD, (labeller,)) if plain // settings.gold_every > gold else None


def due_again(store: Store, labeller: str, settings: Settings) -> sqlite3.Row | None:
    """Return an item to be judged once more, if it is time for one."""
    if not settings.repeat_every:
        return None
    given, again = store.db.execute(
        "SELECT count(*), coalesce(sum(repeat), 0) FROM given WHERE labeller = ?", (labeller,)
    ).fetchone()
    if (given - again) // settings.repeat_every <= again:
        return None
    return first_row(store, REPEATED, (labeller,))


def answer(store: Store, label: Label) -> Label:
    """Record a label and return it as it is stored; the same request again gets the same answer.

    Raises:
        DataError: the item has all its labels, or the label says nothing about it.
    """
    with store.writing():
        number, _ = store.find(label.item)
        if first_row(store, "SELECT 1 FROM labels WHERE request = ?", (label.request,)) is None:
            again = bool(store.said(number, label.labeller))
            check_wanted(store, number, label, again=again)
            store.add_label(replace(label, repeat=again, answered=label.answered or store.clock()))
            place = (number, label.labeller)
            store.db.execute("DELETE FROM leases WHERE item = ? AND labeller = ?", place)
        row = first_row(
            store,
            "SELECT labels.*, items.key FROM labels JOIN items ON items.id = item WHERE request = ?",
            (label.request,),
        )
    assert row is not None, "it was just written, or was there before"
    return to_label(row)


def check_wanted(store: Store, number: int, label: Label, *, again: bool) -> None:
    """Refuse a label that nobody asked for."""
    mine = kept(store, label.labeller)
    asked = mine is not None and mine["id"] == number
    if again:
        if not asked:
            raise DataError(f"{label.labeller} has labelled this item already; undo that first", param="item")
        return
    row = first_row(store, "SELECT done, gold FROM items WHERE id = ?", (number,))
    assert row is not None, "found before"
    done = row["done"]
    if done >= store.settings.overlap and not (asked and row["gold"] is not None):
        raise DataError(f"this item has its {done} labels already; go on with the next one", param="item")


def undo(store: Store, labeller: str, request: str) -> Label | None:
    """Take back a labeller's last label and return it; that item comes next. None where there is none.

    The same request again gets the same answer.
    """
    with store.writing():
        known = first_row(
            store,
            "SELECT labels.*, items.key FROM undone JOIN labels ON labels.id = undone.label "
            "JOIN items ON items.id = labels.item WHERE undone.request = ?",
            (request,),
        )
        last = "SELECT * FROM given WHERE labeller = ? ORDER BY id DESC LIMIT 1"
        row = known or first_row(store, last, (labeller,))
        if row is not None and known is None:
            store.db.execute("INSERT INTO undone VALUES (?, ?, ?)", (row["id"], request, store.clock()))
            store.count(row["item"])
            store.db.execute("DELETE FROM leases WHERE labeller = ?", (labeller,))
            keep(store, row["item"], labeller)
    return None if row is None else to_label(row)
