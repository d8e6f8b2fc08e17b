"""A labeller that is a program: chooses what a judge scores highest, with the noise and the faults of people.

Luce's choice: the probability of a candidate is proportional to exp(score / τ), here drawn by adding Gumbel
noise of scale τ to the scores. Ratings are such a noisy score, the noise's mean taken off, cut into seven.
τ is tuned so that the labeller agrees with itself as often as one wants: says the same of an item that it is
shown again, in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import SettingError

__all__ = ["Labeller", "rating_agreement", "self_agreement", "tuned_noise"]

Array = NDArray[np.float64]

PAIRS = 10_000
"""Fewest pairs of choices that agreement is counted on where no formula gives it: the standard error is at
most 0.005."""
NOISES = np.geomspace(1e-9, 1e6, 76)
"""τ that are tried; between two of them the wanted one is searched."""


@dataclass(frozen=True)
class Labeller:
    """How a simulated person chooses."""

    noise: float = 0.0
    """τ, in units of the judge's score; 0 always takes the best."""
    tie: float = 0.0
    """Candidates within so much of the best, noise included, tie with it."""
    slot_bias: float = 0.0
    """Added to the score of what stands first on the screen, in units of the judge's score."""

    def choose(self, scores: Array, order: tuple[int, ...], draw: np.random.Generator) -> tuple[int, ...]:
        """Return the numbers of the best candidates: one, or those that tie; equal ones by the draw.

        Args:
            scores: (N,) of the candidates, as they are numbered.
            order: candidates as they stand on the screen.
            draw: random numbers.
        """
        seen = scores + self.noise * draw.gumbel(size=len(scores))
        seen[order[0]] += self.slot_bias
        shuffle = draw.permutation(len(scores))  # without noise equal scores have no first one
        best = int(shuffle[np.argmax(seen[shuffle])])
        if self.tie == 0:
            return (best,)
        return tuple(int(i) for i in np.flatnonzero(seen >= seen[best] - self.tie))

    def rate(self, score: float, borders: Array, draw: np.random.Generator) -> int:
        """Return a rating from 1 on: one more than there are borders below the score, noise included.

        Args:
            score: of the one candidate.
            borders: ascending; of those that equal the score half count.
            draw: random numbers.
        """
        seen = score + self.noise * (draw.gumbel() - np.euler_gamma)
        return 1 + int(np.searchsorted(borders, seen) + np.searchsorted(borders, seen, "right")) // 2


def self_agreement(scores: Array, labeller: Labeller) -> float:
    """Return how often two choices for one item agree: the same candidates chosen, or tied.

    The mean of Σ p², p = softmax(scores / τ); where there are ties or a slot bias, counted on draws that are
    the same whatever τ is.

    Args:
        scores: (items, N).
        labeller: without noise it shares the choice among equally good candidates.
    """
    if labeller.tie or labeller.slot_bias:
        return counted_agreement(scores, labeller)
    best = scores.max(1, keepdims=True)
    noise = labeller.noise
    weights = (scores == best).astype(float) if noise == 0 else np.exp((scores - best) / noise)
    p = weights / weights.sum(1, keepdims=True)
    return float((p**2).sum(1).mean())


def counted_agreement(scores: Array, labeller: Labeller) -> float:
    """Return how often two choices agree among `PAIRS` of them, each shown in an order of its own."""
    draw = np.random.Generator(np.random.Philox(0))
    repeated = np.repeat(scores, -(-PAIRS // len(scores)), 0)
    one, two = chosen(repeated, labeller, draw), chosen(repeated, labeller, draw)
    return float((one == two).all(1).mean())


def chosen(scores: Array, labeller: Labeller, draw: np.random.Generator) -> NDArray[np.bool_]:
    """Say of each candidate whether it is among the best, as `Labeller.choose` draws them, (items, N)."""
    rows = np.arange(len(scores))
    seen = scores + labeller.noise * draw.gumbel(size=scores.shape)
    seen[rows, draw.integers(0, scores.shape[1], len(scores))] += labeller.slot_bias
    best: NDArray[np.bool_] = seen >= seen.max(1, keepdims=True) - labeller.tie
    if labeller.tie == 0:  # equal ones by the draw
        only = np.zeros_like(best)
        only[rows, (best * (1 - draw.random(best.shape))).argmax(1)] = True
        return only
    return best


def rating_agreement(scores: Array, borders: Array, noise: float) -> float:
    """Return how often two ratings of one text are equal: the mean of Σ p² over the ratings.

    Args:
        scores: (items,).
        borders: ascending, as for `Labeller.rate`.
        noise: τ.
    """
    if noise == 0:
        return 1.0
    beyond = np.exp(-np.clip((borders - scores[:, None]) / noise + np.euler_gamma, -700, None))
    below = np.exp(-beyond)  # the Gumbel distribution at each border
    p = np.diff(below, axis=1, prepend=0.0, append=1.0)
    return float((p**2).sum(1).mean())


def tuned_noise(measure: Callable[[float], float], agreement: float) -> float:
    """Return the least τ at which the labeller agrees with itself so often.

    Args:
        measure: how often it does at a τ.
        agreement: wanted.

    Raises:
        SettingError: no noise gives it: items with equal scores can't be told apart, or it is chance.
    """
    found = [measure(float(noise)) for noise in NOISES]
    for place, (before, after) in enumerate(pairwise(found)):
        if min(before, after) <= agreement <= max(before, after):
            low, high = NOISES[place : place + 2].tolist()
            return crossing(measure, agreement, low, high, falling=before > agreement)
    raise SettingError(
        f"agreement is {agreement:g}; on these items a labeller can agree with itself {min(found):.3f} to "
        f"{max(found):.3f} of the time; choose from that, or 1 for no noise",
        param="agreement",
    )


def crossing(
    measure: Callable[[float], float], agreement: float, low: float, high: float, *, falling: bool
) -> float:
    """Return where a measure passes the wanted value, between two noises, by halving their ratio."""
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if (measure(middle) > agreement) == falling else (low, middle)
    return (low * high) ** 0.5
