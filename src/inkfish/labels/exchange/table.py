"""All that the store knows as CSV, a row for each label; spreadsheets find no formula in it.

A cell that a spreadsheet would take for a formula gets an apostrophe, which reading takes off again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from inkfish.errors import DataError
from inkfish.labels.exchange.cells import text_of, value
from inkfish.labels.exchange.labelled import Labelled, Labels, Vocabulary, refused, storable
from inkfish.labels.records import Candidate, Item, Label

__all__ = ["lines", "read", "write"]

COLUMNS: tuple[str, ...] = (
    "kind",
    "query",
    "candidates",
    "labeller",
    "verdict",
    "best",
    "rating",
    "note",
    "order",
    "shown",
)
COLUMNS += ("answered", "rubric", "tool", "repeat", "request", "query_ids", "gold", "item_meta", "label_meta")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""Beginnings of cells that spreadsheets calculate, and the mark that says they do not."""
LONGEST = 1 << 26
"""Characters of a cell."""


def write(labels: Labels, vocabulary: Vocabulary) -> list[list[str]]:
    """Return labels, and items that have none, as rows of cells."""
    rows = []
    for item, label in labels:
        said: dict[str, Any] = asdict(label) if label is not None else {}
        said["label_meta"] = said.pop("meta", None)
        said |= {"kind": item.kind, "query": item.query, "query_ids": item.query_ids, "gold": item.gold}
        said |= {"item_meta": item.meta, "candidates": [asdict(c) for c in item.candidates]}
        rows.append([cell(text_of(name, said.get(name))) for name in COLUMNS])
    return rows


def cell(text: str) -> str:
    """Return a text such that spreadsheets take it for one."""
    return f"'{text}" if text.startswith(FORMULA) else text


def lines(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as CSV, the names of the columns first."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([COLUMNS, *rows])
    return out.getvalue()


def read(content: str, vocabulary: Vocabulary) -> list[Labelled]:
    """Read what was written here.

    Raises:
        DataError: other columns, or a cell that does not hold what it should, with the row.
    """
    rows = cells(content)
    if tuple(next(rows, (0, []))[1]) != COLUMNS:
        raise DataError(f"the first row must be {','.join(COLUMNS)}; nothing was imported", param="file")
    found = []
    for number, row in rows:
        if len(row) != len(COLUMNS):
            raise refused(number, f"it has {len(row)} cells; it must have {len(COLUMNS)}")
        pairs = zip(COLUMNS, map(plain, row), strict=True)
        found.append(labelled({name: value(name, text, number) for name, text in pairs}, number))
    return found


def cells(content: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with its number from 1.

    Raises:
        DataError: a cell that is too long.
    """
    csv.field_size_limit(LONGEST)
    number = 0
    try:
        for number, row in enumerate(csv.reader(io.StringIO(content, newline="")), 1):
            if row:
                yield number, row
    except csv.Error:
        raise refused(
            number + 1, f"a cell has more than {LONGEST:,} characters; is a quotation mark missing?"
        ) from None


def plain(text: str) -> str:
    """Return a cell without the mark against formulas."""
    return text.removeprefix("'")


def labelled(row: dict[str, Any], number: int) -> Labelled:
    """Return the item and label of a row; a row that names no request is an item alone.

    Raises:
        DataError: they can't be stored, or a label has no request.
    """
    item = Item(
        row["kind"],
        row["query"],
        tuple(Candidate(c["text"], whole(c["ids"]), c["origin"]) for c in row["candidates"] or ()),
        whole(row["query_ids"]),
        whole(row["gold"]),
        row["item_meta"] or {},
    )
    if row["request"]:
        return storable(item, label(row, item), number)
    if row["verdict"] or row["labeller"]:
        raise refused(number, "a label must have a request, any text that no other label has")
    return storable(item, None, number)


def label(row: dict[str, Any], item: Item) -> Label:
    """Return the label of a row."""
    return Label(
        row["request"],
        item.key,
        row["labeller"],
        row["verdict"],
        best=tuple(row["best"] or ()),
        rating=row["rating"],
        note=row["note"],
        order=tuple(row["order"] or ()),
        shown=row["shown"],
        answered=row["answered"],
        rubric=row["rubric"],
        tool=row["tool"],
        repeat=bool(row["repeat"]),
        meta=row["label_meta"] or {},
    )


def whole(values: list[int] | None) -> tuple[int, ...] | None:
    """Return a list as a tuple."""
    return None if values is None else tuple(values)
