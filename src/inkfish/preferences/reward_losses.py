"""Losses of reward models: the best of several, pairs, ratings. Ties share the target."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["best_of_n_loss", "label_pairs_loss", "pairs_loss", "ratings_loss"]


def best_of_n_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Return -log softmax(scores)[best] of each label (Ziegler et al. 2019, equation 1), (B,).

    Args:
        scores: (B, N), of the candidates.
        targets: (B, N), the probability that each is the best: 1 for the chosen one, 1/k for k that tie.
    """
    return -(targets * F.log_softmax(scores.float(), -1)).sum(-1)


def pairs_loss(chosen: Tensor, rejected: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return -log sigmoid(chosen - rejected) of each pair (Bradley and Terry 1952), (B,).

    Args:
        chosen: (B,).
        rejected: (B,).
        targets: (B,), probability that the first is the better one; None is 1, 1/2 is a tie.
    """
    margin = chosen.float() - rejected.float()
    if targets is None:
        return -F.logsigmoid(margin)
    return -(targets * F.logsigmoid(margin) + (1 - targets) * F.logsigmoid(-margin))


def label_pairs_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of each label's pairs: the best against each other one, (B,).

    Args:
        scores: (B, N), of the candidates.
        targets: (B, N), the probability that each is the best; equal ones make no pair.
    """
    better = (targets[:, :, None] > targets[:, None, :]).float()  # (B, N, N)
    losses = pairs_loss(scores[:, :, None], scores[:, None, :])
    return (losses * better).sum((1, 2)) / better.sum((1, 2)).clamp(min=1)


def ratings_loss(scores: Tensor, ratings: Tensor) -> Tensor:
    """Return the squared error of each score against its rating, (B,)."""
    return (scores.float() - ratings) ** 2
