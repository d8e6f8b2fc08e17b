"""Weights in four bits: the codes that GPTQ finds, over the inputs that a model's layers get."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inkfish.backends import native, reference
from inkfish.backends.native import four_bits
from inkfish.config import ModelConfig

needs_library = pytest.mark.skipif(not native.available(), reason="the native library was not built")
Array = NDArray[np.float32]

SHAPE = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=97)


def a_layer(inputs: int = 80, outputs: int = 45, seed: int = 0) -> tuple[Array, Array]:
    """A matrix (inputs × outputs), and the mean of x xᵀ over inputs that go together."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((500, 9)) @ rng.standard_normal((9, inputs)) + rng.standard_normal((500, inputs))
    matrix = rng.standard_normal((inputs, outputs))
    return matrix.astype(np.float32), (x.T @ x / len(x)).astype(np.float32)


def as_matrix(found: four_bits.Codes, inputs: int) -> Array:
    """What codes stand for (inputs × outputs)."""
    return (found.values()[:, :inputs] * found.units[:, None]).T


def damped(moment: Array) -> NDArray[np.float64]:
    """H as the paper's section 3.3 wants it: with something on the diagonal."""
    h = moment.astype(np.float64)
    return h + np.eye(len(h)) * four_bits.DAMPING * np.trace(h) / len(h)


def loss(matrix: Array, other: Array, h: NDArray[np.float64]) -> float:
    """A layer's mean squared error, summed over its outputs."""
    d = (matrix - other).astype(np.float64)
    return float(np.einsum("io,ij,jo->", d, h, d))


def test_codes_and_factors_are_what_their_bits_hold() -> None:
    matrix, moment = a_layer()
    matrix[:, 7] = 0
    found = four_bits.quantise(matrix, moment)
    assert (found.codes.shape, found.factors.shape, found.units.shape) == ((45, 128), (45, 8), (45,))
    assert (found.codes.min(), found.codes.max()) == (-8, 7)
    assert np.abs(found.factors).max() <= 15
    assert not found.codes[:, 80:].any()
    assert not found.values()[7].any()
    assert np.array_equal(found.values()[:, 16:32], found.codes[:, 16:32] * found.factors[:, 1:2])


def test_codes_are_those_of_the_papers_own_recipe() -> None:
    """Algorithm 1 with the inverse's Cholesky factor, where ours takes that of H and no inverse."""
    matrix, moment = a_layer()
    found = four_bits.quantise(matrix, moment)
    upper = np.linalg.cholesky(np.linalg.inv(damped(moment))).T
    left, wanted = matrix.astype(np.float64), np.empty((80, 45))
    for j in range(80):
        step = found.factors[:, j // 16] * found.units
        wanted[j] = np.clip(np.rint(left[j] / step), -8, 7)
        error = (left[j] - wanted[j] * step) / upper[j, j]
        left[j:] -= upper[j, j:, None] * error
    assert np.mean(found.codes.T[:80] == wanted) > 0.995  # float32 and float64 differ at halves


def test_the_layer_errs_less_than_with_each_weight_rounded_by_itself() -> None:
    matrix, moment = a_layer()
    h = damped(moment)
    ours = as_matrix(four_bits.quantise(matrix, moment), 80)
    plain = as_matrix(four_bits.quantise(matrix, np.eye(80, dtype=np.float32)), 80)
    assert loss(matrix, ours, h) < 0.5 * loss(matrix, plain, h)
    assert np.square(matrix - plain).sum() < np.square(matrix - ours).sum()


@pytest.mark.parametrize("nothing", [0, np.nan, np.inf])
def test_without_anything_to_learn_each_weight_takes_the_nearest_code(nothing: float) -> None:
    matrix, _ = a_layer()
    found = four_bits.quantise(matrix, np.full((80, 80), nothing, np.float32))
    steps = (found.factors.repeat(16, 1)[:, :80] * found.units[:, None]).T
    assert np.array_equal(found.codes.T[:80], np.clip(np.rint(matrix / steps), -8, 7))
    assert np.square(matrix - as_matrix(found, 80)).mean() < 0.01  # of weights whose variance is 1


def test_moments_are_those_of_what_each_layer_of_transformers_gets() -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    shape = GPT2Config(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=97, initializer_range=0.5)
    model = GPT2LMHeadModel(shape)
    model.train(False)
    seen: list[torch.Tensor] = []
    for i in range(2):
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            layer = model.get_submodule(f"transformer.h.{i}.{name}")
            layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tensors = {
        name.removeprefix("transformer."): tensor.detach().numpy()
        for name, tensor in model.named_parameters()
    }
    ids = np.random.default_rng(0).integers(0, 97, (5, 32))
    with torch.no_grad():
        model(torch.from_numpy(ids))
    found = list(four_bits.moments(SHAPE, tensors, ids))
    assert len(found) == len(seen) == 8
    for ours, x in zip(found, seen, strict=True):
        flat = x.flatten(0, 1).numpy()
        np.testing.assert_allclose(ours, flat.T @ flat / len(flat), rtol=1e-3, atol=1e-4)


@needs_library
def test_the_text_is_the_models_own() -> None:
    """Far likelier than other text, the same each time, and not of one kind."""
    rng = np.random.default_rng(1)
    tensors = {
        name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in SHAPE.tensor_shapes().items()
    }
    ids = four_bits.draw(SHAPE, tensors)
    assert ids.shape == (64, 32)
    assert np.array_equal(ids, four_bits.draw(SHAPE, tensors))
    assert len(np.unique(ids[:, 0])) > 30
    model = reference.load(SHAPE, tensors)
    slot = model.allocate()
    gain = []
    for row in ids[:8]:
        model.truncate(slot, 0)
        logits = model.prefill(slot, row.tolist(), every=True)[:-1]
        gain.append(np.mean(logits[np.arange(31), row[1:]] - logits.mean(1)))
    assert np.mean(gain) > 0.5
