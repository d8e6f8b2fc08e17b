"""Which type a model is held in: measured on its own text, once, and kept beside the converted weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import inkfish
from inkfish.backends import native, reference
from inkfish.config import ModelConfig
from inkfish.errors import SlowBackendWarning
from inkfish.generate import gate, load, loading
from inkfish.weights import read
from inkfish.weights.checkpoint import Checkpoint

needs_native = pytest.mark.skipif(not native.available(), reason="the native library was not built")


@pytest.fixture
def folder(byte_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny model that counts as large, with a cache of its own."""
    shutil.copytree(byte_folder, tmp_path / "model")
    monkeypatch.setattr(gate, "SMALL", 0)
    monkeypatch.setattr(loading, "CACHE", tmp_path / "cache")
    return tmp_path / "model"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def verdict(cache: Path) -> Path:
    """The one verdict that the cache holds."""
    (path,) = cache.glob("*.json")
    return path


class Listening(reference.ReferenceBackend):
    """Remembers which ids it was given."""

    seen: list[list[int]]

    def decode(
        self, slots: Sequence[int], ids: Sequence[int], segments: Sequence[int | None] | None = None
    ) -> NDArray[np.float32]:
        self.seen.append(list(ids))
        return super().decode(slots, ids, segments)


def test_divergence_is_that_of_the_distributions_on_the_drawn_text(byte_folder: Path) -> None:
    """A model whose logits are 1.2 times another's, against torch's Kullback-Leibler divergence."""
    exact = read(byte_folder)
    hotter = {
        name: (t * (1.2 if name.startswith("ln_f") else 1)).astype(np.float32)
        for name, t in exact.tensors.items()
    }
    backend = Listening(exact.config, hotter)
    backend.seen = []
    found = gate.divergence(exact, backend)
    text = np.array(backend.seen).T  # sequences × positions
    assert text.shape == (gate.SEQUENCES, gate.LENGTH)
    assert len({tuple(row) for row in text.tolist()}) == gate.SEQUENCES
    assert set(text[:, 0]) == {256}
    logits = [reference.load(exact.config, exact.tensors) for _ in text]
    wanted = 0.0
    for one, row in zip(logits, text.tolist(), strict=True):
        p = torch.from_numpy(one.prefill(one.allocate(), row, every=True)).double()
        kinds = torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=1.2 * p)
        wanted += float(torch.distributions.kl_divergence(*kinds).mean()) / len(text)
    assert found == pytest.approx(wanted, rel=1e-4)
    assert found > 0.01
    assert backend.slots == {}


def test_a_model_does_not_diverge_from_itself(byte_folder: Path) -> None:
    exact = read(byte_folder)
    assert abs(gate.divergence(exact, reference.load(exact.config, exact.tensors))) < 1e-9


def test_text_is_drawn_from_the_distribution() -> None:
    """Two tokens at 0.8 and 0.2; 4 σ of 4,000 draws is 0.025."""
    logits = np.tile(np.log(np.array([0.8, 0.2], np.float32)), (4, 1))
    drawn = np.concatenate([gate.draw(logits, position=t) for t in range(1_000)])
    assert np.mean(drawn == 0) == pytest.approx(0.8, abs=0.025)


@needs_native
def test_the_order_in_which_types_are_taken(
    tiny_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gate.decide(tiny_config, {}) == "float32"
    monkeypatch.setattr(gate, "SMALL", 0)
    monkeypatch.setattr(native, "supported", lambda: ["plain", "amx"])
    assert gate.decide(tiny_config, {}) is None
    assert gate.decide(tiny_config, {"int8": 0.005}) == "int8"
    assert gate.decide(tiny_config, {"int8": 0.0051}) is None
    assert gate.decide(tiny_config, {"int8": 0.1, "bfloat16": 0.001}) == "bfloat16"
    assert gate.decide(tiny_config, {"int8": float("nan"), "bfloat16": 0.0011}) == "float32"
    monkeypatch.setattr(native, "supported", lambda: ["plain", "avx512"])
    assert gate.decide(tiny_config, {"int8": 0.1}) == "float32"


@needs_native
def test_layers_too_wide_for_int8_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "supported", lambda: ["plain"])
    wide = ModelConfig(n_layer=1, n_head=1, n_embd=8, n_positions=8, vocab_size=9, n_inner=70_000)
    assert gate.candidates(wide) == []


@needs_native
def test_int8_is_taken_where_it_passes_and_measured_once(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "LIMITS", {"int8": 1.0, "bfloat16": 1.0})
    first = load(folder)
    assert first.backend.dtype == "int8"
    said = json.loads(verdict(cache).read_text())
    assert 0 < said["divergence"]["int8"] < 1
    assert len(list(cache.glob("*-int8.inkfish"))) == 1
    monkeypatch.setattr(gate, "divergence", lambda *_: pytest.fail("it was measured before"))
    again = load(folder, dtype="auto")
    assert again.backend.dtype == "int8"
    assert again.generate("Hi", seed=3).samples == first.generate("Hi", seed=3).samples
    monkeypatch.setattr(gate, "LIMITS", {"int8": 0.0, "bfloat16": 0.0})
    monkeypatch.setattr(native, "supported", lambda: ["plain"])
    assert load(folder).backend.dtype == "float32"


@needs_native
def test_where_nothing_passes_float32_stays(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "LIMITS", {"int8": 0.0, "bfloat16": 0.0})
    assert load(folder).backend.dtype == "float32"
    tried = set(json.loads(verdict(cache).read_text())["divergence"])
    assert tried == {"int8"} | ({"bfloat16"} if "amx" in native.supported() else set())


@needs_native
def test_other_weights_are_measured_anew(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LIMITS", {"int8": 1.0, "bfloat16": 1.0})
    load(folder)
    os.utime(folder / "model.safetensors", (1, 1))
    assert gate.recall(folder, cache) == {}
    load(folder)
    assert set(gate.recall(folder, cache)) == {"int8"}


@needs_native
@pytest.mark.parametrize("said", ["", "[]", "{}", '{"layout": 1}', '{"layout": 1, "source": 2}'])
def test_a_damaged_verdict_is_none(folder: Path, cache: Path, said: str) -> None:
    load(folder)
    verdict(cache).write_text(said)
    assert gate.recall(folder, cache) == {}
    load(folder)
    assert gate.recall(folder, cache) != {}


@needs_native
def test_a_cache_that_cannot_be_written_changes_no_text(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = load(folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(loading, "CACHE", tmp_path / "file" / "cache")
    assert load(folder).backend.dtype == kept.backend.dtype
    assert gate.choose(folder, read(folder), cache=None).dtype == kept.backend.dtype


@needs_native
def test_weights_of_models_that_are_gone_are_removed(folder: Path, cache: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    load(other)
    before = set(cache.iterdir())
    shutil.rmtree(other)
    load(folder)
    assert not before & set(cache.iterdir())
    assert gate.recall(folder, cache) != {}


@needs_native
def test_small_models_are_neither_converted_nor_kept(
    byte_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "CACHE", tmp_path / "cache")
    assert load(byte_folder).backend.dtype == "float32"
    assert load(byte_folder, dtype="int8").backend.dtype == "int8"
    assert not (tmp_path / "cache").exists()


@needs_native
def test_the_plan_says_what_would_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading.plan(folder) == {
        "back_end": "native",
        "instruction_set": native.supported()[-1],
        "runs_as": "auto",
        "divergence": None,
        "bytes_of_weights": None,
    }
    model = load(folder)
    found = loading.plan(folder)
    assert found["runs_as"] == model.backend.dtype
    assert found["divergence"]["int8"] > 0
    assert isinstance(model.backend, native.NativeBackend)
    assert 0 < found["bytes_of_weights"] <= model.backend.packed.data.size < 2 * found["bytes_of_weights"]
    monkeypatch.setattr(native, "available", lambda: False)
    assert loading.plan(folder)["back_end"] == "reference"


def test_without_the_native_library_the_slow_one_is_named(
    byte_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "available", lambda: False)
    with pytest.warns(SlowBackendWarning, match=r"the native back end was not built, so numpy"):
        model = inkfish.load(byte_folder)
    assert isinstance(model.backend, reference.ReferenceBackend)
    assert load(byte_folder, backend="reference").backend.dtype == "float32"


def test_checkpoints_need_no_end_token(byte_folder: Path) -> None:
    exact = read(byte_folder)
    endless = Checkpoint(exact.config, exact.tensors, exact.dtype)
    assert abs(gate.divergence(endless, reference.load(exact.config, exact.tensors))) < 1e-9
