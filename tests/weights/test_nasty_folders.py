"""Folders that were made to do harm: each is refused in one line of bearable length, within a second."""

from __future__ import annotations

import functools
import json
import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.errors import InkfishError
from inkfish.weights import huggingface

RUN = Path(__file__).parents[1] / "fixtures" / "gpt-2-simple" / "checkpoint" / "run1"
SHAPE = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=50_257)
Harm = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("sound") / "model"
    huggingface.write(folder, SHAPE, {name: np.ones(s, "f4") for name, s in SHAPE.tensor_shapes().items()})
    return folder


def config(**values: object) -> Harm:
    """Fields of config.json."""

    def harm(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return harm


def hparams(**values: object) -> Harm:
    """Fields of hparams.json."""
    sound = {"n_vocab": 277, "n_ctx": 16, "n_embd": 6, "n_head": 3, "n_layer": 2}
    return lambda folder: (folder / "hparams.json").write_text(json.dumps(sound | values))


def header(text: object, data: bytes = b"", size: int | None = None) -> Harm:
    """A file of weights with that header."""
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    start = struct.pack("<Q", len(raw) if size is None else size)
    return lambda folder: (folder / "model.safetensors").write_bytes(start + raw + data)


def instead(name: str, make: Callable[[Path], object]) -> Harm:
    """Something else in place of a file."""

    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return harm


def link(name: str, target: str) -> Harm:
    return instead(name, lambda path: path.symlink_to(target))


def contents(name: str, data: bytes) -> Harm:
    return lambda folder: (folder / name).write_bytes(data)


def sharded(places: dict[str, str]) -> Harm:
    """An index instead of the weights."""

    def harm(folder: Path) -> None:
        shutil.move(folder / "model.safetensors", folder / "whole")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    return harm


def large(name: str) -> Harm:
    """A file of a terabyte, all holes."""
    return lambda folder: os.truncate(folder / name, 1 << 40)


def entry(start: int, end: int, *shape: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@functools.cache
def cases() -> dict[str, tuple[Harm, str]]:
    """What was done to a sound folder, and what is said."""
    many = b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"
    keys = b"{" + b",".join(b'"%x":0' % i for i in range(1_200_000)) + b"}"
    names = {f"x{i}": entry(0, 0, 0) for i in range(30_000)}
    return {
        "a number of 4,000 digits": (config(n_layer=10**4000), "n_layer is 1000000000"),
        "an epsilon of 400 digits": (config(layer_norm_epsilon=10**400), "it must be between 0 and 1"),
        "as large as the limits allow": (
            config(n_layer=512, n_embd=65_536, n_head=512, vocab_size=4_194_304, n_positions=1_048_576),
            "does not fit its config in 6,148 points",
        ),
        "UTF-16": (contents("config.json", "{}".encode("utf-16")), "is not UTF-8 at byte 0"),
        "30,000 tensors": (header(names), "does not fit its config in 30,028 points"),
        "a name of a megabyte": (header({"x" * 1_000_000: entry(0, 0, 0)}), "xxxxx... (0,) is extra"),
        "100,000 dimensions": (
            header({"wte.weight": entry(0, 4, *[1] * 100_000)}, b"1234"),
            "wte.weight is (1, 1, 1,",
        ),
        "nothing, of a huge shape": (header({"wte.weight": entry(0, 0, 0, 1 << 60)}), "wte.weight is (0,"),
        "every tensor empty": (
            header({name: entry(0, 0, 0) for name in SHAPE.tensor_shapes()}),
            "wte.weight is (0,), expected (50257, 12)",
        ),
        "a name that paints the terminal": (
            header({"\x1b[31m\n\u202e": entry(0, 4, 1)}, b"1234"),
            r"\x1b[31m\n\u202e' (1,) is extra",
        ),
        "half a character": (header(b'{"\\ud800":{}}'), "invalid JSON in header"),
        "eight bits": (header({"wte.weight": entry(0, 4, 4, dtype="F8_E4M3")}, b"1234"), "stored as F8_E4M3"),
        "a header of 2^64 - 1": (header(b"{}", size=(1 << 64) - 1), "a header of 18,446,744,073,709,551,615"),
        "a terabyte of holes": (large("model.safetensors"), "file not fully covered"),
        "a pipe as weights": (instead("model.safetensors", os.mkfifo), "is not a regular file"),
        "zeros without end": (link("model.safetensors", "/dev/zero"), "is not a regular file"),
        "a link to itself": (link("model.safetensors", "model.safetensors"), "is a link to a file that"),
        "a folder as weights": (instead("model.safetensors", Path.mkdir), "is not a regular file"),
        "an index that leaves": (sharded({"wte.weight": "../../etc/passwd"}), "must be a plain name"),
        "an index that names itself": (
            sharded({"wte.weight": "model.safetensors.index.json"}),
            "is not a whole safetensors file",
        ),
        "an index with half a character": (sharded({"wte.weight": "\ud800"}), r"has no '\ud800', which"),
        "an index of 15,000 files": (
            sharded({f"x{i}": f"{i}.safetensors" for i in range(15_000)}),
            "has no 0.safetensors",
        ),
        "millions of lists": (contents("tokenizer.json", many), "has more than 524,288 entries"),
        "a million keys": (contents("tokenizer.json", keys), "has more than 524,288 entries"),
        "a vocabulary elsewhere": (
            link("tokenizer.json", "/etc/passwd"),
            "is a link to /etc/passwd, outside the folder",
        ),
        "a pipe as vocabulary": (
            instead("vocab.json", os.mkfifo),
            "vocab.json is not a regular file",
        ),
        "a temperature of 50": (contents("generation_config.json", b'{"temperature": 50}'), "from 0 to 2"),
    }  # fmt: skip


@pytest.mark.parametrize("name", cases())
def test_harm_is_refused_soon_and_briefly(sound: Path, tmp_path: Path, name: str) -> None:
    harm, words = cases()[name]
    folder = Path(shutil.copytree(sound, tmp_path / "model"))
    harm(folder)
    began = time.process_time()
    with pytest.raises(InkfishError) as caught:
        weights.read_model(folder)
    assert time.process_time() - began < 1
    message = str(caught.value)
    assert words in message
    assert message.isprintable()
    assert len(message) < 20_000
    shutil.rmtree(folder)
    assert weights.read(sound).config == SHAPE


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (hparams(n_layer=512), "does not fit its config in 6,120 points"),
        (hparams(n_vocab=1e9), "n_vocab must be whole numbers"),
        (contents("checkpoint", b'model_checkpoint_path: "../../etc/passwd"\n'), "names passwd, and "),
        (contents("checkpoint", b'model_checkpoint_path: ".."\n'), "names .., and ...index is not there"),
        (large("checkpoint"), "has 1,099,511,627,776 bytes; the limit is 1,048,576"),
        (instead("model-7.index", os.mkfifo), "is not a regular file"),
        (link("model-7.data-00002-of-00003", "/dev/zero"), "is not a regular file"),
        (large("model-7.data-00001-of-00003"), "has 1,099,511,627,776 bytes, expected"),
    ],
)  # fmt: skip
def test_harm_to_a_run_of_tensorflow(tmp_path: Path, harm: Harm, words: str) -> None:
    folder = Path(shutil.copytree(RUN, tmp_path / "run"))
    harm(folder)
    began = time.process_time()
    with pytest.raises(InkfishError) as caught:
        weights.read_model(folder)
    assert time.process_time() - began < 1
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 20_000


def test_weights_of_nothing_but_nan_are_listed_briefly(sound: Path, tmp_path: Path) -> None:
    from inkfish.weights.checkpoint import check_finite

    folder = Path(shutil.copytree(sound, tmp_path / "model"))
    nan = {name: np.full(shape, np.nan, "f4") for name, shape in SHAPE.tensor_shapes().items()}
    save_file(nan, folder / "model.safetensors")
    with pytest.raises(InkfishError, match=r"wte.weight has 603,084; wpe.weight has 384; .*; …\)"):
        check_finite(weights.read(folder))
