"""Optimizers with decay groups, one face for all of them: AdamW, Muon with AdamW, SGD and Adafactor.

Their state goes to and comes from tensors named after the parameters, so that it can be kept in safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from inkfish.training.shards import cut_like

__all__ = ["NAMES", "Optimizer", "Stateful", "adafactor", "adamw", "make", "muon", "sgd"]

NAMES = ("muon", "adamw", "sgd", "adafactor")
"""Every optimizer by the name that a recipe's `optimizer` takes."""
BETAS = (0.9, 0.95)
"""AdamW's, as for GPT-3 (Brown et al. 2020, appendix B)."""


class Stateful(Protocol):
    """What a run saves of an optimizer."""

    @property
    def name(self) -> str:
        """One of `NAMES`."""
        ...

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the state by names such as "h.0.attn.c_attn.weight:exp_avg"."""
        ...


class Optimizer:
    """One or more torch optimizers that step together over the parameters of one model."""

    def __init__(
        self, name: str, parts: Sequence[torch.optim.Optimizer], names: Mapping[str, nn.Parameter]
    ) -> None:
        """Join optimizers.

        Args:
            name: one of `NAMES`.
            parts: torch's optimizers, made with the peak learning rate.
            names: every trained parameter by its name in the model.
        """
        self.name, self.parts = name, list(parts)
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in names.items()}
        self.peaks = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def parameters(self) -> list[Tensor]:
        """Return the trained parameters in the order of the model."""
        return list(self.names)

    def step(self, factor: float) -> None:
        """Take one step at `factor` of the peak learning rate, then forget the gradients."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            part.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.names:
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the state (moments, step counts) by names such as "h.0.attn.c_attn.weight:exp_avg"."""
        return {
            f"{self.names[parameter]}:{key}": value
            for part in self.parts
            for parameter, state in part.state.items()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state that `tensors` gave."""
        parameters = {name: parameter for parameter, name in self.names.items()}
        owners = {p: part for part in self.parts for group in part.param_groups for p in group["params"]}
        for full, value in tensors.items():
            name, key = full.rsplit(":", 1)
            parameter = parameters[name]
            owners[parameter].state[parameter][key] = cut_like(
                value.to("cpu" if value.ndim == 0 and parameter.device.type == "cpu" else parameter.device),
                parameter,
            )


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the model's parameters that want a gradient, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def decay_groups(names: Mapping[str, nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Split parameters: matrices and embeddings decay, biases and gains do not."""
    groups = [
        {"params": [p for p in names.values() if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in names.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adamw(model: nn.Module, *, lr: float, weight_decay: float = 0.1) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019), fused; biases and gains do not decay."""
    names = trained(model)
    part = torch.optim.AdamW(decay_groups(names, weight_decay), lr=lr, betas=BETAS, fused=True)
    return Optimizer("adamw", [part], names)


def muon(model: nn.Module, *, lr: float, weight_decay: float = 0.1) -> Optimizer:
    """Muon (Jordan 2024) for the blocks' matrices, which alone decay; AdamW for embeddings, biases and gains.

    The update is scaled to the size of AdamW's (Liu et al. 2025, section 2.2): one learning rate serves both.
    """
    names = trained(model)
    matrices = {name: p for name, p in names.items() if p.ndim == 2 and name.startswith("h.")}
    rest = [p for name, p in names.items() if name not in matrices]
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(
            torch.optim.Muon(
                matrices.values(), lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    if rest:
        parts.append(torch.optim.AdamW(rest, lr=lr, betas=BETAS, weight_decay=0.0, fused=True))
    return Optimizer("muon", parts, names)


def sgd(model: nn.Module, *, lr: float, weight_decay: float = 0.0, momentum: float = 0.9) -> Optimizer:
    """Stochastic gradient descent with momentum."""
    names = trained(model)
    part = torch.optim.SGD(decay_groups(names, weight_decay), lr=lr, momentum=momentum)
    return Optimizer("sgd", [part], names)


def adafactor(model: nn.Module, *, lr: float, weight_decay: float = 0.0) -> Optimizer:
    """Adafactor (Shazeer and Stern 2018): its state is a row and a column of each matrix."""
    names = trained(model)
    part = torch.optim.Adafactor(decay_groups(names, weight_decay), lr=lr)
    return Optimizer("adafactor", [part], names)


def make(name: str, model: nn.Module, *, lr: float, weight_decay: float) -> Optimizer:
    """Return the optimizer called `name`, one of `NAMES`."""
    assert name in NAMES, f"{name!r} is not an optimizer"
    if name == "muon":
        return muon(model, lr=lr, weight_decay=weight_decay)
    if name == "adamw":
        return adamw(model, lr=lr, weight_decay=weight_decay)
    if name == "sgd":
        return sgd(model, lr=lr, weight_decay=weight_decay)
    return adafactor(model, lr=lr, weight_decay=weight_decay)
