from __future__ import annotations

import numpy as np
import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.heads import ScalarHead, with_heads
from inkfish.model import GPT2
from inkfish.training import optimizers

TINY = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17)


@pytest.mark.parametrize("bias", [True, False])
def test_one_number_a_state(bias: bool) -> None:
    torch.manual_seed(0)
    head = ScalarHead(12, bias=bias)
    linear = torch.nn.Linear(12, 1, bias=bias)
    if bias:
        head.load_tensors({"weight": head.tensors()["weight"], "bias": np.array([0.5], np.float32)})
        linear.bias.data.fill_(0.5)
    linear.weight.data.copy_(head.weight[None])
    hidden = torch.randn(2, 5, 12)
    assert torch.allclose(head(hidden), linear(hidden)[..., 0], atol=1e-6)
    assert head(hidden[0, 0]).shape == ()
    assert set(head.tensors()) == ({"weight", "bias"} if bias else {"weight"})


def test_float32_whatever_the_precision() -> None:
    head, hidden = ScalarHead(12), torch.randn(3, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(hidden), head(hidden.clone()))
        assert head(hidden.bfloat16()).dtype == torch.float32
        inside = head(hidden)
    assert torch.equal(inside, head(hidden))


def test_begins_as_told() -> None:
    torch.manual_seed(0)
    assert not ScalarHead(50, std=0).weight.any()
    # The deviation of 10,000 draws is off by 5 % or more with a probability below 1e-11.
    assert ScalarHead(10_000, std=0.3).weight.std().item() == pytest.approx(0.3, rel=0.05)
    head = ScalarHead(4)
    assert head.bias is not None
    assert head.bias.tolist() == [0.0]


def test_copies() -> None:
    head, other = ScalarHead(6), ScalarHead(6)
    saved = head.tensors()
    other.load_tensors(saved)
    saved["weight"][:] = 7
    assert torch.equal(head.weight, other.weight)
    with pytest.raises(AssertionError, match="a head with weight instead of weight, bias"):
        other.load_tensors({"weight": head.tensors()["weight"]})


def test_an_optimizer_sees_model_and_heads() -> None:
    model, head = GPT2(TINY), ScalarHead(12)
    optimizer = optimizers.make("muon", with_heads(model, {"choice": head}), lr=0.1, weight_decay=0.0)
    names = set(optimizer.names.values())
    assert names == {*dict(model.named_parameters()), "choice.weight", "choice.bias"}
    before = head.weight.detach().clone()
    (head(model.hidden(torch.tensor([[1, 2, 3]]))).sum() + model(torch.tensor([[4]])).sum()).backward()
    optimizer.step(1.0)
    assert not torch.equal(head.weight, before)
