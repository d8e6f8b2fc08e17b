from __future__ import annotations

import numpy as np
import pytest

from inkfish.errors import MissingExtraError, SettingError
from inkfish.preferences import gold
from inkfish.preferences.labeller import (
    Labeller,
    counted_agreement,
    rating_agreement,
    self_agreement,
    tuned_noise,
)

ORDER = (0, 1, 2, 3)


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def test_without_noise_the_best_is_chosen_and_equals_are_shared() -> None:
    generator = draw()
    for _ in range(20):
        assert Labeller().choose(np.array([0.0, 3.0, 1.0, 2.0]), ORDER, generator) == (1,)
    found = {Labeller().choose(np.zeros(4), ORDER, generator) for _ in range(100)}
    assert found == {(0,), (1,), (2,), (3,)}


def test_choices_are_luces() -> None:
    scores, generator = np.array([0.0, 1.0, 2.0, 0.5]), draw()
    expected = np.exp(scores / 0.8) / np.exp(scores / 0.8).sum()
    chosen = [Labeller(noise=0.8).choose(scores, ORDER, generator)[0] for _ in range(8000)]
    # four binomial shares of 8,000: a deviation above 4 standard errors has probability below 3e-4
    assert np.bincount(chosen, minlength=4) / 8000 == pytest.approx(expected, abs=4 * (0.25 / 8000) ** 0.5)


def test_ties_and_slot_bias() -> None:
    close = np.array([1.0, 0.9, 0.0, -1.0])
    assert Labeller(tie=0.2).choose(close, ORDER, draw()) == (0, 1)
    assert Labeller(slot_bias=5.0).choose(close, (3, 0, 1, 2), draw()) == (3,)


def tuned(scores: np.ndarray, agreement: float, **faults: float) -> Labeller:
    def measure(noise: float) -> float:
        return self_agreement(scores, Labeller(noise, **faults))

    return Labeller(tuned_noise(measure, agreement), **faults)


def seen_agreement(labeller: Labeller, scores: np.ndarray) -> float:
    """How often a labeller chooses the same of items that it sees twice, in orders that are drawn."""
    generator, width = draw(2), scores.shape[1]

    def choose(row: np.ndarray) -> set[int]:
        return set(labeller.choose(row, tuple(generator.permutation(width).tolist()), generator))

    return float(np.mean([choose(row) == choose(row) for row in scores]))


@pytest.mark.parametrize("faults", [{}, {"tie": 0.3}, {"slot_bias": 0.5}, {"tie": 0.3, "slot_bias": 0.5}])
@pytest.mark.parametrize("agreement", [0.32, 0.45, 0.6])
def test_noise_is_tuned_to_the_agreement_that_is_seen(agreement: float, faults: dict[str, float]) -> None:
    scores = draw(1).normal(size=(400, 4))
    if faults and agreement == 0.6:
        scores *= 2  # else these faults alone agree less
    labeller = tuned(scores, agreement, **faults)
    found = self_agreement(scores, labeller)
    assert found == pytest.approx(agreement, abs=1e-3 if faults else 1e-6)
    # 4,000 items: four standard errors are at most 0.032; the tuning's own 10,000 pairs have 0.02
    assert seen_agreement(labeller, np.tile(scores, (10, 1))) == pytest.approx(found, abs=0.04)


def test_counted_agreement_is_that_of_the_formula() -> None:
    scores = draw(1).normal(size=(400, 4)).round(1)
    for noise in (0.0, 0.3, 2.0):
        counted, exact = (f(scores, Labeller(noise)) for f in (counted_agreement, self_agreement))
        assert counted == pytest.approx(exact, abs=0.02)  # four standard errors


@pytest.mark.parametrize("agreement", [0.25, 0.9, 1.1])
def test_an_agreement_that_can_not_be(agreement: float) -> None:
    scores = np.array([[0.0, 0.0, 1.0, 1.0], [3.0, 1.0, 2.0, 0.0]])
    words = r"with itself 0\.250 to 0\.750 of the time; choose from that, or 1 for no noise"
    with pytest.raises(SettingError, match=words):
        tuned(scores, agreement)
    with pytest.raises(
        SettingError, match=r"agreement is 0\.6; .* with itself 0\.2\d\d to 0\.2\d\d of the time"
    ):
        tuned(scores, 0.6, slot_bias=50.0)


def test_ratings_are_cut_at_the_borders() -> None:
    borders = np.array([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0])
    given = [Labeller().rate(score, borders, draw()) for score in (-9.0, -1.5, -0.5, 0.0, 0.5, 1.5, 9.0)]
    assert given == [1, 2, 3, 4, 5, 6, 7]
    assert Labeller().rate(0.0, np.zeros(6), draw()) == 4  # all are equal: neither good nor bad


@pytest.mark.parametrize("agreement", [0.3, 0.6, 0.9])
def test_ratings_agree_as_wanted(agreement: float) -> None:
    scores = draw(1).normal(size=400)
    borders = np.quantile(scores, np.arange(1, 7) / 7)
    noise = tuned_noise(lambda noise: rating_agreement(scores, borders, noise), agreement)
    labeller, generator = Labeller(noise), draw(2)
    twice = [[labeller.rate(score, borders, generator) for _ in range(2)] for score in np.tile(scores, 10)]
    # 4,000 items: four standard errors are at most 0.032
    assert sum(a == b for a, b in twice) / 4000 == pytest.approx(agreement, abs=0.032)
    assert rating_agreement(scores, borders, 0.0) == 1


def test_sentiment() -> None:
    texts = ["A lovely, happy day!", "He walked to the door.", "It was a horrible, cruel death."]
    for judge in (gold.vader, gold.afinn):
        good, neutral, bad = judge([""] * 3, texts)
        assert good > neutral == 0 > bad


def test_descriptiveness() -> None:
    found = gold.descriptiveness(["", "", ""], ["the old grey castle", "he went there", ""])
    assert found == [0.5, 0, 0]
    assert gold.descriptiveness([""], ["a marvellous thing"]) == [pytest.approx(1 / 3)]


def test_length_band() -> None:
    assert gold.length_band(2, 3)([""] * 4, ["one", "one two", "a b c", "a b c d e"]) == [-1, 0, 0, -2]


@pytest.mark.parametrize("name", ["vader", "afinn"])
def test_missing_word_lists_are_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for maker in (gold.vader_analyser, gold.afinn_scorer):
        maker.cache_clear()
    for module in ("vaderSentiment", "vaderSentiment.vaderSentiment", "afinn"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'inkfish\[preferences\]'"):
        getattr(gold, name)([""], ["x"])
    for maker in (gold.vader_analyser, gold.afinn_scorer):
        maker.cache_clear()
