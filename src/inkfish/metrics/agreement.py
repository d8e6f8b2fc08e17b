"""How well labellers agree: percent, Cohen's and Fleiss' kappa, Krippendorff's alpha with an interval.

Units are items; values are whatever was chosen, compared for equality.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from inkfish.metrics.interval import Interval

__all__ = ["cohen_kappa", "fleiss_kappa", "krippendorff_alpha", "krippendorff_interval", "percent_agreement"]

Units = Sequence[Sequence[Hashable]]
"""For each unit the values that its labellers gave; of unequal length where some are missing."""


def percent_agreement(units: Units) -> float:
    """Return the share of pairs of labels to one unit that are equal; NaN where no unit has two."""
    pairs = [a == b for values in units for a, b in combinations(values, 2)]
    return sum(pairs) / len(pairs) if pairs else float("nan")


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return the agreement of two labellers beyond chance (Cohen 1960); 1 where both say always the same."""
    assert len(first) == len(second) > 0, "both labellers have labelled the same units"
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / n
    one, two = Counter(first), Counter(second)
    chance = sum(one[value] * two[value] for value in one) / n**2
    return 1.0 if chance == 1 else (seen - chance) / (1 - chance)


def fleiss_kappa(units: Units) -> float:
    """Return the agreement of several labellers beyond chance (Fleiss 1971); each unit has as many labels."""
    sizes = {len(values) for values in units}
    assert len(sizes) == 1, "each unit has as many labels; take Krippendorff's alpha where some are missing"
    (n,) = sizes
    assert n >= 2, "agreement needs two labels of a unit"
    counts = [Counter(values) for values in units]
    seen = sum((sum(c * c for c in count.values()) - n) / (n * (n - 1)) for count in counts) / len(units)
    total = sum(counts, Counter[Hashable]())
    chance = sum((c / (n * len(units))) ** 2 for c in total.values())
    return 1.0 if chance == 1 else (seen - chance) / (1 - chance)


class Disagreement(NamedTuple):
    """What a unit adds to alpha."""

    seen: float
    values: Mapping[Hashable, int]


def krippendorff_alpha(units: Units) -> float:
    """Return alpha for nominal values (Krippendorff 2011), units with one label left out; NaN without any."""
    return alpha_of([disagreement(values) for values in units if len(values) >= 2])


def krippendorff_interval(units: Units, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """Return alpha with a bootstrap interval over units."""
    parts = [disagreement(values) for values in units if len(values) >= 2]
    draw = np.random.Generator(np.random.Philox(seed))
    found = [alpha_of([parts[i] for i in draw.integers(0, len(parts), len(parts))]) for _ in range(resamples)]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Interval(float(low), alpha_of(parts), float(high))


def disagreement(values: Sequence[Hashable]) -> Disagreement:
    """Return a unit's share of unequal ordered pairs, times its labels."""
    count, n = Counter(values), len(values)
    unequal = n * n - sum(c * c for c in count.values())
    return Disagreement(unequal / (n - 1), count)


def alpha_of(parts: Sequence[Disagreement]) -> float:
    """Return 1 - observed / expected disagreement."""
    total: Counter[Hashable] = Counter()
    for part in parts:
        total.update(part.values)
    n = sum(total.values())
    if n < 2:
        return float("nan")
    expected = (n * n - sum(c * c for c in total.values())) / (n - 1)
    return 1.0 if expected == 0 else 1 - sum(part.seen for part in parts) / expected
