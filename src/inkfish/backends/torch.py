"""GPT-2 in torch behind the back end protocol: for GPUs, and for bfloat16 and float16 anywhere.

All caches are one tensor, a row for each slot, padded to the context, so that a batch of unequal lengths is
one masked attention over a view. On a GPU a decode step has one of few fixed shapes: all rows up to a power
of two, all positions up to one; rows that no slot of the batch has compute into a position behind the
context. Each shape is captured once as a CUDA graph and replayed. On a CPU the same code runs uncaptured, on
the rows of the batch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from inkfish.backends import Top
from inkfish.backends.device import capture, check_device, to_host
from inkfish.config import ModelConfig
from inkfish.errors import SettingError
from inkfish.model import GPT2, Block

__all__ = ["TorchBackend", "load"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FIRST_ROWS = 8
"""Slots that a GPU's cache begins with: growing drops all captured graphs."""
SHORTEST = 128
"""The least positions that a captured step attends to."""
Logits = NDArray[np.float32]


def load(
    config: ModelConfig,
    tensors: Mapping[str, NDArray[Any]],
    *,
    dtype: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    compiled: bool = False,
) -> TorchBackend:
    """Return the back end for checkpoint tensors as `inkfish.weights` names them.

    Args:
        config: the model's shape.
        tensors: its weights, of any float type.
        dtype: "float32", "bfloat16" or "float16"; None is bfloat16 on a GPU, else float32.
        threads: CPU threads for all of torch in this process; None leaves them as they are.
        device: torch's name of a device; None is the first GPU, or the CPU where there is none.
        compiled: let torch.compile fuse each shape of a decode step, up to minutes at its first use.

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
    return TorchBackend(model.to(device=place, dtype=DTYPES[name]).eval(), name, compiled=compiled)


@dataclass
class Slot:
    """One sequence."""

    length: int = 0
    extent: int = 0
    """The most positions that it ever filled."""


class Inputs(NamedTuple):
    """What a pass over R rows of the cache is given, T ids for each; all on the device."""

    ids: Tensor
    """(R, T)."""
    positions: Tensor
    """(R, T); n_positions for rows without a sequence, whose results mean nothing."""
    segments: Tensor
    """(R, T); -1 for none."""


class Found(NamedTuple):
    """What a pass gives for each of its rows; the fields are those of `inkfish.backends.Top`."""

    logits: Tensor
    values: Tensor
    ids: Tensor
    totals: Tensor
    scaled_totals: Tensor


@dataclass
class Step:
    """A decode step of a fixed shape: where its inputs go, and what runs it."""

    inputs: Tensor
    """The three of `Inputs` (3, R, 1)."""
    temperatures: Tensor
    run: Callable[[], Found]


class TorchBackend:
    """The `inkfish.backends.TopBackend` in torch."""

    def __init__(self, model: GPT2, dtype: str, *, compiled: bool = False) -> None:
        self.model, self.dtype, self.compiled = model, dtype, compiled
        self.config = model.config
        self.device = model.wte.weight.device
        self.captures = self.device.type == "cuda"
        self.fixed = self.captures or compiled
        """Whether decode steps have fixed shapes."""
        self.slots: dict[int, Slot] = {}
        self.steps: dict[tuple[int, int, int], Step] = {}
        self.cache = self.blank(FIRST_ROWS if self.fixed else 1)  # (n_layer, 2, slots, H, n_positions + 1, D)
        self.wide = None if self.captures or dtype == "float32" else model.wte.weight.float()

    def blank(self, rows: int) -> Tensor:
        """Return an empty cache of zeros: attention multiplies what it masks by 0, which NaN survives."""
        c = self.config
        shape = (c.n_layer, 2, rows, c.n_head, c.n_positions + 1, c.head_size)
        return torch.zeros(shape, dtype=DTYPES[self.dtype], device=self.device)

    # ---------------------------------------------------------------------------------------------- slots

    def allocate(self) -> int:
        """Return a new, empty slot; the cache doubles when all its rows are taken."""
        number = next(n for n in range(len(self.slots) + 1) if n not in self.slots)
        rows = self.cache.shape[2]
        if number == rows:
            self.steps.clear()
            self.cache = torch.cat([self.cache, self.blank(rows)], dim=2)
        self.slots[number] = Slot()
        return number

    def length(self, slot: int) -> int:
        """Return how many tokens the slot holds."""
        return self.slots[slot].length

    def copy(self, source: int, target: int, length: int) -> None:
        """Make `target` hold the first `length` tokens of `source`."""
        assert length <= self.slots[source].length, f"slot {source} holds fewer than {length} tokens"
        self.cache[:, :, target, :, :length] = self.cache[:, :, source, :, :length]
        self.slots[target] = Slot(length, max(length, self.slots[target].extent))

    def truncate(self, slot: int, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        assert length <= self.slots[slot].length, f"slot {slot} holds fewer than {length} tokens"
        self.slots[slot].length = length

    def free(self, slot: int) -> None:
        """Give the slot back, wiped: what damaged numbers it may hold must not reach its next user."""
        self.cache[:, :, slot, :, : self.slots.pop(slot).extent] = 0

    def grow(self, slots: Sequence[int], count: int) -> None:
        """Note that each slot holds `count` more tokens."""
        for slot in slots:
            state = self.slots[slot]
            state.length += count
            state.extent = max(state.extent, state.length)

    def check(self, slots: Sequence[int], count: int) -> int:
        """Return the longest length after `count` more tokens, which must fit the context."""
        total = max(self.slots[slot].length for slot in slots) + count
        assert count > 0, "there must be at least one id"
        assert len(set(slots)) == len(slots), "a slot is named twice in one call"
        assert total <= self.config.n_positions, (
            f"{total} positions, the context is {self.config.n_positions}"
        )
        return total

    # ---------------------------------------------------------------------------------------------- calls

    @torch.inference_mode()
    def prefill(
        self, slot: int, ids: Sequence[int], segments: Sequence[int] | None = None, *, every: bool = False
    ) -> Logits:
        """Append ids; logits after the last (V,) or after each (T, V)."""
        hidden = self.read(slot, ids, segments)
        logits = to_host([self.head(hidden if every else hidden[-1:])])[0]
        return logits if every else logits[0]

    @torch.inference_mode()
    def decode(
        self, slots: Sequence[int], ids: Sequence[int], segments: Sequence[int | None] | None = None
    ) -> Logits:
        """Append one id to each slot; logits (B, V)."""
        return self.step(slots, ids, segments, k=1, temperatures=None).logits

    def decode_top(
        self,
        slots: Sequence[int],
        ids: Sequence[int],
        segments: Sequence[int | None] | None = None,
        *,
        k: int,
        temperatures: Sequence[float] | None = None,
    ) -> Top:
        """Append one id to each slot; logits, the k largest of each row, and what sampling needs."""
        return self.step(slots, ids, segments, k=k, temperatures=temperatures)

    @torch.inference_mode()
    def extend_top(
        self,
        slots: Sequence[int],
        runs: Sequence[Sequence[int]],
        segments: Sequence[int | None] | None = None,
        *,
        k: int,
        temperatures: Sequence[float] | None = None,
    ) -> Top:
        """Append a run of ids to each slot; what `decode_top` gives, for each id."""
        if all(len(run) == 1 for run in runs):
            return self.step(slots, [run[0] for run in runs], segments, k=k, temperatures=temperatures)
        extra = segments if segments is not None else [None] * len(slots)
        heat = np.ones(len(slots)) if temperatures is None else np.asarray(temperatures)
        parts = []
        for slot, run, segment, temperature in zip(slots, runs, extra, heat, strict=True):
            hidden = self.read(slot, run, None if segment is None else [segment] * len(run))
            rows = torch.full((len(run),), float(temperature), device=self.device)
            parts.append(ordered(to_host(self.largest(hidden, rows, k))))
        return Top(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def read(self, slot: int, ids: Sequence[int], segments: Sequence[int] | None) -> Tensor:
        """Append ids to a slot and return the states after the final layer norm (T, C)."""
        total = self.check([slot], len(ids))
        start = total - len(ids)
        inputs = Inputs(
            *torch.tensor(
                [[ids], [range(start, total)], [segments or [-1] * len(ids)]],
                dtype=torch.long,
                device=self.device,
            )
        )
        hidden = self.forward(inputs, slice(slot, slot + 1), total)[0]
        self.grow([slot], len(ids))
        return hidden

    @torch.inference_mode()
    def step(
        self,
        slots: Sequence[int],
        ids: Sequence[int],
        segments: Sequence[int | None] | None,
        *,
        k: int,
        temperatures: Sequence[float] | None,
    ) -> Top:
        """Append one id to each slot: put the inputs in their places, run, and take the results in order."""
        total = self.check(slots, 1)
        first, rows, reach = self.shape(slots, total)
        places = [slot - first for slot in slots] if rows else list(range(len(slots)))
        given = torch.zeros((3, rows or len(slots)), dtype=torch.long)
        given[1], given[2] = self.config.n_positions, -1
        lengths = [self.slots[slot].length for slot in slots]
        extra = [-1 if s is None else s for s in segments or [None] * len(slots)]
        given[:, places] = torch.tensor([list(ids), lengths, extra])
        heat = torch.ones(given.shape[1])
        heat[places] = torch.tensor([1.0] * len(slots) if temperatures is None else list(temperatures))
        if self.fixed:
            found = self.fixed_step(given, heat, rows, reach, k)
        else:
            index = slice(first, first + rows) if rows else torch.tensor(slots, device=self.device)
            inputs = Inputs(*given.to(self.device)[:, :, None])
            found = self.largest(self.forward(inputs, index, reach)[:, 0], heat.to(self.device), k)
        self.grow(slots, 1)
        return ordered([array[places] for array in to_host(found)])

    def shape(self, slots: Sequence[int], total: int) -> tuple[int, int, int]:
        """Return first row, number of rows and positions of a step; no rows where the slots are scattered."""
        if not self.fixed:
            first, rows = min(slots), max(slots) - min(slots) + 1
            return first, rows if rows == len(slots) else 0, total
        rows, reach = 1 << max(slots).bit_length(), max(SHORTEST, 1 << (total - 1).bit_length())
        return 0, min(rows, self.cache.shape[2]), min(reach, self.config.n_positions)

    def fixed_step(self, given: Tensor, heat: Tensor, rows: int, reach: int, k: int) -> Found:
        """Run a step of one of the fixed shapes, prepared at its first use."""
        key = rows, reach, k
        if key in self.steps:
            step = self.steps[key]
            step.inputs.copy_(given[:, :, None], non_blocking=True)
            step.temperatures.copy_(heat, non_blocking=True)
            return step.run()
        inputs, temperatures = given[:, :, None].to(self.device), heat.to(self.device)

        def run() -> Found:
            hidden = self.forward(Inputs(*inputs), slice(0, rows), reach)[:, 0]
            return self.largest(hidden, temperatures, k)

        whole = torch.compile(run, dynamic=False) if self.compiled else run
        step = Step(inputs, temperatures, capture(whole) if self.captures else whole)
        self.steps[key] = step
        return step.run()

    # ---------------------------------------------------------------------------------------------- model

    def forward(self, inputs: Inputs, rows: slice | Tensor, reach: int) -> Tensor:
        """Append T ids to each of R rows of the cache; the states after the final layer norm (R, T, C).

        Args:
            inputs: what is appended, and where.
            rows: which rows.
            reach: how many positions are attended to, those to come included.
        """
        ids, positions, segments = inputs
        known = positions.clamp(max=self.config.n_positions - 1)
        x = self.model.wte(ids) + self.model.wpe(known)  # (R, T, C)
        x = x + self.model.wte(segments.clamp(min=0)) * (segments >= 0)[..., None]
        hidden_from = (
            torch.arange(reach, device=self.device) > positions[:, None, :, None]
        )  # (R, 1, T, reach)
        bias = torch.zeros_like(hidden_from, dtype=x.dtype).masked_fill(hidden_from, float("-inf"))
        index = (
            torch.arange(self.cache.shape[2], device=self.device)[rows] if isinstance(rows, slice) else rows
        )
        for cache, block in zip(self.cache, self.model.h, strict=True):
            assert isinstance(block, Block), "the model's blocks are ours"
            x = self.block(block, x, cache, index[:, None], rows, positions, bias)
        hidden: Tensor = self.model.ln_f(x)
        return hidden

    def block(
        self,
        block: Block,
        x: Tensor,
        cache: Tensor,
        index: Tensor,
        rows: slice | Tensor,
        positions: Tensor,
        bias: Tensor,
    ) -> Tensor:
        """One block (R, T, C) → (R, T, C) over a layer's cache (2, slots, H, n_positions + 1, D)."""
        r, t, c = x.shape
        qkv = block.attn.c_attn(block.ln_1(x)).view(r, t, 3, self.config.n_head, self.config.head_size)
        cache[:, index, :, positions] = qkv[:, :, 1:]  # (R, T, 2, H, D)
        keys, values = cache[:, rows, :, : bias.shape[-1]]  # each (R, H, reach, D)
        y = F.scaled_dot_product_attention(qkv[:, :, 0].transpose(1, 2), keys, values, attn_mask=bias)
        x = x + block.attn.c_proj(y.transpose(1, 2).reshape(r, t, c))
        return x + block.mlp(block.ln_2(x))

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states (R, C) → logits (R, V) in float32: around -100 bfloat16 counts in halves."""
        if self.dtype == "float32":
            return self.model.head(hidden)
        if self.wide is not None:
            return F.linear(hidden.float(), self.wide)
        return torch.mm(hidden, self.model.wte.weight.T, out_dtype=torch.float32)

    def largest(self, hidden: Tensor, temperatures: Tensor, k: int) -> Found:
        """Hidden states (R, C) → logits, the k largest, and the totals."""
        logits = self.head(hidden)
        values, ids = logits.topk(k)
        gaps = logits - values[:, :1]
        totals = gaps.exp().sum(-1, dtype=torch.float64)
        scaled = (gaps / temperatures[:, None]).exp().sum(-1, dtype=torch.float64)
        return Found(logits, values, ids.int(), totals, scaled)


def ordered(arrays: Sequence[NDArray[Any]]) -> Top:
    """Return a `Top` whose equal values come in the order of their ids."""
    logits, values, ids, totals, scaled = arrays
    order = np.lexsort((ids, -values), axis=-1)
    return Top(
        logits, np.take_along_axis(values, order, -1), np.take_along_axis(ids, order, -1), totals, scaled
    )
