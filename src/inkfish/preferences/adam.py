"""Adam as TensorFlow 1 has it: epsilon stands outside the bias correction.

The step is lr · √(1 - β₂ᵗ)/(1 - β₁ᵗ) · m/(√v + ε); torch's ε is in effect ε·√(1 - β₂ᵗ), at the first step
thirty times smaller. With torch's, reproductions of Ziegler et al. 2019 saw updates diverge six times as far.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from inkfish.training.optimizers import Optimizer, trained

__all__ = ["NAMES", "TensorFlowAdam", "make"]

NAMES = ("tf-adam", "adam")
"""What `make` makes."""


class TensorFlowAdam(torch.optim.Optimizer):
    """Adam without weight decay, in TensorFlow's form (Kingma and Ba 2015, end of section 2)."""

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step along the gradients."""
        assert closure is None, "gradients are computed before the step"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.move(parameter, group)

    def move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """Move one parameter."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        first, second = group["betas"]
        m, v, gradient = state["exp_avg"], state["exp_avg_sq"], parameter.grad
        assert gradient is not None, "asked only where there is one"
        state["step"] += 1
        t = int(state["step"])
        m.lerp_(gradient, 1 - first)
        v.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = group["lr"] * math.sqrt(1 - second**t) / (1 - first**t)
        parameter.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-size)


def make(name: str, model: nn.Module, *, lr: float) -> Optimizer:
    """Return "tf-adam", or "adam" with torch's epsilon; both as the released code set them, without decay."""
    assert name in NAMES, f"{name!r} is not an optimizer"
    names = trained(model)
    if name == "tf-adam":
        return Optimizer(name, [TensorFlowAdam(names.values(), lr=lr)], names)
    return Optimizer(name, [torch.optim.Adam(names.values(), lr=lr, eps=1e-5, fused=True)], names)
