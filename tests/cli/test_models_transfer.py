"""`inkfish models`: fetched, imported, shown, exported and removed, as a user does it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkfish.backends import native
from inkfish.weights import download, hub, huggingface

Inkfish = Callable[..., Any]
FIXTURES = Path(__file__).parents[1] / "fixtures"
RUN = FIXTURES / "gpt-2-simple" / "checkpoint" / "run1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, without network."""
    from huggingface_hub import constants

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_an_old_run_is_imported_writes_and_is_removed(inkfish: Inkfish, home: Path) -> None:
    imported = inkfish("models", "import", str(RUN), "--name", "poems")
    assert imported.code == 0
    assert "imported to" in imported.err
    assert "inkfish write --model poems" in imported.err
    assert "poems        ready" in inkfish("models", "list").out
    first = inkfish("write", "the", "--model", "poems", "--max-tokens", "6", "--seed", "1")
    again = inkfish("write", "the", "--model", str(RUN), "--max-tokens", "6", "--seed", "1")
    assert first.code == 0
    assert first.out == again.out
    assert inkfish("models", "rm", "poems").code == 0
    assert inkfish("models", "show", "poems").code == 2


def test_list_as_json(inkfish: Inkfish) -> None:
    models = {row["model"]: row for row in json.loads(inkfish("models", "list", "--json").out)}
    assert models["gpt2"] == {"model": "gpt2", "source": "openai-community/gpt2", "ready": False}
    assert models["starter"]["ready"]


def test_show(inkfish: Inkfish, model: str) -> None:
    shown = inkfish("models", "show", model).out
    assert "parameters" in shown
    assert "memory to train" in shown
    facts = json.loads(inkfish("models", "show", str(FIXTURES / "openai"), "--json").out)
    assert (facts["parameters"], facts["vocabulary"], facts["licence"]) == (2790, 277, None)


@pytest.mark.parametrize("format", ["hf", "openai", "gguf"])
def test_export(inkfish: Inkfish, model: str, home: Path, format: str) -> None:
    result = inkfish("models", "export", model, "--format", format, "--out", str(home / "out"))
    assert (result.code, result.out) == (0, "")
    assert result.err == f"written to {home / 'out'}\n"
    if format != "gguf":
        assert inkfish("write", "the", "--model", str(home / "out"), "--seed", "1").code == 0


@pytest.mark.skipif(not native.available(), reason="the native library was not built")
@pytest.mark.parametrize("options", [[], ["--dtype", "int4"]])
def test_export_for_writing_alone(inkfish: Inkfish, model: str, options: list[str], tmp_path: Path) -> None:
    export = ["models", "export", model, "--format", "native", "--out", str(tmp_path / "quick")]
    done = inkfish(*export, *options)
    assert done.code == 0
    assert (tmp_path / "quick" / "model.inkfish").is_file()
    assert inkfish("write", "a", "--model", str(tmp_path / "quick"), "--max-tokens", "2").code == 0


@pytest.mark.parametrize(
    ("format", "dtype", "message"),
    [
        ("native", "float16", "--dtype is float16; native export has float32, bfloat16, int8 and int4"),
        ("gguf", "int8", "--dtype is int8; gguf stores floats, native has int8"),
        ("hf", "int4", "--dtype is int4; hf stores floats, native has int4"),
    ],
)
def test_export_in_a_type_that_the_format_has_not(
    inkfish: Inkfish, model: str, tmp_path: Path, format: str, dtype: str, message: str
) -> None:
    done = inkfish(
        "models", "export", model, "--format", format, "--dtype", dtype, "--out", str(tmp_path / "x")
    )
    assert (done.code, message in done.err) == (2, True)


def test_export_to_onnx_without_its_packages(
    inkfish: Inkfish, model: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = inkfish("models", "export", model, "--format", "onnx", "--out", str(home / "m.onnx"))
    assert (result.code, "pip install 'inkfish[export]'" in result.err) == (2, True)


def test_pull_says_what_it_fetches_first(
    inkfish: Inkfish, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transfer itself is tested on a hub of its own in tests/weights/test_download.py."""
    config = huggingface.read(Path(model)).config
    file = download.RemoteFile("model.safetensors", 548_000_000, None, None)
    wanted = download.Offer("gpt2", "openai-community/gpt2", "607a30d783df" + "0" * 28, (file,), config)
    monkeypatch.setattr(download, "offer", lambda name, revision: wanted)
    monkeypatch.setattr(
        download, "fetch", lambda wanted: iter([download.Progress(1, 2), download.Progress(2, 2)])
    )
    result = inkfish("models", "pull", "gpt2")
    assert result.code == 0
    assert result.err.startswith("gpt2 is openai-community/gpt2 at 607a30d783df: ")
    assert "548 MB to fetch" in result.err
    assert f"fetched to {hub.place('gpt2', hub.default_store())}; inkfish write --model gpt2" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "models show nosuch",
            "there is no model 'nosuch' here; use starter, give the folder of a model or of",
        ),
        ("models pull gpt2", "HF_HUB_OFFLINE is set, so openai-community/gpt2 is not fetched; use starter"),
        ("models pull nosuch", "'nosuch' is not on the hub; give gpt2, gpt2-medium"),
        ("models rm nosuch", "there is no fetched or imported model 'nosuch'; there is: none"),
        ("models rm ../x", "'../x' can't be a model's name"),
        ("models import", "FOLDER is missing"),
        (f"models import {RUN}", "--name is missing"),
        (f"models import {RUN} --name starter", "'starter' can't be a model's name"),
        (f"models import {RUN} --name x --heads 0", "heads is 0; it must be a whole number, 1 or more"),
        (f"models export {RUN} --format hf", "--out is missing"),
        (f"models export {RUN} --out x", "--format is missing"),
        (
            f"models export {RUN} --format pt --out x",
            '--format is "pt"; it must be one of hf, gguf, onnx, openai',
        ),
        (f"models export {RUN} --format onnx --dtype float16 --out x", "onnx export has float32 only"),
        (
            f"models export {RUN} --format gguf --dtype bfloat16 --out x",
            "GGUF export has float32 and float16",
        ),
        (f"models export {RUN} --format gguf --out /", "/ is a folder; name a file"),
    ],
)
def test_mistakes(inkfish: Inkfish, words: str, message: str) -> None:
    result = inkfish(*words.split())
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
