"""Weights in four bits: codes and scales that keep what a layer computes, after GPTQ (Frantar et al. 2023).

Each weight becomes unit · factor · code: a code of four bits, a whole factor for every 16 inputs of an
output, a float unit for each output. So factor · code is a whole number of one byte, and products are int8's.

Codes are chosen one input after the other, each making up for what the earlier ones left. A layer's mean
squared error over its inputs x is d H dᵀ, d the error of its weights and H the mean of x xᵀ. With H = V Vᵀ, V
upper triangular, it is a sum of squares, one for each input, in which no later input has a part: so the best
code for an input is known when its turn comes. Unlike the paper's, the texts that H is taken over are those
that the model itself draws, and no inverse is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import native
from inkfish.backends.native.convert import LOWEST, pack
from inkfish.backends.reference import gelu, layer_norm, softmax
from inkfish.config import ModelConfig

__all__ = ["SHARE", "Codes", "draw", "moments", "quantise"]

Array = NDArray[np.float32]

SHARE = 16
"""Inputs that have a factor in common."""
BLOCK = 64
"""Inputs are padded with zeros to whole blocks of a panel."""
HIGHEST = 7
"""The highest code; `LOWEST` is the lowest."""
LARGEST_FACTOR = 15
"""|code · factor| stays within a byte."""
ROOM = 14
"""The factor of an output's largest weight: one step is left for what making up for errors adds to it."""
DAMPING = 0.05
"""Share of the mean diagonal that is added to the diagonal of H, which few texts may leave singular."""
SEQUENCES, LENGTH = 64, 128
"""How much text H is taken over."""


@dataclass(frozen=True)
class Codes:
    """A matrix in four bits: output n, input k is units[n] · factors[n, k // 16] · codes[n, k]."""

    codes: NDArray[np.int8]
    """-8 to 7 (outputs × inputs, these padded with zeros to a multiple of 64)."""
    factors: NDArray[np.int8]
    """-15 to 15 (outputs × padded inputs / 16)."""
    units: Array
    """(outputs)."""

    def values(self) -> NDArray[np.int8]:
        """The whole numbers factor · code, within ±120 (outputs × padded inputs)."""
        return self.codes * self.factors.repeat(SHARE, 1)


def draw(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.int_]:
    """Return text that a model writes after random tokens, with fixed random numbers (SEQUENCES × LENGTH)."""
    backend = native.NativeBackend(pack(config, tensors, "int8"))
    rng, slots = np.random.default_rng(0), [backend.allocate() for _ in range(SEQUENCES)]
    ids = rng.integers(0, config.vocab_size, (SEQUENCES, min(LENGTH, config.n_positions)))
    for t in range(1, ids.shape[1]):
        top = backend.decode_top(slots, ids[:, t - 1].tolist(), k=min(64, config.vocab_size))
        chosen = (top.values + rng.gumbel(size=top.values.shape)).argmax(1)  # a draw from the likeliest
        ids[:, t] = top.ids[np.arange(SEQUENCES), chosen]
    return ids


def moments(config: ModelConfig, tensors: Mapping[str, Array], ids: NDArray[np.int_]) -> Iterator[Array]:
    """Yield H, the mean of x xᵀ over the inputs x (inputs × inputs), of every linear layer in turn.

    Args:
        config: the model's shape.
        tensors: its float32 weights.
        ids: text for it to read (S × T).
    """
    count, length = ids.shape
    future = np.triu(np.full((length, length), -np.inf, np.float32), 1)

    def norm(x: Array, name: str) -> Array:
        return layer_norm(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], config.layer_norm_epsilon)

    def linear(x: Array, name: str) -> Array:
        return x @ tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    def attention(qkv: Array) -> Array:
        parts = qkv.reshape(count, length, 3, config.n_head, config.head_size)
        q, k, v = parts.transpose(2, 0, 3, 1, 4)  # each (S, H, T, D)
        scores = q @ k.swapaxes(2, 3) / np.float32(np.sqrt(config.head_size)) + future
        return (softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(count * length, -1)

    x = (tensors["wte.weight"][ids] + tensors["wpe.weight"][:length]).reshape(count * length, -1)
    for i in range(config.n_layer):
        for sub_block, activation, first, second in (
            ("ln_1", attention, "attn.c_attn", "attn.c_proj"),
            ("ln_2", gelu, "mlp.c_fc", "mlp.c_proj"),
        ):
            y = norm(x, f"h.{i}.{sub_block}")
            yield mean_square(y)
            y = activation(linear(y, f"h.{i}.{first}"))
            yield mean_square(y)
            x = x + linear(y, f"h.{i}.{second}")


def mean_square(x: Array) -> Array:
    """Return the mean of x xᵀ over rows x (N × inputs)."""
    return x.T @ x / np.float32(len(x))


def quantise(matrix: Array, moment: Array) -> Codes:
    """Return a matrix (inputs × outputs) in four bits, given the mean of x xᵀ over its inputs."""
    inputs, outputs = matrix.shape
    padded = -(-inputs // BLOCK) * BLOCK
    units = np.abs(matrix).max(0) / np.float32(-LOWEST * ROOM)
    units[units == 0] = 1
    codes = np.zeros((padded, outputs), np.int8)
    factors = np.zeros((padded // SHARE, outputs), np.int8)
    errors = np.zeros_like(matrix)
    weights, carry = triangle(moment)
    for start in range(0, inputs, SHARE):
        stop = min(start + SHARE, inputs)
        wanted = matrix[start:stop] + carry[:start, start:stop].T @ errors[:start]
        factor = best_factors(wanted / units, weights[start:stop])
        steps = factor * units
        for j in range(start, stop):
            code = nearest(wanted[j - start] / steps)
            errors[j] = matrix[j] - code * steps
            wanted[j - start + 1 :] += carry[j, j + 1 : stop, None] * errors[j]
            codes[j] = code
        factors[start // SHARE] = factor
    return Codes(codes.T, factors.T, units)


def triangle(moment: Array) -> tuple[Array, Array]:
    """Return V's squared diagonal, and V with each column divided by its diagonal, for V Vᵀ = H."""
    mean = float(np.trace(moment)) / len(moment)
    usable = 0 < mean < np.inf  # else there was nothing to learn, and each weight is rounded by itself
    h = moment / mean if usable else np.zeros_like(moment)
    h = h.astype(np.float64) + np.eye(len(h)) * (DAMPING if usable else 1)
    v = np.linalg.cholesky(h[::-1, ::-1])[::-1, ::-1]
    diagonal = v.diagonal()
    return (diagonal**2).astype(np.float32), (v / diagonal).astype(np.float32)


def nearest(x: Array) -> Array:
    """Return the codes nearest to numbers."""
    return np.clip(np.rint(x), LOWEST, HIGHEST)


def best_factors(wanted: Array, weights: Array) -> Array:
    """Return, for each output, the factor that suits its weights best (inputs × outputs, in units).

    The candidates are the smallest that reaches the largest of them, and two that cut it; with either sign,
    as there is a code more below zero.
    """
    peaks = np.ceil(np.abs(wanted).max(0) / -LOWEST)
    best, least = np.ones_like(peaks), np.full_like(peaks, np.inf)
    for less in range(3):
        for sign in (1, -1):
            factor = sign * np.clip(peaks - less, 1, LARGEST_FACTOR)
            error = weights @ (nearest(wanted / factor) * factor - wanted) ** 2
            best = np.where(error < least, factor, best)
            least = np.minimum(error, least)
    return best
