"""OpenAI's labels of 2019: a JSON list of query, sample0 … sample3 (token ids) and best (0 to 3).

Ids are GPT-2's. Behind the query and the truncated samples stands padding, 50259, outside the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import Any

from inkfish.errors import DataError
from inkfish.labels.exchange.labelled import (
    Labelled,
    Labels,
    Vocabulary,
    besides,
    each,
    kept,
    parsed,
    refused,
    storable,
    take,
)
from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.tokens import are_of, tokens

__all__ = ["PADDING", "is_choice_of_several", "read", "write"]

PADDING = 50259
"""n_vocab + 2 of GPT-2."""


def read(content: str, vocabulary: Vocabulary) -> list[Labelled]:
    """Read a file; padding and further fields are kept with each label.

    Raises:
        DataError: not the format, with the row; or padding would be text in this vocabulary.
    """
    check_size(vocabulary)
    try:
        values = parsed(content)
    except RecursionError:
        raise DataError("not JSON: nested too deeply; nothing was imported", param="file") from None
    except ValueError as error:
        raise DataError(f"not JSON: {error}; nothing was imported", param="file") from None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError("the file must be a JSON list of objects; nothing was imported", param="file")
    return each("openai", values, partial(record, vocabulary))


def check_size(vocabulary: Vocabulary) -> None:
    """Refuse a vocabulary that has the id of padding.

    Raises:
        DataError: it does.
    """
    if vocabulary.vocab_size > PADDING:
        raise DataError(
            f"the vocabulary has {vocabulary.vocab_size:,} ids, and the format openai pads with {PADDING}; "
            "take --model gpt2",
            param="model",
        )


def record(vocabulary: Vocabulary, value: dict[str, Any], number: int, request: str) -> Labelled:
    """Read one record."""
    names = sample_names(value, number)
    found = {name: ids(value, name, number, vocabulary) for name in ("query", *names)}
    item = Item(
        "best",
        vocabulary.decode(found["query"]),
        tuple(Candidate(vocabulary.decode(found[name]), tuple(found[name])) for name in names),
        tuple(found["query"]),
    )
    best = take(value, "best", int, number)
    behind = {name: value[name][len(one) :] for name, one in found.items()}
    meta = {"openai": {"padding": behind, "further": besides(value, "query", *names, "best")}}
    label = Label(request, item.key, "openai", "best", (best,), tool="imported", meta=meta)
    return storable(item, label, number)


def sample_names(value: dict[str, Any], number: int) -> list[str]:
    """Return the names of a record's samples.

    Raises:
        DataError: fewer than two, or not counted from 0.
    """
    count = sum(name.startswith("sample") and name[6:].isdecimal() for name in value)
    names = [f"sample{i}" for i in range(count)]
    if count < 2 or any(name not in value for name in names):
        raise refused(number, "it must have sample0, sample1 …")
    return names


def ids(value: dict[str, Any], name: str, number: int, vocabulary: Vocabulary) -> list[int]:
    """Return a field's ids without padding: without those behind it that are not in the vocabulary.

    Raises:
        DataError: not token ids, or such ones in their midst.
    """
    found, size = take(value, name, list, number), vocabulary.vocab_size
    if not all(type(i) is int and i >= 0 for i in found):
        raise refused(number, f"{name} must be token ids, whole numbers from 0")
    behind = list(takewhile(lambda i: i >= size, reversed(found)))
    inside: list[int] = found[: len(found) - len(behind)]
    if inside and max(inside) >= size:
        raise refused(
            number, f"{name} has the id {max(inside)}; ids are below {size:,}, other ones only at the end"
        )
    return inside


def is_choice_of_several(one: Labelled) -> bool:
    """Whether a label chooses among several; the format has neither ties nor texts without a best one."""
    return one.label is not None and one.label.verdict == "best" and one.item.kind == "best"


def write(labels: Labels, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return choices among several as records, as wide as the widest; what was read is padded as it was.

    Raises:
        DataError: padding would be text in this vocabulary.
    """
    check_size(vocabulary)
    known = [padding(one, vocabulary) for one in labels]
    found = [
        {name: [*tokens(vocabulary, *known_as), *behind.get(name, ())] for name, known_as in texts(one.item)}
        for one, behind in zip(labels, known, strict=True)
    ]
    query = max(len(record["query"]) for record in found)
    sample = max(len(record[name]) for record in found for name in record if name != "query")
    values = []
    for one, record, behind in zip(labels, found, known, strict=True):
        assert one.label is not None, "a choice"
        if not behind:
            record = {n: padded(ids, query if n == "query" else sample) for n, ids in record.items()}
        values.append(record | {"best": one.label.best[0]} | kept(one.label, "openai").get("further", {}))
    return values


def texts(item: Item) -> list[tuple[str, tuple[tuple[int, ...] | None, str]]]:
    """Return the names of a record's fields, each with ids and text."""
    samples = [(f"sample{i}", (c.ids, c.text)) for i, c in enumerate(item.candidates)]
    return [("query", (item.query_ids, item.query)), *samples]


def padding(one: Labelled, vocabulary: Vocabulary) -> dict[str, list[int]]:
    """Return what stood behind each field of a record that was read; {} of others, or in other ids."""
    found: dict[str, list[int]] = kept(one.label, "openai").get("padding", {}) if one.label else {}
    same = all(are_of(vocabulary, *known_as) for _, known_as in texts(one.item))
    outside = all(i >= vocabulary.vocab_size for behind in found.values() for i in behind)
    return found if same and outside else {}


def padded(tokens: Sequence[int], width: int) -> list[int]:
    """Return ids with padding behind them."""
    return [*tokens, *[PADDING] * (width - len(tokens))]
