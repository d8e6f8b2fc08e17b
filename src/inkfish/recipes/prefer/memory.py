"""How much memory learning takes, said before it begins."""

from __future__ import annotations

import os

import torch
from torch import nn

from inkfish.config import ModelConfig
from inkfish.training.measure import peak_memory

__all__ = ["count_of", "memory_sentence"]


def count_of(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in model.parameters())


def memory_sentence(
    shape: ModelConfig,
    trained: int,
    *,
    rows: int,
    length: int,
    threads: int,
    kept: int = 0,
    responses: int = 0,
) -> str:
    """Return an estimate of the memory: weights, gradients and moments, activations of what is done at once.

    Args:
        shape: of the model.
        trained: parameters that are trained.
        rows: sequences computed at once by each thread.
        length: tokens of each.
        threads: that compute side by side; 0 is one for each core.
        kept: parameters that are only read.
        responses: tokens of each whose distributions are held.
    """
    activations = rows * length * shape.n_layer * 34 * shape.n_embd * 4
    logits = 3 * rows * responses * shape.vocab_size * 4
    parallel = 1 if torch.cuda.is_available() else threads or os.cpu_count() or 1
    total = trained * (4 + 4 + 8) + kept * 4 + (activations + logits) * parallel
    return f"memory about {(total + peak_memory()) / 2**30:.1f} GiB"
