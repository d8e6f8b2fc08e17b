"""A labeller that is a program: chooses what a judge scores highest, with the noise and the faults of people.

Luce's choice: the probability of a candidate is proportional to exp(score / τ), here drawn by adding Gumbel
noise of scale τ to the scores. τ is tuned so that the labeller agrees with itself as often as one wants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import SettingError

__all__ = ["Labeller", "self_agreement", "tuned_noise"]

Array = NDArray[np.float64]


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


def self_agreement(scores: Array, noise: float) -> float:
    """Return how often two draws for one item agree: the mean of Σ p², p = softmax(scores / τ).

    Args:
        scores: (items, N).
        noise: τ; 0 shares the choice among equally good candidates.
    """
    best = scores.max(1, keepdims=True)
    weights = (scores == best).astype(float) if noise == 0 else np.exp((scores - best) / noise)
    p = weights / weights.sum(1, keepdims=True)
    return float((p**2).sum(1).mean())


def tuned_noise(scores: Array, agreement: float) -> float:
    """Return the τ at which the labeller agrees with itself so often.

    Args:
        scores: (items, N) of a sample of items.
        agreement: above 1/N.

    Raises:
        SettingError: no noise gives it: items with equal scores can't be told apart, or it is chance.
    """
    most, least = self_agreement(scores, 0.0), 1 / scores.shape[1]
    if not least < agreement <= most:
        raise SettingError(
            f"agreement is {agreement:g}; on these items a labeller can agree with itself more than "
            f"{least:g} and up to {most:.3f} of the time",
            param="agreement",
        )
    low, high = 1e-6, 1e6
    for _ in range(100):
        middle = (low * high) ** 0.5
        if self_agreement(scores, middle) > agreement:
            low = middle
        else:
            high = middle
    return (low * high) ** 0.5
