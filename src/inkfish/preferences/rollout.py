"""Responses of a fixed length from the fast engine; only their tokens, probabilities are the policy's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Backend
from inkfish.engine import Engine, Failed, Request, Token
from inkfish.sampling import Sampling

__all__ = ["respond"]


def respond(
    backend: Backend,
    queries: Sequence[Sequence[int]],
    *,
    length: int,
    temperature: float,
    seed: int,
    first: int = 0,
    samples: int = 1,
    numbers: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Return a response of exactly `length` tokens to each query, (B · samples, length).

    Nothing but the temperature changes the model's distribution, and no token ends a response: other settings
    would make the divergence from the sampled distribution meaningless. Samples of a query stand together.
    Each depends on its query, the seed and its number alone.

    Args:
        backend: with the weights to sample from.
        queries: B queries of at least one id each; with the response they must fit the context.
        length: L.
        temperature: divides the logits.
        seed: of the run.
        first: number of the first query in the run's stream of queries.
        samples: of each query.
        numbers: of each query in that stream, where they do not stand together there.
    """
    stream = range(first, first + len(queries)) if numbers is None else numbers
    sampling = Sampling(temperature=temperature)
    requests = (
        Request(
            prompt=list(query),
            max_tokens=length,
            sampling=sampling,
            seed=seed,
            sample=number * samples + sample,
        )
        for number, query in zip(stream, queries, strict=True)
        for sample in range(samples)
    )
    found: list[list[int]] = [[] for _ in range(len(queries) * samples)]
    with closing(Engine(backend).run(requests)) as events:
        for handle, event in events:
            if isinstance(event, Token):
                found[handle].append(event.id)
            elif isinstance(event, Failed):
                raise event.error
    return np.array(found, np.int64).reshape(len(found), length)
