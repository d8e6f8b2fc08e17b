"""safetensors files: exact values, no copies, every kind of damage refused before anything is allocated."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inkfish.errors import ModelError
from inkfish.weights.tensor_file import HEADER_LIMIT, from_bfloat16, map_file, to_bfloat16, write_file

SOUND = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([0.5, -2.0], np.float32),
    "empty": np.zeros((0, 4), np.float32),
}


def raw(header: object, data: bytes, *, size: int | None = None) -> bytes:
    """A file with any header and any data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(start: int, end: int, *, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_file(
        tmp_path / "model.safetensors", list(SOUND.items()), dtype="float32", metadata={"format": "pt"}
    )
    return tmp_path / "model.safetensors"


def test_the_library_reads_what_we_write(path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file

    for name, array in load_file(path).items():
        assert np.array_equal(array, SOUND[name])
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    sound = SOUND | {"half": np.ones((3, 5), np.float16), "double": np.full(2, math.pi)}
    save_file(sound, tmp_path / "x", metadata={"a": "b"})
    found = map_file(tmp_path / "x")
    assert set(found) == set(sound)
    for name, tensor in found.items():
        assert tensor.array().dtype == sound[name].dtype
        assert np.array_equal(tensor.array(), sound[name])


def test_arrays_are_read_only_views_of_the_file(path: Path) -> None:
    array = map_file(path)["a"].array()
    assert not array.flags.writeable
    assert not array.flags.owndata


def test_unaligned_tensors_are_copied_to_aligned_ones(tmp_path: Path) -> None:
    header = {"a": entry(0, 1, dtype="U8"), "b": entry(1, 9, shape=(2,))}
    (tmp_path / "x").write_bytes(raw(header, b"\1" + np.array([1.5, -2.5], np.float32).tobytes()))
    array = map_file(tmp_path / "x")["b"].array()
    assert array.flags.aligned
    assert array.tolist() == [1.5, -2.5]


def test_bfloat16_both_ways_is_what_torch_does() -> None:
    import torch

    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    exact = torch.from_numpy(every.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert np.array_equal(from_bfloat16(every).view(np.uint32), exact.view(np.uint32))
    random = np.random.default_rng(1).integers(0, 1 << 32, 200_000, np.uint32).view(np.float32)
    ties = ((every.astype(np.uint32) << np.uint32(16)) | np.uint32(0x8000)).view(np.float32)
    values = np.concatenate([random, ties])
    values = values[np.isfinite(values)]
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(to_bfloat16(values), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_written_types_round_to_nearest_even(tmp_path: Path, dtype: str) -> None:
    import torch

    values = np.random.default_rng(2).normal(0, 3, (7, 11))
    write_file(tmp_path / "x", [("v", values)], dtype=dtype, metadata={})
    expected = torch.from_numpy(values).float().to(getattr(torch, dtype)).float().numpy()
    assert np.array_equal(map_file(tmp_path / "x")["v"].array().astype(np.float32), expected)


def test_transposed_tensors_are_written_in_their_order(tmp_path: Path) -> None:
    write_file(tmp_path / "x", [("a", SOUND["a"].T)], dtype="float32", metadata={})
    assert np.array_equal(map_file(tmp_path / "x")["a"].array(), SOUND["a"].T)


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (math.nan, "float32", "h.0 holds values that are not finite; such weights are not saved"),
        (-math.inf, "bfloat16", "h.0 holds values that are not finite"),
        (70000.0, "float16", r"h.0 holds 7e\+04, too large for float16; save as float32"),
        (3.4e38, "bfloat16", r"h.0 holds 3.4e\+38, too large for bfloat16; save as float32"),
        (1e200, "bfloat16", r"h.0 holds 1e\+200, too large for bfloat16"),
        (1e200, "float32", r"h.0 holds 1e\+200, too large for float32"),
    ],
)
def test_values_that_can_not_be_saved(tmp_path: Path, value: float, dtype: str, words: str) -> None:
    array: NDArray[np.float64] = np.array([1, value])
    with pytest.raises(ModelError, match=words):
        write_file(tmp_path / "x", [("h.0", array)], dtype=dtype, metadata={})


def test_truncated_anywhere_and_one_byte_too_long(path: Path) -> None:
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    random = np.random.default_rng(3).integers(header, len(whole), 64)
    for length in [*range(header), *random.tolist()]:
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"is not a whole safetensors file \(.*\); fetch or copy"):
            map_file(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        map_file(path)
    path.write_bytes(whole)
    assert set(map_file(path)) == set(SOUND)


BROKEN: dict[str, bytes] = {
    "header length 0": raw({}, b"", size=0),
    "header length 2^63": raw({}, b"", size=1 << 63),
    "header length 2^64 - 1": raw({}, b"", size=(1 << 64) - 1),
    "header longer than the file": raw({"a": entry(0, 4)}, b"1234", size=1000),
    "header one byte too long": raw(
        {"a": entry(0, 4)}, b"1234", size=len(json.dumps({"a": entry(0, 4)})) + 1
    ),
    "header over the limit": raw(b"{" + b" " * (HEADER_LIMIT + 8) + b"}", b""),
    "not UTF-8": raw(b'{"\xff":1}', b""),
    "not JSON": raw(b"{]", b""),
    "a list": raw(b"[1, 2]", b""),
    "leading space": raw(b' {"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"1234"),
    "deep nesting": raw(b'{"a":' * 100_000, b""),
    "key twice": raw(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"1234",
    ),
    "hole": raw({"a": entry(0, 4), "b": entry(8, 12)}, b"123412341234"),
    "hole at the start": raw({"a": entry(4, 8)}, b"12341234"),
    "overlap": raw({"a": entry(0, 8, shape=(2,)), "b": entry(4, 12, shape=(2,))}, b"123412341234"),
    "negative offset": raw({"a": entry(-4, 0)}, b"1234"),
    "offsets backwards": raw({"a": entry(4, 0)}, b"1234"),
    "offset outside": raw({"a": entry(0, 4), "b": entry(4, 8)}, b"1234"),
    "offset 2^63": raw({"a": entry(0, 1 << 63, shape=(1 << 61,))}, b"1234"),
    "shape and size disagree": raw({"a": entry(0, 4, shape=(2,))}, b"1234"),
    "shape overflows": raw({"a": entry(0, 4, shape=(1 << 32, 1 << 32, 1 << 32))}, b"1234"),
    "shape wraps to the right size": raw({"a": entry(0, 4, shape=((1 << 62) + 1, 4))}, b"1234"),
    "negative shape": raw({"a": entry(0, 4, shape=(-1, -1))}, b"1234"),
    "fractional shape": raw({"a": entry(0, 4) | {"shape": [1.0]}}, b"1234"),
    "unknown type": raw({"a": entry(0, 4, dtype="F31")}, b"1234"),
    "no offsets": raw({"a": {"dtype": "F32", "shape": [1]}}, b"1234"),
    "metadata is no text": raw({"__metadata__": {"a": 1}}, b""),
    "a pickle": b"\x80\x04\x95" + b"\0" * 100,
    "a zip": b"PK\x03\x04" + b"\0" * 100,
    "a git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 497774208\n",
    "zeros": bytes(1000),
    "empty": b"",
}


@pytest.mark.parametrize("damage", BROKEN)
def test_damage_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(BROKEN[damage])
    began = time.process_time()
    with pytest.raises(ModelError) as caught:
        map_file(path)
    assert time.process_time() - began < 1
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_files_that_go_away_or_change_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"other is not a whole safetensors file \(No such file or .*\)"):
        map_file(path.with_name("other"))
    monkeypatch.setattr("os.path.samestat", lambda a, b: False)
    with pytest.raises(ModelError, match=r"\(it was replaced while it was read\); fetch or copy"):
        map_file(path)


MEASURE = """
import re, sys
from pathlib import Path
from inkfish.errors import ModelError
from inkfish.weights.tensor_file import map_file
import safetensors

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

before, refused = peak(), 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        map_file(path)
    except ModelError:
        refused += 1
print(refused, peak() - before)
"""
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")


def measured(folder: Path, code: str = MEASURE) -> tuple[int, int]:
    """How many files of a folder a fresh process refuses, and by how many bytes its memory grows at most."""
    command = [sys.executable, "-c", code, str(folder)]
    refused, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(refused), int(grown)


@NEEDS_PROC
def test_refusals_allocate_next_to_nothing(tmp_path: Path) -> None:
    for number, data in enumerate(BROKEN.values()):
        (tmp_path / str(number)).write_bytes(data)
    dense = b'{"a":[' + b"[]," * (HEADER_LIMIT // 3 - 10) + b"[]]}"
    (tmp_path / "dense").write_bytes(raw(dense, b""))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    refused, grown = measured(tmp_path)
    assert refused == len(BROKEN) + 2
    assert grown <= 64 << 20


@NEEDS_PROC
def test_reading_a_large_file_copies_nothing(tmp_path: Path) -> None:
    size = 500_000_000
    with (tmp_path / "large").open("wb") as file:
        file.write(raw({"wte.weight": entry(0, size, dtype="F16", shape=(size // 2,))}, b""))
        file.truncate(file.tell() + size)
    refused, grown = measured(tmp_path)
    assert refused == 0
    assert grown <= 16 << 20


@NEEDS_PROC
def test_memory_is_measured() -> None:
    """The measure that the two tests above rest on sees an allocation."""
    code = MEASURE.replace("map_file(path)", "bytearray(b'x' * 50_000_000)")
    assert measured(Path(__file__).parent, code)[1] > 40 << 20
