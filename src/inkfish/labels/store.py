"""Items and labels in one SQLite file that several people and processes write at the same time.

Rollback journal and synchronous=EXTRA: a label that was acknowledged is on the disk. (Before SQLite 3.51.3
the write-ahead log could corrupt with two writers.) Labels are appended, never changed: undoing is a row too,
which goes when the label is added again.
Who gets which item is `inkfish.labels.queue`'s matter.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from inkfish.errors import DataError
from inkfish.labels.records import Candidate, Item, Label, check_label, compact

__all__ = ["Progress", "Settings", "Store"]

VERSION = 1
"""Of the tables."""
LONGEST_NOTE = 10_000
"""Characters."""
TABLES = """
CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE items(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, query TEXT NOT NULL, query_ids TEXT,
    seed INTEGER NOT NULL, gold TEXT, meta TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX items_done ON items(done, id);
CREATE TABLE candidates(
    item INTEGER NOT NULL REFERENCES items(id), place INTEGER NOT NULL, text TEXT NOT NULL, ids TEXT,
    origin TEXT NOT NULL, PRIMARY KEY(item, place)
);
CREATE TABLE labels(
    id INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT NOT NULL UNIQUE,
    item INTEGER NOT NULL REFERENCES items(id), labeller TEXT NOT NULL, verdict TEXT NOT NULL,
    best TEXT NOT NULL, rating REAL, note TEXT NOT NULL, shown_order TEXT NOT NULL, shown REAL, answered REAL,
    rubric TEXT NOT NULL, tool TEXT NOT NULL, repeat INTEGER NOT NULL, meta TEXT NOT NULL
);
CREATE INDEX labels_item ON labels(item, labeller);
CREATE TABLE undone(
    label INTEGER PRIMARY KEY REFERENCES labels(id), request TEXT NOT NULL UNIQUE, at REAL NOT NULL
);
CREATE TABLE leases(
    item INTEGER NOT NULL REFERENCES items(id), labeller TEXT NOT NULL, until REAL NOT NULL,
    PRIMARY KEY(item, labeller)
);
CREATE VIEW given AS SELECT labels.*, items.key FROM labels JOIN items ON items.id = labels.item
    WHERE labels.id NOT IN (SELECT label FROM undone);
"""
PROGRESS = """
SELECT count(*), coalesce(sum(complete), 0),
    coalesce(sum(NOT complete AND id IN (SELECT item FROM given WHERE verdict = 'skip')), 0),
    (SELECT count(*) FROM given)
FROM (SELECT id, done >= :overlap OR (:gold_every AND gold IS NOT NULL) AS complete FROM items)
"""


@dataclass(frozen=True)
class Settings:
    """How a store's items are handed out."""

    overlap: int = 1
    """Labellers that see each item."""
    repeat_every: int = 0
    """After so many items a labeller gets an earlier one again; 0 never."""
    gold_every: int = 0
    """After so many items a labeller gets one of which the best is known, whatever the overlap; 0 never."""
    lease: float = 600.0
    """Seconds that an item is kept for who looks at it."""
    rubric: str = ""
    """The instructions beside each item."""

    def changed(self, **given: Any) -> Settings:
        """Return the settings with those that are given, None left out."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    @property
    def rubric_version(self) -> str:
        """What tells one set of instructions from another: the beginning of their SHA-256; "" of none."""
        return hashlib.sha256(self.rubric.encode()).hexdigest()[:12] if self.rubric else ""


@dataclass(frozen=True)
class Progress:
    """How far the labelling has come."""

    items: int
    """All of them."""
    complete: int
    """Those that as many have judged as the overlap says; with `gold_every` also those that only check."""
    skipped: int
    """Others that somebody has skipped."""
    labels: int
    """Given and not undone, repeats included."""


class Store:
    """One file of items and labels. A connection belongs to one thread; open one in each."""

    def __init__(self, path: Path, *, create: bool = False, clock: Callable[[], float] = time.time) -> None:
        """Open a store.

        Args:
            path: the file.
            create: make it where it is missing.
            clock: seconds since 1970.

        Raises:
            DataError: it is missing, no label store, damaged, or of a newer version.
        """
        self.path, self.clock = path, clock
        if not create and not path.is_file():
            raise DataError(f"there is no label store {path}; inkfish prefer sample makes one", param="store")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self.db.row_factory = sqlite3.Row
            for pragma in ("journal_mode = DELETE", "synchronous = EXTRA", "foreign_keys = ON"):
                self.db.execute(f"PRAGMA {pragma}")
            self.prepare()
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"{path} can't be used as a label store: {error}", param="store") from None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def prepare(self) -> None:
        """Make the tables of a new file, and refuse one of another version."""
        with self.writing():
            (found,) = self.db.execute("PRAGMA user_version").fetchone()
            if found == 0:
                if self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise DataError(f"{self.path} is a database of another program", param="store")
                for statement in TABLES.split(";"):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA user_version = {VERSION}")
            elif found != VERSION:
                raise DataError(
                    f"{self.path} has format {found}, this inkfish reads {VERSION}; update inkfish",
                    param="store",
                )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Do what is inside as one transaction, all or nothing; others wait."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    @property
    def settings(self) -> Settings:
        """How items are handed out."""
        rows = self.db.execute("SELECT name, value FROM settings")
        return Settings(**{row["name"]: json.loads(row["value"]) for row in rows})

    def set(self, settings: Settings) -> None:
        """Change how items are handed out."""
        with self.writing():
            for name, value in asdict(settings).items():
                self.db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))

    def add(self, items: Iterable[Item], labels: Iterable[Label] = ()) -> tuple[int, int]:
        """Add items and labels, all or none; what is there already is left out, what was undone comes back.

        Returns how many of each were new.

        Raises:
            DataError: a label that says nothing about its item, or names an item that is not there.
        """
        with self.writing():
            new_items = sum(self.add_item(item) for item in items)
            new_labels = sum(self.add_label(label) for label in labels)
        return new_items, new_labels

    def add_item(self, item: Item) -> bool:
        """Add an item unless it is there; return whether it was new."""
        key, meta = item.key, json.dumps(dict(item.meta))
        cursor = self.db.execute(
            "INSERT OR IGNORE INTO items(key, kind, query, query_ids, seed, gold, meta) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, item.kind, item.query, compact(item.query_ids), item.seed, compact(item.gold), meta),
        )
        if not cursor.rowcount:
            return False
        number = cursor.lastrowid
        self.db.executemany(
            "INSERT INTO candidates VALUES (?, ?, ?, ?, ?)",
            [
                (number, place, c.text, compact(c.ids), json.dumps(dict(c.origin)))
                for place, c in enumerate(item.candidates)
            ],
        )
        return True

    def add_label(self, label: Label) -> bool:
        """Add a label unless its request was answered; return whether it was new. Inside `writing`.

        One that was undone is given again, unless its labeller has judged the item anew since then.
        """
        known = self.db.execute("SELECT * FROM labels WHERE request = ?", (label.request,)).fetchone()
        if known is not None:
            return self.give_again(known)
        number, item = self.find(label.item)
        check_label(item, label)
        values: list[Any] = [label.request, number, label.labeller, label.verdict, compact(label.best)]
        values += [label.rating, label.note[:LONGEST_NOTE], compact(label.order), label.shown, label.answered]
        values += [label.rubric, label.tool, label.repeat, json.dumps(dict(label.meta))]
        self.db.execute(
            "INSERT INTO labels(request, item, labeller, verdict, best, rating, note, shown_order, shown, "
            f"answered, rubric, tool, repeat, meta) VALUES ({','.join('?' * len(values))})",
            values,
        )
        self.count(number)
        return True

    def give_again(self, row: sqlite3.Row) -> bool:
        """Take back the undoing of a label; return whether it was undone and nothing has taken its place."""
        place = (row["item"], row["labeller"], row["id"])
        later = "SELECT 1 FROM given WHERE item = ? AND labeller = ? AND id > ?"
        if self.db.execute(later, place).fetchone():
            return False
        cursor = self.db.execute("DELETE FROM undone WHERE label = ?", (row["id"],))
        self.count(row["item"])
        return bool(cursor.rowcount)

    def count(self, number: int) -> None:
        """Count anew how many people have judged an item; who skipped it leaves their place to others."""
        self.db.execute(
            "UPDATE items SET done = (SELECT count(DISTINCT labeller) FROM given "
            "WHERE item = items.id AND verdict != 'skip') WHERE id = ?",
            (number,),
        )

    def make_gold(self, labeller: str) -> int:
        """Take for right what a labeller has chosen; return of how many items the best is known by that.

        Raises:
            DataError: they have chosen nothing.
        """
        with self.writing():
            rows = self.db.execute(
                "SELECT item, best FROM given "
                "WHERE labeller = ? AND verdict IN ('best', 'tie') AND NOT repeat",
                (labeller,),
            ).fetchall()
            for row in rows:
                self.db.execute("UPDATE items SET gold = ? WHERE id = ?", (row["best"], row["item"]))
        if not rows:
            raise DataError(f"{labeller} has chosen nothing in {self.path}; label some items first")
        return len(rows)

    def said(self, number: int, labeller: str) -> int:
        """Return how many labels a labeller has given an item, undone ones left out."""
        (count,) = self.db.execute(
            "SELECT count(*) FROM given WHERE item = ? AND labeller = ?", (number, labeller)
        ).fetchone()
        return int(count)

    def find(self, key: str) -> tuple[int, Item]:
        """Return an item by its key, with its number.

        Raises:
            DataError: there is none.
        """
        row = self.db.execute("SELECT * FROM items WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise DataError(f"there is no item {key[:20]!r} in {self.path.name}", param="item")
        return row["id"], self.item(row)

    def item(self, row: sqlite3.Row) -> Item:
        """Return an item from its row."""
        rows = self.db.execute("SELECT * FROM candidates WHERE item = ? ORDER BY place", (row["id"],))
        return Item(
            row["kind"],
            row["query"],
            tuple(Candidate(c["text"], numbers(c["ids"]), json.loads(c["origin"])) for c in rows),
            numbers(row["query_ids"]),
            numbers(row["gold"]),
            json.loads(row["meta"]),
        )

    def items(self) -> list[Item]:
        """Return all items in the order in which they came."""
        return [self.item(row) for row in self.db.execute("SELECT * FROM items ORDER BY id")]

    def labels(self) -> list[Label]:
        """Return all labels in the order in which they came, undone ones left out."""
        return [to_label(row) for row in self.db.execute("SELECT * FROM given ORDER BY id")]

    def progress(self) -> Progress:
        """Return how far the labelling has come."""
        return Progress(*self.db.execute(PROGRESS, asdict(self.settings)).fetchone())


def numbers(text: str | None) -> tuple[int, ...] | None:
    """Return whole numbers from a column of JSON."""
    return None if text is None else tuple(json.loads(text))


def to_label(row: sqlite3.Row) -> Label:
    """Return a label from a row of `given`."""
    return Label(
        request=row["request"],
        item=row["key"],
        labeller=row["labeller"],
        verdict=row["verdict"],
        best=tuple(json.loads(row["best"])),
        rating=row["rating"],
        note=row["note"],
        order=tuple(json.loads(row["shown_order"])),
        shown=row["shown"],
        answered=row["answered"],
        rubric=row["rubric"],
        tool=row["tool"],
        repeat=bool(row["repeat"]),
        meta=json.loads(row["meta"]),
    )
