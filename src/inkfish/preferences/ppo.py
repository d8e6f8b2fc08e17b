"""PPO's formulas as Ziegler et al. 2019 used them: rewards per token, advantages, clipped losses.

All tensors are (B, L): B episodes, a reward, a value and a log-probability for each token of the response.
Means are over real tokens. Left out: an entropy bonus, which the paper did not find to help.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PolicyLoss", "ValueLoss", "explained_variance", "gae", "policy_loss", "token_rewards"]
__all__ += ["value_loss", "whiten"]


class PolicyLoss(NamedTuple):
    """The policy's loss with its diagnostics; all but the first are without gradient."""

    loss: Tensor
    """(B, L), of each token."""
    clipped: Tensor
    """(B, L), 1 where the clipped loss was the larger one."""
    ratio: Tensor
    """(B, L), probability now / when sampled."""
    approximate_kl: Tensor
    """(B, L), half the squared difference of log-probabilities."""


class ValueLoss(NamedTuple):
    """The value's loss."""

    loss: Tensor
    """(B, L), of each token."""
    clipped: Tensor
    """(B, L), 1 where the clipped loss was the larger one."""


def token_rewards(scores: Tensor, logprobs: Tensor, reference: Tensor, *, coefficient: float) -> Tensor:
    """Return the reward of each token (equation 2): -β · (log π - log ρ), and at the last one the score.

    Args:
        scores: (B,), of whole responses.
        logprobs: (B, L) under the policy that sampled.
        reference: (B, L) under the model that training began from.
        coefficient: β.
    """
    rewards = -coefficient * (logprobs - reference)
    rewards[:, -1] += scores
    return rewards


def whiten(values: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Return values with deviation 1, and mean 0 unless it is to stay; the variance is the population's."""
    mean = values.mean()
    whitened = (values - mean) * torch.rsqrt(values.var(correction=0) + 1e-8)
    return whitened if shift_mean else whitened + mean


def gae(rewards: Tensor, values: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> Tensor:
    """Return generalised advantage estimates (Schulman et al. 2016, equation 16), no value after the end."""
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * following - values
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(deltas[:, 0])
    for t in range(deltas.shape[1] - 1, -1, -1):
        running = deltas[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, *, clip: float = 0.2) -> PolicyLoss:
    """Return the clipped surrogate loss (Schulman et al. 2017, equation 7), to be made small.

    Shapes are (B, L) for tokens, or (B,) where a whole response is one action.
    """
    ratio = torch.exp(logprobs - old)
    free, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return PolicyLoss(
        torch.maximum(free, clipped),
        (clipped > free).float().detach(),
        ratio.detach(),
        (0.5 * (logprobs - old) ** 2).detach(),
    )


def value_loss(values: Tensor, old: Tensor, returns: Tensor, *, clip: float = 0.2) -> ValueLoss:
    """Return half the squared error, the larger of values as they are and within `clip` of the old ones."""
    free = (values - returns) ** 2
    clipped = (values.clamp(old - clip, old + clip) - returns) ** 2
    return ValueLoss(0.5 * torch.maximum(free, clipped), (clipped > free).float().detach())


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """Return 1 - var(returns - values) / var(returns); 0 where the returns are all the same."""
    total = float(returns.var(correction=0))
    return 1 - float((returns - values).var(correction=0)) / total if total > 0 else 0.0
