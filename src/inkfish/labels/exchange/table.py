"""All that the store knows as CSV, a row for each label; spreadsheets find no formula in it.

A cell that a spreadsheet would take for a formula gets an apostrophe, which reading takes off again.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from typing import Any

from inkfish.errors import DataError
from inkfish.labels.exchange.labelled import Labelled, Labels, Text
from inkfish.labels.records import KINDS, Candidate, Item, Label

__all__ = ["read", "write"]

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
JSON: tuple[str, ...] = (
    "candidates",
    "best",
    "order",
    "query_ids",
    "gold",
    "item_meta",
    "label_meta",
    "rating",
    "shown",
)
JSON += ("answered", "repeat")
"""Columns that hold JSON."""


def write(labels: Labels, text: Text) -> str:
    """Write labels, and items that have none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for item, label in labels:
        said: dict[str, Any] = asdict(label) if label is not None else {}
        said["label_meta"] = said.pop("meta", None)
        said |= {"kind": item.kind, "query": item.query, "query_ids": item.query_ids, "gold": item.gold}
        said |= {"item_meta": item.meta, "candidates": [asdict(c) for c in item.candidates]}
        writer.writerow([cell(name, said.get(name)) for name in COLUMNS])
    return out.getvalue()


def cell(name: str, value: Any) -> str:
    """Return a value as a cell."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if name in JSON else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def read(content: str, text: Text) -> list[Labelled]:
    """Read what `write` wrote.

    Raises:
        DataError: other columns, or a cell that does not hold what it should.
    """
    reader = csv.reader(io.StringIO(content, newline=""))
    csv.field_size_limit(1 << 26)
    if tuple(next(reader, ())) != COLUMNS:
        raise DataError(f"the first row must be {','.join(COLUMNS)}; nothing was imported", param="file")
    found = []
    for number, cells in enumerate(reader, 2):
        try:
            found.append(labelled(dict(zip(COLUMNS, map(plain, cells), strict=True))))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"row {number}: {error}; nothing was imported", param="file") from None
    return found


def plain(text: str) -> str:
    """Return a cell without the mark against formulas."""
    return text[1:] if text.startswith("'") else text


def labelled(row: dict[str, Any]) -> Labelled:
    """Return the item and label of a row."""
    values = {name: json.loads(row[name]) if row[name] else None for name in JSON}
    if row["kind"] not in KINDS:
        raise ValueError(f"kind is {row['kind']!r}; it must be one of {', '.join(KINDS)}")
    candidates: list[Any] = values["candidates"] or []
    item = Item(
        row["kind"],
        row["query"],
        tuple(Candidate(c["text"], whole(c["ids"]), c["origin"]) for c in candidates),
        whole(values["query_ids"]),
        whole(values["gold"]),
        values["item_meta"] or {},
    )
    if not row["request"]:
        return Labelled(item, None)
    label = Label(row["request"], item.key, row["labeller"], row["verdict"], tuple(values["best"] or ()))
    return Labelled(
        item,
        replace(
            label,
            rating=values["rating"],
            note=row["note"],
            order=tuple(values["order"] or ()),
            shown=values["shown"],
            answered=values["answered"],
            rubric=row["rubric"],
            tool=row["tool"],
            repeat=bool(values["repeat"]),
            meta=values["label_meta"] or {},
        ),
    )


def whole(values: list[int] | None) -> tuple[int, ...] | None:
    """Return a list as a tuple."""
    return None if values is None else tuple(values)
