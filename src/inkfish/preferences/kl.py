"""How far a policy has moved: estimators of its divergence, what best-of-n costs, and the controller of β."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["KLController", "best_of_n_kl", "k1", "k3"]


@dataclass(frozen=True)
class KLController:
    """The KL coefficient β, steered to a target (Ziegler et al. 2019, section 2.2)."""

    coefficient: float
    """β, by which each nat of divergence lowers the reward."""
    target: float | None = None
    """Nats a response to steer to; None leaves β as it is."""
    horizon: float = 10_000.0
    """Episodes over which β follows; with 1,024 episodes an update this is the paper's K_β = 0.1."""

    def after(self, kl: float, *, episodes: int) -> KLController:
        """Return the controller after an update in which the mean divergence was `kl` nats a response."""
        if self.target is None:
            return self
        error = min(0.2, max(-0.2, kl / self.target - 1))
        return replace(self, coefficient=self.coefficient * (1 + error * episodes / self.horizon))


def k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Return log π - log ρ of each sampled token: an unbiased estimate of KL(π‖ρ) that may be negative."""
    return logprobs - reference


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Return (r - 1) - log r with r = ρ/π of each sampled token: unbiased, never negative, spread less."""
    log_ratio = reference - logprobs
    return torch.expm1(log_ratio) - log_ratio


def best_of_n_kl(n: int) -> float:
    """Return log n - (n - 1)/n, the most that the best of n samples diverges (Stiennon et al. 2020)."""
    assert n >= 1, "at least one sample"
    return math.log(n) - (n - 1) / n
