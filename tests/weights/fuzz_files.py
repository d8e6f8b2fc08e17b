"""Coverage-guided fuzzing of everything that is read from a model folder; needs `pip install atheris`.

python tests/weights/fuzz_files.py -max_total_time=600

The first byte of an input chooses the kind of file, the rest is the file. Any exception but a ModelError is a
find, and so is memory beyond 512 MB or an input that takes longer than a second. The indexes get sound
checksums, so that the fuzzer reaches what is behind them.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["inkfish"]):
    from inkfish.errors import ModelError
    from inkfish.untrusted import parse_object
    from inkfish.weights.bundle import TYPES, parse_index, read_tensors
    from inkfish.weights.bundle_writer import message, table
    from inkfish.weights.config_json import parse_config
    from inkfish.weights.generation_config import GenerationDefaults
    from inkfish.weights.table import TableError
    from inkfish.weights.tensor_file import FLOATS, map_file

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def index(data: bytes) -> None:
    """A checkpoint's index, as it is."""
    parse_index(memoryview(data))


def entries(data: bytes) -> None:
    """An index of soundly checksummed entries, each with a length before it, and a shard."""
    pairs, place = [(b"", message({1: 1}))], 0
    while place < len(data) and len(pairs) < 9:
        length = data[place]
        pairs.append((b"%d" % len(pairs), data[place + 1 : place + 1 + length]))
        place += 1 + length
    (FOLDER / "m.data-00000-of-00001").write_bytes(data[:64])
    found = parse_index(memoryview(table(pairs)))
    wanted = [name for name, entry in found.entries.items() if entry.dtype in TYPES and not entry.sliced]
    read_tensors(FOLDER, "m", found, wanted)


def header(data: bytes) -> None:
    """A safetensors file with a header of sound length."""
    length, body = data[0] if data else 0, data[1:]
    path = FOLDER / "x.safetensors"
    path.write_bytes(struct.pack("<Q", max(len(body) - length, 0)) + body)
    for tensor in map_file(path).values():
        if tensor.dtype in FLOATS:
            tensor.array().sum()


def document(data: bytes) -> None:
    """config.json and generation_config.json."""
    values = parse_object(data, "x")
    GenerationDefaults.from_json(values, "x")
    parse_config(values | {"model_type": "gpt2"}, "x")


TARGETS = (index, entries, header, document)


def fuzz(data: bytes) -> None:
    """Read one input."""
    if data:
        try:
            TARGETS[data[0] % len(TARGETS)](data[1:])
        except (ModelError, TableError):
            return


def write_seeds() -> Path:
    """Write one sound input of each kind for the fuzzer to begin from."""
    fixture = Path(__file__).parents[1] / "fixtures" / "gpt-2-simple" / "checkpoint" / "run1"
    entry = message({1: 1, 2: message({2: message({1: 2})}), 5: 8}) + b"\x35" + struct.pack("<I", 1)
    said = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    seeds = (
        (fixture / "model-7.index").read_bytes(),
        bytes([len(entry)]) + entry,
        bytes([8]) + said + bytes(8),
        b'{"n_layer": 2, "n_head": 3, "n_embd": 12, "eos_token_id": [1], "top_p": 0.9, "n_ctx": 1}',
    )
    folder = FOLDER / "seeds"
    folder.mkdir()
    for kind, data in enumerate(seeds):
        (folder / str(kind)).write_bytes(bytes([kind]) + data)
    return folder


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], "-rss_limit_mb=512", "-timeout=1", *sys.argv[1:], str(write_seeds())], fuzz)
    atheris.Fuzz()
