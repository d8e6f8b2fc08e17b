from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.preferences import adam
from inkfish.preferences.experience import (
    Algorithm,
    Experience,
    Rollout,
    grpo_algorithm,
    minibatches,
    ppo_algorithm,
    rloo_algorithm,
)
from inkfish.preferences.policy import Policy
from inkfish.preferences.sequences import Sequences, score_responses, temper

ARMS = ModelConfig(n_layer=1, n_head=1, n_embd=8, n_positions=4, vocab_size=3)
MAKERS: dict[str, Callable[[], Algorithm]] = {
    "ppo": lambda: ppo_algorithm(temperature=1.0, whiten_rewards=False),
    "rloo": lambda: rloo_algorithm(temperature=1.0, samples=8),
    "grpo": lambda: grpo_algorithm(temperature=1.0, samples=8),
}


def pull(policy: Policy, reference: GPT2, rewards: torch.Tensor, episodes: int = 512) -> Rollout:
    """Sample one of three tokens after the token 0, as often as there are episodes."""
    with torch.no_grad():
        p = temper(policy.trunk(torch.tensor([[0]]))[0, -1], 1.0).exp()
        arms = torch.multinomial(p, episodes, replacement=True)[:, None]
        ids = torch.cat([torch.zeros_like(arms), arms], 1)
        sequences = Sequences(ids, torch.ones_like(ids, dtype=torch.bool), 1)
        judged = policy(sequences, temperature=1.0)
        then = score_responses(reference, sequences, temperature=1.0)
    return Rollout(
        sequences, rewards[arms[:, 0]], judged.logprobs, then.logprobs, judged.values, judged.entropy
    )


@pytest.mark.parametrize("name", MAKERS)
def test_a_bandit_of_three_tokens_reaches_the_analytic_optimum(name: str) -> None:
    torch.manual_seed(1)
    policy, reference = Policy(GPT2(ARMS)), GPT2(ARMS)
    with torch.no_grad():
        policy.trunk.wte.weight.mul_(8)
    reference.load_state_dict(policy.trunk.state_dict())
    rewards, beta, algorithm = torch.tensor([0.0, 1.0, 0.4]), 0.5, MAKERS[name]()
    first = temper(reference(torch.tensor([[0]]))[0, -1].detach(), 1.0)
    optimum = torch.softmax(first + rewards / beta, -1)  # π* = ρ exp(r/β) / Z
    assert float((optimum - first.exp()).abs().max()) > 0.2
    optimizer, steps = adam.make("tf-adam", policy, lr=1e-2), 150
    for step in range(steps):
        experience = algorithm.experience(pull(policy, reference, rewards), beta)
        update = algorithm.loss(policy, experience)
        (update.loss / update.actions).backward()
        optimizer.step(1 - step / steps)
    found = temper(policy.trunk(torch.tensor([[0]]))[0, -1].detach(), 1.0).exp()
    torch.testing.assert_close(found, optimum, rtol=0, atol=0.02)


def rollout() -> tuple[Policy, Rollout]:
    torch.manual_seed(0)
    policy = Policy(GPT2(ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17)))
    ids = torch.randint(0, 17, (8, 7))
    sequences = Sequences(ids, torch.ones_like(ids, dtype=torch.bool), 3)
    with torch.no_grad():
        judged = policy(sequences, temperature=0.7)
    reference = judged.logprobs + 0.1 * torch.randn_like(judged.logprobs)
    return policy, Rollout(
        sequences, torch.randn(8), judged.logprobs, reference, judged.values, judged.entropy
    )


@pytest.mark.parametrize(
    "algorithm",
    [
        ppo_algorithm(temperature=0.7),
        rloo_algorithm(temperature=0.7, samples=4),
        grpo_algorithm(temperature=0.7, samples=4),
    ],
    ids=lambda a: str(a.name),
)
def test_before_the_first_step_the_ratio_is_1(algorithm: Algorithm) -> None:
    policy, seen = rollout()
    experience = algorithm.experience(seen, 0.1)
    update = algorithm.loss(policy, experience)
    assert update.ratios == pytest.approx((1, 1, 1), abs=1e-5)
    assert update.approximate_kl == pytest.approx(0, abs=1e-9)
    assert update.clipped == 0
    assert update.actions == (8 if algorithm.name == "rloo" else 24)
    moved = algorithm.loss(policy, experience._replace(logprobs=experience.logprobs - 0.1))
    assert moved.ratios == pytest.approx([math.exp(0.1)] * 3, rel=1e-4)  # of a token, for RLOO too


def test_the_gradient_of_rloo_is_reinforce_with_the_others_as_baseline() -> None:
    policy, seen = rollout()
    algorithm = rloo_algorithm(temperature=0.7, samples=2)
    algorithm.loss(policy, algorithm.experience(seen, 0.3)).loss.backward()
    found = policy.trunk.wte.weight.grad
    policy.zero_grad()
    rewards = seen.scores - 0.3 * (seen.logprobs - seen.reference).sum(1)
    baseline = rewards.view(4, 2).flip(1).flatten()
    logprobs = policy(seen.sequences, temperature=0.7).logprobs.sum(1)
    (-(rewards - baseline) * logprobs).sum().backward()
    torch.testing.assert_close(found, policy.trunk.wte.weight.grad, rtol=1e-4, atol=1e-5)


def test_divergence_is_paid_for_once() -> None:
    _, seen = rollout()
    free = seen._replace(scores=torch.zeros(8))
    experience = ppo_algorithm(temperature=0.7, whiten_rewards=False, lam=1.0).experience(free, 0.5)
    torch.testing.assert_close(experience.returns[:, 0], -0.5 * seen.kl, rtol=1e-4, atol=1e-5)


def test_minibatches_hold_each_row_once_an_epoch_in_an_order_of_the_seed() -> None:
    _, seen = rollout()
    experience = ppo_algorithm(temperature=0.7).experience(seen, 0.1)._replace(cursor=8)

    def order(seed: int) -> list[list[float]]:
        pieces = list(minibatches(experience, size=4, epochs=2, seed=seed))
        assert all(piece.cursor == 8 for piece in pieces)
        return [piece.advantages[:, 0].tolist() for piece in pieces]

    first = order(5)
    assert len(first) == 4
    assert (
        sorted(first[0] + first[1])
        == sorted(first[2] + first[3])
        == sorted(experience.advantages[:, 0].tolist())
    )
    assert first[:2] != first[2:]
    assert order(5) == first != order(6)


def test_responses_to_a_query_stay_together() -> None:
    _, seen = rollout()
    seen = seen._replace(sequences=seen.sequences._replace(group=4))
    experience = rloo_algorithm(temperature=0.7, samples=4).experience(seen, 0.1)
    first = [set(b.advantages[:, 0].tolist()) for b in minibatches(experience, size=4, epochs=1, seed=1)]
    whole = experience.advantages[:, 0].tolist()
    assert sorted(map(sorted, first)) == sorted(map(sorted, (set(whole[:4]), set(whole[4:]))))


def test_a_batch_of_experience_has_a_name() -> None:
    _, seen = rollout()
    experience: Experience = ppo_algorithm(temperature=0.7).experience(seen, 0.1)._replace(cursor=1024)
    assert experience.name == "8 of the responses up to query 1,024"
    assert math.isfinite(float(experience.advantages.sum()))
