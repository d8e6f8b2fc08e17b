"""Saving over a folder that other processes have open: what they mapped stays, what they open is whole."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import Vocabulary
from inkfish.weights import files, huggingface
from inkfish.weights.files import aside


def edition(number: int, folder: Path, **settings: Any) -> None:
    """Save a model whose every part says its number: weights, sampling defaults, vocabulary, shape."""
    config = ModelConfig(n_layer=1 + number % 2, n_head=1, n_embd=4, n_positions=8 + number, vocab_size=257)
    tensors = {name: np.full(shape, number, np.float32) for name, shape in config.tensor_shapes().items()}
    tokenizer = Tokenizer(Vocabulary({bytes([byte]): byte for byte in range(256)}, {f"<{number}>": 256}))
    defaults = huggingface.GenerationDefaults(top_k=number)
    huggingface.write(folder, config, tensors, tokenizer=tokenizer, generation=defaults, **settings)


HOLD = """
import sys
from pathlib import Path
from inkfish import weights

checkpoint = weights.read(Path(sys.argv[1]))
while sys.stdin.readline():
    print(sum(float(tensor.astype("f8").sum()) for tensor in checkpoint.tensors.values()), flush=True)
"""


def ask(process: subprocess.Popen[str]) -> str:
    """The sum of all weights, as another process sees them now."""
    sent, got = process.stdin, process.stdout
    assert sent is not None
    assert got is not None
    sent.write("\n")
    sent.flush()
    return got.readline()


def test_another_process_keeps_the_weights_that_it_has_mapped(tmp_path: Path) -> None:
    """Shorter files, shards instead of one file, a removed folder: its sum stays the same, and it lives."""
    folder = tmp_path / "model"
    edition(3, folder)
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        first = ask(process)
        assert float(first) == 3 * sum(t.size for t in weights.read(folder).tensors.values())
        for turn in range(20):
            edition(turn, folder, dtype="float16", shard_size=200 if turn % 3 == 0 else None)
            assert ask(process) == first
        for path in folder.iterdir():
            path.unlink()
        assert ask(process) == first
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


OPEN = """
import sys
from pathlib import Path
from inkfish import weights

seen = set()
while len(seen) < 12:
    found, tokenizer = weights.read_model(Path(sys.argv[1]))
    config, tensors, said = found.config, found.tensors, found.generation
    number = said.top_k
    values = {float(value) for tensor in tensors.values() for value in (tensor.min(), tensor.max())}
    assert values == {number}, (values, number)
    assert config.n_positions == 8 + number, (config, number)
    assert list(tokenizer.specials) == [f"<{number}>"], (tokenizer.specials, number)
    seen.add(number)
"""


def test_who_opens_the_folder_meanwhile_finds_one_edition_whole(tmp_path: Path) -> None:
    """One process reads without pause while this one saves one edition after the other."""
    folder = tmp_path / "model"
    edition(0, folder)
    with subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder)], stderr=subprocess.PIPE, text=True
    ) as process:
        number = 0
        while process.poll() is None:
            number += 1
            assert number < 5000, "the reader did not see twelve editions"
            edition(number, folder, shard_size=300 if number % 2 else None)
            time.sleep(0.002)
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read()


def test_nothing_is_opened_between_the_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each rename of a save the folder is the old edition, no model at all, or the new one."""
    folder = tmp_path / "model"
    edition(1, folder)
    seen: list[str] = []
    replace = Path.replace

    def look(path: Path, target: Path) -> Path:
        done = replace(path, target)
        try:
            seen.append(str(huggingface.read(folder).generation.top_k))
        except ModelError as error:
            seen.append(str(error).removeprefix(f"{folder} ")[:18])
        return done

    monkeypatch.setattr(Path, "replace", look)
    edition(2, folder)
    assert len(seen) == 5
    assert seen == ["has no config.json"] * 4 + ["2"]


def test_weights_of_another_form_do_not_stay(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    edition(1, folder)
    (folder / "heads.safetensors").write_bytes(b"x")
    (folder / "notes.txt").write_text("mine")
    edition(2, folder, shard_size=200)
    names = {path.name for path in folder.iterdir()}
    assert "model.safetensors.index.json" in names
    assert not names & {"model.safetensors", "heads.safetensors"}
    assert "notes.txt" in names
    edition(3, folder)
    assert not [path.name for path in folder.iterdir() if "-of-" in path.name or "index" in path.name]
    assert weights.read(folder).generation.top_k == 3


def test_a_folder_that_is_half_replaced_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    edition(1, folder)

    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ModelError, match=r"model is half replaced \(Input/output error\); write it again"):
        edition(2, folder)
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        weights.read(folder)
    edition(2, folder)
    assert weights.read(folder).generation.top_k == 2


def test_a_folder_in_the_way_harms_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    edition(1, folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()
    with pytest.raises(ModelError, match=r"tokenizer.json is a folder there; what was there is unharmed"):
        edition(2, folder)
    assert weights.read(folder).generation.top_k == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_reading_is_tried_again_while_a_draft_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that comes when config.json is gone waits for the new one."""
    folder = tmp_path / "model"
    edition(1, folder)
    config = (folder / "config.json").read_bytes()
    (folder / "config.json").unlink()
    (tmp_path / ".model.abc.partial").mkdir()
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            (folder / "config.json").write_bytes(config)

    monkeypatch.setattr(time, "sleep", wait)
    assert weights.read(folder).generation.top_k == 1
    assert len(waited) == 2
    (folder / "config.json").unlink()
    waited.clear()
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(ModelError, match=r"has no config\.json"):
        weights.read(folder)
    assert waited == list(files.PAUSES)
    (tmp_path / ".model.abc.partial").rmdir()
    waited.clear()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        weights.read(folder)
    assert not waited, "nobody is writing: refused at once"


@pytest.mark.parametrize("limit", [1, 500, 1000, 10**9])
def test_transformers_reads_our_shards(tmp_path: Path, limit: int) -> None:
    """The same folder as transformers writes: names, index, and what is in them."""
    config = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17)
    random = np.random.default_rng(1)
    tensors = {name: random.normal(size=s).astype(np.float32) for name, s in config.tensor_shapes().items()}
    huggingface.write(tmp_path / "out", config, tensors, shard_size=limit)
    names = sorted(path.name for path in (tmp_path / "out").glob("model*"))
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for name, tensor in model.transformer.state_dict().items():
        assert np.array_equal(tensor.numpy(), tensors[name])
    if limit == 10**9:
        assert names == ["model.safetensors"]
        return
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    total = sum(tensor.size for tensor in tensors.values())
    assert index["metadata"] == {"total_parameters": total, "total_size": 4 * total}
    shards = sorted(set(index["weight_map"].values()))
    assert [*shards, "model.safetensors.index.json"] == names
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    assert len(shards) == (28 if limit == 1 else len(shards))
    held = huggingface.map_shards(tmp_path / "out", tmp_path / "out" / "model.safetensors.index.json")
    sizes = dict.fromkeys(shards, 0)
    for name, place in index["weight_map"].items():
        sizes[place] += len(held[name].data)
    largest = 4 * max(tensor.size for tensor in tensors.values())
    assert all(size <= max(limit, largest) for size in sizes.values())
    assert all(np.array_equal(huggingface.read(tmp_path / "out").tensors[n], tensors[n]) for n in tensors)
    model.save_pretrained(tmp_path / "theirs", max_shard_size=1000)
    theirs = json.loads((tmp_path / "theirs" / "model.safetensors.index.json").read_text())
    assert theirs.keys() == index.keys()
    assert theirs["metadata"] == index["metadata"]
    assert theirs["weight_map"].keys() == index["weight_map"].keys()


@pytest.mark.parametrize("write", [lambda f: f / "x", lambda f: f / "y"])
def test_what_is_stale_goes_only_at_the_end(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    import re

    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "x").write_text("old")
    with aside(folder, stale=re.compile("x")) as draft:
        write(draft).write_text("new")
        assert (folder / "x").read_text() == "old"
    assert [path.read_text() for path in folder.iterdir()] == ["new"]
