"""What the formats have in common: items with labels, rows of JSON, refusing what can't be stored."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from inkfish.errors import DataError
from inkfish.labels.records import Item, Label, check_item, check_label
from inkfish.labels.tokens import Vocabulary
from inkfish.untrusted import without_duplicates

__all__ = ["Labelled", "Labels", "Vocabulary", "besides", "check_unicode", "each", "is_choice", "json_lines"]
__all__ += ["kept", "parsed", "refused", "rows", "storable", "take"]


class Labelled(NamedTuple):
    """An item with one of its labels, or with none."""

    item: Item
    label: Label | None


Labels = Sequence[Labelled]


def refused(number: int, what: object, *, unit: str = "row") -> DataError:
    """Return the error of a row, which says that nothing was imported."""
    return DataError(f"{unit} {number}: {what}; nothing was imported", param="file")


def storable(item: Item, label: Label | None, number: int) -> Labelled:
    """Return a row's item and label.

    Raises:
        DataError: the store has no room for them.
    """
    try:
        check_item(item)
        if label is not None:
            check_label(item, label)
    except DataError as error:
        raise refused(number, error) from None
    return Labelled(item, label)


def is_choice(one: Labelled) -> bool:
    """Whether one candidate was chosen, which is what formats of pairs have room for."""
    return one.label is not None and one.label.verdict == "best"


def besides(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return what a row has besides some fields."""
    return {name: part for name, part in value.items() if name not in names}


def kept(label: Label, form: str) -> dict[str, Any]:
    """Return what a label's row had besides; nothing where it came from elsewhere."""
    found = label.meta.get(form)
    return found if isinstance(found, dict) else {}


Reader = Callable[[dict[str, Any], int, str], Labelled]
"""(row, its number, request) → item and label."""


def each(form: str, values: Iterable[dict[str, Any]], read: Reader) -> list[Labelled]:
    """Read rows; a request depends on the row's content, and on how often that came before.

    Raises:
        DataError: a row that is not valid Unicode, or what the reader refuses.
    """
    seen: Counter[str] = Counter()
    found = []
    for number, value in enumerate(values, 1):
        check_unicode(value, number)
        digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()
        seen[digest] += 1
        found.append(read(value, number, f"{form}:{digest}:{seen[digest]}"))
    return found


def parsed(text: str) -> Any:
    """Return the value of JSON.

    Raises:
        ValueError: it is none, or an object has a key twice.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=without_duplicates)


def rows(content: str) -> list[dict[str, Any]]:
    """Return the objects of JSON lines.

    Raises:
        DataError: a line that is no JSON object, with its number.
    """
    found = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parsed(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise refused(number, "not a JSON object, or one that has a key twice", unit="line")
        found.append(row)
    return found


def check_unicode(value: Any, number: int) -> None:
    """Refuse a row with half of a surrogate pair, which JSON's escapes can write and a store can't hold.

    Raises:
        DataError: which half.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise refused(
            number, f"it has the lone surrogate U+{half:04X}, which is not valid Unicode; remove it"
        ) from None


def take(row: dict[str, Any], name: str, kind: type, number: int) -> Any:
    """Return a field of a row.

    Raises:
        DataError: it is missing or of another type.
    """
    value = row.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {str: "text", int: "a whole number", list: "a list", dict: "an object"}[kind]
        raise refused(number, f"{name} must be {wanted}")
    return value


def json_lines(values: Iterable[Any]) -> str:
    """Return JSON lines."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
