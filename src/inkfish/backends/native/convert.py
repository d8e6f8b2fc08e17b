"""The native weight file: a checkpoint's tensors in the order and layout in which the kernels read them.

    magic and version (8 bytes) | length of the header (8) | its checksum (8) | header (JSON) | tensors

Tensors start at multiples of 64 bytes and are used as they are; `layout.h` describes panels. A file is
written aside, synchronised and renamed, and taken only if header, sizes and checksums agree. It is read into
memory rather than mapped: huge pages make decoding a fifth to a third faster, and one who truncates a file
that is in use can't end the process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inkfish.backends.native.binding import library
from inkfish.config import ModelConfig
from inkfish.errors import ModelError, SettingError

if TYPE_CHECKING:
    from inkfish.backends.native.four_bits import Codes

__all__ = ["DTYPES", "Packed", "pack", "read", "tensor_sizes", "write"]

Tensors = Mapping[str, NDArray[np.generic]]
Bytes = NDArray[np.uint8]

LAYOUT = 1
"""The version of layout and header: change it with `layout.h`."""
MAGIC = b"inkfish" + bytes([LAYOUT])
DTYPES = ("float32", "bfloat16", "int8", "int4")
"""Types that weights can be held in, in the order of `Type` in `layout.h`."""
GROUP = {"float32": 1, "bfloat16": 2, "int8": 4, "int4": 4}
PANEL = 32
STEP_ALIGN = 16
ALIGN = 64
PAGE = 4096
STEP_BYTES = 4 * PANEL
BLOCK_BYTES = 4 * PANEL + STEP_ALIGN // 2 * STEP_BYTES
LOWEST = -8
"""The lowest code of four bits; each is stored as its distance from it."""
MAX_INT8_INPUTS = 65_536
MOST_INPUTS = {"int8": MAX_INT8_INPUTS, "int4": 16_384}
"""Widest layers: sums must fit 32 bits; and finding codes takes the square."""


@dataclass(frozen=True)
class Packed:
    """Weights as the kernels read them."""

    config: ModelConfig
    dtype: str
    source: str
    """What they were converted from: whatever the caller of `write` said."""
    data: Bytes
    """The tensors."""
    offsets: NDArray[np.uint64]
    """Where each tensor starts in `data`."""


def round_up(n: int, multiple: int) -> int:
    """Return the first multiple that is not below n."""
    return -(-n // multiple) * multiple


def head(dtype: str) -> str:
    """Return the type of the token embedding, which is also the head, beside linear layers of a type."""
    return "int8" if dtype == "int4" else dtype


def padded(vector: NDArray[Any]) -> NDArray[Any]:
    """Extend a vector with zeros to whole panels."""
    return np.pad(vector, (0, round_up(len(vector), PANEL) - len(vector)))


def to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round finite numbers to bfloat16, to nearest even; its bits are the upper half of a float32."""
    bits = np.array(x, np.float32).view(np.uint32)
    bits += ((bits >> 16) & 1) + 0x7FFF
    bits >>= 16
    return bits.astype(np.uint16)


def to_panels(matrix: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Cut outputs × inputs into panels (panels, steps, 32, group), padded with zeros."""
    group = GROUP[dtype]
    outputs, inputs = matrix.shape
    rows, columns = round_up(outputs, PANEL), round_up(inputs, STEP_ALIGN * group)
    whole = matrix
    if (rows, columns) != matrix.shape:
        whole = np.zeros((rows, columns), matrix.dtype)
        whole[:outputs, :inputs] = matrix
    return whole.reshape(-1, PANEL, columns // group, group).transpose(0, 2, 1, 3)


def matrix_parts(matrix: NDArray[np.float32], dtype: str) -> Iterator[NDArray[Any]]:
    """Yield a matrix (outputs × inputs) as tensors: panels, and for int8 the scale and sum of each output."""
    if dtype == "int8":
        scales = np.abs(matrix).max(1) / np.float32(127)
        factors = 1 / np.where(scales > 0, scales, 1)
        quantised = np.rint(matrix * factors[:, None]).astype(np.int8)
        yield to_panels(quantised, dtype)
        yield padded(scales.astype(np.float32))
        yield padded(quantised.sum(1, dtype=np.int32))
    else:
        yield to_panels(to_bfloat16(matrix) if dtype == "bfloat16" else matrix, dtype)


def four_bit_parts(found: Codes) -> Iterator[NDArray[Any]]:
    """Yield a matrix in four bits as tensors: panels of blocks, and the unit and sum of each output."""
    steps = to_panels(found.codes - LOWEST, "int4").astype(np.uint8)  # (panels, steps, 32, 4), from 0 to 15
    pairs = steps.reshape(len(steps), -1, STEP_ALIGN // 2, 2, STEP_BYTES)
    codes = pairs[:, :, :, 0] | pairs[:, :, :, 1] << 4  # (panels, blocks, 8, 128)
    factors = np.zeros((len(steps) * PANEL, found.factors.shape[1]), np.int8)
    factors[: len(found.factors)] = found.factors
    grouped = factors.reshape(len(steps), PANEL, -1, 4).transpose(0, 2, 3, 1)  # (panels, blocks, 4, 32)
    size = len(steps), codes.shape[1], -1
    yield np.concatenate([grouped.reshape(size).view(np.uint8), codes.reshape(size)], 2)
    yield padded(found.units)
    yield padded(found.values().sum(1, dtype=np.int32))


def parts(config: ModelConfig, tensors: Tensors, dtype: str) -> Iterator[NDArray[Any]]:
    """Yield every tensor in the order in which `inkfish_open` takes them."""

    def get(name: str) -> NDArray[np.float32]:
        tensor = np.asarray(tensors[name], np.float32)
        if not np.isfinite(tensor).all():
            raise ModelError(f"{name} holds numbers that are not finite; the model can't run")
        return tensor

    def linear(name: str) -> Iterator[NDArray[Any]]:
        matrix = get(f"{name}.weight")
        if dtype == "int4":
            yield from four_bit_parts(four_bits.quantise(matrix, next(moments)))
        else:
            yield from matrix_parts(matrix.T, dtype)
        yield padded(get(f"{name}.bias"))

    def norm(name: str) -> Iterator[NDArray[Any]]:
        yield padded(get(f"{name}.weight"))
        yield padded(get(f"{name}.bias"))

    if dtype == "int4":
        from inkfish.backends.native import four_bits  # here: few need it

        exact = {name: get(name) for name in config.tensor_shapes()}
        moments = four_bits.moments(config, exact, four_bits.draw(config, exact))
    yield from matrix_parts(get("wte.weight"), head(dtype))
    yield get("wpe.weight")
    for i in range(config.n_layer):
        yield from norm(f"h.{i}.ln_1")
        yield from linear(f"h.{i}.attn.c_attn")
        yield from linear(f"h.{i}.attn.c_proj")
        yield from norm(f"h.{i}.ln_2")
        yield from linear(f"h.{i}.mlp.c_fc")
        yield from linear(f"h.{i}.mlp.c_proj")
    yield from norm("ln_f")


def check_dtype(config: ModelConfig, dtype: str) -> None:
    """Refuse a type that is not known, or not possible for the shape."""
    if dtype not in DTYPES:
        raise SettingError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}", param="dtype")
    widest = max(config.n_embd, config.inner_size)
    if widest > (most := MOST_INPUTS.get(dtype, widest)):
        raise SettingError(
            f"dtype {dtype} takes layers of at most {most:,} inputs, this model has {widest:,}; use bfloat16",
            param="dtype",
        )


def as_bytes(part: NDArray[Any]) -> Bytes:
    """View a tensor as contiguous bytes."""
    return np.ascontiguousarray(part).reshape(-1).view(np.uint8)


def aligned(size: int) -> Bytes:
    """Return memory that starts at a cache line; where it is large, numpy asks for huge pages."""
    whole = np.empty(size + ALIGN, np.uint8)
    start = -whole.ctypes.data % ALIGN
    return whole[start : start + size]


def checksum(data: Bytes) -> str:
    """Return the checksum of contiguous bytes, as hexadecimal digits."""
    return f"{library().inkfish_checksum(data.ctypes.data, data.size):016x}"


def pack(config: ModelConfig, tensors: Tensors, dtype: str) -> Packed:
    """Convert in memory.

    Raises:
        SettingError: dtype is not known or not possible here.
        ModelError: a tensor holds numbers that are not finite.
    """
    check_dtype(config, dtype)
    sizes = [round_up(size, ALIGN) for size in tensor_sizes(config, dtype)]
    offsets = np.cumsum([0, *sizes])
    data = aligned(int(offsets[-1]))
    for offset, part in zip(offsets[:-1], parts(config, tensors, dtype), strict=True):
        place = data[offset : offset + part.nbytes].view(part.dtype).reshape(part.shape)
        place[...] = part  # the only copy, panels are views until then
    return Packed(config, dtype, "", data, offsets[:-1].astype(np.uint64))


def write(path: Path, config: ModelConfig, tensors: Tensors, *, dtype: str, source: str = "") -> None:
    """Convert into a file; another process sees the whole file or none.

    Args:
        path: the file; it is replaced if there is one.
        config: the model's shape.
        tensors: named as `ModelConfig.tensor_shapes()`, any float type.
        dtype: "float32", "bfloat16", "int8" or "int4".
        source: kept in the header, to tell later whether the file still fits what it was made from.

    Raises:
        SettingError: dtype is not known or not possible here.
        ModelError: a tensor holds numbers that are not finite.
        OSError: the file can't be written.
    """
    check_dtype(config, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with aside.open("wb") as file:
            write_to(file, config, tensors, dtype, source)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_to(file: BinaryIO, config: ModelConfig, tensors: Tensors, dtype: str, source: str) -> None:
    """Write tensors as they are converted, then the header, whose room does not depend on their contents."""
    header = {"dtype": dtype, "source": source, "config": dataclasses.asdict(config), "tensors": []}
    entries: list[dict[str, Any]] = []
    count = sum(1 for _ in tensor_sizes(config, dtype))
    start = round_up(len(MAGIC) + 16 + len(json.dumps(header)) + 96 * count, PAGE)
    offset = start
    for part in parts(config, tensors, dtype):
        data = as_bytes(part)
        file.seek(offset)
        file.write(data.data)
        entries.append({"offset": offset, "size": data.size, "checksum": checksum(data)})
        offset = round_up(offset + data.size, ALIGN)
    file.truncate(offset)
    text = json.dumps({**header, "size": offset, "tensors": entries}).encode()
    assert len(MAGIC) + 16 + len(text) <= start, "the header must fit before the tensors"
    file.seek(0)
    file.write(MAGIC + len(text).to_bytes(8, "little"))
    file.write(bytes.fromhex(checksum(np.frombuffer(text, np.uint8)))[::-1] + text)


def tensor_sizes(config: ModelConfig, dtype: str) -> Iterator[int]:
    """Yield the bytes of every tensor, in the order of `parts`."""

    def matrix(outputs: int, inputs: int, dtype: str = dtype) -> Iterator[int]:
        rows = round_up(outputs, PANEL)
        blocks = -(-inputs // (GROUP[dtype] * STEP_ALIGN))
        yield rows // PANEL * blocks * (BLOCK_BYTES if dtype == "int4" else STEP_ALIGN * STEP_BYTES)
        if head(dtype) == "int8":
            yield from (rows * 4, rows * 4)

    def linear(outputs: int, inputs: int) -> Iterator[int]:
        yield from matrix(outputs, inputs)
        yield round_up(outputs, PANEL) * 4

    c, inner = config.n_embd, config.inner_size
    norm = [round_up(c, PANEL) * 4] * 2
    yield from matrix(config.vocab_size, c, head(dtype))
    yield config.n_positions * c * 4
    for _ in range(config.n_layer):
        yield from norm
        yield from linear(3 * c, c)
        yield from linear(c, c)
        yield from norm
        yield from linear(inner, c)
        yield from linear(c, inner)
    yield from norm


def read(path: Path) -> Packed:
    """Map a file, after checking all of it.

    Raises:
        ModelError: it is not such a file, of another version, cut short or damaged.
        OSError: it can't be read.
    """
    size = path.stat().st_size
    if size < len(MAGIC) + 16:
        raise ModelError(f"{path} is no native weight file: it has {size} bytes; export the model again")
    data = aligned(size)
    size = fill(data, path)
    header = read_header(path, data)
    config, dtype = ModelConfig(**header["config"]), header["dtype"]
    sizes = list(tensor_sizes(config, dtype))
    if header["size"] != size or [entry["size"] for entry in header["tensors"]] != sizes:
        raise ModelError(f"{path} is cut short or does not fit its header; export the model again")
    for entry in header["tensors"]:
        start, end = entry["offset"], entry["offset"] + entry["size"]
        if end > size or checksum(data[start:end]) != entry["checksum"]:
            raise ModelError(f"{path} is damaged (bytes {start:,} to {end:,}); export the model again")
    offsets = np.array([entry["offset"] for entry in header["tensors"]], np.uint64)
    return Packed(config, dtype, header["source"], data, offsets)


def fill(data: Bytes, path: Path) -> int:
    """Read a file into memory and return how many bytes there were.

    In two threads: what takes the time is the memory, which the system hands out as it is first written.

    Raises:
        OSError: it can't be read.
    """

    def part(start: int, stop: int) -> int:
        with path.open("rb") as file:
            file.seek(start)
            return file.readinto(data[start:stop].data)

    half = data.size // 2
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(part, (0, half), (half, data.size)))


def read_header(path: Path, data: Bytes) -> dict[str, Any]:
    """Return the header, once its checksum agrees: after that it is what `write` wrote."""
    start = len(MAGIC) + 16
    magic, length = (
        data[: len(MAGIC)].tobytes(),
        int.from_bytes(data[len(MAGIC) : start - 8].tobytes(), "little"),
    )
    if magic[:-1] != MAGIC[:-1]:
        raise ModelError(f"{path} is no native weight file; export the model again")
    if magic != MAGIC:
        raise ModelError(
            f"{path} has layout {magic[-1]}, this version reads {MAGIC[-1]}; export the model again"
        )
    text = data[start : start + length]
    stored = data[start - 8 : start].tobytes()[::-1].hex()
    if len(text) != length or checksum(text) != stored:
        raise ModelError(f"{path} has a damaged header; export the model again")
    return json.loads(text.tobytes())
