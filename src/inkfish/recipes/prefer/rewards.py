"""What a response is worth: a learned reward model, or a judge."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import torch

from inkfish import weights
from inkfish.errors import ModelError, RunError
from inkfish.model import GPT2
from inkfish.preferences.reward_model import RewardModel
from inkfish.preferences.sequences import Sequences, join
from inkfish.preferences.truncation import Truncation
from inkfish.recipes.prefer.judges import find_judge
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.settings import check_context
from inkfish.tokenizer import Tokenizer
from inkfish.weights import heads, hub

__all__ = ["REPORT", "Reward", "check_scores", "find_reward", "in_pieces", "read_reward_model", "score"]

REPORT = "reward.json"
"""Beside a finished reward model: how good it is. Without it a folder is no reward model."""

Reward = Callable[[Sequence[Query], Sequence[Sequence[int]]], list[float]]
"""(queries, responses as ids) → how good each response is."""


def find_reward(
    name: str,
    tokenizer: Tokenizer,
    *,
    truncation: Truncation | None,
    at_once: int,
    workers: Executor | None,
    device: str,
) -> Reward:
    """Return the reward that a setting names: a reward model's folder, or a judge.

    With a rule of truncation the reward is that of what the reader sees, or the rule's penalty.

    Raises:
        SettingError: there is no such judge.
        ModelError: no such reward model, or one of another vocabulary.
    """
    if ":" in name or name in {"vader", "afinn", "descriptive"}:
        judge = find_judge(name)

        def plain(queries: Sequence[Query], responses: Sequence[Sequence[int]]) -> list[float]:
            return judge([query.text for query in queries], [tokenizer.decode(list(r)) for r in responses])
    else:
        model = read_reward_model(Path(name)).to(device)
        check_vocabulary(name, model, tokenizer)

        def plain(queries: Sequence[Query], responses: Sequence[Sequence[int]]) -> list[float]:
            return score(model, queries, responses, at_once=at_once, workers=workers)

    if truncation is None:
        return plain
    rule = truncation

    def truncated(queries: Sequence[Query], responses: Sequence[Sequence[int]]) -> list[float]:
        found = plain(queries, [rule.cut(response) for response in responses])
        ended = [rule.end(response) is not None for response in responses]
        return [value if end else rule.penalty for value, end in zip(found, ended, strict=True)]

    return truncated


def check_scores(scores: Sequence[float], count: int) -> None:
    """Refuse what is not one finite number for each response.

    Several processes ask this together, of all their scores, so that all of them stop.

    Raises:
        RunError: the reward is broken.
    """
    if len(scores) != count or not all(map(math.isfinite, scores)):
        raise RunError(
            "the reward must give one finite number for each response, and does not: train the reward model "
            "again, or mend the judge; the last checkpoint stays"
        )


def check_vocabulary(name: str, model: RewardModel, tokenizer: Tokenizer) -> None:
    """Refuse a reward model that reads other ids than the policy writes.

    Raises:
        ModelError: its vocabulary is another one.
    """
    vocab_size = model.trunk.config.vocab_size
    if Tokenizer.load(hub.find(name), vocab_size=vocab_size).fingerprint != tokenizer.fingerprint:
        raise ModelError(
            f"the reward model {name} has another vocabulary than the model that learns; make one from that "
            f"model, or take it as a judge of texts: reward:{name}"
        )


def read_reward_model(folder: Path) -> RewardModel:
    """Return the reward model of a run folder, or of a model folder with a reward head and its report.

    Raises:
        ModelError: there is none, or it did not pass its test.
    """
    try:
        place = hub.find(str(folder))
    except ModelError:
        raise ModelError(
            f"there is no reward model {folder}; inkfish prefer reward makes one, or take a judge, such as "
            "vader or python:MODULE:FUNCTION",
            param="reward",
        ) from None
    if not any((root / REPORT).is_file() for root in (folder, place)):
        raise ModelError(
            f"{folder} holds no finished reward model ({REPORT} is missing); inkfish prefer reward makes one"
        )
    checkpoint, found = weights.read(place), heads.read(place)
    if "reward" not in found:
        raise ModelError(f"{place} has no reward head; inkfish prefer reward makes one")
    model = RewardModel(GPT2(checkpoint.config))
    model.trunk.load_tensors(checkpoint.tensors)
    model.reward.load_tensors(found["reward"])
    return model.eval().requires_grad_(False)


def in_pieces(rows: int, size: int) -> list[slice]:
    """Return slices of `size` rows."""
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def shared(queries: Sequence[Query], at_once: int) -> int:
    """Return how many queries that stand together are equal, where that divides `at_once` rows; else 1."""
    group = 1
    while group < len(queries) and queries[group] == queries[0]:
        group += 1
    starts = range(0, len(queries), group)
    whole = len(queries) % group == 0 == at_once % group
    equal = whole and all(len(set(queries[start : start + group])) == 1 for start in starts)
    return group if equal else 1


@torch.no_grad()
def score(
    model: RewardModel,
    queries: Sequence[Query],
    responses: Sequence[Sequence[int]],
    *,
    at_once: int,
    workers: Executor | None = None,
) -> list[float]:
    """Return the model's scores of responses.

    Args:
        model: in evaluation mode.
        queries: B of them.
        responses: one for each, of unequal lengths.
        at_once: rows computed together.
        workers: threads that compute side by side.

    Raises:
        ContextError: queries and responses are longer than what the model reads.
    """
    longest, group = max(map(len, responses)), shared(queries, at_once)
    check_context(max(len(query.ids) for query in queries), longest, model.trunk.config)
    sequences = join([query.ids for query in queries], responses, length=max(1, longest), group=group)
    device = next(model.parameters()).device

    def piece(rows: slice) -> list[float]:
        part: Sequences = sequences.rows(rows).to(device)
        with torch.no_grad():  # of each thread its own
            found: list[float] = model.scores(part).tolist()
        return found

    pieces = in_pieces(len(queries), at_once)
    found = map(piece, pieces) if workers is None else workers.map(piece, pieces)
    return [value for part in found for value in part]


def read_report(folder: Path) -> dict[str, Any]:
    """Return what is known of a reward model."""
    found: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return found
