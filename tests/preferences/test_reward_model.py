from __future__ import annotations

import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.errors import RunError
from inkfish.model import GPT2
from inkfish.preferences.reward_model import RewardModel, normalisation

TINY = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17)


def test_normalised_scores_have_mean_0_and_deviation_1() -> None:
    torch.manual_seed(0)
    model = RewardModel(GPT2(TINY))
    ids = torch.randint(0, 17, (200, 9))
    mask = torch.ones_like(ids, dtype=torch.bool)
    for _ in range(2):  # also where gain and bias are set already
        with torch.no_grad():
            model.normalise(model(ids, mask))
            scores = model(ids, mask)
        assert float(scores.mean()) == pytest.approx(0, abs=1e-5)
        assert float(scores.std(correction=0)) == pytest.approx(1, abs=1e-4)
        model.gain.data.mul_(3)
        model.bias.data.add_(2)
    with torch.no_grad():
        before = model(ids, mask)
        model.fold()
        torch.testing.assert_close(model(ids, mask), before, rtol=1e-4, atol=1e-5)
    assert (model.gain.item(), model.bias.item()) == (1.0, 0.0)


def test_normalisation_by_hand() -> None:
    found = normalisation(torch.tensor([1.0, 3.0]))
    assert (found.gain, found.bias) == (1.0, -2.0)


@pytest.mark.parametrize("scores", [[2.0, 2.0, 2.0], [1.0, float("nan")]])
def test_a_reward_that_says_nothing_is_refused(scores: list[float]) -> None:
    with pytest.raises(RunError, match="give another reward, or more varied prompts"):
        normalisation(torch.tensor(scores))
