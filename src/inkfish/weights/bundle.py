"""TensorFlow's checkpoints ("tensor bundles"): PREFIX.index and its shards, read without TensorFlow.

The index is a table (`inkfish.weights.table`) from a tensor's name to a protobuf that says type, shape,
shard, offset, size and masked CRC-32C; the entry with the empty name says how many shards there are
(tensorflow/core/protobuf/tensor_bundle.proto). Shards are raw values one after the other.
Left out: partitioned variables, big-endian files, text. Each is refused by name.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import ModelError
from inkfish.untrusted import member, read_bytes, shown
from inkfish.weights.table import TableError, entries, masked_crc, varint
from inkfish.weights.tensor_file import from_bfloat16

__all__ = ["TYPES", "Entry", "Index", "read_index", "read_tensors"]

INDEX_LIMIT = 1 << 19
"""Bytes of the longest index that is read: the largest GPT-2's has 50,000, with an optimizer 150,000."""
SHARD_LIMIT = 1000
"""The most shards of a checkpoint."""
DIMENSION_LIMIT = 8
"""The most dimensions of a tensor."""

TYPES: dict[int, tuple[str, Any]] = {
    1: ("float32", np.float32),
    2: ("float64", np.float64),
    14: ("bfloat16", np.uint16),
    19: ("float16", np.float16),
}
"""TensorFlow's number of a type of weights → our name, and the numpy type that holds the bits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor is, as the index says."""

    dtype: int
    """TensorFlow's number of the type."""
    shape: tuple[int, ...]
    """Its shape."""
    shard: int
    """Which of the shards holds it."""
    offset: int
    """Its first byte in the shard."""
    size: int
    """How many bytes it has."""
    crc: int
    """Masked CRC-32C of these bytes."""
    sliced: bool
    """Whether it is stored in parts."""


@dataclass(frozen=True)
class Index:
    """What PREFIX.index says."""

    shards: int
    """How many shards there are."""
    entries: Mapping[str, Entry]
    """Each tensor by its name."""


def read_index(path: Path) -> Index:
    """Read the index of a checkpoint.

    Raises:
        ModelError: it is damaged, or larger than INDEX_LIMIT.
    """
    data = read_bytes(path, limit=INDEX_LIMIT)
    try:
        return parse_index(memoryview(data))
    except TableError as error:
        raise damaged(path, shown(error)) from None


def parse_index(data: memoryview) -> Index:
    """Return what the bytes of an index say."""
    found = entries(data)
    key, value = next(found, (b"?", memoryview(b"")))
    if key:
        raise TableError("it has no header")
    header = fields(value)
    shards, endianness = number(header, 1), number(header, 2)
    if endianness:
        raise TableError("it was written by a big-endian machine, which is not supported")
    if not 1 <= shards <= SHARD_LIMIT:
        raise TableError(f"it names {shards:,} shards, the limit is {SHARD_LIMIT:,}")
    parsed = {key.decode(errors="backslashreplace"): parse_entry(value, shards) for key, value in found}
    return Index(shards, parsed)


def parse_entry(value: memoryview, shards: int) -> Entry:
    """Return what a BundleEntryProto says, with what can be known to be wrong refused."""
    said = fields(value)
    entry = Entry(
        dtype=number(said, 1),
        shape=shape_of(said),
        shard=number(said, 3),
        offset=number(said, 4),
        size=number(said, 5),
        crc=number(said, 6),
        sliced=7 in said,
    )
    if entry.shard >= shards:
        raise TableError(f"an entry is in shard {entry.shard} of {shards}")
    if entry.dtype in TYPES and not entry.sliced:
        wanted = math.prod(entry.shape) * np.dtype(TYPES[entry.dtype][1]).itemsize
        if entry.size != wanted:
            raise TableError(f"an entry of shape {entry.shape} has {entry.size:,} bytes, expected {wanted:,}")
    return entry


def shape_of(said: Mapping[int, list[int | memoryview]]) -> tuple[int, ...]:
    """Return the sizes in its TensorShapeProto: field 2 holds dimensions, whose field 1 is the size."""
    sizes = [
        number(fields(dimension), 1) for shape in said.get(2, []) for dimension in fields(shape).get(2, [])
    ]
    if len(sizes) > DIMENSION_LIMIT or any(size >> 63 for size in sizes):
        raise TableError("an entry's shape is damaged")
    return tuple(sizes)


def fields(message: int | memoryview) -> dict[int, list[int | memoryview]]:
    """Split a protobuf message: field number → its values, numbers or bytes (protobuf.dev, "Encoding")."""
    if isinstance(message, int):
        raise TableError("a number stands where a message should")
    found: dict[int, list[int | memoryview]] = {}
    place = 0
    while place < len(message):
        tag, place = varint(message, place)
        value: int | memoryview
        if tag & 7 == 0:
            value, place = varint(message, place)
        else:
            size, place = size_of(tag & 7, message, place)
            if place + size > len(message):
                raise TableError("an entry is cut off")
            value = message[place : place + size]
            place += size
        found.setdefault(tag >> 3, []).append(value)
    return found


def size_of(wire_type: int, message: memoryview, place: int) -> tuple[int, int]:
    """Return how many bytes a field of a protobuf has and where they begin."""
    if wire_type == 2:
        return varint(message, place)
    if wire_type in {1, 5}:
        return {1: 8, 5: 4}[wire_type], place
    raise TableError(f"an entry has a field of unknown type {wire_type}")


def number(said: Mapping[int, list[int | memoryview]], field: int) -> int:
    """Return a numeric field's value, 0 where the field is absent as protobuf has it."""
    value = said.get(field, [0])[-1]
    if isinstance(value, int):
        return value
    if len(value) != 4:
        raise TableError(f"field {field} of an entry is not a number")
    (fixed,) = struct.unpack("<I", value)
    return int(fixed)


def damaged(path: Path, reason: str) -> ModelError:
    """Return the error for a checkpoint that can't be read."""
    return ModelError(f"{path} is not a sound TensorFlow checkpoint ({reason}); copy or download it again")


def read_tensors(folder: Path, prefix: str, index: Index, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return tensors of a checkpoint, views of its mapped shards (bfloat16 as float32), checksums verified.

    Args:
        folder: where the shards are.
        prefix: "model.ckpt" or "model-1000".
        index: what `read_index` returned.
        names: which tensors.

    Raises:
        ModelError: a shard is missing or has another length than its tensors, or a checksum is wrong.
    """
    shards: dict[int, memoryview] = {}
    for number in sorted({index.entries[name].shard for name in names}):
        name = f"{prefix}.data-{number:05}-of-{index.shards:05}"
        path = member(folder, name)
        if path is None:
            raise ModelError(f"{folder} has no {name}, which {prefix}.index names; copy or download it again")
        shards[number] = map_shard(
            path, (e for e in index.entries.values() if e.shard == number and not e.sliced)
        )
    faults = [name for name in names if not sound(index.entries[name], shards)]
    if faults:
        raise damaged(
            folder / f"{prefix}.index", f"the checksums of {', '.join(map(shown, faults))} are wrong"
        )
    return {name: array_of(index.entries[name], shards) for name in names}


def map_shard(path: Path, held: Iterable[Entry]) -> memoryview:
    """Map a shard, after its tensors were found to fill it without a gap or an overlap."""
    end = 0
    for entry in sorted(held, key=lambda entry: (entry.offset, entry.size)):
        if entry.offset != end:
            raise damaged(path, f"a tensor begins at byte {entry.offset:,}, expected {end:,}")
        end = entry.offset + entry.size
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size != end:
                raise damaged(path, f"it has {size:,} bytes, expected {end:,}")
            return (
                memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if end else memoryview(b"")
            )
    except OSError as error:
        raise damaged(path, str(error.strerror)) from None


def bytes_of(entry: Entry, shards: Mapping[int, memoryview]) -> memoryview:
    """Return a tensor's bytes."""
    return shards[entry.shard][entry.offset : entry.offset + entry.size]


def sound(entry: Entry, shards: Mapping[int, memoryview]) -> bool:
    """Whether a tensor's bytes have the checksum that the index says."""
    return masked_crc(bytes_of(entry, shards)) == entry.crc


def array_of(entry: Entry, shards: Mapping[int, memoryview]) -> NDArray[Any]:
    """Return a tensor's values."""
    array = np.frombuffer(bytes_of(entry, shards), TYPES[entry.dtype][1]).reshape(entry.shape)
    if TYPES[entry.dtype][0] == "bfloat16":
        return from_bfloat16(array)
    return array if array.flags.aligned else array.copy()
