"""Reading and importing a model takes no more than twice the memory of its weights in float32."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inkfish.config import ModelConfig
from inkfish.weights import huggingface, openai
from inkfish.weights.bundle_writer import write_bundle

CONFIG = ModelConfig(n_layer=2, n_head=4, n_embd=512, n_positions=64, vocab_size=50_257)
TENSORS = {name: np.ones(shape, np.float32) for name, shape in CONFIG.tensor_shapes().items()}
WEIGHTS = 4 * CONFIG.parameters
MEASURE = """
import re, sys
from pathlib import Path
from inkfish import tokenizer, weights
from inkfish.tokenizer import Tokenizer
from inkfish.weights import checkpoint, huggingface
from inkfish.weights.importing import import_folder
import safetensors

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

Tokenizer.gpt2()
before = peak()
if sys.argv[2] == "read":
    checkpoint.check_finite(weights.read(Path(sys.argv[1])))
else:
    import_folder(Path(sys.argv[1]), "copy", store=Path(sys.argv[2]))
print(peak() - before)
"""


def grown(folder: Path, what: str) -> int:
    """By how many bytes the memory of a fresh process grows at most, mapped pages of the file included."""
    command = [sys.executable, "-c", MEASURE, str(folder), what]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module", params=["float16", "bfloat16", "tensorflow"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 128 MB in float32, stored in each way."""
    folder: Path = tmp_path_factory.mktemp("large") / "model"
    if request.param != "tensorflow":
        huggingface.write(folder, CONFIG, TENSORS, dtype=request.param)
        return folder
    folder.mkdir()
    write_bundle(folder / "model.ckpt", {openai.variable(name): tensor for name, tensor in TENSORS.items()})
    (folder / "hparams.json").write_text(
        '{"n_vocab": 50257, "n_ctx": 64, "n_embd": 512, "n_head": 4, "n_layer": 2}'
    )
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_stays_within_twice_the_weights(large: Path, tmp_path: Path) -> None:
    assert WEIGHTS / 4 < grown(large, "read") < 2 * WEIGHTS
    assert WEIGHTS / 4 < grown(large, str(tmp_path / "store")) < 2 * WEIGHTS
