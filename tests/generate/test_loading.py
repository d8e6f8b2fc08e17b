"""From a name to a model: folders, back ends, types, defaults."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import inkfish
from inkfish.backends import native
from inkfish.errors import MissingExtraError, ModelError, SettingError
from inkfish.generate import load, loading


def test_load_is_there_without_weight() -> None:
    """`import inkfish` loads no numpy; the version is the package's."""
    code = "import inkfish, sys; print('numpy' in sys.modules, callable(inkfish.load), inkfish.__version__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["False", "True", inkfish.__version__]
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'version = "{inkfish.__version__}"' in project


def test_a_folder_by_its_path(byte_folder: Path) -> None:
    model = inkfish.load(byte_folder)
    assert model.name == str(byte_folder)
    assert model.config.vocab_size == 257
    assert model.stop_ids == (256,)
    assert len(model.generate("Hi", max_tokens=3).samples[0].tokens) <= 3
    assert inkfish.load(str(byte_folder)).config == model.config


@pytest.mark.skipif(not native.available(), reason="the native library was not built")
def test_the_default_is_native_where_it_was_compiled(byte_folder: Path) -> None:
    assert isinstance(load(byte_folder).backend, native.NativeBackend)


@pytest.fixture
def folder(byte_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(byte_folder, tmp_path / "model")
    return tmp_path / "model"


def test_generation_config_gives_the_defaults(folder: Path) -> None:
    said = {
        "temperature": 0.7,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
        "max_new_tokens": 11,
        "eos_token_id": [10, 256, 999],
    }
    (folder / "generation_config.json").write_text(json.dumps(said))
    model = load(folder, backend="reference")
    for name, value in said.items():
        if name in {"temperature", "top_k", "top_p", "min_p", "repetition_penalty"}:
            assert getattr(model.defaults, name) == value
    assert model.defaults.no_repeat_ngram == 3
    assert model.max_tokens == 11
    assert model.stop_ids == (10, 256)
    assert model.prepare("a", top_k=5).request.sampling.top_k == 5


def test_a_default_that_we_do_not_take_names_its_file(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"temperature": 3.0}')
    with pytest.raises(
        ModelError, match=r"generation_config\.json: temperature is 3\.0, it must be a number from 0 to 2"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "fast"}, 'backend is \'fast\'; it must be "native", "reference" or "torch"'),
        (
            {"backend": "reference", "dtype": "int8"},
            "dtype is 'int8'; the reference back end has float32 only",
        ),
        ({"backend": "reference", "threads": 2}, "threads is 2; the reference back end leaves them to numpy"),
        (
            {"backend": "torch", "dtype": "int8"},
            "dtype is 'int8'; the torch back end has float32, bfloat16, float16",
        ),
        ({"backend": "torch", "threads": 0}, "threads is 0; it must be a whole number, 1 or more"),
        (
            {"backend": "reference", "device": "cuda"},
            "device is 'cuda'; the reference back end runs on the CPU: use torch, or leave",
        ),
        ({"device": "toaster"}, "device is 'toaster'; torch finds no such device here: use cpu"),
    ],
)
def test_what_does_not_exist_is_refused(byte_folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        load(byte_folder, **settings)
    assert caught.value.param in settings


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ModelError, match="there is no model 'nosuch' here"):
        inkfish.load("nosuch")


def test_without_torch_its_back_end_names_the_extra(
    byte_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "inkfish.backends.torch", raising=False)
    with pytest.raises(MissingExtraError, match=r"the torch back end needs the extra \[train\]: pip install"):
        load(byte_folder, backend="torch")


@pytest.mark.parametrize(
    ("settings", "backend"),
    [({"device": "cpu"}, None), ({"device": "cpu", "backend": "torch"}, "torch"), ({"device": "auto"}, None)],
)
def test_devices_choose_the_back_end(
    byte_folder: Path, settings: dict[str, Any], backend: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    made = load(byte_folder, **settings).backend
    assert type(made) is type(load(byte_folder, backend=backend).backend)


def test_auto_asks_torch_only_where_a_gpu_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda self: str(self) == "/dev/nvidiactl")
        assert loading.wants_torch("auto")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda self: False)
        assert not loading.wants_torch("auto")
    assert loading.wants_torch("cuda")
    assert not loading.wants_torch(None)


def test_guessing_is_the_default_where_it_changes_no_bit(byte_folder: Path) -> None:
    if native.available():
        assert load(byte_folder, backend="native").speculate
        assert not load(byte_folder, backend="native", speculate=False).speculate
    assert not load(byte_folder, backend="reference").speculate
    assert load(byte_folder, backend="reference", speculate=True).speculate
