"""One model in every engine's form, from the same random weights: made once in a folder, then used again.

Random weights take exactly the time of trained ones. GGUF files come from our exporter and llama.cpp's own
quantiser, ONNX graphs from `onnx_graph.py` and ONNX Runtime's quantiser, CTranslate2 models from its own
converter.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inkfish.config import SIZES, ModelConfig
from inkfish.tokenizer import Tokenizer
from inkfish.weights import huggingface, read
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["ctranslate2_folder", "gguf_file", "model_folder", "onnx_file", "random_checkpoint"]


def random_checkpoint(config: ModelConfig) -> Checkpoint:
    """Weights as a model has them before training."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in config.tensor_shapes().items():
        gain = name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight"))
        tensors[name] = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02) + np.float32(gain)
    return Checkpoint(config, tensors, "float32")


def once(path: Path, make: Callable[[Path], object]) -> Path:
    """Make a file or folder where it is not there yet, whole or not at all."""
    if not path.exists():
        draft = path.with_name(f"draft-{path.name}")
        make(draft)
        draft.rename(path)
    return path


def model_folder(work: Path, size: str) -> Path:
    """A Hugging Face folder of a released model's shape."""

    def make(target: Path) -> None:
        checkpoint = random_checkpoint(SIZES[size])
        tokenizer = Tokenizer.gpt2()
        huggingface.write(target, checkpoint.config, checkpoint.tensors, tokenizer=tokenizer, eos=50256)

    return once(work / size, make)


def gguf_file(work: Path, size: str, kind: str, quantise: Callable[[Path, Path], object]) -> Path:
    """A GGUF file; `quantise(source, target)` makes other types of the float32 one."""
    from inkfish.weights.export_gguf import to_gguf

    folder = model_folder(work, size)

    def make(target: Path) -> None:
        to_gguf(read(folder), Tokenizer.load(folder), target, name=size, dtype="float32")

    exact = once(work / f"{size}-f32.gguf", make)
    if kind == "f32":
        return exact
    return once(work / f"{size}-{kind}.gguf", lambda target: quantise(exact, target))


def onnx_file(work: Path, size: str, kind: str) -> Path:
    """An ONNX graph in a folder of its own, "float32" or "int8"."""
    import onnx_graph

    def float32(target: Path) -> None:
        target.mkdir()
        onnx_graph.build(model_folder(work, size), target / "model.onnx")

    def int8(target: Path) -> None:
        target.mkdir()
        with contextlib.redirect_stdout(io.StringIO()):
            onnx_graph.quantise(onnx_file(work, size, "float32"), target / "model.onnx")

    makers: Mapping[str, Callable[[Path], Any]] = {"float32": float32, "int8": int8}
    return once(work / f"{size}-onnx-{kind}", makers[kind]) / "model.onnx"


def ctranslate2_folder(work: Path, size: str) -> Path:
    """A CTranslate2 model in float32; it is converted to other types when it is loaded."""
    from ctranslate2.converters import TransformersConverter

    folder = str(model_folder(work, size))
    return once(
        work / f"{size}-ctranslate2",
        lambda target: TransformersConverter(folder).convert(str(target), force=True),
    )
