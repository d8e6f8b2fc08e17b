from __future__ import annotations

import numpy as np
import pytest

from inkfish.metrics.winrate import compare, length_controlled, sign_test, upper_tail, wilson

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("wins", "n"), [(172, 200), (0, 10), (10, 10), (901, 1024), (1, 3)])
def test_wilson_and_sign_test_agree_with_scipy(wins: int, n: int) -> None:
    test = stats.binomtest(wins, n)
    expected = test.proportion_ci(method="wilson")
    found = wilson(wins, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert found.mean == wins / n
    assert sign_test(wins, n - wins) == pytest.approx(test.pvalue)


def test_no_decided_prompt_says_nothing() -> None:
    assert wilson(0, 0) == (0, 0.5, 1)
    assert sign_test(0, 0) == 1
    with pytest.raises(AssertionError, match="3 of 2"):
        wilson(3, 2)


def test_a_comparison_counts_ties_half() -> None:
    found = compare([1.0] * 6 + [0.5] * 2 + [0.0] * 2)
    assert (found.wins, found.ties, found.losses) == (6, 2, 2)
    assert found.score.mean == pytest.approx(0.7)
    assert found.score.low < 0.7 < found.score.high
    assert found.decided.mean == 0.75
    assert found.p == pytest.approx(stats.binomtest(6, 8).pvalue)
    assert compare([1.0] * 6 + [0.5] * 2 + [0.0] * 2) == found


def test_the_interval_covers_what_it_should() -> None:
    # the paper's 86:14 at n = 1,024
    assert wilson(881, 1024)[::2] == pytest.approx((0.838, 0.880), abs=2e-3)


def test_wins_by_length_alone_are_none_at_equal_length() -> None:
    draw = np.random.default_rng(0)
    longer = draw.normal(20, 30, 2000)  # one system writes more
    points = (draw.random(2000) < 1 / (1 + np.exp(-longer / 20))).astype(float)
    assert points.mean() > 0.65
    found = length_controlled(points.tolist(), longer.tolist())
    assert found.low < 0.5 < found.high
    assert found.mean == pytest.approx(0.5, abs=0.04)


def test_without_differences_length_control_changes_nothing() -> None:
    points = [1.0] * 30 + [0.5] * 10 + [0.0] * 10
    assert length_controlled(points, [0.0] * 50).mean == pytest.approx(0.7, abs=1e-3)


def test_length_control_is_the_logistic_regressions_intercept() -> None:
    regression = pytest.importorskip("sklearn.linear_model").LogisticRegression
    draw = np.random.default_rng(1)
    longer = draw.normal(0, 5, 300)
    points = (draw.random(300) < 1 / (1 + np.exp(-(0.6 + longer / 5)))).astype(float)
    scale = longer.std()
    fitted = regression(C=100.0, tol=1e-10).fit(longer[:, None] / scale, points)
    expected = 1 / (1 + np.exp(-fitted.intercept_[0]))
    assert length_controlled(points.tolist(), longer.tolist()).mean == pytest.approx(expected, abs=1e-3)


def test_who_always_wins_does_so_at_equal_length_too() -> None:
    assert length_controlled([1.0] * 20, list(range(20))).mean > 0.9


@pytest.mark.parametrize(
    ("k", "n", "p"), [(0, 9, 0.3), (3, 3, 0.25), (33, 100, 0.25), (700, 1024, 0.6), (5, 5, 1.0)]
)
def test_the_upper_tail_agrees_with_scipy(k: int, n: int, p: float) -> None:
    assert upper_tail(k, n, p) == pytest.approx(stats.binom.sf(k - 1, n, p), rel=1e-9)
    assert upper_tail(1, 4, 0.0) == 0
