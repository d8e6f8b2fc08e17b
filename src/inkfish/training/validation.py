"""Bits a byte on held-out text, kind by kind, on the same windows every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inkfish.model import GPT2
from inkfish.training.batches import IGNORED, Batch
from inkfish.training.loss import language_loss
from inkfish.training.optimise import autocast, on

__all__ = ["HeldOut", "bits_per_byte"]


@dataclass(frozen=True)
class HeldOut:
    """Held-out windows of one kind of text."""

    kind: str
    """Name of the kind, such as "stories"."""
    rows: NDArray[np.int64]
    """(N, T + 1) ids."""
    targets: NDArray[np.int64]
    """(N, T) the token after each, IGNORED where its loss does not count."""
    bytes: int
    """UTF-8 bytes of all targets that count; special tokens have none."""

    @classmethod
    def cut(
        cls,
        kind: str,
        ids: NDArray[np.unsignedinteger],
        byte_lengths: NDArray[np.int64],
        *,
        length: int,
        windows: int,
        learned: Callable[[int, int], NDArray[np.bool_]] | None = None,
    ) -> HeldOut:
        """Cut up to `windows` windows, spread evenly; a short text gives one short window.

        Args:
            kind: name of the kind.
            ids: at least two tokens.
            byte_lengths: (V,) UTF-8 bytes of each token.
            length: tokens of a window without its last target.
            windows: how many at most.
            learned: (start, stop) → for each id between them whether its loss counts; None counts all.
        """
        assert len(ids) > 1, "held-out text needs a token to predict"
        length = min(length, len(ids) - 1)
        count = (len(ids) - 1) // length
        chosen = np.linspace(0, count - 1, min(windows, count)).astype(np.int64)
        rows = ids[chosen[:, None] * length + np.arange(length + 1)].astype(np.int64)
        targets = rows[:, 1:].copy()
        if learned is not None:
            starts = (chosen * length + 1).tolist()
            targets[~np.stack([learned(start, start + length) for start in starts])] = IGNORED
        counted = targets[targets != IGNORED]
        return cls(kind, rows, targets, max(1, int(byte_lengths[counted].sum())))

    @property
    def counted(self) -> int:
        """Targets whose loss counts."""
        return int((self.targets != IGNORED).sum())


def bits_per_byte(
    model: GPT2,
    held: HeldOut,
    *,
    size: int,
    precision: str,
    workers: Executor | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> float | None:
    """Return total loss in bits ÷ bytes of the predicted text, None where `stop` said so before the end.

    Args:
        model: left in the mode it was in.
        held: the text.
        size: windows a batch.
        precision: as in `autocast`.
        workers: threads that compute batches side by side, as in `optimise`.
        stop: asked before each batch.
    """
    was_training, device = model.training, next(model.parameters()).device
    starts = range(0, len(held.rows), size)

    @torch.no_grad()
    def nats(start: int) -> float | None:
        if stop():
            return None
        rows = torch.from_numpy(held.rows[start : start + size])
        with autocast(device, precision):
            targets = torch.from_numpy(held.targets[start : start + size])
            return float(language_loss(model, on(Batch(rows[:, :-1], targets), device)))

    model.eval()
    try:
        losses = list(map(nats, starts) if workers is None else workers.map(nats, starts))
    finally:
        model.train(was_training)
    whole = [loss for loss in losses if loss is not None]
    return sum(whole) / math.log(2) / held.bytes if len(whole) == len(losses) else None
