"""ONNX files: token ids → logits, any batch and length, by torch's exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inkfish.errors import MissingExtraError
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.files import aside_file

__all__ = ["to_onnx"]

LIMIT = 2_000_000_000
"""Bytes that one ONNX file can hold (protobuf's limit); weights of a larger model stand in a second one."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's remarks about other packages and its own deprecations from users."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def to_onnx(checkpoint: Checkpoint, target: Path) -> None:
    """Write an ONNX file in float32: `input_ids` (B, T) int64 → `logits` (B, T, V), any B and T.

    A model larger than one file can hold has its weights in FILE.data beside it, which belongs to it.

    Left out: a cache of keys and values; a program that writes calls it with the whole text each time.

    Raises:
        MissingExtraError: torch or onnxscript is not installed.
        ModelError: a file can't be written.
    """
    try:
        import onnxscript  # noqa: F401  # torch's exporter needs it, and says so late
        import torch

        from inkfish.model import GPT2
    except ModuleNotFoundError:
        raise MissingExtraError("ONNX export", "export") from None
    model = GPT2(checkpoint.config)
    model.load_tensors(checkpoint.tensors)
    model.train(False)
    longest = checkpoint.config.n_positions
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=longest)}
    apart = 4 * checkpoint.config.parameters > LIMIT
    with quiet(), aside_file(target) as draft:
        torch.onnx.export(
            model,
            (torch.zeros(2, min(3, longest), dtype=torch.long),),
            draft,
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes=(shape,),
            dynamo=True,
            external_data=apart,
            verbose=False,
        )
        if apart:  # first, and whole before the file that needs it appears
            with aside_file(target.with_name(f"{target.name}.data")) as data:
                draft.with_name(f"{target.name}.data").replace(data)
