"""Labels in the formats of the field: what other programs wrote comes in, what was labelled here goes out.

openai      OpenAI's best-of-4 JSON (lm-human-preferences): token ids, padded with 50259
trl         rows of prompt, chosen, rejected; a choice of four gives three of them
summaries   comparisons of OpenAI's summarize-from-feedback
hh          Anthropic's hh-rlhf: whole dialogues, chosen and rejected
csv         all that the store knows, for spreadsheets

Reading gives items and labels whose requests are named after their content: read twice, they are stored once.
A file that was read and is written again is the same, byte for byte, if it was written as its publisher does;
other rows come back with equal values, further fields included.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inkfish.errors import DataError
from inkfish.labels.exchange import hh, openai, summaries, table, trl
from inkfish.labels.exchange.labelled import Labelled, Labels, Vocabulary, is_choice, json_lines
from inkfish.labels.store import Store

__all__ = ["FORMATS", "Format", "Written", "add", "counted", "read", "write"]

GZIP = b"\x1f\x8b"
"""Beginning of a file that gzip has packed."""


class Format(NamedTuple):
    """How a format is read and written."""

    read: Callable[[str, Vocabulary], Sequence[Labelled]]
    """(content, tokenizer) → items with their labels."""
    takes: Callable[[Labelled], bool]
    """Whether there is room for a label, or for an item without one."""
    write: Callable[[Labels, Vocabulary], Sequence[Any]]
    """(what it takes, tokenizer) → rows."""
    join: Callable[[Sequence[Any]], str]
    """Rows → content."""


FORMATS: Mapping[str, Format] = {
    "openai": Format(openai.read, openai.is_choice_of_several, openai.write, json.dumps),
    "trl": Format(trl.read, is_choice, trl.write, json_lines),
    "summaries": Format(summaries.read, is_choice, summaries.write, json_lines),
    "hh": Format(hh.read, is_choice, hh.write, json_lines),
    "csv": Format(table.read, lambda _: True, table.write, table.lines),
}
"""Formats by name."""


class Written(NamedTuple):
    """A store's labels in a format."""

    content: str
    rows: int
    """In the content."""
    left_out: Mapping[str, int]
    """Labels that the format has no room for, by verdict."""


def read(path: Path, *, form: str, vocabulary: Vocabulary) -> Sequence[Labelled]:
    """Return a file's items and labels, each such that a store takes it.

    Args:
        path: UTF-8, as its publisher has it, also packed by gzip.
        form: one of FORMATS.
        vocabulary: turns ids into text, where a format has only those.

    Raises:
        DataError: the file can't be read, or a row says nothing that can be stored.
    """
    assert form in FORMATS, f"{form!r} is not a format"
    found = FORMATS[form].read(content_of(path), vocabulary)
    if not found:
        raise DataError(f"{path} holds no labels of the format {form}; nothing was imported", param="file")
    return found


def add(store: Store, found: Labels) -> tuple[int, int]:
    """Put what was read into a store, all or none; return how many items and labels were new."""
    return store.add([one.item for one in found], [one.label for one in found if one.label is not None])


def content_of(path: Path) -> str:
    """Return a file's text, unpacked and without a byte order mark.

    Raises:
        DataError: it can't be read, is damaged or not UTF-8.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data.startswith(GZIP) else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 at byte {error.start:,}; convert it, for example with iconv -f latin1 -t utf-8"
    except (EOFError, zlib.error, gzip.BadGzipFile):
        what = "is damaged, gzip can't unpack it; copy it again"
    except OSError as error:
        what = f"can't be read: {error.strerror}; check its name and rights"
    raise DataError(f"{path} {what}", param="file")


def write(store: Store, *, form: str, vocabulary: Vocabulary) -> Written:
    """Return a store's labels in a format; csv has items without labels too.

    Raises:
        DataError: the format has no room for any of them.
    """
    takes, to_rows, join = FORMATS[form][1:]
    items = {item.key: item for item in store.items()}
    labels = [Labelled(items[label.item], label) for label in store.labels()]
    labelled = {one.item.key for one in labels}
    found = labels + [Labelled(item, None) for key, item in items.items() if key not in labelled]
    taken = [one for one in found if takes(one)]
    left_out = Counter[str](one.label.verdict for one in labels if one.label is not None and not takes(one))
    if not taken:
        raise DataError(
            f"{store.path} holds nothing that the format {form} has room for, of labels "
            f"{counted(left_out) or 'none'}; nothing was written: "
            f"{'--form csv has room for all' if found else 'inkfish prefer sample and label make some'}",
            param="store",
        )
    rows = to_rows(taken, vocabulary)
    return Written(join(rows), len(rows), left_out)


def counted(verdicts: Mapping[str, int]) -> str:
    """Return how many labels there are of each verdict, for people."""
    return ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(verdicts.items()))
