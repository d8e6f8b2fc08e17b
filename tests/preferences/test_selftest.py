"""The self-test passes as the code is, and refuses each flipped sign: the accident of 2019 included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from inkfish.errors import RunError
from inkfish.preferences import dpo, experience, ppo, reward_losses, selftest
from inkfish.preferences.experience import Algorithm, grpo_algorithm, ppo_algorithm, rloo_algorithm

ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "ppo": lambda: ppo_algorithm(temperature=0.7),
    "rloo": lambda: rloo_algorithm(temperature=0.7, samples=4),
    "grpo": lambda: grpo_algorithm(temperature=0.7, samples=4),
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_code_as_it_is_passes(name: str, seed: int) -> None:
    state = torch.get_rng_state()
    found = selftest.check_algorithm(ALGORITHMS[name](), seed=seed)
    assert found.after > 0.5
    assert found.returned < 0.1 * found.moved
    assert torch.equal(torch.get_rng_state(), state)


def flipped_rewards(reward: float, penalty: float) -> Callable[..., Tensor]:
    def mutant(scores: Tensor, logprobs: Tensor, reference: Tensor, *, coefficient: float) -> Tensor:
        return ppo.token_rewards(reward * scores, logprobs, reference, coefficient=penalty * coefficient)

    return mutant


@pytest.mark.parametrize(
    ("reward", "penalty", "words"),
    [
        (-1, 1, "the reward's sign is wrong"),
        (1, -1, "the penalty's sign is wrong"),
        (-1, -1, "the reward's sign is wrong"),
    ],
    ids=["reward", "penalty", "both, as in 2019"],
)
def test_flipped_signs_are_refused(
    monkeypatch: pytest.MonkeyPatch, reward: float, penalty: float, words: str
) -> None:
    monkeypatch.setattr(experience, "token_rewards", flipped_rewards(reward, penalty))
    with pytest.raises(RunError, match=words):
        selftest.check_algorithm(ppo_algorithm(temperature=0.7))


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_flipped_signs_of_group_algorithms_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain = getattr(experience, name)
    monkeypatch.setattr(experience, name, lambda scores: plain(-scores))
    with pytest.raises(RunError, match=f"self-test of {name}"):
        selftest.check_algorithm(ALGORITHMS[name]())


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_a_flipped_penalty_of_group_algorithms_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(experience, "k1", lambda logprobs, reference: reference - logprobs)
    with pytest.raises(RunError, match="the penalty's sign is wrong"):
        selftest.check_algorithm(ALGORITHMS[name]())


def test_a_flipped_loss_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ppo.policy_loss

    def mutant(logprobs: Tensor, old: Tensor, advantages: Tensor, *, clip: float) -> Any:
        return plain(logprobs, old, -advantages, clip=clip)

    monkeypatch.setattr(experience, "policy_loss", mutant)
    with pytest.raises(RunError, match="self-test of ppo"):
        selftest.check_algorithm(ppo_algorithm(temperature=0.7))


def test_reward_models_and_dpo_pass() -> None:
    assert selftest.check_reward_learning() > 0.9
    assert selftest.check_dpo() > 0.1


def test_labels_read_the_wrong_way_round_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, plain_dpo = reward_losses.best_of_n_loss, dpo.best_of_n_dpo_loss

    monkeypatch.setattr(reward_losses, "best_of_n_loss", lambda scores, targets: plain(-scores, targets))
    monkeypatch.setattr(
        dpo, "best_of_n_dpo_loss", lambda now, then, targets, beta: plain_dpo(then, now, targets, beta=beta)
    )
    with pytest.raises(RunError, match="self-test of the reward model"):
        selftest.check_reward_learning()
    with pytest.raises(RunError, match="self-test of dpo"):
        selftest.check_dpo()


def test_targets_of_labels() -> None:
    assert selftest.choice_targets(2, 4) == [0, 0, 1, 0]
    assert selftest.choice_targets(None, 4, tied=(0, 3)) == [0.5, 0, 0, 0.5]
    with pytest.raises(AssertionError, match="at least one candidate"):
        selftest.choice_targets(None, 4)
