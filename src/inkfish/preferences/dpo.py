"""Direct preference optimisation: the policy is its own reward model (Rafailov et al. 2023)."""

from __future__ import annotations

from torch import Tensor

from inkfish.preferences.reward_losses import best_of_n_loss, pairs_loss

__all__ = ["best_of_n_dpo_loss", "dpo_loss", "implicit_rewards"]


def implicit_rewards(logprobs: Tensor, reference: Tensor, *, beta: float) -> Tensor:
    """Return β · log π(response)/ρ(response) (section 4); log-probabilities are sums over tokens."""
    return beta * (logprobs - reference)


def dpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_reference: Tensor, rejected_reference: Tensor, *, beta: float
) -> Tensor:
    """Return -log sigmoid of the difference of implicit rewards (equation 7), (B,).

    Args:
        chosen: (B,) log-probability of the preferred response, summed over tokens, under the policy.
        rejected: likewise of the other one.
        chosen_reference: (B,) under the model that training began from.
        rejected_reference: likewise.
        beta: how dear divergence is.
    """
    return pairs_loss(
        implicit_rewards(chosen, chosen_reference, beta=beta),
        implicit_rewards(rejected, rejected_reference, beta=beta),
    )


def best_of_n_dpo_loss(logprobs: Tensor, reference: Tensor, targets: Tensor, *, beta: float) -> Tensor:
    """Return the loss of a whole best-of-n label: softmax over the implicit rewards of all n, (B,).

    The first choice of a Plackett-Luce ranking (appendix A.3 of the paper); with n = 2 it is `dpo_loss`.

    Args:
        logprobs: (B, N) under the policy, summed over tokens.
        reference: (B, N).
        targets: (B, N), the probability that each is the best.
        beta: how dear divergence is.
    """
    return best_of_n_loss(implicit_rewards(logprobs, reference, beta=beta), targets)
