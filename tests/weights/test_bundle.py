"""TensorFlow checkpoints: values bit for bit, every damage refused, no lying number believed."""

from __future__ import annotations

import shutil
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inkfish.errors import ModelError
from inkfish.weights.bundle import INDEX_LIMIT, TYPES, Entry, parse_index, read_index, read_tensors
from inkfish.weights.bundle_writer import message, table, varint, write_bundle
from inkfish.weights.table import TableError, masked_crc

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gpt-2-simple" / "checkpoint" / "run1"
VALUES: dict[str, NDArray[Any]] = {
    "a": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "b": np.array(2.5, np.float32),
    "empty": np.zeros((0, 4)),
}
HEADER = message({1: 1})


def read(folder: Path, prefix: str = "model.ckpt") -> dict[str, NDArray[Any]]:
    index = read_index(folder / f"{prefix}.index")
    wanted = [name for name, entry in index.entries.items() if entry.dtype in TYPES and not entry.sliced]
    return read_tensors(folder, prefix, index, wanted)


def entry(data: bytes = b"\0\0\0\0", *, dtype: int = 1, shape: tuple[int, ...] = (1,), **other: int) -> bytes:
    """A BundleEntryProto, sound unless told otherwise."""
    said = {"shard": 0, "offset": 0, "size": len(data), "crc": masked_crc(memoryview(data))} | other
    dimensions = b"".join(message({2: message({1: size % (1 << 64)})}) for size in shape)
    crc = varint(6 << 3 | 5) + struct.pack("<I", said["crc"])
    return message({1: dtype, 2: dimensions, 3: said["shard"], 4: said["offset"], 5: said["size"]}) + crc


def write(folder: Path, data: bytes, *values: bytes, header: bytes = HEADER, shards: int = 1) -> None:
    """A checkpoint of any entries, named a, b, …, in one shard of any bytes."""
    pairs = [(b"", header), *((bytes([97 + i]), value) for i, value in enumerate(values))]
    (folder / "model.ckpt.index").write_bytes(table(pairs))
    (folder / f"model.ckpt.data-00000-of-{shards:05}").write_bytes(data)


def test_round_trip(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", VALUES)
    found = read(tmp_path)
    assert set(found) == set(VALUES)
    for name, values in VALUES.items():
        assert found[name].shape == values.shape
        assert np.array_equal(found[name], values)


def test_three_shards_and_other_types_of_real_tensorflow() -> None:
    index = read_index(FIXTURE / "model-7.index")
    assert index.shards == 3
    assert len(index.entries) == 2 + 2 * 12 + 2 + 3
    assert index.entries["global_step"] == Entry(9, (), 0, 4, 8, index.entries["global_step"].crc, False)
    tensors = read_tensors(FIXTURE, "model-7", index, ["beta1_power", "model/h0/ln_1/b/Adam", "model/wpe"])
    assert tensors["beta1_power"] == np.float32(0.5)
    assert tensors["model/wpe"].shape == (16, 6)


@pytest.mark.parametrize(("dtype", "numpy_type"), [(2, np.float64), (19, np.float16)])
def test_other_floating_types(tmp_path: Path, dtype: int, numpy_type: Any) -> None:
    values = np.array([[1.5, -2.25]], numpy_type)
    write(tmp_path, values.tobytes(), entry(values.tobytes(), dtype=dtype, shape=(1, 2)))
    assert read(tmp_path)["a"].dtype == numpy_type
    assert read(tmp_path)["a"].tolist() == [[1.5, -2.25]]


def test_bfloat16_is_read_exactly_and_unaligned_tensors_are_aligned(tmp_path: Path) -> None:
    half = b"\xc0\x3f"
    single = struct.pack("<f", -3.75)
    write(tmp_path, half + single, entry(half, dtype=14), entry(single, offset=2))
    found = read(tmp_path)
    assert found["a"].dtype == np.float32
    assert found["a"].tolist() == [1.5]
    assert found["b"].flags.aligned
    assert found["b"].tolist() == [-3.75]


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", VALUES)
    array = read(tmp_path)["a"]
    assert not array.flags.writeable
    assert not array.flags.owndata


FOUR = b"\0\0\0\0"


@pytest.mark.parametrize(
    ("values", "header", "words"),
    [
        ([entry()], message({1: 1, 2: 1}), "written by a big-endian machine"),
        ([entry()], message({1: 0}), "it names 0 shards, the limit is 1,000"),
        ([entry()], message({1: 1 << 31}), "it names 2,147,483,648 shards"),
        ([entry()], b"\x0a\x01x", "field 1 of an entry is not a number"),
        ([entry()], b"\x0f", "an entry has a field of unknown type 7"),
        ([entry(shard=1)], HEADER, "an entry is in shard 1 of 1"),
        ([entry(shape=(2,))], HEADER, r"an entry of shape \(2,\) has 4 bytes, expected 8"),
        ([entry(dtype=2)], HEADER, r"an entry of shape \(1,\) has 4 bytes, expected 8"),
        ([entry(shape=(1 << 40, 1 << 40))], HEADER, "has 4 bytes, expected 4,835"),
        ([entry(shape=((1 << 62) + 1,), size=4)], HEADER, "has 4 bytes, expected 18,446"),
        ([entry(shape=(-1,))], HEADER, "an entry's shape is damaged"),
        ([entry(shape=(1,) * 9)], HEADER, "an entry's shape is damaged"),
        ([entry(size=8)], HEADER, "has 8 bytes, expected 4"),
        ([entry(shape=(1 << 20,), size=1 << 22)], HEADER, "it has 4 bytes, expected 4,194,304"),
        ([entry(offset=1)], HEADER, "a tensor begins at byte 1, expected 0"),
        (
            [entry(offset=(1 << 64) - 2)],
            HEADER,
            "a tensor begins at byte 18,446,744,073,709,551,614, expected 0",
        ),
        ([entry(), entry()], HEADER, "a tensor begins at byte 0, expected 4"),
        ([entry(), entry(offset=8)], HEADER, "a tensor begins at byte 8, expected 4"),
        ([entry(crc=1)], HEADER, "the checksums of a are wrong"),
        ([entry()[:-1]], HEADER, "an entry is cut off"),
        ([message({1: 1, 2: 5})], HEADER, "a number stands where a message should"),
        ([b"\x0b"], HEADER, "an entry has a field of unknown type 3"),
        ([], b"\x80", "no number of 64 bits at byte 0"),
    ],
)
def test_entries_that_lie(tmp_path: Path, values: list[bytes], header: bytes, words: str) -> None:
    write(tmp_path, FOUR, *values, header=header)
    with pytest.raises(ModelError, match=words) as caught:
        read(tmp_path)
    assert "is not a sound TensorFlow checkpoint (" in str(caught.value)
    assert str(caught.value).endswith("); copy or download it again")


def test_a_table_without_header_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.index").write_bytes(table([(b"a", entry())]))
    with pytest.raises(ModelError, match="it has no header"):
        read(tmp_path)
    (tmp_path / "model.ckpt.index").write_bytes(table([]))
    with pytest.raises(ModelError, match="it has no header"):
        read(tmp_path)


def test_an_index_of_any_size_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "model.ckpt.index").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match=r"index has 1,099,511,627,776 bytes; the limit is 524,288"):
        read(tmp_path)


def test_the_densest_index_is_read_within_a_second(tmp_path: Path) -> None:
    """As many entries as the limit allows, each as short as a sound one can be."""
    value = entry(b"", shape=(0,))
    pairs = [(b"", HEADER)] + [(f"{i:06}".encode(), value) for i in range(32_500)]
    data = table(pairs)
    assert 0.9 * INDEX_LIMIT < len(data) <= INDEX_LIMIT
    (tmp_path / "model.ckpt.index").write_bytes(data)
    seconds = []
    for _ in range(3):  # other programs can hold one of them up, hardly all
        began = time.process_time()
        assert len(read_index(tmp_path / "model.ckpt.index").entries) == 32_500
        seconds.append(time.process_time() - began)
    assert min(seconds) < 1


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path / "run1")
    (tmp_path / "run1" / "model-7.data-00001-of-00003").unlink()
    with pytest.raises(ModelError, match=r"has no model-7.data-00001-of-00003, which model-7.index names"):
        read(tmp_path / "run1", "model-7")


def test_a_shard_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "model.ckpt", VALUES)
    index = read_index(tmp_path / "model.ckpt.index")

    def refuse(path: Path, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelError, match=r"data-00000-of-00001 is not a sound .* \(Permission denied\);"):
        read_tensors(tmp_path, "model.ckpt", index, ["a"])


def test_shards_cut_lengthened_or_flipped(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path / "run1")
    path = tmp_path / "run1" / "model-7.data-00002-of-00003"
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=rf"it has {length} bytes, expected 936"):
            read(tmp_path / "run1", "model-7")
    path.write_bytes(whole + b"\0")
    with pytest.raises(ModelError, match=r"it has 937 bytes, expected 936"):
        read(tmp_path / "run1", "model-7")
    for place in np.random.default_rng(1).integers(0, 8 * len(whole), 64).tolist():
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"the checksums of model/[\w/]+ are wrong"):
            read(tmp_path / "run1", "model-7")
    path.write_bytes(whole)
    read(tmp_path / "run1", "model-7")


def test_the_index_of_real_tensorflow_cut_anywhere_and_every_bit_flipped() -> None:
    whole = (FIXTURE / "model-7.index").read_bytes()
    parse_index(memoryview(whole))
    for length in range(len(whole)):
        with pytest.raises(TableError):
            parse_index(memoryview(whole[:length]))
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(TableError):
            parse_index(memoryview(damaged))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundle")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4), st.binary(max_size=20), st.binary(max_size=40))
def test_any_entries_are_read_or_refused(
    scratch: Path, values: list[bytes], header: bytes, data: bytes
) -> None:
    """Soundly checksummed nonsense: no exception but ours, and nothing is read from outside the shard."""
    write(scratch, data, *values, header=HEADER + header)
    try:
        found = read(scratch)
    except ModelError:
        return
    assert sum(array.nbytes for array in found.values()) <= 2 * len(data)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(
            entry,
            st.binary(max_size=8),
            dtype=st.sampled_from([1, 2, 14, 19]),
            shape=st.lists(st.integers(-1, 5), max_size=3).map(tuple),
            shard=st.integers(0, 2),
            offset=st.integers(0, 16) | st.integers(0, (1 << 64) - 1),
            size=st.integers(0, 16) | st.integers(0, (1 << 64) - 1),
        ),
        max_size=3,
    ),
    st.binary(max_size=16),
)
def test_plausible_entries_are_read_or_refused(scratch: Path, values: list[bytes], data: bytes) -> None:
    write(scratch, data, *values)
    try:
        found = read(scratch)
    except ModelError:
        return
    assert sum(array.nbytes for array in found.values()) <= 2 * len(data)


def test_the_writer_writes_what_tensorflow_wrote(tmp_path: Path) -> None:
    """One shard of real TensorFlow written again: equal bytes, but for the last key of the index block."""
    real = FIXTURE.parents[2] / "openai"
    index = read_index(real / "model.ckpt.index")
    write_bundle(tmp_path / "model.ckpt", read_tensors(real, "model.ckpt", index, list(index.entries)))
    data, table = "model.ckpt.data-00000-of-00001", "model.ckpt.index"
    assert (tmp_path / data).read_bytes() == (real / data).read_bytes()
    assert (tmp_path / table).read_bytes()[:840] == (real / table).read_bytes()[:840]
    assert read_index(tmp_path / table) == index
