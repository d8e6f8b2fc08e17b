"""Log-probabilities of given ids under a model: long texts in windows, continuations of one prompt.

Nothing is drawn and nothing is batched: each sequence is read by itself, so no result depends on what else is
measured. All sums are float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Backend
from inkfish.errors import SettingError
from inkfish.generate.windows import Window, windows

__all__ = [
    "Scored",
    "Window",
    "check_stride",
    "read_window",
    "score_continuations",
    "score_sequence",
    "windows",
]

ROWS = 256
"""Positions whose logits are worked on at a time: bounds the memory for large vocabularies."""


class Scored(NamedTuple):
    """What a model says to each of T ids."""

    logprobs: NDArray[np.float64]
    """(T,) natural logarithm of each id's probability after those before it."""
    likeliest: NDArray[np.bool_]
    """(T,) whether the id was the most probable one, so that greedy decoding would have chosen it."""


def check_stride(stride: int | None, context: int) -> int:
    """Return the stride to use: the given one, or the whole context.

    Raises:
        SettingError: below 1 or beyond the context.
    """
    if stride is None:
        return context
    if not 1 <= stride <= context:
        raise SettingError(
            f"stride is {stride}; it must be from 1 to the model's context of {context}", param="stride"
        )
    return stride


def read_window(backend: Backend, ids: Sequence[int], window: Window) -> Scored:
    """Return the scores of ids[window.first : window.stop]."""
    slot = backend.allocate()
    try:
        read = [int(i) for i in ids[window.start : window.stop - 1]]
        logits = backend.prefill(slot, read, every=True)
    finally:
        backend.free(slot)
    skip = window.first - window.start - 1
    return score_logits(logits[skip:], np.asarray(ids[window.first : window.stop], np.int64))


def score_sequence(backend: Backend, ids: Sequence[int], *, stride: int | None = None) -> Scored:
    """Return the scores of ids[1:], each after as many ids before it as its window holds.

    Raises:
        SettingError: a stride outside the context.
    """
    context = backend.config.n_positions
    parts = [
        read_window(backend, ids, window)
        for window in windows(len(ids), context, check_stride(stride, context))
    ]
    return joined(parts)


def score_continuations(
    backend: Backend, prompt: Sequence[int], continuations: Sequence[Sequence[int]]
) -> list[Scored]:
    """Return the scores of each continuation after the same prompt, which is read once.

    Of a prompt that leaves a continuation no room only the last ids are read, the same for all continuations:
    see `room`.
    """
    assert len(prompt), "there must be something to continue, such as the end token"
    kept = list(prompt[-room(backend, continuations) :])
    slot = backend.allocate()
    try:
        first = backend.prefill(slot, kept)[None]  # (1, V)
        found = []
        for continuation in continuations:
            assert len(continuation), "a continuation has at least one id"
            logits = first
            if len(continuation) > 1:
                rest = backend.prefill(slot, list(continuation[:-1]), every=True)
                logits = np.concatenate([first, rest])
                backend.truncate(slot, len(kept))
            found.append(score_logits(logits, np.asarray(continuation, np.int64)))
    finally:
        backend.free(slot)
    return found


def room(backend: Backend, continuations: Sequence[Sequence[int]]) -> int:
    """Return how many prompt ids fit before the longest continuation.

    Raises:
        SettingError: a continuation as long as the context.
    """
    longest = max(map(len, continuations))
    context = backend.config.n_positions
    if longest > context:
        raise SettingError(
            f"a text of {longest:,} tokens does not fit the model's context of {context:,}; shorten it"
        )
    return context - longest + 1


def score_logits(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> Scored:
    """Return the scores of ids (T,) from the logits before each of them (T, V)."""
    parts = []
    for start in range(0, len(targets), ROWS):
        block = logits[start : start + ROWS]
        wanted = targets[start : start + ROWS]
        best = block.max(-1, keepdims=True)
        total = np.exp(block - best).sum(-1, dtype=np.float64)
        chosen = np.take_along_axis(block, wanted[:, None], -1)
        logprobs = (chosen - best)[:, 0].astype(np.float64) - np.log(total)
        parts.append(Scored(logprobs, block.argmax(-1) == wanted))
    return joined(parts)


def joined(parts: Sequence[Scored]) -> Scored:
    """Return several scores as one, in order."""
    return Scored(
        np.concatenate([part.logprobs for part in parts] or [np.zeros(0)]),
        np.concatenate([part.likeliest for part in parts] or [np.zeros(0, np.bool_)]),
    )
