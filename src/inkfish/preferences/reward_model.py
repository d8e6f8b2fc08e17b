"""The reward model: a GPT-2 with a scalar head, read at the last real token, then gain and bias.

Ziegler et al. 2019, section 2.1; the released code's initialisation. Gain and bias are set so that the scores
of reference samples have mean 0 and deviation 1, which gives the KL coefficient a meaning.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inkfish.errors import RunError
from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.preferences.sequences import Sequences, response_states

__all__ = ["Normalisation", "RewardModel", "last_real", "normalisation"]


class Normalisation(NamedTuple):
    """What makes scores have mean 0 and deviation 1: score · gain + bias."""

    gain: float
    bias: float


class RewardModel(nn.Module):
    """Scores whole sequences."""

    def __init__(self, trunk: GPT2) -> None:
        """Put a head on a copy of the language model.

        Args:
            trunk: trained along; a model of its own, never the policy's, as that overfits.
        """
        super().__init__()
        width = trunk.config.n_embd
        self.trunk = trunk
        self.reward = ScalarHead(width, std=1 / math.sqrt(width + 1))
        self.gain = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, T) ids and which are real → scores (B,) float32, read at the last real token."""
        hidden = self.trunk.hidden(ids, mask=None if bool(mask.all()) else mask)
        state = hidden[torch.arange(len(ids), device=ids.device), last_real(mask)]  # (B, C)
        return self.reward(state) * self.gain + self.bias

    def scores(self, sequences: Sequences) -> Tensor:
        """Score responses (B,), as `forward` does; what several of them share is read once."""
        states = response_states(self.trunk, sequences)  # (B, L + 1, C)
        rows = torch.arange(len(states), device=states.device)
        return self.reward(states[rows, sequences.counts.sum(1)]) * self.gain + self.bias

    @torch.no_grad()
    def normalise(self, scores: Tensor) -> None:
        """Set gain and bias so that these scores, which this model gave, get mean 0 and deviation 1.

        Raises:
            RunError: the scores are all the same.
        """
        found = normalisation(scores)
        self.gain.mul_(found.gain)
        self.bias.mul_(found.gain).add_(found.bias)

    @torch.no_grad()
    def fold(self) -> None:
        """Move gain and bias into the head, which alone is saved; the scores stay."""
        self.reward.weight.mul_(self.gain)
        assert self.reward.bias is not None, "the reward head has a bias"
        self.reward.bias.mul_(self.gain).add_(self.bias)
        self.gain.fill_(1.0)
        self.bias.zero_()


def last_real(mask: Tensor) -> Tensor:
    """Return the index of the last real token of each row, (B,)."""
    assert bool(mask.any(-1).all()), "a row without a real token has no score"
    return mask.shape[-1] - 1 - mask.int().flip(-1).argmax(-1)


def normalisation(scores: Tensor) -> Normalisation:
    """Return gain and bias for scores; the deviation is the population's.

    Raises:
        RunError: the scores are all the same, or not finite.
    """
    mean, deviation = float(scores.double().mean()), float(scores.double().std(correction=0))
    if not (math.isfinite(deviation) and deviation > 1e-8 * max(1.0, abs(mean))):
        raise RunError(
            f"the reward of {len(scores):,} reference samples is always {mean:g}: there is nothing to learn "
            "from it; give another reward, or more varied prompts"
        )
    return Normalisation(1 / deviation, -mean / deviation)
