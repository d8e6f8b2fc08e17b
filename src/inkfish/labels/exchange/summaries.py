"""Comparisons of OpenAI's summarize-from-feedback: info, summaries, choice, worker, as JSON lines."""

from __future__ import annotations

import json
from typing import Any

from inkfish.errors import DataError
from inkfish.labels.exchange.labelled import Labelled, Labels, Text, json_lines, named, rows, take
from inkfish.labels.records import Candidate, Item, Label

__all__ = ["read", "write"]

KEPT = ("split", "batch", "extra")
"""Fields of a row that are kept with the label, and written again."""


def read(content: str, text: Text) -> list[Labelled]:
    """Read rows; the query is the post, or the article where there is no post."""
    values = rows(content)
    pairs = zip(values, named("summaries", map(json.dumps, values)), strict=True)
    return [comparison(value, number, request) for number, (value, request) in enumerate(pairs, 1)]


def comparison(value: dict[str, Any], number: int, request: str) -> Labelled:
    """Read one row."""
    info, summaries = take(value, "info", dict, number), take(value, "summaries", list, number)
    choice, query = take(value, "choice", int, number), info.get("post") or info.get("article")
    texts = [summary.get("text") for summary in summaries if isinstance(summary, dict)]
    if not isinstance(query, str) or len(summaries) != 2 or not all(isinstance(t, str) for t in texts):
        raise DataError(
            f"row {number}: it must have a post or an article and two summaries; nothing was imported",
            param="file",
        )
    item = Item(
        "pair",
        query,
        tuple(Candidate(s["text"], origin={k: v for k, v in s.items() if k != "text"}) for s in summaries),
        meta={"info": info},
    )
    meta = {name: value[name] for name in KEPT if name in value}
    worker = str(value.get("worker", "summaries"))
    label = Label(request, item.key, worker, "best", (choice,), tool="imported", meta=meta)
    return Labelled(item, label)


def write(labels: Labels, text: Text) -> str:
    """Write choices of two; of more candidates the best stands beside each other one."""
    return json_lines(
        row(one, place, second)
        for one in labels
        if one.label is not None and one.label.verdict == "best"
        for place, second in sides(one)
    )


def sides(one: Labelled) -> list[tuple[int, int]]:
    """Return the numbers of the two candidates of each row, in their order."""
    assert one.label is not None, "asked for labels only"
    (best,) = one.label.best
    if len(one.item.candidates) == 2:
        return [(0, 1)]
    return [(best, other) for other in range(len(one.item.candidates)) if other != best]


def row(one: Labelled, first: int, second: int) -> dict[str, Any]:
    """Return one comparison."""
    assert one.label is not None, "asked for labels only"
    texts = [one.item.candidates[i] for i in (first, second)]
    found: dict[str, Any] = {
        "info": one.item.meta.get("info", {"id": one.item.key, "post": one.item.query}),
        "summaries": [{"text": candidate.text, **candidate.origin} for candidate in texts],
        "choice": (first, second).index(one.label.best[0]),
        "worker": one.label.labeller,
    }
    kept = {name: one.label.meta[name] for name in KEPT if name in one.label.meta}
    order = ("info", "split", "summaries", "choice", "worker", "batch", "extra")
    return {name: (found | kept)[name] for name in order if name in found | kept}
