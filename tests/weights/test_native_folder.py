"""Folders of native weights: exported, loaded to write with, refused for everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inkfish.backends import native
from inkfish.config import ModelConfig
from inkfish.errors import ModelError, SettingError
from inkfish.generate import load
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary
from inkfish.weights import native_folder, read
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.generation_config import GenerationDefaults

pytestmark = pytest.mark.skipif(not native.available(), reason="the native library was not built")

CONFIG = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=257)
BYTES = Tokenizer(Vocabulary({bytes([byte]): byte for byte in range(256)}, {END: 256}))


@pytest.fixture
def model() -> Checkpoint:
    rng = np.random.default_rng(5)
    shapes = CONFIG.tensor_shapes()
    tensors = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    return Checkpoint(CONFIG, tensors, "float32", 256, GenerationDefaults(temperature=0.5, max_new_tokens=9))


@pytest.fixture
def folder(model: Checkpoint, tmp_path: Path) -> Path:
    native_folder.write(model, BYTES, tmp_path / "small", dtype="int8")
    return tmp_path / "small"


def test_it_writes_what_the_model_writes(model: Checkpoint, folder: Path) -> None:
    found = load(folder)
    assert (found.config, found.backend.dtype) == (CONFIG, "int8")
    assert (found.defaults.temperature, found.max_tokens, found.stop_ids) == (0.5, 9, (256,))
    ids = found.tokenizer.encode("Hello")
    backend = native.load(model, dtype="int8")
    assert np.array_equal(found.backend.prefill(found.backend.allocate(), ids),
                          backend.prefill(backend.allocate(), ids))  # fmt: skip


def test_a_model_without_an_end(model: Checkpoint, tmp_path: Path) -> None:
    endless = Checkpoint(CONFIG, model.tensors, "float32")
    native_folder.write(endless, BYTES, tmp_path / "endless", dtype="float32")
    assert native_folder.read(tmp_path / "endless").eos is None
    assert load(tmp_path / "endless", dtype="float32").backend.dtype == "float32"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float32"}, "dtype is 'float32', and .* holds int8; use the model that it was made from"),
        ({"backend": "reference"}, "the back end is reference, and .* was exported for the native one"),
    ],
)
def test_it_is_one_type_for_one_back_end(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        load(folder, **settings)
    assert caught.value.param in settings


def test_other_uses_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="was exported to write with; for this use the model"):
        read(folder)


def test_damage_is_refused(folder: Path) -> None:
    weights = folder / native_folder.FILE
    contents = bytearray(weights.read_bytes())
    contents[-100] ^= 1
    weights.write_bytes(contents)
    with pytest.raises(ModelError, match="is damaged"):
        load(folder)


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"n_positions": 16, "n_ctx": 16}))
    with pytest.raises(ModelError, match=r"config\.json are of two models; export it again"):
        load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has model\.inkfish and no config\.json; export the model again"):
        load(folder)


def test_without_the_native_back_end(
    model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "available", lambda: False)
    with pytest.raises(ModelError, match="was not written: the native back end was not built; install a C"):
        native_folder.write(model, BYTES, tmp_path / "no", dtype="int8")
    assert not (tmp_path / "no").exists()
