from __future__ import annotations

import math

import pytest
import torch

from inkfish.preferences.ppo import (
    explained_variance,
    gae,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)


def test_rewards_by_hand() -> None:
    found = token_rewards(
        torch.tensor([2.0, -1.0]),
        torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, -1.0]]),
        torch.tensor([[-1.5, -2.0, -2.0], [-1.0, -3.0, -1.0]]),
        coefficient=0.1,
    )
    # -0.1 · (log π - log ρ), and the score at the last token
    torch.testing.assert_close(found, torch.tensor([[-0.05, 0.0, 2.1], [0.0, -0.2, -1.0]]))


def test_advantages_by_hand() -> None:
    # γ 0.9, λ 0.5; deltas: 1+.9·2-1=1.8, 0+.9·3-2=.7, 2+0-3=-1; backwards: -1, .7-.45=.25, 1.8+.45·.25=1.9125
    found = gae(torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[1.0, 2.0, 3.0]]), gamma=0.9, lam=0.5)
    torch.testing.assert_close(found, torch.tensor([[1.9125, 0.25, -1.0]]))


def test_advantages_with_lambda_1_are_returns_minus_values() -> None:
    torch.manual_seed(0)
    rewards, values = torch.randn(3, 7), torch.randn(3, 7)
    returns = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(gae(rewards, values, gamma=1.0, lam=1.0), returns - values)


def test_whitening_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 6.0]])  # mean 3, population variance 3.5
    root = math.sqrt(3.5)
    expected = torch.tensor([[-2 / root, -1 / root], [0.0, 3 / root]])
    torch.testing.assert_close(whiten(values), expected)
    torch.testing.assert_close(whiten(values, shift_mean=False), expected + 3)


def test_whitening_what_is_all_the_same_gives_zeros() -> None:
    assert torch.equal(whiten(torch.full((2, 3), 5.0)), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 2.0, -2.0, 0),
        (1.5, 2.0, -2.4, 1),  # too far up already: max(-3, -1.2·2)
        (0.5, 2.0, -1.0, 0),  # may come back: max(-1, -1.6)
        (1.5, -2.0, 3.0, 0),
        (0.5, -2.0, 1.6, 1),
    ],
)
def test_policy_loss_by_hand(ratio: float, advantage: float, loss: float, clipped: int) -> None:
    old = torch.tensor([-2.0])
    new = (old + math.log(ratio)).requires_grad_()
    found = policy_loss(new, old, torch.tensor([advantage]), clip=0.2)
    assert float(found.loss.detach()) == pytest.approx(loss, rel=1e-6)
    assert float(found.clipped) == clipped
    assert float(found.ratio) == pytest.approx(ratio, rel=1e-6)
    assert float(found.approximate_kl) == pytest.approx(0.5 * math.log(ratio) ** 2, abs=1e-7)
    found.loss.sum().backward()
    assert new.grad is not None
    assert (float(new.grad) == 0) == bool(clipped)


@pytest.mark.parametrize(
    ("value", "old", "target", "loss", "clipped"),
    [
        (1.0, 1.0, 3.0, 2.0, 0),
        (2.0, 1.0, 3.0, 0.5 * 1.8**2, 1),  # moved by more than 0.2: counts as 1.2
        (0.0, 1.0, 3.0, 4.5, 0),
    ],
)
def test_value_loss_by_hand(value: float, old: float, target: float, loss: float, clipped: int) -> None:
    found = value_loss(torch.tensor([value]), torch.tensor([old]), torch.tensor([target]))
    assert float(found.loss) == pytest.approx(loss)
    assert float(found.clipped) == clipped


def test_explained_variance() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.zeros(4), returns) == 0
    assert explained_variance(torch.zeros(4), torch.ones(4)) == 0
