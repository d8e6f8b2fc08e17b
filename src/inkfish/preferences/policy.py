"""The policy: a GPT-2 with a value head on the same trunk (Ziegler et al. 2019, section 2.2)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.preferences.sequences import Sequences, score_responses

__all__ = ["Judged", "Policy"]


class Judged(NamedTuple):
    """What the policy thinks of responses, each (B, L) float32."""

    logprobs: Tensor
    """Of the tokens, at the temperature."""
    entropy: Tensor
    """Of the distributions."""
    values: Tensor
    """What reward is still expected before each token; read where the token is predicted."""


class Policy(nn.Module):
    """Writes, and guesses the reward."""

    def __init__(self, trunk: GPT2) -> None:
        """Put a value head on a language model; its weights are 0, so the first values are."""
        super().__init__()
        self.trunk = trunk
        self.value = ScalarHead(trunk.config.n_embd, std=0.0)

    def forward(self, sequences: Sequences, *, temperature: float) -> Judged:
        """Judge responses."""
        scored = score_responses(self.trunk, sequences, temperature=temperature)
        return Judged(scored.logprobs, scored.entropy, self.value(scored.hidden))
