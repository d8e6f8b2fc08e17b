"""OpenAI's labels of 2019: a JSON list of query, sample0 … sample3 (token ids) and best (0 to 3).

Ids are GPT-2's. Padding is 50259, outside the vocabulary, behind the query and behind the truncated samples.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from inkfish.errors import DataError
from inkfish.labels.exchange.labelled import Labelled, Labels, Text, named, take
from inkfish.labels.records import Candidate, Item, Label

__all__ = ["PADDING", "read", "write"]

PADDING = 50259
"""n_vocab + 2 of GPT-2."""


def read(content: str, text: Text) -> list[Labelled]:
    """Read a file; the lengths to which it is padded are remembered with each item."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {error}; nothing was imported", param="file") from None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError("must be a JSON list of objects; nothing was imported", param="file")
    requests = named("openai", map(json.dumps, values))
    pairs = zip(values, requests, strict=True)
    return [record(value, number, request, text) for number, (value, request) in enumerate(pairs, 1)]


def record(value: dict[str, Any], number: int, request: str, text: Text) -> Labelled:
    """Read one record."""
    names = sorted(
        (name for name in value if name.startswith("sample") and name[6:].isdecimal()),
        key=lambda name: int(name[6:]),
    )
    if len(names) < 2 or names != [f"sample{i}" for i in range(len(names))]:
        raise DataError(f"row {number}: it must have sample0, sample1 …; nothing was imported", param="file")
    query, samples = ids(value, "query", number), [ids(value, name, number) for name in names]
    best = take(value, "best", int, number)
    item = Item(
        "best",
        text.decode(query),
        tuple(Candidate(text.decode(sample), tuple(sample)) for sample in samples),
        tuple(query),
        meta={"padded": [len(value["query"]), len(value["sample0"])]},
    )
    return Labelled(item, Label(request, item.key, "openai", "best", (best,), tool="imported"))


def ids(value: dict[str, Any], name: str, number: int) -> list[int]:
    """Return a field's ids without padding.

    Raises:
        DataError: not token ids, or padding in their midst.
    """
    found = take(value, name, list, number)
    if not all(type(i) is int and 0 <= i <= PADDING for i in found):
        raise DataError(f"row {number}: {name} must be token ids; nothing was imported", param="file")
    kept = found
    while kept and kept[-1] == PADDING:
        kept = kept[:-1]
    if not kept or PADDING in kept:
        raise DataError(
            f"row {number}: {name} must be tokens, then padding; nothing was imported", param="file"
        )
    return kept


def write(labels: Labels, text: Text) -> str:
    """Write choices among several; ties and texts without a best one are left out, as the format has none."""
    chosen = [one for one in labels if one.label and one.label.verdict == "best" and one.item.kind == "best"]
    if not chosen:
        raise DataError("there are no choices among several candidates to export as openai", param="format")
    tokens = [
        (query(one.item, text), [sample(c, text) for c in one.item.candidates], one.item) for one in chosen
    ]
    longest = [max(len(q) for q, _, _ in tokens), max(len(s) for _, each, _ in tokens for s in each)]
    values = []
    for (q, each, item), one in zip(tokens, chosen, strict=True):
        assert one.label is not None, "chosen above"
        widths = item.meta.get("padded", longest)
        value: dict[str, Any] = {"query": padded(q, widths[0])}
        value |= {f"sample{i}": padded(s, widths[1]) for i, s in enumerate(each)}
        values.append(value | {"best": one.label.best[0]})
    return json.dumps(values)


def query(item: Item, text: Text) -> Sequence[int]:
    """Return the query's ids."""
    return item.query_ids if item.query_ids is not None else text.encode(item.query)


def sample(candidate: Candidate, text: Text) -> Sequence[int]:
    """Return a candidate's ids."""
    return candidate.ids if candidate.ids is not None else text.encode(candidate.text)


def padded(tokens: Sequence[int], width: int) -> list[int]:
    """Return ids with padding behind them."""
    return [*tokens, *[PADDING] * (width - len(tokens))]
