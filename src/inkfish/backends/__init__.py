"""What runs a GPT-2: one protocol, three back ends (`reference` in numpy, `native` in C++, `torch` for GPUs).

Axis legend as in `inkfish.model`: B batch, T time, C embedding, H heads, D head size, V vocabulary.
A back end owns *slots*. A slot is one sequence: its cache of keys and values and its length. Slots have
unequal lengths, and none can see another. Back ends know token ids only; text and sampling live above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inkfish.config import ModelConfig

__all__ = ["Backend", "Top", "TopBackend"]


class Top(NamedTuple):
    """The logits of B sequences, the K largest of each, and what turns them into probabilities."""

    logits: NDArray[np.float32]
    """(B, V)."""
    values: NDArray[np.float32]
    """The largest, in the order (-logit, id) (B, K)."""
    ids: NDArray[np.int32]
    """Their tokens (B, K)."""
    totals: NDArray[np.float64]
    """The sum over all tokens of exp(logit - largest) (B,); relative error below 1e-6."""
    scaled_totals: NDArray[np.float64]
    """The sum over all tokens of exp((logit - largest) / temperature) (B,); relative error below 1e-5."""


class Backend(Protocol):
    """Runs one model. Each implementation is made by its module's `load(weights, *, dtype)`.

    Logits are float32. The logits of a sequence depend on its own ids and segments alone: not on its slot,
    not on what else is in the batch, not on how the ids were split into calls (bit for bit in `native`, to
    rounding elsewhere).
    """

    @property
    def config(self) -> ModelConfig:
        """The shape of the model."""
        ...

    @property
    def dtype(self) -> str:
        """The type that the weights are held in: "float32", "bfloat16", "float16", "int8" or "int4"."""
        ...

    def allocate(self) -> int:
        """Return a new, empty slot."""
        ...

    def length(self, slot: int) -> int:
        """Return how many tokens the slot holds."""
        ...

    def prefill(
        self, slot: int, ids: Sequence[int], segments: Sequence[int] | None = None, *, every: bool = False
    ) -> NDArray[np.float32]:
        """Append T >= 1 ids to the slot; return the logits after the last one (V,), or after each one (T, V).

        Args:
            slot: which sequence.
            ids: token ids, appended at positions length(slot), length(slot) + 1, …
            segments: one token id for each id, whose embedding is added (chat's speakers); None adds nothing.
            every: return logits for each position instead of the last.
        """
        ...

    def decode(
        self, slots: Sequence[int], ids: Sequence[int], segments: Sequence[int | None] | None = None
    ) -> NDArray[np.float32]:
        """Append one id to each of B distinct slots and return the logits after it (B, V)."""
        ...

    def copy(self, source: int, target: int, length: int) -> None:
        """Make `target` hold the first `length` tokens of `source`; its earlier contents are dropped."""
        ...

    def truncate(self, slot: int, length: int) -> None:
        """Forget everything in the slot after its first `length` tokens."""
        ...

    def free(self, slot: int) -> None:
        """Give the slot back; its number may be handed out again."""
        ...


@runtime_checkable
class TopBackend(Backend, Protocol):
    """A back end that finds the largest logits itself, so that sampling need not look at all of them."""

    def decode_top(
        self,
        slots: Sequence[int],
        ids: Sequence[int],
        segments: Sequence[int | None] | None = None,
        *,
        k: int,
        temperatures: Sequence[float] | None = None,
    ) -> Top:
        """Do what `decode` does, and give the k largest logits; temperatures are for `Top.scaled_totals`."""
        ...

    def extend_top(
        self,
        slots: Sequence[int],
        runs: Sequence[Sequence[int]],
        segments: Sequence[int | None] | None = None,
        *,
        k: int,
        temperatures: Sequence[float] | None = None,
    ) -> Top:
        """Append a run of one or more ids to each of B distinct slots; give what `decode_top` does, for each.

        Args:
            slots: which sequences.
            runs: the ids of each.
            segments: one for each slot, of all ids of its run.
            k: how many of the largest logits.
            temperatures: one for each slot, for `Top.scaled_totals`.

        Returns:
            Rows in the order of the runs' ids, sum of the runs' lengths in all.
        """
        ...
