"""The loss of two heads: next tokens of the right reply, and which of several replies is the right one.

Wolf et al. 2019, section 3.2, as released: lm_coef × mean loss of the reply's tokens in the batch + mc_coef ×
mean cross-entropy of the choice.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.training.batches import IGNORED
from inkfish.training.loss import token_loss
from inkfish.training.optimise import Loss

__all__ = ["Candidates", "choice_scores", "dialogues", "double_loss"]


class Candidates(NamedTuple):
    """B dialogues with N candidates each, padded to T tokens; the last candidate is the right one."""

    ids: Tensor
    """(B·N, T) int64."""
    targets: Tensor
    """(B·N, T) int64, the token after each; IGNORED but in right replies."""
    segments: Tensor
    """(B·N, T) int64."""
    ends: Tensor
    """(B, N) int64, place of each row's last token."""
    cursor: int = 0
    """How many examples of the stream are used up after this batch."""

    @property
    def name(self) -> str:
        """Which examples these are, for messages."""
        return f"examples {self.cursor - len(self.ends):,} to {self.cursor - 1:,}"


def dialogues(batch: Candidates) -> int:
    """Return B: what the loss of a batch is divided by."""
    return len(batch.ends)


def choice_scores(hidden: Tensor, ends: Tensor, head: ScalarHead) -> Tensor:
    """Return the score of each candidate (B, N) from the states (B·N, T, C) at its last token."""
    rows = torch.arange(ends.numel(), device=ends.device)
    scores: Tensor = head(hidden[rows, ends.flatten()]).view(ends.shape)
    return scores


def double_loss(head: ScalarHead, *, lm_coef: float = 1.0, mc_coef: float = 1.0) -> Loss:
    """Return the loss of a batch, times its number of dialogues.

    Args:
        head: the choice head.
        lm_coef: weight of the replies' tokens.
        mc_coef: weight of the choice.
    """

    def loss(model: GPT2, batch: Candidates) -> Tensor:
        hidden = model.hidden(batch.ids, segments=batch.segments)  # (B·N, T, C)
        learned = batch.targets != IGNORED
        words = token_loss(model, hidden[learned], batch.targets[learned]) / learned.sum()
        scores = choice_scores(hidden, batch.ends, head)
        right = torch.full((len(scores),), scores.shape[1] - 1, device=scores.device)
        choice = F.cross_entropy(scores, right)
        return (lm_coef * words + mc_coef * choice) * len(scores)

    return loss
