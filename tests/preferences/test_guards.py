from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inkfish.preferences.guards import (
    Limits,
    Signs,
    alarms,
    better_than_chance,
    check_first_step,
    worse_than_chance,
)

FINE = Signs(
    score=0.0,
    score_error=0.05,
    kl=1.0,
    entropy=3.0,
    ratio=1.2,
    repetition=0.05,
    distinct=0.8,
    length=24.0,
    judge=0.0,
    judge_error=0.05,
)
LIMITS = Limits(kl=18.0)


def trend(**ends: float) -> list[Signs]:
    """Twenty updates in which some signs go in a line from fine to the given ends."""
    return [
        replace(FINE, **{k: getattr(FINE, k) + (v - getattr(FINE, k)) * i / 19 for k, v in ends.items()})
        for i in range(20)
    ]


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (trend(kl=19.0), "KL ran away to 19.0 nats, limit 18.0"),
        (trend(ratio=11.0), "a probability changed 11.0-fold in one update, limit 10"),
        (trend(entropy=0.2), "entropy fell to 0.20 nats a token from 3.00"),
        (trend(repetition=0.5), "repetition rose to 0.50 from 0.05"),
        (trend(distinct=0.1), "different n-grams fell to 0.100 from 0.800"),
        (trend(length=60.0), "responses grew to 60.0 tokens from 24.0"),
        (trend(kl=-8.0), "KL is -8.00, below 0: sampling and training disagree"),
        (trend(score=2.0, judge=-1.0), "the reward rose by 1.58 while the second judge's score fell by 0.79"),
        (trend(score=float("nan")), "a number is not finite"),
        (trend(kl=float("inf")), "a number is not finite"),
    ],
)
def test_each_way_to_go_wrong_is_seen(history: list[Signs], words: str) -> None:
    (found,) = alarms(history, LIMITS)
    assert words in found


@pytest.mark.parametrize(
    "history",
    [
        trend(score=2.0, judge=1.0, kl=6.0, entropy=2.0, repetition=0.1, distinct=0.5),
        trend(score=1.0, judge=0.0, kl=12.0, ratio=3.0),
        [replace(FINE, judge=None, kl=(-1) ** i * 0.3) for i in range(20)],
    ],
    ids=["learning", "flat judge", "young"],
)
def test_clean_runs_raise_no_alarm(history: list[Signs]) -> None:
    assert not [text for i in range(1, 21) for text in alarms(history[:i], LIMITS)]


def test_noise_in_the_judge_is_no_alarm() -> None:
    noisy = [replace(FINE, score=i / 10, judge=-0.02 * i, judge_error=0.3) for i in range(20)]
    assert not alarms(noisy, LIMITS)


def test_what_does_not_move_at_all_is_no_alarm() -> None:
    judged = [replace(FINE, score=i / 5, judge=1.0, judge_error=0.0) for i in range(20)]
    assert not alarms(judged, LIMITS)
    sure = [replace(FINE, score=1.0, score_error=0.0, judge=-i / 5) for i in range(20)]
    assert not alarms(sure, LIMITS)


@pytest.mark.parametrize(
    ("ratios", "kl", "words"),
    [
        ((1.0, 1.0, 1.0), 0.0, None),
        ((1 - 1e-6, 1.0, 1 + 1e-6), 1e-6, None),
        ((0.9, 1.0, 1.0), 0.0, "dropout, temperature or precision differ"),
        ((1.0, 1.0, 1.1), 0.0, "probabilities are 1.1000 times those sampled"),
        ((1.0, 1.0, 1.0), 0.2, "0.2000 nats a token from the reference, not 0"),
    ],
)
def test_before_the_first_step(ratios: tuple[float, float, float], kl: float, words: str | None) -> None:
    found = check_first_step(ratios, kl)
    assert (found is None) == (words is None)
    assert words is None or words in str(found)


def surprised(mean: float, tokens: int, deviation: float = 1.5) -> Signs:
    """An update whose tokens were less likely than the policy says by `mean` nats."""
    return replace(FINE, surprise=mean, surprise_error=deviation / tokens**0.5, tokens=tokens)


def test_what_was_not_sampled_from_the_policy_is_seen() -> None:
    (found,) = alarms([surprised(0.5, 6000)], LIMITS)
    # sqrt(2 · 20) · 1.5 / sqrt(6000) + 7 · 12 · 20 / (3 · 6000)
    assert "tokens are 0.50 nats less likely than if the policy had written them, limit 0.22" in found
    (found,) = alarms([surprised(-0.5, 6000)], LIMITS)
    assert "tokens are 0.50 nats more likely" in found
    assert not alarms([surprised(0.2, 6000)], LIMITS)
    # what one update does not show, five do; older ones do not count
    few = surprised(0.5, 1500)
    assert not alarms([few], LIMITS)
    assert alarms([few] * 5, LIMITS)
    assert not alarms([surprised(5.0, 6000), *[surprised(0.0, 6000)] * 5], LIMITS)
    assert not alarms([replace(FINE, surprise=9.0)], LIMITS)  # a log of an older version has no such figure


@pytest.mark.parametrize("rare", [0.5, 0.01, 0.0001])
def test_true_samples_raise_no_alarm_however_uneven_their_distribution(rare: float) -> None:
    draw, entropy = np.random.default_rng(0), -(rare * np.log(rare) + (1 - rare) * np.log1p(-rare))
    for size in (96, 1000, 6000):
        for _ in range(300):
            rarely = draw.random(size) < rare
            drawn = -(rarely * np.log(rare) + ~rarely * np.log1p(-rare)) - entropy
            signs = replace(FINE, surprise=drawn.mean(), surprise_error=drawn.std() / size**0.5, tokens=size)
            assert not alarms([signs], LIMITS)


def test_chance() -> None:
    assert better_than_chance(40, 100, 0.25)
    assert not better_than_chance(31, 100, 0.25)  # 1.4 standard errors
    assert better_than_chance(33, 100, 0.25)  # 1.8
    assert not better_than_chance(2, 2, 0.9)
    assert not better_than_chance(0, 0, 0.25)
    # exact where there are few: 0.4² · (3 · 0.6 + 0.4) = 0.352, and 0.25³ = 0.0156
    assert not better_than_chance(2, 3, 0.4)
    assert better_than_chance(3, 3, 0.25)
    assert not better_than_chance(1, 1, 0.25)
    assert worse_than_chance(0, 30, 0.25)  # 0.75³⁰ = 0.00018
    assert not worse_than_chance(0, 20, 0.25)  # 0.0032
    assert not worse_than_chance(0, 0, 0.25)
