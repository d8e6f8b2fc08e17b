"""Advantages without a value head: each response is compared with others to the same query."""

from __future__ import annotations

from torch import Tensor

__all__ = ["grpo", "rloo"]


def rloo(scores: Tensor) -> Tensor:
    """Return each score minus the mean of the others to the same query (Ahmadian et al. 2024, section 3.2).

    Args:
        scores: (Q, K), Q queries with K ≥ 2 responses each; the KL penalty is part of them.
    """
    k = scores.shape[1]
    assert k >= 2, "leave-one-out needs two responses to a query"
    return (scores - scores.mean(1, keepdim=True)) * (k / (k - 1))


def grpo(scores: Tensor, *, eps: float = 1e-4) -> Tensor:
    """Return each score minus its group's mean, over its group's deviation (Shao et al. 2024, section 4.1).

    The deviation is the sample's, as in TRL. A group of equal scores gives 0.

    Args:
        scores: (Q, K), K ≥ 2.
        eps: added to the deviation.
    """
    assert scores.shape[1] >= 2, "a deviation needs two responses to a query"
    return (scores - scores.mean(1, keepdim=True)) / (scores.std(1, keepdim=True) + eps)
