from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from inkfish.preferences import adam
from inkfish.training.optimizers import Optimizer


def one_number(name: str, lr: float) -> tuple[nn.Module, Optimizer]:
    module = nn.Module()
    module.x = nn.Parameter(torch.tensor([1.0]))
    return module, adam.make(name, module, lr=lr)


def test_steps_by_the_closed_form() -> None:
    module, optimizer = one_number("tf-adam", 0.1)
    x, m, v = 1.0, 0.0, 0.0
    for t, gradient in enumerate([1e-4, -2e-4, 3e-4, 5.0], 1):
        next(module.parameters()).grad = torch.tensor([gradient])
        optimizer.step(0.5)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        x -= 0.05 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 1e-5)
        assert float(next(module.parameters()).detach()) == pytest.approx(x, rel=1e-6)


def test_epsilon_makes_the_first_step_smaller_than_torchs() -> None:
    moved = {}
    for name in adam.NAMES:
        module, optimizer = one_number(name, 0.1)
        next(module.parameters()).grad = torch.tensor([1e-4])
        optimizer.step(1.0)
        moved[name] = 1 - float(next(module.parameters()).detach())
    # √v is 3.2e-6 in TensorFlow's denominator, beside ε = 1e-5; torch's has 1e-4
    assert moved["adam"] == pytest.approx(0.1 / 1.1, rel=1e-3)
    assert moved["tf-adam"] == pytest.approx(0.1 / (1 + 1e-5 / math.sqrt(1e-11)), rel=1e-3)


def test_state_goes_to_tensors_and_back() -> None:
    module, optimizer = one_number("tf-adam", 0.1)
    other, again = one_number("tf-adam", 0.1)
    x, y = next(module.parameters()), next(other.parameters())
    x.grad = torch.tensor([0.3])
    optimizer.step(1.0)
    again.load_tensors({name: tensor.clone() for name, tensor in optimizer.tensors().items()})
    y.data.copy_(x.data)
    for gradient in (0.1, -0.7):
        x.grad, y.grad = torch.tensor([gradient]), torch.tensor([gradient])
        optimizer.step(1.0)
        again.step(1.0)
    assert torch.equal(x, y)


def test_what_has_no_gradient_stays() -> None:
    module, optimizer = one_number("tf-adam", 0.1)
    optimizer.step(1.0)
    assert float(next(module.parameters()).detach()) == 1.0
