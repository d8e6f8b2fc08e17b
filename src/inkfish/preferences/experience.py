"""From sampled and scored responses to what an update learns from, for PPO, RLOO and GRPO.

They differ in what a response is compared with: PPO takes its value head's expectation at each token, RLOO
and GRPO the other responses to the same query. All three pay for divergence in the reward, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inkfish.preferences.advantages import grpo, rloo
from inkfish.preferences.kl import k1
from inkfish.preferences.policy import Policy
from inkfish.preferences.ppo import gae, policy_loss, token_rewards, value_loss, whiten
from inkfish.preferences.sequences import Sequences

__all__ = ["Algorithm", "Experience", "Rollout", "Update", "grpo_algorithm", "minibatches", "ppo_algorithm"]
__all__ += ["rloo_algorithm"]


class Rollout(NamedTuple):
    """B responses, scored, with what the policy that wrote them thought of their tokens."""

    sequences: Sequences
    """Queries and responses; those to one query stand together."""
    scores: Tensor
    """(B,), rewards of whole responses."""
    logprobs: Tensor
    """(B, L), at the temperature."""
    reference: Tensor
    """(B, L), likewise under the model that training began from."""
    values: Tensor
    """(B, L), the value head's."""
    entropy: Tensor
    """(B, L), of the distributions at the temperature."""

    @property
    def kl(self) -> Tensor:
        """(B,), nats by which the policy left the reference in each response; may be negative."""
        return k1(self.logprobs, self.reference).sum(1)


class Experience(NamedTuple):
    """Responses with how good each action was; the batch that `inkfish.training.optimise` takes."""

    ids: Tensor
    """(B, T) queries and responses."""
    mask: Tensor
    """(B, T) bool, which are real."""
    targets: Tensor
    """The actions: tokens (B, L), or responses (B, 1); it only counts the terms of the loss."""
    logprobs: Tensor
    """(B, L), when they were sampled."""
    advantages: Tensor
    """(B, L), or (B, 1) where a response is one action."""
    values: Tensor
    """(B, L), when they were sampled."""
    returns: Tensor
    """(B, L), what the value head should have said."""
    group: int = 1
    """Rows that stand together and answer the same query."""
    cursor: int = 0
    """Queries of the run's stream that are used up."""

    @property
    def name(self) -> str:
        """Which responses these are, for messages."""
        return f"{len(self.ids)} of the responses up to query {self.cursor:,}"

    @property
    def sequences(self) -> Sequences:
        """The queries and responses."""
        return Sequences(self.ids, self.mask, self.logprobs.shape[1], self.group)

    def rows(self, chosen: Tensor) -> Experience:
        """Return some of the rows."""
        tensors: dict[str, Any] = {
            name: part[chosen] for name, part in self._asdict().items() if isinstance(part, Tensor)
        }
        return self._replace(**tensors)


class Update(NamedTuple):
    """The loss of some experience and what there is to say about it; sums over actions, but for the ratio."""

    loss: Tensor
    """Sum over actions, with gradient."""
    policy: float
    """The policy's part of the loss."""
    value: float
    """The value's part, not weighted."""
    approximate_kl: float
    """Half the squared change of log-probabilities."""
    clipped: float
    """Actions whose loss was clipped."""
    value_clipped: float
    """Values whose loss was clipped."""
    entropy: float
    """Of the distributions now, nats a token."""
    ratios: tuple[float, float, float]
    """Smallest, mean and largest probability of a token now / when sampled."""
    actions: int
    """How many."""


class Algorithm(NamedTuple):
    """One way to learn from responses."""

    name: str
    experience: Callable[[Rollout, float], Experience]
    """(responses, KL coefficient) → what to learn from; over a whole update at once, as it whitens."""
    loss: Callable[[Policy, Experience], Update]


def ppo_algorithm(
    *,
    temperature: float,
    gamma: float = 1.0,
    lam: float = 0.95,
    whiten_rewards: bool = True,
    clip: float = 0.2,
    value_clip: float = 0.2,
    value_weight: float = 0.1,
) -> Algorithm:
    """Return PPO as in Ziegler et al. 2019, section 2.2, with the released code's settings."""

    def experience(rollout: Rollout, coefficient: float) -> Experience:
        rewards = token_rewards(rollout.scores, rollout.logprobs, rollout.reference, coefficient=coefficient)
        if whiten_rewards:
            rewards = whiten(rewards, shift_mean=False)
        advantages = gae(rewards, rollout.values, gamma=gamma, lam=lam)
        return gathered(rollout, whiten(advantages), advantages + rollout.values)

    def loss(policy: Policy, seen: Experience) -> Update:
        judged = policy(seen.sequences, temperature=temperature)
        acted = policy_loss(judged.logprobs, seen.logprobs, seen.advantages, clip=clip)
        guessed = value_loss(judged.values, seen.values, seen.returns, clip=value_clip)
        total = acted.loss.sum() + value_weight * guessed.loss.sum()
        return Update(
            total,
            policy=float(acted.loss.detach().sum()),
            value=float(guessed.loss.detach().sum()),
            approximate_kl=float(acted.approximate_kl.sum()),
            clipped=float(acted.clipped.sum()),
            value_clipped=float(guessed.clipped.sum()),
            entropy=float(judged.entropy.mean()),
            ratios=extremes(acted.ratio),
            actions=seen.targets.numel(),
        )

    return Algorithm("ppo", experience, loss)


def rloo_algorithm(*, temperature: float, samples: int, clip: float = 0.2) -> Algorithm:
    """Return RLOO (Ahmadian et al. 2024): a whole response is one action, its ratio clipped as PPO's."""

    def experience(rollout: Rollout, coefficient: float) -> Experience:
        rewards = rollout.scores - coefficient * rollout.kl
        return gathered(rollout, rloo(rewards.view(-1, samples)).view(-1, 1))

    def loss(policy: Policy, seen: Experience) -> Update:
        judged = policy(seen.sequences, temperature=temperature)
        now, then = judged.logprobs.sum(1, keepdim=True), seen.logprobs.sum(1, keepdim=True)
        update = without_values(now, then, judged.entropy, seen, clip)
        # a response's ratio is a product over its tokens; what is watched is a probability, as elsewhere
        return update._replace(ratios=extremes(torch.exp(judged.logprobs - seen.logprobs).detach()))

    return Algorithm("rloo", experience, loss)


def grpo_algorithm(*, temperature: float, samples: int, clip: float = 0.2) -> Algorithm:
    """Return GRPO (Shao et al. 2024): each token of a response has the response's advantage.

    The divergence is part of the reward, as in the other algorithms, and no term of the loss.
    """

    def experience(rollout: Rollout, coefficient: float) -> Experience:
        rewards = rollout.scores - coefficient * rollout.kl
        advantages = grpo(rewards.view(-1, samples)).view(-1, 1)
        return gathered(rollout, advantages.expand_as(rollout.logprobs))

    def loss(policy: Policy, seen: Experience) -> Update:
        judged = policy(seen.sequences, temperature=temperature)
        return without_values(judged.logprobs, seen.logprobs, judged.entropy, seen, clip)

    return Algorithm("grpo", experience, loss)


def gathered(rollout: Rollout, advantages: Tensor, returns: Tensor | None = None) -> Experience:
    """Return a rollout as experience."""
    return Experience(
        ids=rollout.sequences.ids,
        mask=rollout.sequences.mask,
        targets=torch.zeros_like(advantages, dtype=torch.int64),
        logprobs=rollout.logprobs,
        advantages=advantages,
        values=rollout.values,
        returns=rollout.values if returns is None else returns,
        group=rollout.sequences.group,
    )


def without_values(now: Tensor, then: Tensor, entropy: Tensor, seen: Experience, clip: float) -> Update:
    """Return the update of an algorithm that leaves the value head alone."""
    acted = policy_loss(now, then, seen.advantages, clip=clip)
    return Update(
        acted.loss.sum(),
        policy=float(acted.loss.detach().sum()),
        value=0.0,
        approximate_kl=float(acted.approximate_kl.sum()),
        clipped=float(acted.clipped.sum()),
        value_clipped=0.0,
        entropy=float(entropy.mean()),
        ratios=extremes(acted.ratio),
        actions=seen.targets.numel(),
    )


def extremes(ratio: Tensor) -> tuple[float, float, float]:
    """Return the smallest, the mean and the largest."""
    return float(ratio.min()), float(ratio.mean()), float(ratio.max())


def minibatches(experience: Experience, *, size: int, epochs: int, seed: int) -> Iterator[Experience]:
    """Yield all rows `epochs` times in pieces of `size`, each time in a new order that the seed decides.

    Responses to one query stay together, so that it is read once.

    Args:
        experience: B rows.
        size: divides B, and is a multiple of the rows of a query.
        epochs: passes over the rows.
        seed: of this update.
    """
    rows, group = len(experience.ids), experience.group
    assert rows % size == 0 == size % group, f"{rows} rows, pieces of {size}, groups of {group}"
    draw = np.random.Generator(np.random.Philox(key=np.array([seed, 0], np.uint64)))
    for _ in range(epochs):
        groups = torch.from_numpy(draw.permutation(rows // group))
        order = (groups[:, None] * group + torch.arange(group)).flatten().to(experience.ids.device)
        for start in range(0, rows, size):
            yield experience.rows(order[start : start + size])
