"""How well labellers agree: percent, Cohen's and Fleiss' kappa, Krippendorff's alpha with an interval.

Units are items; values are whatever was chosen, compared for equality, or numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish.metrics.interval import Interval

__all__ = ["cohen_kappa", "fleiss_kappa", "krippendorff_alpha", "krippendorff_interval", "percent_agreement"]

Array = NDArray[np.float64]
Metric = Literal["nominal", "interval"]
Units = Sequence[Sequence[Any]]
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


class Sums(NamedTuple):
    """What alpha is worked out from; sums over units, so that a resample of units is a weighting of rows."""

    seen: Array
    """(units,) of ordered pairs of labels to a unit the mean disagreement, times the unit's labels."""
    table: Array
    """(units, columns) of which the sums over units give `expected`."""
    expected: Callable[[Array], float]
    """(columns,) → of all ordered pairs of labels the mean disagreement, times all labels; NaN of fewer
    than two labels."""

    def alpha(self, weights: Array) -> float:
        """Return 1 - observed / expected disagreement, each unit counted so many times."""
        expected = self.expected(weights @ self.table)
        return 1.0 if expected == 0 else 1 - float(weights @ self.seen) / expected


def krippendorff_alpha(units: Units, *, metric: Metric = "nominal") -> float:
    """Return alpha (Krippendorff 2011), units with one label left out; NaN without any.

    Args:
        units: the labels.
        metric: nominal: two labels are equal or not; interval: they are numbers, and differ by the square of
            their difference.
    """
    sums = METRICS[metric]([values for values in units if len(values) >= 2])
    return sums.alpha(np.ones(len(sums.seen)))


def krippendorff_interval(
    units: Units, *, metric: Metric = "nominal", resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return alpha with a bootstrap interval over units."""
    sums = METRICS[metric]([values for values in units if len(values) >= 2])
    n, draw = len(sums.seen), np.random.Generator(np.random.Philox(seed))
    found = [
        sums.alpha(np.bincount(draw.integers(0, n, n), minlength=n).astype(float)) for _ in range(resamples)
    ]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Interval(float(low), sums.alpha(np.ones(n)), float(high))


def nominal(units: Units) -> Sums:
    """Return the sums for values that are equal or not: how often each stands in each unit."""
    places = {value: place for place, value in enumerate(dict.fromkeys(v for unit in units for v in unit))}
    counts = np.zeros((len(units), len(places)))
    for row, values in zip(counts, units, strict=True):
        for value in values:
            row[places[value]] += 1
    n = counts.sum(1)
    return Sums((n**2 - (counts**2).sum(1)) / (n - 1), counts, unequal)


def unequal(counts: Array) -> float:
    """Return the expected disagreement of values that stand so often."""
    n = float(counts.sum())
    return float("nan") if n < 2 else (n * n - float((counts**2).sum())) / (n - 1)


def interval(units: Units) -> Sums:
    """Return the sums for numbers: of each unit how many there are, their sum and that of their squares.

    Σ (a - b)² over ordered pairs of n numbers is 2 (n Σ a² - (Σ a)²).
    """
    values = [np.array(unit, float) for unit in units]
    middle = np.concatenate(values).mean() if values else 0.0
    rows = [(len(v), (v - middle).sum(), ((v - middle) ** 2).sum()) for v in values]
    table = np.array(rows).reshape(len(rows), 3)
    n, total, squares = table.T
    return Sums(2 * (n * squares - total**2) / (n - 1), table, apart)


def apart(sums: Array) -> float:
    """Return the expected disagreement of numbers with these sums."""
    n, total, squares = sums.tolist()
    return float("nan") if n < 2 else 2 * (n * squares - total**2) / (n - 1)


METRICS: Mapping[Metric, Callable[[Units], Sums]] = {"nominal": nominal, "interval": interval}
