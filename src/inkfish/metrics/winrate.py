"""Which of two systems is better: wins, ties and losses over prompts, with intervals and an exact test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from inkfish.metrics.interval import Interval, bootstrap

__all__ = ["Verdict", "compare", "sign_test", "wilson"]


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
