"""What writes with the weights that a model has at present."""

from __future__ import annotations

from concurrent.futures import Executor

from inkfish.backends import Backend, native
from inkfish.backends.torch import TorchBackend
from inkfish.model import GPT2
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["backend_of"]


def backend_of(model: GPT2, *, device: str, threads: int, workers: Executor | None = None) -> Backend:
    """Return what samples from a model's present weights, in float32: the fast engine, on a GPU the model."""
    if device == "cpu" and native.available():
        found = Checkpoint(model.config, model.tensors(copy=False), "float32")
        return native.load(found, dtype="float32", threads=threads or None)
    return TorchBackend(model, "float32")
