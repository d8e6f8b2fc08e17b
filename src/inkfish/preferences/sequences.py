"""Queries with their responses as rows of ids, and what a model thinks of the responses.

Axis legend as in `inkfish.model`; L tokens of a response. Queries are padded at the left, so that the
responses stand in the last L columns; the mask says which tokens are real, and padding changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from inkfish.model import GPT2

__all__ = ["Scored", "Sequences", "join", "score_responses", "temper"]


class Sequences(NamedTuple):
    """B queries, each with a response of L tokens."""

    ids: Tensor
    """(B, T) int64; 0 at padding."""
    mask: Tensor
    """(B, T) bool, True at real tokens."""
    length: int
    """L, tokens of each response, padding at its end included."""

    @property
    def responses(self) -> Tensor:
        """(B, L), the last columns."""
        return self.ids[:, -self.length :]

    @property
    def counts(self) -> Tensor:
        """(B, L) bool, which tokens of the responses are real."""
        return self.mask[:, -self.length :]

    def rows(self, chosen: Tensor | slice) -> Sequences:
        """Return some of the rows."""
        return Sequences(self.ids[chosen], self.mask[chosen], self.length)

    def to(self, device: torch.device) -> Sequences:
        """Return the same on a device."""
        return Sequences(self.ids.to(device), self.mask.to(device), self.length)


class Scored(NamedTuple):
    """What a model thinks of responses."""

    logprobs: Tensor
    """(B, L) float32, of each token under the distribution at the temperature, in nats."""
    entropy: Tensor
    """(B, L) float32, of that distribution, in nats."""
    hidden: Tensor
    """(B, L, C), the states that the tokens were predicted from."""


def join(queries: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, length: int) -> Sequences:
    """Put responses behind their queries.

    Args:
        queries: at least one id each.
        responses: at most `length` ids each; shorter ones are padded at the end.
        length: L.
    """
    assert len(queries) == len(responses) > 0, f"{len(queries)} queries and {len(responses)} responses"
    assert all(queries), "a query has at least one token"
    width = max(map(len, queries))
    ids = torch.zeros(len(queries), width + length, dtype=torch.int64)
    mask = torch.zeros(len(queries), width + length, dtype=torch.bool)
    for row, (query, response) in enumerate(zip(queries, responses, strict=True)):
        assert len(response) <= length, f"a response of {len(response)} tokens, more than {length}"
        for start, part in ((width - len(query), query), (width, response)):
            ids[row, start : start + len(part)] = torch.as_tensor(list(part), dtype=torch.int64)
            mask[row, start : start + len(part)] = True
    return Sequences(ids, mask, length)


def temper(logits: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities (…, V) of the distribution that was sampled from, in float32."""
    return torch.log_softmax(logits.float() / temperature, -1)


def score_responses(model: GPT2, sequences: Sequences, *, temperature: float) -> Scored:
    """Return log-probabilities, entropies and states of the responses' tokens.

    The token at a position is predicted from the state at the one before it. Values at padding mean nothing.
    """
    mask = None if bool(sequences.mask.all()) else sequences.mask  # without padding the fast path serves
    hidden = model.hidden(sequences.ids, mask=mask)[:, -sequences.length - 1 : -1]  # (B, L, C)
    everything = temper(model.head(hidden), temperature)  # (B, L, V)
    logprobs = everything.gather(-1, sequences.responses[..., None])[..., 0]
    with torch.no_grad():
        entropy = -(everything.exp() * everything).sum(-1)
    return Scored(logprobs, entropy, hidden)
