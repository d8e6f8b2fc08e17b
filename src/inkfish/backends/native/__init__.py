"""The fast back end on CPUs: GPT-2 in C++ in float32, bfloat16, int8 or four bits.

A sequence's logits are the same bits whatever else is in the batch, however its ids were split into calls,
and with any number of threads: `kernels.h` says how. Between machines they agree to rounding.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Top
from inkfish.backends.native.binding import (
    ISAS,
    Request,
    TopK,
    Weights,
    available,
    best_isa,
    check,
    library,
    supported,
)
from inkfish.backends.native.convert import DTYPES, Packed, pack, read, tensor_sizes, write
from inkfish.backends.native.threads import MOST_THREADS, physical_cores
from inkfish.config import ModelConfig
from inkfish.errors import ModelError, SettingError

__all__ = [
    "DTYPES",
    "NativeBackend",
    "available",
    "cache_name",
    "export",
    "fingerprint",
    "load",
    "load_file",
    "load_folder",
    "physical_cores",
    "supported",
    "tensor_sizes",
]

Logits = NDArray[np.float32]
WEIGHT_FILES = (".safetensors", ".json", ".bin", ".index", ".data-")
"""What a folder's files that a model is made of have in their names."""


class Checkpoint(Protocol):
    """What `inkfish.weights` reads from a folder."""

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        ...

    @property
    def tensors(self) -> Mapping[str, NDArray[Any]]:
        """Named as `ModelConfig.tensor_shapes()`, any float type."""
        ...


def load(
    checkpoint: Checkpoint, *, dtype: str = "float32", threads: int | None = None, isa: str | None = None
) -> NativeBackend:
    """Return a back end for a checkpoint, converted in memory.

    Args:
        checkpoint: shape and tensors.
        dtype: what to hold the weights in: "float32", "bfloat16", "int8" or "int4".
        threads: how many to compute with, 1 to 256; None is one for each physical core.
        isa: the instruction set, "plain", "avx2", "avxvnni", "avx512" or "amx"; None is the best one here.

    Raises:
        SettingError: one of the settings is not possible here.
        ModelError: a tensor holds numbers that are not finite.
    """
    return NativeBackend(pack(checkpoint.config, checkpoint.tensors, dtype), threads=threads, isa=isa)


def load_folder(
    folder: Path,
    read_folder: Callable[[Path], Checkpoint],
    *,
    cache: Path | None,
    dtype: str = "float32",
    threads: int | None = None,
    isa: str | None = None,
) -> NativeBackend:
    """Return a back end for a model folder, converted once into the cache and read from there ever after.

    Args:
        folder: a checkpoint's folder.
        read_folder: reads it; called only when there is no converted file, or one that no longer fits or is
            damaged.
        cache: the folder of converted files, one for each model folder and type; made if missing. Where it is
            None or can't be written, the weights are converted in memory.
        dtype: as for `load`, like the rest.
        threads: see `load`.
        isa: see `load`.

    Raises:
        SettingError: one of the settings is not possible here.
        ModelError: a tensor holds numbers that are not finite, or what `read_folder` raises.
    """
    if cache is None:
        return load(read_folder(folder), dtype=dtype, threads=threads, isa=isa)
    source = fingerprint(folder)
    path = cache / f"{cache_name(folder)}-{dtype}.inkfish"
    packed = cached(path, source)
    if packed is None:
        checkpoint = read_folder(folder)
        try:
            write(path, checkpoint.config, checkpoint.tensors, dtype=dtype, source=source)
            packed = read(path)
        except OSError:  # no room, or no right to write there: slower to start, otherwise the same
            packed = pack(checkpoint.config, checkpoint.tensors, dtype)
    return NativeBackend(packed, threads=threads, isa=isa)


def load_file(path: Path, *, threads: int | None = None, isa: str | None = None) -> NativeBackend:
    """Return a back end for a file that `export` wrote.

    Raises:
        SettingError: one of the settings is not possible here.
        ModelError: it is not such a file, of another version, cut short or damaged.
        OSError: it can't be read.
    """
    return NativeBackend(read(path), threads=threads, isa=isa)


def export(checkpoint: Checkpoint, path: Path, *, dtype: str) -> None:
    """Write a checkpoint as a native weight file, for `load_file`.

    Raises:
        SettingError: dtype is not known or not possible for this shape.
        ModelError: a tensor holds numbers that are not finite.
        OSError: the file can't be written.
    """
    write(path, checkpoint.config, checkpoint.tensors, dtype=dtype)


def cache_name(folder: Path) -> str:
    """Return what the names of a folder's files in the cache begin with."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:20]


def fingerprint(folder: Path) -> str:
    """Return what tells whether a folder's weights have changed, unread: names, sizes and times."""
    files = sorted(path for path in folder.iterdir() if any(part in path.name for part in WEIGHT_FILES))
    facts = [(path.name, status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()]]
    return hashlib.sha256(repr((str(folder.resolve()), facts)).encode()).hexdigest()


def cached(path: Path, source: str) -> Packed | None:
    """Return a converted file; None where there is none, or it is damaged or made from something else."""
    try:
        packed = read(path)
    except (ModelError, OSError):
        return None
    return packed if packed.source == source else None


class NativeBackend:
    """The `inkfish.backends.Backend` in C++. Calls from several threads wait for each other."""

    def __init__(self, packed: Packed, *, threads: int | None = None, isa: str | None = None) -> None:
        """Start the threads; see `load` for what can be set and what is raised."""
        if threads is None:
            threads = min(physical_cores(), MOST_THREADS)
        if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
            raise SettingError(
                f"threads is {threads!r}; it must be a whole number from 1 to {MOST_THREADS}", param="threads"
            )
        self.packed = packed
        self.threads = threads
        self.isa = best_isa(isa)
        self.native = library()
        handle = ctypes.c_void_p()
        weights = describe(packed)
        check(self.native.inkfish_open(weights, threads, ISAS.index(self.isa), handle))
        self.handle = handle
        # The weights are named here so that they live until the model is closed.
        weakref.finalize(self, close, self.native, handle, packed)

    @property
    def config(self) -> ModelConfig:
        """The shape of the model."""
        return self.packed.config

    @property
    def dtype(self) -> str:
        """The type that the weights are held in."""
        return self.packed.dtype

    def allocate(self) -> int:
        """Return a new, empty slot."""
        slot = ctypes.c_int()
        check(self.native.inkfish_allocate(self.handle, slot))
        return slot.value

    def length(self, slot: int) -> int:
        """Return how many tokens the slot holds."""
        length = ctypes.c_int()
        check(self.native.inkfish_length(self.handle, slot, length))
        return length.value

    def copy(self, source: int, target: int, length: int) -> None:
        """Make `target` hold the first `length` tokens of `source`; what is equal is shared."""
        check(self.native.inkfish_copy(self.handle, source, target, length))

    def truncate(self, slot: int, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        check(self.native.inkfish_truncate(self.handle, slot, length))

    def free(self, slot: int) -> None:
        """Give the slot back."""
        check(self.native.inkfish_free(self.handle, slot))

    def prefill(
        self, slot: int, ids: Sequence[int], segments: Sequence[int] | None = None, *, every: bool = False
    ) -> Logits:
        """Append ids; logits after the last (V,) or after each (T, V)."""
        logits = np.empty((len(ids) if every else 1, self.config.vocab_size), np.float32)
        self.forward([slot], [len(ids)], ids, segments, logits, every=every)
        return logits if every else logits[0]

    def decode(
        self, slots: Sequence[int], ids: Sequence[int], segments: Sequence[int | None] | None = None
    ) -> Logits:
        """Append one id to each slot; logits (B, V)."""
        logits = np.empty((len(slots), self.config.vocab_size), np.float32)
        self.forward(slots, [1] * len(slots), ids, segments, logits)
        return logits

    def decode_top(
        self,
        slots: Sequence[int],
        ids: Sequence[int],
        segments: Sequence[int | None] | None = None,
        *,
        k: int,
        temperatures: Sequence[float] | None = None,
    ) -> Top:
        """Append one id to each slot; logits, the k largest of each row, and the totals that sampling needs.

        Args:
            slots: B distinct slots.
            ids: one for each.
            segments: as for `decode`.
            k: how many, 1 to V.
            temperatures: what `Top.scaled_totals` is for, above 0; None is 1 for all.
        """
        return self.extend_top(slots, [[token] for token in ids], segments, k=k, temperatures=temperatures)

    def extend_top(
        self,
        slots: Sequence[int],
        runs: Sequence[Sequence[int]],
        segments: Sequence[int | None] | None = None,
        *,
        k: int,
        temperatures: Sequence[float] | None = None,
    ) -> Top:
        """Append a run of ids to each slot; what `decode_top` gives, for each id.

        Args:
            slots: B distinct slots.
            runs: one or more ids for each.
            segments: one for each slot, of all its ids.
            k: how many, 1 to V.
            temperatures: one for each slot.
        """
        counts = [len(run) for run in runs]
        rows, vocabulary = sum(counts), self.config.vocab_size
        heat = (
            np.ones(len(slots), np.float32) if temperatures is None else np.asarray(temperatures, np.float32)
        )
        assert 1 <= k <= vocabulary, f"k is {k}, the vocabulary has {vocabulary} entries"
        assert heat.shape == (len(slots),), f"{heat.size} temperatures for {len(slots)} slots"
        assert (heat > 0).all(), "temperatures must be above 0"
        heat = np.repeat(heat, counts)
        top = Top(
            logits=np.empty((rows, vocabulary), np.float32),
            values=np.empty((rows, k), np.float32),
            ids=np.empty((rows, k), np.int32),
            totals=np.empty(rows),
            scaled_totals=np.empty(rows),
        )
        places = [array.ctypes.data for array in (heat, *top[1:])]
        ids = [token for run in runs for token in run]
        if segments is not None:
            segments = [
                segment for segment, count in zip(segments, counts, strict=True) for _ in range(count)
            ]
        self.forward(slots, counts, ids, segments, top.logits, every=True, top=TopK(k, *places))
        return top

    def forward(
        self,
        slots: Sequence[int],
        counts: Sequence[int],
        ids: Sequence[int],
        segments: Sequence[int | None] | None,
        logits: Logits,
        *,
        every: bool = False,
        top: TopK | None = None,
    ) -> None:
        """Append counts[i] of the ids to slots[i]; fill `logits` with those after each run, or each id."""
        assert len(ids) == sum(counts), f"{len(ids)} ids for {len(slots)} slots"
        assert segments is None or len(segments) == len(ids), f"{len(ids)} ids and not as many segments"
        numbers = [np.array(values, np.int32) for values in (slots, counts, ids)]
        if segments is not None:
            numbers.append(np.array([-1 if segment is None else segment for segment in segments], np.int32))
        places = [array.ctypes.data for array in numbers]
        request = Request(len(slots), *places[:3], places[3] if segments is not None else None, every)
        check(self.native.inkfish_forward(self.handle, request, logits.ctypes.data, top))


def describe(packed: Packed) -> Weights:
    """Return the shape and places of weights as C sees them."""
    config = packed.config
    return Weights(
        config.n_layer,
        config.n_head,
        config.n_embd,
        config.n_positions,
        config.vocab_size,
        config.inner_size,
        config.layer_norm_epsilon,
        DTYPES.index(packed.dtype),
        len(packed.offsets),
        packed.data.ctypes.data,
        packed.data.size,
        packed.offsets.ctypes.data,
    )


def close(native: ctypes.CDLL, handle: ctypes.c_void_p, packed: Packed) -> None:
    """Stop the threads and free the slots; `packed` may go only after that."""
    native.inkfish_close(handle)
    del packed
