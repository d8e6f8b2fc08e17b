"""`heads.safetensors`, beside a model's own weights: heads by name, each a weight (C,) and a bias (1,)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import ModelError
from inkfish.untrusted import member, shown
from inkfish.weights.files import aside_file
from inkfish.weights.tensor_file import FLOATS, map_file, write_file

__all__ = ["FILE", "read", "write"]

FILE = "heads.safetensors"
"""Name of the file in a model folder."""
NAME = re.compile(r"([a-z][a-z0-9_]*)\.(weight|bias)")
"""Name of a tensor, such as "choice.weight"."""

Heads = dict[str, dict[str, NDArray[Any]]]


def read(folder: Path) -> Heads:
    """Return the heads of a model folder by name, each with its weight (C,) and, if it has one, bias (1,).

    A folder without the file has none.

    Raises:
        ModelError: a damaged file, or tensors that are no heads.
    """
    path = member(folder, FILE)
    if path is None:
        return {}
    heads: Heads = {}
    for name, tensor in map_file(path).items():
        match = NAME.fullmatch(name)
        if match is None or tensor.dtype not in FLOATS:
            raise ModelError(
                f"{path}: {shown(name)} ({tensor.dtype}) is no head, called NAME.weight or NAME.bias"
            )
        heads.setdefault(match[1], {})[match[2]] = np.array(tensor.array(), np.float32)
    check(heads, path)
    return heads


def check(heads: Mapping[str, Mapping[str, NDArray[Any]]], path: Path) -> None:
    """Refuse heads without weights, of several widths, or with values that are not finite."""
    for name, head in heads.items():
        weight, bias = head.get("weight"), head.get("bias")
        if weight is None or weight.ndim != 1 or (bias is not None and bias.shape != (1,)):
            shapes = ", ".join(f"{part} {tensor.shape}" for part, tensor in head.items())
            raise ModelError(f"{path}: the head {name} has {shapes}; it must have weight (C,) and bias (1,)")
        if not all(np.isfinite(tensor).all() for tensor in head.values()):
            raise ModelError(f"{path}: the head {name} holds values that are not finite; train it again")
    if len({head["weight"].shape for head in heads.values()}) > 1:
        raise ModelError(f"{path}: the heads {', '.join(heads)} are of different widths; a model has one")


def write(folder: Path, heads: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
    """Write the heads of a model folder, all or nothing; without any nothing is written.

    Args:
        folder: the model's, which exists.
        heads: as `read` returns them.

    Raises:
        ModelError: a value is not finite, or the disk is full or not writable.
    """
    tensors = [(f"{name}.{part}", tensor) for name, head in heads.items() for part, tensor in head.items()]
    if tensors:
        with aside_file(folder / FILE) as draft:
            write_file(draft, tensors, dtype="float32", metadata={"format": "pt"})
