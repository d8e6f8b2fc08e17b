"""Comparisons of OpenAI's summarize-from-feedback: info, summaries, choice, worker, as JSON lines."""

from __future__ import annotations

from typing import Any

from inkfish.labels.exchange.labelled import (
    Labelled,
    Labels,
    Vocabulary,
    besides,
    each,
    is_choice,
    kept,
    refused,
    rows,
    storable,
    take,
)
from inkfish.labels.records import Candidate, Item, Label

__all__ = ["read", "write"]


def read(content: str, vocabulary: Vocabulary) -> list[Labelled]:
    """Read rows; the query is the post, or the article where there is no post."""
    return each("summaries", rows(content), comparison)


def comparison(value: dict[str, Any], number: int, request: str) -> Labelled:
    """Read one row; all but the two texts is kept with the label too, as rows may share an item."""
    info, summaries = take(value, "info", dict, number), take(value, "summaries", list, number)
    choice, query = take(value, "choice", int, number), info.get("post") or info.get("article")
    parts = [summary.get("text") for summary in summaries if isinstance(summary, dict)]
    texts = [text for text in parts if isinstance(text, str)]
    if not isinstance(query, str) or not len(texts) == len(summaries) == 2:
        raise refused(number, "it must have a post or an article and two summaries")
    others = [besides(summary, "text") for summary in summaries]
    candidates = tuple(Candidate(text, origin=other) for text, other in zip(texts, others, strict=True))
    item = Item("pair", query, candidates, meta={"info": info})
    meta = {"summaries": value | {"summaries": others}}
    label = Label(request, item.key, worker(value), "best", (choice,), tool="imported", meta=meta)
    return storable(item, label, number)


def worker(value: dict[str, Any]) -> str:
    """Return the name of who chose."""
    return "summaries" if value.get("worker") is None else str(value["worker"])


def write(labels: Labels, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return choices of two as rows; of more candidates the best stands beside each other one."""
    return [row(one, place, second) for one in labels if is_choice(one) for place, second in sides(one)]


def sides(one: Labelled) -> list[tuple[int, int]]:
    """Return the numbers of the two candidates of each row, in their order."""
    assert one.label is not None, "asked for labels only"
    (best,) = one.label.best
    if len(one.item.candidates) == 2:
        return [(0, 1)]
    return [(best, other) for other in range(len(one.item.candidates)) if other != best]


def row(one: Labelled, first: int, second: int) -> dict[str, Any]:
    """Return one comparison, with all that its row had if it was read from one."""
    assert one.label is not None, "asked for labels only"
    shown = [one.item.candidates[i] for i in (first, second)]
    rest = kept(one.label, "summaries") or {
        "info": one.item.meta.get("info", {"id": one.item.key, "post": one.item.query}),
        "summaries": [candidate.origin for candidate in shown],
        "choice": None,
        "worker": one.label.labeller,
    }
    summaries = [{"text": c.text, **other} for c, other in zip(shown, rest["summaries"], strict=True)]
    return rest | {"summaries": summaries, "choice": (first, second).index(one.label.best[0])}
