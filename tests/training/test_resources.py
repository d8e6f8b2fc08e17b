from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inkfish.errors import RunError
from inkfish.training.measure import Pace, duration, peak_memory
from inkfish.training.resources import (
    address_room,
    available_memory,
    cores,
    group_room,
    has_bfloat16,
    keep_freed_memory,
    machine_room,
    memory_advice,
)


def test_cores_side_by_side_and_not() -> None:
    before = torch.get_num_threads()
    with cores(3, side_by_side=True) as workers:
        assert workers is not None
        assert torch.get_num_threads() == 1
        assert list(workers.map(lambda x: x + 1, [1, 2])) == [2, 3]
    with cores(2, side_by_side=False) as workers:
        assert workers is None
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_malloc_is_set_where_it_can_be() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this malloc keeps nothing")
def test_what_malloc_has_kept_is_given_back() -> None:
    """In a process of its own, whose memory nothing else uses."""
    code = """
import numpy as np
from inkfish.training.resources import keep_freed_memory, return_freed_memory
def pages():
    return int(open("/proc/self/statm").read().split()[1])
keep_freed_memory()
kept = [np.ones(1 << 20) for _ in range(25)]
full = pages()
del kept
freed = pages()
assert return_freed_memory()
print(full - freed, freed - pages())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, after = (int(number) * 4096 for number in said.split())
    assert before < 100 << 20, "malloc keeps it"
    assert after > 150 << 20, "and gives it back"


def test_bfloat16_is_what_the_processor_says() -> None:
    if sys.platform == "linux" and platform.machine() == "x86_64":
        with open("/proc/cpuinfo") as file:  # noqa: PTH123 - not a file of ours
            assert has_bfloat16("cpu") == ("avx512_bf16" in file.read())


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_lack_of_memory_gives_the_advice(error: Exception) -> None:
    with pytest.raises(RunError, match="not enough memory: take less"), memory_advice("take less"):
        raise error


def test_torch_says_so_in_these_words() -> None:
    with pytest.raises(RunError, match="not enough memory: take less"), memory_advice("take less"):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_advice("take less"):
        raise RuntimeError("shapes do not fit")


def test_pace() -> None:
    pace = Pace(window=2)
    assert pace.tokens_per_second == 0
    for tokens, seconds in ((100, 9.0), (10, 1.0), (30, 3.0)):
        pace.add(tokens, seconds)
    assert pace.tokens_per_second == 10
    assert pace.remaining(5) == 10


def test_durations() -> None:
    assert [duration(s) for s in (2.6, 89, 91, 5395, 7499)] == [
        "3 s",
        "89 s",
        "2 min",
        "1 h 30 min",
        "2 h 05 min",
    ]


def test_peak_memory_is_in_bytes() -> None:
    assert 20 << 20 < peak_memory() < 1 << 40


def test_available_memory_is_the_least_of_all_limits(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:     500 kB\n")
    assert machine_room(tmp_path / "meminfo") == 500 * 1024
    assert machine_room(tmp_path / "none") is None
    inner = tmp_path / "groups" / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text("1000\n")
    (inner.parent / "memory.current").write_text("400\n")
    (tmp_path / "own").write_text("0::/a/b\n")
    assert group_room(tmp_path / "groups", tmp_path / "own") == 600
    assert group_room(tmp_path / "groups", tmp_path / "none") is None
    assert address_room() is None
    room = available_memory("cpu")
    assert room is None or room > 0


def test_the_limit_on_addresses() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30));"
        "from inkfish.training.resources import address_room; print(address_room())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(found.stdout) < 8 << 30
