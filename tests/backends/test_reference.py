"""The pieces of the numpy back end against torch, and its slots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from inkfish.backends.reference import ReferenceBackend, gelu, layer_norm, load, softmax
from inkfish.config import ModelConfig

RNG = np.random.default_rng(0)
X = (RNG.standard_normal((2, 5, 12)) * 3).astype(np.float32)


def test_layer_norm() -> None:
    weight, bias = RNG.standard_normal((2, 12)).astype(np.float32)
    expected = F.layer_norm(
        torch.from_numpy(X), (12,), torch.from_numpy(weight), torch.from_numpy(bias), 1e-3
    )
    assert np.allclose(layer_norm(X, weight, bias, 1e-3), expected.numpy(), atol=1e-5)


def test_gelu() -> None:
    assert np.allclose(gelu(X), F.gelu(torch.from_numpy(X), approximate="tanh").numpy(), atol=1e-6)
    assert gelu(X).dtype == np.float32


def test_softmax_of_large_and_masked_numbers() -> None:
    x = np.array([[1000.0, 1000.0, -np.inf]], np.float32)
    assert softmax(x).tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_any_float_type_is_made_float32(tiny_backend: ReferenceBackend, dtype: type[np.floating]) -> None:
    tensors = {name: tensor.astype(dtype) for name, tensor in tiny_backend.tensors.items()}
    other = load(tiny_backend.config, tensors)
    logits = other.prefill(other.allocate(), [1, 2, 3])
    assert logits.dtype == np.float32
    assert np.allclose(logits, tiny_backend.prefill(tiny_backend.allocate(), [1, 2, 3]), atol=0.1)


def test_the_same_bits_in_any_batch(tiny_backend: ReferenceBackend) -> None:
    slots = [tiny_backend.allocate() for _ in range(3)]
    for slot, ids in zip(slots, ([1], [2, 3], [4, 5, 6]), strict=True):
        tiny_backend.prefill(slot, ids)
    together = tiny_backend.decode(slots, [7, 8, 9], [None, 3, None])
    for slot, token, segment, expected in zip(slots, (7, 8, 9), (None, 3, None), together, strict=True):
        tiny_backend.truncate(slot, tiny_backend.length(slot) - 1)
        assert np.array_equal(tiny_backend.decode([slot], [token], [segment])[0], expected)


def test_mistakes_of_programmers_are_said(tiny_backend: ReferenceBackend) -> None:
    slot = tiny_backend.allocate()
    with pytest.raises(AssertionError, match="at least one id"):
        tiny_backend.prefill(slot, [])
    with pytest.raises(AssertionError, match="33 positions, the context is 32"):
        tiny_backend.prefill(slot, [1] * 33)
    with pytest.raises(AssertionError, match="holds fewer than 1"):
        tiny_backend.truncate(slot, 1)
    with pytest.raises(AssertionError, match="holds fewer than 1"):
        tiny_backend.copy(slot, slot, 1)
    with pytest.raises(AssertionError, match="there is no slot 9"):
        tiny_backend.copy(slot, 9, 0)
    with pytest.raises(AssertionError, match="a slot is named twice"):
        tiny_backend.decode([slot, slot], [1, 2])
    for ids, segments in (([-1], None), ([17], None), ([1], [-1])):
        with pytest.raises(AssertionError, match="lies outside the vocabulary"):
            tiny_backend.prefill(slot, ids, segments)
    assert tiny_backend.length(slot) == 0


def test_room_grows_with_the_sequence(tiny_config: ModelConfig, tiny_backend: ReferenceBackend) -> None:
    slot = tiny_backend.allocate()
    sizes = set()
    for n in range(tiny_config.n_positions):
        tiny_backend.prefill(slot, [n % 17])
        sizes.add(tiny_backend.slots[slot].cache.shape[3])
    assert max(sizes) == tiny_config.n_positions
    assert len(sizes) <= 8
