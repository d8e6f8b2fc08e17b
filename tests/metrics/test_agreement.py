from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pytest

from inkfish.metrics.agreement import (
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    krippendorff_interval,
    percent_agreement,
)

# The example of Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: four observers,
# twelve units, values 1 to 5, some missing; alpha for nominal data is 0.743.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[row[i] for row in OBSERVERS if row[i] is not None] for i in range(12)]


def test_alpha_of_the_published_example() -> None:
    assert krippendorff_alpha(UNITS) == pytest.approx(0.743, abs=5e-4)
    found = krippendorff_interval(UNITS)
    assert found.low < found.mean < found.high
    assert found.mean == krippendorff_alpha(UNITS)
    assert krippendorff_interval(UNITS) == found


def test_alpha_of_numbers_is_that_of_the_published_example() -> None:
    """The same data with the interval metric: 0.849."""
    assert krippendorff_alpha(UNITS, metric="interval") == pytest.approx(0.849, abs=5e-4)
    near, far = [[5, 6], [1, 1], [7, 7]], [[1, 7], [1, 1], [7, 7]]
    assert (
        krippendorff_alpha(near, metric="interval") > 0.9 > 0.7 > krippendorff_alpha(far, metric="interval")
    )
    assert krippendorff_alpha([[3, 3], [3, 3]], metric="interval") == 1
    assert math.isnan(krippendorff_alpha([[1], [2]], metric="interval"))


def defined(units: Sequence[Sequence[Any]], distance: Callable[[Any, Any], float]) -> float:
    """Alpha by its definition, pair by pair."""
    values = [value for unit in units for value in unit]
    seen = sum(distance(a, b) / (len(unit) - 1) for unit in units for a, b in permutations(unit, 2))
    expected = sum(distance(a, b) for a, b in permutations(values, 2)) / (len(values) - 1)
    return 1.0 if expected == 0 else 1 - seen / expected


@pytest.mark.parametrize("metric", ["nominal", "interval"])
def test_alpha_and_its_interval_are_those_of_the_definition(metric: Literal["nominal", "interval"]) -> None:
    distance = {"nominal": lambda a, b: float(a != b), "interval": lambda a, b: float((a - b) ** 2)}[metric]
    draw = np.random.default_rng(5)
    units = [draw.integers(1, 8, draw.integers(2, 5)).tolist() for _ in range(12)]
    found = krippendorff_interval(units, metric=metric, resamples=40)
    assert found.mean == pytest.approx(defined(units, distance), abs=1e-12)
    again = np.random.Generator(np.random.Philox(0))
    alphas = [defined([units[i] for i in again.integers(0, 12, 12)], distance) for _ in range(40)]
    assert [found.low, found.high] == pytest.approx(np.quantile(alphas, [0.025, 0.975]), abs=1e-12)


def test_the_interval_of_a_thousand_items_takes_no_time() -> None:
    units = np.random.default_rng(0).integers(0, 4, (1000, 3)).tolist()
    began = time.process_time()
    krippendorff_interval(units)
    assert time.process_time() - began < 1  # it takes 0.05 s, and a loop over labels took 2


def test_alpha_at_the_ends() -> None:
    assert krippendorff_alpha([[1, 1], [2, 2]]) == 1
    assert krippendorff_alpha([[1, 1], [1, 1]]) == 1
    assert krippendorff_alpha([[1, 2], [2, 1]]) < 0
    assert math.isnan(krippendorff_alpha([[1], [2]]))


def test_kappa_agrees_with_scikit_learn() -> None:
    cohen_kappa_score = pytest.importorskip("sklearn.metrics").cohen_kappa_score
    first, second = [0, 1, 2, 3, 0, 0, 1, 2], [0, 1, 2, 0, 0, 1, 1, 3]
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    assert cohen_kappa([1, 1], [1, 1]) == 1


def test_fleiss_of_the_published_example() -> None:
    """Fleiss 1971, table 1 in the form that textbooks give: ten subjects, fourteen raters, kappa 0.210."""
    table = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    units = [[value for value, count in enumerate(row) for _ in range(count)] for row in table]
    assert fleiss_kappa(units) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([[1, 1], [1, 1]]) == 1
    with pytest.raises(AssertionError, match="as many labels"):
        fleiss_kappa([[1, 1], [1]])


def test_percent() -> None:
    assert percent_agreement([[1, 1, 2], [3, 3]]) == pytest.approx(2 / 4)
    assert math.isnan(percent_agreement([[1]]))
