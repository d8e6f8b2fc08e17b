"""Cells of a table: each is text, or JSON of one type that is checked before anything is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from inkfish.labels.exchange.labelled import check_unicode, parsed, refused
from inkfish.untrusted import shown

__all__ = ["JSON", "text_of", "value"]


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number from 0."""
    return type(value) is int and value >= 0


def are_whole(value: Any) -> bool:
    """Whether a value is a list of whole numbers from 0."""
    return isinstance(value, list) and all(map(is_whole, value))


def is_number(value: Any) -> bool:
    """Whether a value is a number such as a rating or a time."""
    return type(value) in {int, float} and 0 <= value <= 1e11


def is_object(value: Any) -> bool:
    """Whether a value is an object."""
    return isinstance(value, dict)


def is_truth(value: Any) -> bool:
    """Whether a value is true or false."""
    return isinstance(value, bool)


def are_candidates(value: Any) -> bool:
    """Whether a value is a list of candidates as `write` writes them."""
    return isinstance(value, list) and all(map(is_candidate, value))


def is_candidate(value: Any) -> bool:
    """Whether a value is a candidate."""
    if not isinstance(value, dict) or set(value) != {"text", "ids", "origin"}:
        return False
    ids, origin = value["ids"], value["origin"]
    return isinstance(value["text"], str) and isinstance(origin, dict) and (ids is None or are_whole(ids))


NUMBERS = (are_whole, "a list of whole numbers from 0, such as [0, 2]")
NUMBER = (is_number, "a number from 0 to 1e11")
OBJECT = (is_object, 'an object, such as {"a": 1}')
TRUTH = (is_truth, "true or false")
CANDIDATES = (
    are_candidates,
    'a list of objects with "text" (text), "ids" (null, or whole numbers from 0) and "origin" (an object)',
)
JSON: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "candidates": CANDIDATES,
    "best": NUMBERS,
    "order": NUMBERS,
    "query_ids": NUMBERS,
    "gold": NUMBERS,
    "item_meta": OBJECT,
    "label_meta": OBJECT,
    "rating": NUMBER,
    "shown": NUMBER,
    "answered": NUMBER,
    "repeat": TRUTH,
}
"""Columns that hold JSON: what says whether a value is right, and what it must be."""


def value(name: str, text: str, number: int) -> Any:
    """Return what a cell holds; None where it is empty or null.

    Raises:
        DataError: it does not hold what its column does, with the row.
    """
    if name not in JSON:
        return text
    right, wanted = JSON[name]
    try:
        found = parsed(text) if text else None
        good = found is None or right(found)
    except (ValueError, RecursionError):
        good = False
    if not good:
        raise refused(number, f"{name} is {shown(text)}; it must be {wanted}")
    check_unicode(found, number)
    return found


def text_of(name: str, value: Any) -> str:
    """Return a value as a cell's text."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if name in JSON else str(value)
