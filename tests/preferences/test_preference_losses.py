from __future__ import annotations

import math

import pytest
import torch

from inkfish.preferences.advantages import grpo, rloo
from inkfish.preferences.dpo import best_of_n_dpo_loss, dpo_loss
from inkfish.preferences.kl import KLController, best_of_n_kl, k1, k3
from inkfish.preferences.reward_losses import best_of_n_loss, label_pairs_loss, pairs_loss, ratings_loss


def test_best_of_four_by_hand() -> None:
    # e^0, e^1, e^2, e^0: softmax of the third is 7.389 / 12.107
    scores = torch.tensor([[0.0, 1.0, 2.0, 0.0]])
    found = best_of_n_loss(scores, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))
    assert float(found) == pytest.approx(-math.log(math.e**2 / (2 + math.e + math.e**2)), rel=1e-6)


def test_equal_scores_lose_log_n_and_ties_share() -> None:
    assert float(best_of_n_loss(torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]]))) == pytest.approx(
        math.log(4)
    )
    scores = torch.tensor([[2.0, 2.0, 0.0]])
    shared = best_of_n_loss(scores, torch.tensor([[0.5, 0.5, 0.0]]))
    single = best_of_n_loss(scores, torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(shared, single)


def test_pairs_by_hand() -> None:
    found = pairs_loss(torch.tensor([2.0]), torch.tensor([1.0]))
    assert float(found) == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)
    pair = torch.tensor([[2.0, 1.0]])
    torch.testing.assert_close(found, best_of_n_loss(pair, torch.tensor([[1.0, 0.0]])))
    tie = pairs_loss(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([0.5]))
    assert float(tie) == pytest.approx(math.log(2))


def test_pairs_of_a_label_by_hand() -> None:
    scores = torch.tensor([[1.0, 0.0, -1.0], [2.0, 2.0, 0.0], [5.0, 1.0, 3.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    one, two = math.log1p(math.exp(-1)), math.log1p(math.exp(-2))
    expected = [(one + two) / 2, two, 0.0]
    assert label_pairs_loss(scores, targets).tolist() == pytest.approx(expected)


def test_ratings_by_hand() -> None:
    assert ratings_loss(torch.tensor([1.0, 4.0]), torch.tensor([3.0, 4.0])).tolist() == [4.0, 0.0]


def test_leave_one_out_by_hand() -> None:
    found = rloo(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]))
    # the others mean 4, 3.5 and 1.5
    torch.testing.assert_close(found, torch.tensor([[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]]))


def test_group_relative_by_hand() -> None:
    found = grpo(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]), eps=0.0 + 1e-12)
    root = math.sqrt(7)  # ((1-3)² + (2-3)² + (6-3)²) / 2
    torch.testing.assert_close(found, torch.tensor([[-2 / root, -1 / root, 3 / root], [0.0, 0.0, 0.0]]))


def test_dpo_by_hand() -> None:
    found = dpo_loss(
        torch.tensor([-10.0]), torch.tensor([-12.0]), torch.tensor([-11.0]), torch.tensor([-11.0]), beta=0.5
    )
    assert float(found) == pytest.approx(math.log(1 + math.exp(-0.5 * 2)), rel=1e-6)


def test_best_of_two_is_dpo_and_of_four_by_hand() -> None:
    torch.manual_seed(0)
    policy, reference = torch.randn(5, 2), torch.randn(5, 2)
    pairwise = dpo_loss(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], beta=0.3)
    best = torch.tensor([[1.0, 0.0]]).expand(5, 2)
    torch.testing.assert_close(best_of_n_dpo_loss(policy, reference, best, beta=0.3), pairwise)
    four = best_of_n_dpo_loss(
        torch.tensor([[-1.0, -2.0, -3.0, -4.0]]),
        torch.tensor([[-2.0, -2.0, -2.0, -2.0]]),
        torch.tensor([[0.0, 1.0, 0.0, 0.0]]),
        beta=1.0,
    )
    total = math.exp(1) + 1 + math.exp(-1) + math.exp(-2)
    assert float(four) == pytest.approx(math.log(total), rel=1e-6)


def test_controller_by_hand() -> None:
    start = KLController(0.15, target=6.0, horizon=10_000)
    assert start.after(6.0, episodes=512).coefficient == pytest.approx(0.15)
    assert start.after(60.0, episodes=512).coefficient == pytest.approx(0.15 * (1 + 0.2 * 0.0512))
    assert start.after(0.0, episodes=512).coefficient == pytest.approx(0.15 * (1 - 0.2 * 0.0512))
    assert start.after(6.6, episodes=1000).coefficient == pytest.approx(0.15 * 1.01)
    assert KLController(0.15).after(60.0, episodes=512).coefficient == 0.15


def test_estimators_agree_with_the_exact_divergence() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.2, 0.2, 0.6]).log()
    exact = float((p.exp() * (p - q)).sum())
    assert float((p.exp() * k1(p, q)).sum()) == pytest.approx(exact, rel=1e-5)
    assert float((p.exp() * k3(p, q)).sum()) == pytest.approx(exact, rel=1e-5)
    assert (k3(p, q) >= 0).all()
    assert (k1(p, q) < 0).any()


def test_divergence_of_best_of_n() -> None:
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(4) == pytest.approx(0.636, abs=1e-3)
    assert best_of_n_kl(16) == pytest.approx(1.835, abs=1e-3)
