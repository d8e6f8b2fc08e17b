"""What writes with the weights that a model has at present, and how much memory learning takes."""

from __future__ import annotations

import os
from concurrent.futures import Executor

import torch
from torch import nn

from inkfish.backends import Backend, native
from inkfish.backends.torch import TorchBackend
from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.training.measure import peak_memory
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["backend_of", "count_of", "memory_sentence"]


def backend_of(model: GPT2, *, device: str, threads: int, workers: Executor | None = None) -> Backend:
    """Return what samples from a model's present weights, in float32: the fast engine, on a GPU the model."""
    if device == "cpu" and native.available():
        found = Checkpoint(model.config, model.tensors(copy=False), "float32")
        return native.load(found, dtype="float32", threads=threads or None)
    return TorchBackend(model, "float32")


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
