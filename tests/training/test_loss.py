from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from inkfish.config import ModelConfig
from inkfish.model import GPT2, explicit_attention
from inkfish.training.batches import IGNORED, Batch
from inkfish.training.loss import ROWS, fused_cross_entropy, language_loss
from inkfish.training.optimise import autocast

CPU = torch.device("cpu")


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.01), (torch.float32, 1e-5)])
@pytest.mark.parametrize("rows", [1, 3, ROWS, ROWS + 5])
def test_fused_is_cross_entropy(rows: int, dtype: torch.dtype, error: float) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(rows, 12, requires_grad=True)
    weight = (torch.randn(17, 12) * 0.3).requires_grad_()
    targets = torch.randint(0, 17, (rows,))
    if rows > 1:
        targets[::3] = IGNORED
    expected = F.cross_entropy(hidden @ weight.T, targets, ignore_index=IGNORED, reduction="sum") / 7
    found = fused_cross_entropy(hidden, weight, targets, dtype=dtype) / 7
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=error / 2)
    for mine, right in zip(
        torch.autograd.grad(found, (hidden, weight)),
        torch.autograd.grad(expected, (hidden, weight)),
        strict=True,
    ):
        assert mine.dtype == torch.float32
        assert relative(mine, right) < error
    if rows > 1:
        (to_hidden,) = torch.autograd.grad(fused_cross_entropy(hidden, weight, targets), hidden)
        assert not to_hidden[::3].any()


def test_fused_survives_a_target_without_probability() -> None:
    hidden, weight = torch.tensor([[400.0]]), torch.tensor([[1.0], [-1.0]])
    loss = fused_cross_entropy(hidden.requires_grad_(), weight, torch.tensor([1]))
    assert 80 < float(loss.detach()) < 801


def test_both_forms_of_the_loss_agree() -> None:
    torch.manual_seed(0)
    net = GPT2(ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17))
    ids = torch.randint(0, 17, (2, 5))
    batch = Batch(ids, ids.roll(-1, 1), segments=torch.randint(0, 17, (2, 5)))
    exact = language_loss(net, batch)
    expected = torch.autograd.grad(exact, list(net.parameters()))
    with autocast(CPU, "bfloat16"):
        rough = language_loss(net, batch)
    found = torch.autograd.grad(rough, list(net.parameters()))
    assert float(rough.detach()) == pytest.approx(float(exact.detach()), rel=0.01)
    assert (
        relative(torch.cat([g.flatten() for g in found]), torch.cat([g.flatten() for g in expected])) < 0.02
    )
    with autocast(CPU, "bfloat16"), torch.no_grad():
        measured = language_loss(net, batch)
    assert float(measured) == pytest.approx(float(exact.detach()), rel=0.01)


def test_explicit_attention_is_torchs() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    found, expected = explicit_attention(q, k, v), F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(found)
    for mine, right in zip(
        torch.autograd.grad(found, (q, k, v), slope),
        torch.autograd.grad(expected, (q, k, v), slope),
        strict=True,
    ):
        torch.testing.assert_close(mine, right)


def test_explicit_attention_drops_weights() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 64, 4)
    v = torch.ones(1, 1, 64, 4)
    kept = explicit_attention(q, k, v, dropout=0.5)
    assert not torch.allclose(kept, v)
    assert float(kept.mean()) == pytest.approx(1, abs=0.3)
