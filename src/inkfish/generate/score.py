"""How likely a model finds a text: the log-probability of each token after those before it, at any length."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Backend
from inkfish.engine import alternatives, log_sum_exp
from inkfish.generate.draft import named
from inkfish.generate.results import Score, ScoredToken
from inkfish.generate.windows import windows
from inkfish.tokenizer import StreamDecoder, Tokenizer

__all__ = ["score", "scoring", "summary"]

CHUNK = 128
"""Positions whose logits are held at once: 26 MB at GPT-2's vocabulary."""


def score(
    backend: Backend, tokenizer: Tokenizer, ids: Sequence[int], *, start: int | None, top: int, stride: int
) -> Score:
    """Score ids by windows of the context's length that move on by `stride`.

    Args:
        backend: the model.
        tokenizer: for the tokens' texts.
        ids: the text, at least one id.
        start: an id that stands before the text and is not scored; None leaves the first id unscored.
        top: how many alternatives to report for each token.
        stride: how far the window moves, 1 to the context; each token is scored once, in the first window
            that has its predecessor.

    Raises:
        ModelError: the logits are not finite.
    """
    tokens = list(scoring(backend, tokenizer, ids, start=start, top=top, stride=stride))
    return summary(tokens, tokenizer, stride)


def scoring(
    backend: Backend, tokenizer: Tokenizer, ids: Sequence[int], *, start: int | None, top: int, stride: int
) -> Generator[ScoredToken]:
    """Yield the tokens of `score` one by one, for those who have other things to do in between."""
    inputs = [*([] if start is None else [start]), *ids]
    texts = iter(token_texts(ids, tokenizer))
    if start is None:
        yield ScoredToken(ids[0], next(texts), None, None)
    for position, logits in enumerate(all_logits(backend, inputs[:-1], stride), 1):
        token = inputs[position]
        mass = log_sum_exp(logits)
        found = named(alternatives(logits, top, mass), tokenizer)
        logprob = float(logits[token]) - mass
        yield ScoredToken(token, next(texts), logprob, rank(logits, token), found)


def all_logits(backend: Backend, inputs: Sequence[int], stride: int) -> Iterator[NDArray[np.float32]]:
    """Yield the logits (V,) after each input, each once, in order."""
    for start, stop, first in windows(len(inputs) + 1, backend.config.n_positions, stride):
        slot = backend.allocate()
        try:
            yield from window_logits(backend, slot, inputs[start : first - 1], inputs[first - 1 : stop - 1])
        finally:
            backend.free(slot)


def window_logits(
    backend: Backend, slot: int, before: Sequence[int], inputs: Sequence[int]
) -> Iterator[NDArray[np.float32]]:
    """Yield the logits after each of `inputs`, which follow `before` in the window."""
    if before:
        backend.prefill(slot, before)
    for i in range(0, len(inputs), CHUNK):
        yield from backend.prefill(slot, inputs[i : i + CHUNK], every=True)


def token_texts(ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """Return the characters that each id completes; what is left at the end goes to the last one."""
    decoder = StreamDecoder(tokenizer)
    texts = [decoder.push(i) for i in ids]
    texts[-1] += decoder.finish()
    return texts


def rank(logits: NDArray[np.float32], token: int) -> int:
    """Return a token's place in the order (-logit, id), counted from 1."""
    higher = np.count_nonzero(logits > logits[token])
    return 1 + int(higher + np.count_nonzero(logits[:token] == logits[token]))


def summary(tokens: Sequence[ScoredToken], tokenizer: Tokenizer, stride: int) -> Score:
    """Add up what the tokens have."""
    scored = [token for token in tokens if token.logprob is not None]
    total = math.fsum(token.logprob for token in scored if token.logprob is not None)
    size = sum(len(tokenizer.token_bytes(token.id)) for token in scored)
    return Score(
        tokens=tuple(tokens),
        total_logprob=total,
        perplexity=exponential(-total / len(scored)) if scored else None,
        bits_per_byte=-total / math.log(2) / size if size else None,
        bytes=size,
        stride=stride,
    )


def exponential(x: float) -> float:
    """Return e^x, infinity where that is too large."""
    return math.exp(x) if x < 709 else math.inf
