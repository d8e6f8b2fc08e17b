"""GPT-2 in torch behind the back end protocol: for GPUs, and for bfloat16 and float16 anywhere.

All caches are one tensor, a row for each slot and padded to the context, so that a batch of unequal lengths
is one masked attention. Left out for now: CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from inkfish.config import ModelConfig
from inkfish.errors import SettingError
from inkfish.model import GPT2, Block

__all__ = ["TorchBackend", "load"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    config: ModelConfig,
    tensors: Mapping[str, NDArray[Any]],
    *,
    dtype: str | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> TorchBackend:
    """Return the back end for checkpoint tensors as `inkfish.weights` names them.

    Args:
        config: the model's shape.
        tensors: its weights, of any float type.
        dtype: "float32", "bfloat16" or "float16"; None is bfloat16 on a GPU, else float32.
        threads: CPU threads for all of torch in this process; None leaves them as they are.
        device: torch's name of a device; None is the first GPU, or the CPU where there is none.

    Raises:
        SettingError: a type that is none of these, or a device that is not here.
    """
    place = check_device(device)
    name = dtype or ("bfloat16" if place.type == "cuda" else "float32")
    if name not in DTYPES:
        raise SettingError(
            f"dtype is {name!r}; the torch back end has {', '.join(DTYPES)}: choose one of them",
            param="dtype",
        )
    if threads is not None:
        torch.set_num_threads(threads)
    with torch.device("meta"):  # neither memory nor time for an initialisation that is overwritten
        model = GPT2(config)
    model = model.to_empty(device="cpu")
    model.load_tensors(tensors)
    return TorchBackend(model.to(device=place, dtype=DTYPES[name]).eval(), name)


def check_device(name: str | None) -> torch.device:
    """Return a device by its name, or the best one there is.

    Raises:
        SettingError: torch does not know it, or sees none such here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):  # what torch raises for names, missing devices and missing builds
        raise SettingError(
            f"device is {name!r}; torch finds no such device here: use cpu, or a torch that was built for it",
            param="device",
        ) from None
    return device


@dataclass
class Slot:
    """One sequence."""

    length: int = 0
    extent: int = 0
    """The most positions that it ever filled."""


class TorchBackend:
    """The `inkfish.backends.Backend` in torch."""

    def __init__(self, model: GPT2, dtype: str) -> None:
        self.model, self.dtype = model, dtype
        self.config = model.config
        self.device = model.wte.weight.device
        self.slots: dict[int, Slot] = {}
        self.cache = self.blank(1)  # (n_layer, 2, slots, n_positions, H, D)

    def blank(self, rows: int) -> Tensor:
        """Return an empty cache of zeros: attention multiplies what it masks by 0, which NaN survives."""
        c = self.config
        shape = (c.n_layer, 2, rows, c.n_positions, c.n_head, c.head_size)
        return torch.zeros(shape, dtype=DTYPES[self.dtype], device=self.device)

    def allocate(self) -> int:
        """Return a new, empty slot; the cache doubles when all its rows are taken."""
        number = next(n for n in range(len(self.slots) + 1) if n not in self.slots)
        rows = self.cache.shape[2]
        if number == rows:
            self.cache = torch.cat([self.cache, self.blank(rows)], dim=2)
        self.slots[number] = Slot()
        return number

    def length(self, slot: int) -> int:
        """Return how many tokens the slot holds."""
        return self.slots[slot].length

    @torch.inference_mode()
    def prefill(
        self, slot: int, ids: Sequence[int], segments: Sequence[int] | None = None, *, every: bool = False
    ) -> NDArray[np.float32]:
        """Append ids; logits after the last (V,) or after each (T, V)."""
        hidden = self.forward([slot], self.matrix([ids]), None if segments is None else [segments])[0]
        return self.logits(hidden if every else hidden[-1])

    @torch.inference_mode()
    def decode(
        self, slots: Sequence[int], ids: Sequence[int], segments: Sequence[int | None] | None = None
    ) -> NDArray[np.float32]:
        """Append one id to each slot; logits (B, V)."""
        extra = None if segments is None else [[segment] for segment in segments]
        return self.logits(self.forward(slots, self.matrix([[token] for token in ids]), extra)[:, 0])

    def logits(self, hidden: Tensor) -> NDArray[np.float32]:
        """Hidden states (…, C) → logits (…, V) on the host."""
        logits: NDArray[np.float32] = self.model.head(hidden).float().cpu().numpy()
        return logits

    def matrix(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Return ids as a tensor (B, T)."""
        return torch.tensor(ids, dtype=torch.long, device=self.device)

    def forward(
        self, slots: Sequence[int], ids: Tensor, segments: Sequence[Sequence[int | None]] | None
    ) -> Tensor:
        """Append T ids to each of B slots and return the states after the final layer norm (B, T, C)."""
        t = ids.shape[1]
        lengths = [self.slots[slot].length for slot in slots]
        total = max(lengths) + t
        assert t > 0, "there must be at least one id"
        assert total <= self.config.n_positions, (
            f"{total} positions, the context is {self.config.n_positions}"
        )
        positions = self.matrix([range(length, length + t) for length in lengths])  # (B, T)
        x = self.model.wte(ids) + self.model.wpe(positions)  # (B, T, C)
        if segments is not None:
            known = self.matrix([[segment is not None for segment in row] for row in segments])
            x = (
                x
                + self.model.wte(self.matrix([[s or 0 for s in row] for row in segments])) * known[..., None]
            )
        allowed = torch.arange(total, device=self.device) <= positions[:, None, :, None]  # (B, 1, T, total)
        for cache, block in zip(self.cache, self.model.h, strict=True):
            assert isinstance(block, Block), "the model's blocks are ours"
            x = self.block(block, x, cache, slots, positions, allowed)
        for slot, length in zip(slots, lengths, strict=True):
            state = self.slots[slot]
            state.length, state.extent = length + t, max(state.extent, length + t)
        hidden: Tensor = self.model.ln_f(x)
        return hidden

    def block(
        self,
        block: Block,
        x: Tensor,
        cache: Tensor,
        slots: Sequence[int],
        positions: Tensor,
        allowed: Tensor,
    ) -> Tensor:
        """One transformer block (B, T, C) → (B, T, C) over a layer's cache (2, slots, n_positions, H, D)."""
        b, t, c = x.shape
        heads, size, total = self.config.n_head, self.config.head_size, allowed.shape[-1]
        q, k, v = block.attn.c_attn(block.ln_1(x)).view(b, t, 3, heads, size).unbind(2)  # each (B, T, H, D)
        rows = torch.tensor(slots, device=self.device)
        cache[0][rows[:, None], positions], cache[1][rows[:, None], positions] = k, v
        index = rows if b > 1 else slice(slots[0], slots[0] + 1)  # a slice copies nothing
        keys, values = cache[0][index, :total], cache[1][index, :total]  # (B, total, H, D)
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=allowed
        )
        x = x + block.attn.c_proj(y.transpose(1, 2).reshape(b, t, c))
        return x + block.mlp(block.ln_2(x))

    def copy(self, source: int, target: int, length: int) -> None:
        """Make `target` hold the first `length` tokens of `source`."""
        assert length <= self.slots[source].length, f"slot {source} holds fewer than {length} tokens"
        self.cache[:, :, target, :length] = self.cache[:, :, source, :length]
        self.slots[target] = Slot(length, max(length, self.slots[target].extent))

    def truncate(self, slot: int, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        assert length <= self.slots[slot].length, f"slot {slot} holds fewer than {length} tokens"
        self.slots[slot].length = length

    def free(self, slot: int) -> None:
        """Give the slot back, wiped: what damaged numbers it may hold must not reach its next user."""
        self.cache[:, :, slot, : self.slots.pop(slot).extent] = 0
