"""Tables in LevelDB's format, which TensorFlow uses for a checkpoint's index: sorted keys with values.

A table is a row of blocks, each followed by a compression byte and a masked CRC-32C, and a footer of 48 bytes
that says where the index block is, whose entries say where the data blocks are. In a block each key is stored
as the length it shares with the one before and the rest (LevelDB's doc/table_format.md;
tensorflow/tsl/lib/io/format.cc). Left out: compressed blocks (TensorFlow writes none) and filters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from google_crc32c import extend

__all__ = ["TableError", "entries", "masked_crc", "varint"]

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5
"""Bytes after each block: its compression and its checksum."""
KEY_LIMIT = 1000
"""Bytes of the longest key: an entry of four bytes can share all of a long one,."""
PIECE = 1 << 20
"""Bytes that a checksum takes at a time: the library wants them as `bytes`, which is a copy."""

COMPRESSIONS = {1: "snappy", 2: "zlib"}
"""Names of the methods that the format knows, for the message."""


class TableError(ValueError):
    """The bytes are not a sound table; the reader of the file turns this into its own error."""


def masked_crc(*parts: memoryview) -> int:
    """Return the CRC-32C of the parts after each other, masked as LevelDB stores it."""
    crc = 0
    for part in parts:
        for start in range(0, len(part), PIECE):
            crc = extend(crc, bytes(part[start : start + PIECE]))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data: memoryview, start: int) -> tuple[int, int]:
    """Return the number that begins at `start` (7 bits a byte, lowest first, none needless) and its end."""
    if start < len(data) and data[start] < 128:  # most numbers are so small
        return data[start], start + 1
    value = 0
    for place in range(start, min(start + 10, len(data))):
        value |= (data[place] & 127) << 7 * (place - start)
        if data[place] < 128:
            if value >> 64 or (place > start and not data[place]):
                break
            return value, place + 1
    raise TableError(f"no number of 64 bits at byte {start}")


def entries(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the table's keys and values; keys ascend.

    Raises:
        TableError: a checksum, an order or a bound is wrong, or a block is compressed.
    """
    body, meta, index = parts(data)
    place, last = 0, None
    for _, handle in block_entries(index):
        start, size, _ = read_handle(handle, 0)
        if start != place:
            raise TableError(f"a block begins at byte {start:,}, expected {place:,}")
        place = start + size + TRAILER
        for key, value in block_entries(block(body, start, size)):
            if last is not None and key <= last:
                raise TableError("its keys do not ascend")
            last = key
            yield key, value
    if place != meta:
        raise TableError(f"its blocks end at byte {place:,}, expected {meta:,}")


def parts(data: memoryview) -> tuple[memoryview, int, memoryview]:
    """Return all before the footer, where the data blocks end, and the index block's contents."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise TableError("it does not end with the mark of a table")
    body, footer = data[:-FOOTER], data[-FOOTER:-8]
    meta, meta_size, end = read_handle(footer, 0)
    start, size, end = read_handle(footer, end)
    tiled = start == meta + meta_size + TRAILER and len(body) == start + size + TRAILER
    if any(footer[end:]) or not tiled:
        raise TableError("its footer is damaged")
    block(body, meta, meta_size)
    return body, meta, block(body, start, size)


def read_handle(data: memoryview, start: int) -> tuple[int, int, int]:
    """Return a block's offset and size, and where their description ends."""
    offset, end = varint(data, start)
    size, end = varint(data, end)
    return offset, size, end


def block(data: memoryview, start: int, size: int) -> memoryview:
    """Return a block's contents, after its bounds and its checksum were found right."""
    end = start + size
    if end + TRAILER > len(data):
        raise TableError(f"a block of {size:,} bytes at {start:,} is outside the file")
    kind = data[end]
    if masked_crc(data[start : end + 1]) != struct.unpack("<I", data[end + 1 : end + TRAILER])[0]:
        raise TableError(f"the checksum of the block at byte {start:,} is wrong")
    if kind:
        name = COMPRESSIONS.get(kind, f"method {kind}")
        raise TableError(f"it is compressed with {name}, which is not supported")
    return data[start:end]


def block_entries(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys and values of a block's contents."""
    count = struct.unpack("<I", data[-4:])[0] if len(data) >= 4 else 0
    end = len(data) - 4 - 4 * count
    if end < 0 or not count:
        raise TableError("a block has a wrong number of restarts")
    body, place, key = data[:end], 0, b""
    while place < end:
        shared, place = varint(body, place)
        rest, place = varint(body, place)
        length, place = varint(body, place)
        if shared > len(key) or shared + rest > KEY_LIMIT or place + rest + length > end:
            raise TableError("an entry of a block is outside it")
        key = key[:shared] + bytes(body[place : place + rest])
        place += rest
        yield key, body[place : place + length]
        place += length
