"""Heads: one number from each hidden state of a GPT-2, such as a value, a reward or a choice.

They are modules of their own, kept in `heads.safetensors` (`inkfish.weights.heads`): the model stays a GPT-2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inkfish.model import GPT2

__all__ = ["ScalarHead", "with_heads"]


class ScalarHead(nn.Module):
    """A linear layer with one output, computed in float32 whatever the model's precision."""

    def __init__(self, n_embd: int, *, std: float = 0.02, bias: bool = True) -> None:
        """Make a head whose weights are drawn from torch's global generator.

        Args:
            n_embd: C, channels of the hidden states.
            std: standard deviation of the initial weights, 0 or more; the bias begins at 0.
            bias: whether there is one.
        """
        super().__init__()
        assert std >= 0, "a standard deviation is not negative"
        self.weight = nn.Parameter(std * torch.randn(n_embd))
        self.bias = nn.Parameter(torch.zeros(1)) if bias else None

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (…, C) → float32 (…)."""
        with torch.autocast(hidden.device.type, enabled=False):
            scores = hidden.float() @ self.weight.float()
            return scores if self.bias is None else scores + self.bias.float()[0]

    @torch.no_grad()
    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of the parameters: weight (C,) and, if there is one, bias (1,)."""
        return {name: p.detach().float().cpu().numpy().copy() for name, p in self.named_parameters()}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, NDArray[np.generic]]) -> None:
        """Copy what `tensors` gave into the parameters."""
        own = dict(self.named_parameters())
        assert own.keys() == tensors.keys(), f"a head with {', '.join(tensors)} instead of {', '.join(own)}"
        for name, parameter in own.items():
            value = torch.from_numpy(np.array(tensors[name], np.float32))
            assert value.shape == parameter.shape, f"{name} is {value.shape}, not {parameter.shape}"
            parameter.copy_(value)


def with_heads(model: GPT2, heads: Mapping[str, nn.Module]) -> nn.Module:
    """Return one module of a model and its heads, for an optimizer.

    The model's parameters keep their names, those of a head are called NAME.weight and NAME.bias.
    """
    whole = nn.Module()
    for name, child in [*model.named_children(), *heads.items()]:
        whole.add_module(name, child)
    return whole
