"""The machine's resources: cores, memory, number types, and how a training step makes good use of them."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from inkfish.errors import RunError

__all__ = [
    "available_memory",
    "cores",
    "has_bfloat16",
    "keep_freed_memory",
    "memory_advice",
    "return_freed_memory",
]

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of mallopt(3), from malloc.h."""


def keep_freed_memory() -> bool:
    """Tell malloc to keep freed memory for the next step; return whether this system has such a malloc.

    Measured: a quarter more tokens a second, for some more memory. Applies to the whole process.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20))
    return all(mallopt(*setting) == 1 for setting in settings)


def return_freed_memory() -> bool:
    """Give back what malloc has kept; return whether this system has such a malloc. For after training."""
    return platform.libc_ver()[0] == "glibc" and ctypes.CDLL(None).malloc_trim(0) == 1


def has_bfloat16(device: str) -> bool:
    """Whether the machine multiplies matrices in bfloat16 faster than in float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


@contextmanager
def cores(threads: int, *, side_by_side: bool) -> Iterator[Executor | None]:
    """Set how a run uses the cores: several batches at a time, or all cores in each operation.

    Args:
        threads: how many cores; 0 is all.
        side_by_side: yield an executor for batches and give torch's operations one thread; or yield None.
    """
    count, before = threads or os.cpu_count() or 1, torch.get_num_threads()
    torch.set_num_threads(1 if side_by_side else count)
    try:
        if side_by_side:
            with ThreadPoolExecutor(count) as executor:
                yield executor
        else:
            yield None
    finally:
        torch.set_num_threads(before)


def available_memory(device: str) -> int | None:
    """Return the bytes that this process can still take; None where the system does not tell.

    On a CPU the least of what the machine, the control group and the limit on addresses leave.
    """
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    found = [room for room in (machine_room(), group_room(), address_room()) if room is not None]
    return min(found, default=None)


def machine_room(table: Path = Path("/proc/meminfo")) -> int | None:
    """Return the bytes of memory that Linux could give without swapping."""
    with suppress(OSError):
        fields = dict(line.split(":") for line in table.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return None


def group_room(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the bytes that the process's control group, and those around it, still may take."""
    rooms = []
    with suppress(OSError, ValueError):
        name = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
        here = root / name.lstrip("/")
        for folder in (here, *here.parents):
            limit = folder / "memory.max"
            if limit.is_file() and (text := limit.read_text().strip()) != "max":
                rooms.append(int(text) - int((folder / "memory.current").read_text()))
            if folder == root:
                break
    return min(rooms, default=None)


def address_room(sizes: Path = Path("/proc/self/statm")) -> int | None:
    """Return the bytes of addresses that `ulimit -v` leaves."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    used = int(sizes.read_text().split()[0]) * resource.getpagesize() if sizes.is_file() else 0
    return max(0, limit - used)


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn a lack of memory into one line that ends with `advice`.

    Raises:
        RunError: instead of torch's error.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ImportError) as error:
        kinds, signs = (
            MemoryError | torch.OutOfMemoryError,
            ("can't allocate memory", "failed to map segment"),
        )
        if not isinstance(error, kinds) and not any(sign in str(error) for sign in signs):
            raise
        raise RunError(f"not enough memory: {advice}") from None
