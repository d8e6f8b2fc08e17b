from __future__ import annotations

import math

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
