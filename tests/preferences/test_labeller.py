from __future__ import annotations

import numpy as np
import pytest

from inkfish.errors import MissingExtraError, SettingError
from inkfish.preferences import gold
from inkfish.preferences.labeller import Labeller, self_agreement, tuned_noise

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


@pytest.mark.parametrize("agreement", [0.3, 0.45, 0.62, 0.75])
def test_noise_is_tuned_to_the_agreement(agreement: float) -> None:
    scores = draw(1).normal(size=(400, 4))
    noise = tuned_noise(scores, agreement)
    assert self_agreement(scores, noise) == pytest.approx(agreement, abs=1e-6)
    labeller, generator = Labeller(noise=noise), draw(2)
    twice = [[labeller.choose(s, ORDER, generator) for _ in range(2)] for s in np.tile(scores, (10, 1))]
    # 4,000 items: four standard errors are at most 0.032
    assert sum(a == b for a, b in twice) / 4000 == pytest.approx(agreement, abs=0.032)


@pytest.mark.parametrize("agreement", [0.25, 0.9, 1.1])
def test_an_agreement_that_can_not_be(agreement: float) -> None:
    scores = np.array([[0.0, 0.0, 1.0, 1.0], [3.0, 1.0, 2.0, 0.0]])
    with pytest.raises(SettingError, match=r"more than 0\.25 and up to 0\.750 of the time"):
        tuned_noise(scores, agreement)


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
