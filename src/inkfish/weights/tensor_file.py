"""safetensors files: mapped into memory as numpy views, and written one tensor at a time.

The library checks the header (bounds, order, overlaps, holes); the views are ours, because its numpy reader
copies each tensor and has no bfloat16. The writer is ours so that no second copy of the weights is in memory.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import ModelError
from inkfish.untrusted import parse_object, shown

__all__ = ["FLOATS", "StoredTensor", "from_bfloat16", "map_file", "to_bfloat16", "write_file"]

HEADER_LIMIT = 2 << 20
"""Bytes of the longest header that is read: 512 layers take 0.7 MB, and parsing takes up to 30 times that."""

PIECE = 1 << 20
"""Values that are converted at a time: converting takes several times their memory."""

FLOATS = {
    "F64": ("float64", np.float64),
    "F32": ("float32", np.float32),
    "F16": ("float16", np.float16),
    "BF16": ("bfloat16", np.uint16),
}
"""The types that weights may have: the format's name → our name, and the numpy type that holds the bits."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a mapped file."""

    dtype: str
    """The format's name of the type, such as "F16"."""
    shape: tuple[int, ...]
    """Its shape."""
    data: memoryview
    """Its bytes, mapped."""

    def array(self) -> NDArray[Any]:
        """Return the values: a read-only view of the file; bfloat16, which numpy lacks, as exact float32."""
        assert self.dtype in FLOATS, f"{self.dtype} is not a type of weights"
        array = np.frombuffer(self.data, FLOATS[self.dtype][1]).reshape(self.shape)
        if self.dtype == "BF16":
            return from_bfloat16(array)
        return array if array.flags.aligned else array.copy()


def map_file(path: Path) -> dict[str, StoredTensor]:
    """Map a safetensors file and return its tensors by name; the file is let go with the last of them.

    Raises:
        ModelError: the file is not a safetensors file, is damaged, or its header is larger than HEADER_LIMIT.
    """
    from safetensors import SafetensorError, safe_open  # here: `inkfish models --help` needs no Rust library

    try:
        with path.open("rb") as file:
            header_size = checked_header_size(path, file)
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            with safe_open(path, framework="numpy"):
                pass
            if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                raise damaged(path, "it was replaced while it was read")
    except (SafetensorError, OSError) as error:
        raise damaged(path, shown(getattr(error, "strerror", None) or error)) from None
    header = parse_object(bytes(view[8 : 8 + header_size]), f"the header of {path}")
    header.pop("__metadata__", None)
    return {name: stored(entry, view[8 + header_size :]) for name, entry in header.items()}


def stored(entry: dict[str, Any], data: memoryview) -> StoredTensor:
    """Return the tensor that a (checked) header entry describes."""
    start, end = entry["data_offsets"]
    return StoredTensor(entry["dtype"], tuple(entry["shape"]), data[start:end])


def checked_header_size(path: Path, file: BinaryIO) -> int:
    """Return the header's length, refusing what the library would accept or spend much memory on."""
    start = file.read(9)
    file_size = file.seek(0, 2)
    if len(start) < 9:
        raise damaged(path, f"the file ends after {len(start)} bytes")
    (size,) = struct.unpack("<Q", start[:8])
    if size > min(HEADER_LIMIT, file_size - 8):
        raise damaged(
            path, f"a header of {size:,} bytes in a file of {file_size:,}, the limit is {HEADER_LIMIT:,}"
        )
    if start[8:] != b"{":
        raise damaged(path, "the header does not begin with {")
    return int(size)


def damaged(path: Path, reason: str) -> ModelError:
    """Return the error for a file that can't be read."""
    return ModelError(f"{path} is not a whole safetensors file ({reason}); fetch or copy the model again")


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 values of bfloat16 bit patterns, which are their upper halves: exact."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)  # in place: a second copy would double the memory of a model while it is read
    return wide.view(np.float32)


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return bfloat16 bit patterns of finite values, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
        np.uint16
    )


def write_file(
    path: Path, tensors: Sequence[tuple[str, NDArray[Any]]], *, dtype: str, metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file, converting a piece of a tensor at a time.

    Args:
        path: the file to make.
        tensors: names and values.
        dtype: "float32", "float16" or "bfloat16".
        metadata: texts for the header.

    Raises:
        ModelError: a value is not finite, or larger than the type can hold.
    """
    code = next(code for code, (name, _) in FLOATS.items() if name == dtype)
    size = np.dtype(FLOATS[code][1]).itemsize
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors:
        start, end = end, end + math.prod(tensor.shape) * size
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in tensors:
            flat = np.ascontiguousarray(tensor).reshape(-1)
            for place in range(0, flat.size, PIECE):
                file.write(converted(name, flat[place : place + PIECE], dtype).data)


def converted(name: str, tensor: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return the bits to store for a piece of a tensor."""
    if not np.isfinite(tensor).all():
        raise ModelError(f"{name} holds values that are not finite; such weights are not saved")
    with np.errstate(over="ignore"):
        narrow = tensor.astype(np.float32 if dtype == "bfloat16" else dtype, copy=False)
        if dtype == "bfloat16":
            narrow = to_bfloat16(narrow)
    fits = np.isfinite(from_bfloat16(narrow) if dtype == "bfloat16" else narrow).all()
    if not fits:
        raise ModelError(f"{name} holds {np.abs(tensor).max():.3g}, too large for {dtype}; save as float32")
    return narrow
