"""Queries with their responses as rows of ids, and what a model thinks of the responses.

Axis legend as in `inkfish.model`; L tokens of a response. Queries are padded at the left, so that the
responses stand in the last L columns; the mask says which tokens are real, and padding changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from inkfish.model import GPT2, Cache, LayerCache

__all__ = ["Scored", "Sequences", "join", "response_states", "score_responses", "temper"]


class Sequences(NamedTuple):
    """B queries, each with a response of L tokens."""

    ids: Tensor
    """(B, T) int64; 0 at padding."""
    mask: Tensor
    """(B, T) bool, True at real tokens."""
    length: int
    """L, tokens of each response, padding at its end included."""
    group: int = 1
    """So many rows that stand together have the same query, which is then read once for all of them."""

    @property
    def responses(self) -> Tensor:
        """(B, L), the last columns."""
        return self.ids[:, -self.length :]

    @property
    def counts(self) -> Tensor:
        """(B, L) bool, which tokens of the responses are real."""
        return self.mask[:, -self.length :]

    def rows(self, chosen: Tensor | slice) -> Sequences:
        """Return some of the rows; whole groups of them."""
        return self._replace(ids=self.ids[chosen], mask=self.mask[chosen])

    def to(self, device: torch.device) -> Sequences:
        """Return the same on a device."""
        return self._replace(ids=self.ids.to(device), mask=self.mask.to(device))


class Scored(NamedTuple):
    """What a model thinks of responses."""

    logprobs: Tensor
    """(B, L) float32, of each token under the distribution at the temperature, in nats."""
    entropy: Tensor
    """(B, L) float32, of that distribution, in nats."""
    hidden: Tensor
    """(B, L, C), the states that the tokens were predicted from."""


def join(
    queries: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, length: int, group: int = 1
) -> Sequences:
    """Put responses behind their queries.

    Args:
        queries: at least one id each.
        responses: at most `length` ids each; shorter ones are padded at the end.
        length: L.
        group: so many queries that stand together are equal.
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
    return Sequences(ids, mask, length, group)


def temper(logits: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities (…, V) of the distribution that was sampled from, in float32."""
    return torch.log_softmax(logits.float() / temperature, -1)


def response_states(model: GPT2, sequences: Sequences) -> Tensor:
    """Return the states of the query's last token and of the response's tokens, (B, L + 1, C).

    A query that several rows share is read once: with four responses of 24 tokens to one of 64 that is less
    than half of the work.
    """
    ids, mask, length, group = sequences
    whole = None if bool(mask.all()) else mask  # without padding the fast path serves
    if group == 1 or (model.checkpointing and model.training):
        return model.hidden(ids, mask=whole)[:, -length - 1 :]
    assert len(ids) % group == 0, f"{len(ids)} rows are no groups of {group}"
    cache: Cache = []
    before = None if whole is None else whole[::group, :-length]
    states = model.hidden(ids[::group, :-length], mask=before, cache=cache)  # (B / group, T - L, C)
    cache = [LayerCache(*(part.repeat_interleave(group, 0) for part in layer)) for layer in cache]
    after = model.hidden(ids[:, -length:], mask=whole, cache=cache)  # (B, L, C)
    return torch.cat([states[:, -1:].repeat_interleave(group, 0), after], 1)


def score_responses(model: GPT2, sequences: Sequences, *, temperature: float) -> Scored:
    """Return log-probabilities, entropies and states of the responses' tokens.

    The token at a position is predicted from the state at the one before it. Values at padding mean nothing.
    """
    hidden = response_states(model, sequences)[:, :-1]  # (B, L, C)
    everything = temper(model.head(hidden), temperature)  # (B, L, V)
    logprobs = everything.gather(-1, sequences.responses[..., None])[..., 0]
    with torch.no_grad():
        entropy = -(everything.exp() * everything).sum(-1)
    return Scored(logprobs, entropy, hidden)
