"""GPT-2 on one page, in numpy: the oracle for the other back ends, and what runs where nothing was compiled.

Radford et al. 2019, section 2.3: a decoder-only transformer, layer norms before each sub-block and one after
the last block; learned positions; the output matrix is the token embedding. Everything is float32.
Left out: training (`inkfish.model`), speed (`inkfish.backends.native`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inkfish.config import ModelConfig

__all__ = ["ReferenceBackend", "load"]

Array = NDArray[np.float32]


def load(config: ModelConfig, tensors: Mapping[str, NDArray[np.generic]]) -> ReferenceBackend:
    """Return the back end for checkpoint tensors as `inkfish.weights` names them, made float32."""
    return ReferenceBackend(
        config, {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    )


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift (Ba et al. 2016, eq. 4)."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + np.float32(epsilon)) * weight + bias


def gelu(x: Array) -> Array:
    """GELU in its tanh approximation (Hendrycks and Gimpel 2016, section 2)."""
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


def softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Slot:
    """Keys and values of one sequence, (n_layer, 2, H, capacity, D), filled up to `length`."""

    def __init__(self, config: ModelConfig) -> None:
        self.length, self.context = 0, config.n_positions
        self.cache = np.zeros((config.n_layer, 2, config.n_head, 0, config.head_size), np.float32)

    def reserve(self, length: int) -> None:
        """Make room for `length` positions."""
        if length > self.cache.shape[3]:
            capacity = max(length, min(2 * self.length, self.context))
            grown = np.zeros((*self.cache.shape[:3], capacity, self.cache.shape[4]), np.float32)
            grown[:, :, :, : self.length] = self.cache[:, :, :, : self.length]
            self.cache = grown


class ReferenceBackend:
    """The `inkfish.backends.Backend` in numpy."""

    dtype = "float32"

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Array]) -> None:
        self.config = config
        self.tensors = tensors
        self.slots: dict[int, Slot] = {}

    def linear(self, x: Array, name: str) -> Array:
        """Return x · W + b; checkpoint matrices are stored input × output."""
        return x @ self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        """Apply the named layer norm."""
        return layer_norm(
            x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], self.config.layer_norm_epsilon
        )

    def attention_weights(self, x: Array, i: int, slot: Slot) -> Array:
        """Cache keys and values of T new positions; return how much each attends to all (H, T, total)."""
        heads, size, past, total = (
            self.config.n_head,
            self.config.head_size,
            slot.length,
            slot.length + len(x),
        )
        qkv = self.linear(x, f"h.{i}.attn.c_attn")  # (T, 3C)
        q, k, v = qkv.reshape(len(x), 3, heads, size).transpose(1, 2, 0, 3)  # each (H, T, D)
        slot.cache[i, 0, :, past:total], slot.cache[i, 1, :, past:total] = k, v
        scores = q @ slot.cache[i, 0, :, :total].swapaxes(1, 2) / np.float32(np.sqrt(size))  # (H, T, total)
        future = np.arange(total) > np.arange(past, total)[:, None]  # (T, total)
        scores[:, future] = -np.inf
        return softmax(scores)

    def attention(self, x: Array, i: int, slot: Slot) -> Array:
        """Causal self-attention of T new positions over everything the slot holds."""
        weights = self.attention_weights(x, i, slot)
        y = weights @ slot.cache[i, 1, :, : weights.shape[2]]  # (H, T, D)
        return self.linear(y.transpose(1, 0, 2).reshape(len(x), -1), f"h.{i}.attn.c_proj")

    def block(self, x: Array, i: int, slot: Slot) -> Array:
        """Layer i: attention, then the two-layer perceptron, each added to what comes in (T, C)."""
        x = x + self.attention(self.norm(x, f"h.{i}.ln_1"), i, slot)
        h = gelu(self.linear(self.norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"))
        return x + self.linear(h, f"h.{i}.mlp.c_proj")

    def embed(self, slot: Slot, ids: Sequence[int], segments: Sequence[int] | None) -> Array:
        """Make room for ids behind what the slot holds and return what goes into the first layer (T, C)."""
        assert ids, "there must be at least one id"
        past, total = slot.length, slot.length + len(ids)
        assert total <= self.config.n_positions, (
            f"{total} positions, the context is {self.config.n_positions}"
        )
        for token in (*ids, *(segments or ())):
            assert 0 <= token < self.config.vocab_size, f"the id {token} lies outside the vocabulary"
        slot.reserve(total)
        x = self.tensors["wte.weight"][list(ids)] + self.tensors["wpe.weight"][past:total]
        return x if segments is None else x + self.tensors["wte.weight"][list(segments)]

    def forward(self, slot: Slot, ids: Sequence[int], segments: Sequence[int] | None) -> Array:
        """Append ids to the slot and return the hidden states after the final layer norm (T, C)."""
        x = self.embed(slot, ids, segments)
        for i in range(self.config.n_layer):
            x = self.block(x, i, slot)
        slot.length += len(ids)
        return self.norm(x, "ln_f")

    def attentions(self, ids: Sequence[int]) -> Iterator[Array]:
        """Yield for each layer in turn how much each of T ids attends to each of them (H, T, T)."""
        slot = Slot(self.config)
        x = self.embed(slot, ids, None)
        for i in range(self.config.n_layer):
            yield self.attention_weights(self.norm(x, f"h.{i}.ln_1"), i, slot)
            x = self.block(x, i, slot)

    def allocate(self) -> int:
        """Return a new, empty slot."""
        number = next(n for n in range(len(self.slots) + 1) if n not in self.slots)
        self.slots[number] = Slot(self.config)
        return number

    def length(self, slot: int) -> int:
        """Return how many tokens the slot holds."""
        return self.slots[slot].length

    def prefill(
        self, slot: int, ids: Sequence[int], segments: Sequence[int] | None = None, *, every: bool = False
    ) -> Array:
        """Append ids; logits after the last (V,) or after each (T, V)."""
        hidden = self.forward(self.slots[slot], ids, segments)
        return (hidden if every else hidden[-1]) @ self.tensors["wte.weight"].T

    def decode(
        self, slots: Sequence[int], ids: Sequence[int], segments: Sequence[int | None] | None = None
    ) -> Array:
        """Append one id to each slot; logits (B, V). One sequence at a time: the page is for reading."""
        assert len(set(slots)) == len(slots), "a slot is named twice in one call"
        extra = segments if segments is not None else [None] * len(slots)
        return np.stack(
            [
                self.prefill(slot, [token], None if segment is None else [segment])
                for slot, token, segment in zip(slots, ids, extra, strict=True)
            ]
        )

    def copy(self, source: int, target: int, length: int) -> None:
        """Make `target` hold the first `length` tokens of `source`."""
        assert length <= self.slots[source].length, f"slot {source} holds fewer than {length} tokens"
        assert target in self.slots, f"there is no slot {target}"
        twin = Slot(self.config)
        twin.cache, twin.length = self.slots[source].cache[:, :, :, :length].copy(), length
        self.slots[target] = twin

    def truncate(self, slot: int, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        assert length <= self.slots[slot].length, f"slot {slot} holds fewer than {length} tokens"
        self.slots[slot].length = length

    def free(self, slot: int) -> None:
        """Give the slot back."""
        del self.slots[slot]
