"""Which of two systems is better: wins, ties and losses over prompts, with intervals and an exact test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish.metrics.interval import Interval, bootstrap

__all__ = ["Verdict", "compare", "length_controlled", "sign_test", "upper_tail", "wilson"]


class Verdict(NamedTuple):
    """How often the first system won."""

    wins: int
    ties: int
    losses: int
    score: Interval
    """(wins + ties/2) / all, with a bootstrap interval over prompts."""
    decided: Interval
    """wins / (wins + losses), with Wilson's interval."""
    p: float
    """Two-sided probability of so uneven a split by chance, ties left out."""


def wilson(successes: float, count: int, *, z: float = 1.959964) -> Interval:
    """Return a share with Wilson's score interval (Wilson 1927); without any trial it is 0 to 1."""
    assert 0 <= successes <= count, f"{successes} of {count}"
    if not count:
        return Interval(0.0, 0.5, 1.0)
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(max(0.0, middle - half), share, min(1.0, middle + half))


def sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided probability of a split at least so uneven if both were equally likely."""
    n, k = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / 2**n)


def upper_tail(successes: int, count: int, p: float) -> float:
    """Return the probability of so many successes or more in `count` trials of probability p each."""
    if successes <= 0 or p >= 1:
        return 1.0
    if p <= 0:
        return 0.0
    whole = math.lgamma(count + 1)
    terms = (
        whole
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(p)
        + (count - k) * math.log1p(-p)
        for k in range(successes, count + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


def compare(points: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Verdict:
    """Sum up prompts.

    Args:
        points: one for each prompt: 1 where the first system won, 0 where it lost, 0.5 for a tie; with
            several labellers of a prompt the mean of theirs.
        resamples: of the bootstrap, whose unit is the prompt.
        seed: of the bootstrap.
    """
    assert points, "a comparison needs a prompt"
    wins, losses = sum(point > 0.5 for point in points), sum(point < 0.5 for point in points)
    return Verdict(
        wins,
        len(points) - wins - losses,
        losses,
        bootstrap(points, resamples=resamples, seed=seed),
        wilson(wins, wins + losses),
        sign_test(wins, losses),
    )


def length_controlled(
    points: Sequence[float], differences: Sequence[float], *, resamples: int = 500, seed: int = 0
) -> Interval:
    """Return the share of wins to be expected were both texts equally long, with a bootstrap interval.

    A logistic regression of the points on the difference of the lengths, read where that is 0 (the length
    term of Dubois et al. 2024). A slight pull towards 0 keeps it finite where one system always wins.

    Args:
        points: one for each prompt, as for `compare`.
        differences: length of the first system's text minus the second's.
        resamples: of the bootstrap, whose unit is the prompt.
        seed: of the bootstrap.
    """
    y, x = np.asarray(points, np.float64), np.asarray(differences, np.float64)
    assert y.shape == x.shape, "a difference of lengths for each prompt"
    spread = float(x.std()) or 1.0
    features = np.stack([np.ones_like(x), x / spread], 1)  # (prompts, 2)
    draw = np.random.Generator(np.random.Philox(seed))
    rows = (draw.integers(0, len(y), len(y)) for _ in range(resamples))
    low, high = np.quantile([at_equal_length(features[i], y[i]) for i in rows], [0.025, 0.975])
    return Interval(float(low), at_equal_length(features, y), float(high))


def at_equal_length(features: NDArray[np.float64], points: NDArray[np.float64], pull: float = 0.01) -> float:
    """Return the logistic regression's value at difference 0, by Newton's steps from 0."""
    weights = np.zeros(2)
    for _ in range(25):
        p = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (points - p) - pull * weights
        curvature = (features * (p * (1 - p))[:, None]).T @ features + pull * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return float(1 / (1 + np.exp(-weights[0])))
