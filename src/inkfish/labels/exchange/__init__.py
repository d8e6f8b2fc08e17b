"""Labels in the formats of the field: what other programs wrote comes in, what was labelled here goes out.

openai      OpenAI's best-of-4 JSON (lm-human-preferences): token ids, padded with 50259
trl         rows of prompt, chosen, rejected; a choice of four gives three of them
summaries   comparisons of OpenAI's summarize-from-feedback
hh          Anthropic's hh-rlhf: whole dialogues, chosen and rejected
csv         all that the store knows, for spreadsheets

Reading gives items and labels whose requests are named after their content: read twice, they are stored once.
A file that was read and is written again is the same, byte for byte, if it was written as its publisher does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inkfish.errors import DataError
from inkfish.labels.exchange import hh, openai, summaries, table, trl
from inkfish.labels.exchange.labelled import Labelled, Labels, Text
from inkfish.labels.store import Store

__all__ = ["FORMATS", "Format", "read", "write"]


class Format(NamedTuple):
    """How a format is read and written."""

    read: Callable[[str, Text], Sequence[Labelled]]
    """(content, tokenizer) → items with their labels."""
    write: Callable[[Labels, Text], str]
    """(items with their labels, tokenizer) → content."""


FORMATS: Mapping[str, Format] = {
    "openai": Format(openai.read, openai.write),
    "trl": Format(trl.read, trl.write),
    "summaries": Format(summaries.read, summaries.write),
    "hh": Format(hh.read, hh.write),
    "csv": Format(table.read, table.write),
}
"""Formats by name."""


def read(path: Path, store: Store, *, form: str, text: Text) -> tuple[int, int]:
    """Put a file's items and labels into a store, all or none; return how many of each were new.

    Args:
        path: UTF-8, as its publisher has it.
        store: gets them.
        form: one of FORMATS.
        text: turns ids into text, where a format has only those.

    Raises:
        DataError: the file can't be read, or a row says nothing that can be stored.
    """
    assert form in FORMATS, f"{form!r} is not a format"
    try:
        content = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as UTF-8 text: {error}", param="file") from None
    found = FORMATS[form].read(content, text)
    if not found:
        raise DataError(f"{path} holds no labels of the format {form}", param="file")
    return store.add([one.item for one in found], [one.label for one in found if one.label is not None])


def write(store: Store, *, form: str, text: Text) -> str:
    """Return a store's labels in a format.

    Raises:
        DataError: the format has no room for them.
    """
    items = {item.key: item for item in store.items()}
    labels = [Labelled(items[label.item], label) for label in store.labels()]
    labelled = {one.item.key for one in labels}
    bare = [Labelled(item, None) for key, item in items.items() if key not in labelled]
    return FORMATS[form].write(labels + (bare if form == "csv" else []), text)
