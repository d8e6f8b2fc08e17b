"""Folders that hold a model as the native back end reads it: small, ready at once, and for writing alone.

`config.json`, vocabulary and sampling defaults as in a Hugging Face folder; in place of `model.safetensors`
the file that `inkfish.backends.native.export` writes. Other programs can't read it, and it can't be trained.
"""

from __future__ import annotations

from pathlib import Path

from inkfish.errors import ModelError
from inkfish.untrusted import read_object
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.config_json import parse_config, written_config
from inkfish.weights.files import aside
from inkfish.weights.huggingface import CONFIG, STALE, Saveable, first_in, read_generation, write_json

__all__ = ["FILE", "is_native", "read", "write"]

FILE = "model.inkfish"
"""The weights."""
REMEDY = "install a C++ compiler, then inkfish again"
"""What helps where the native back end is missing."""


def is_native(folder: Path) -> bool:
    """Whether a folder holds native weights and no others."""
    return (folder / FILE).is_file() and not (folder / "model.safetensors").exists()


def write(checkpoint: Checkpoint, tokenizer: Saveable, target: Path, *, dtype: str) -> None:
    """Write a folder, all of it or nothing.

    Args:
        checkpoint: the model.
        tokenizer: its vocabulary.
        target: the folder to make.
        dtype: "float32", "bfloat16", "int8" or "int4".

    Raises:
        SettingError: the type is not possible for the shape.
        ModelError: the folder can't be written, a tensor is not finite, or the native back end was not built.
    """
    from inkfish.backends import native  # here: its import takes time that only this needs

    if not native.available():
        raise ModelError(f"{target} was not written: the native back end was not built; {REMEDY}")
    with aside(target, seal=CONFIG, stale=STALE) as draft:
        native.export(checkpoint, draft / FILE, dtype=dtype)
        write_json(draft / CONFIG, written_config(checkpoint.config, eos=checkpoint.eos, dtype=dtype))
        ends = {} if checkpoint.eos is None else {"eos_token_id": checkpoint.eos}
        write_json(draft / "generation_config.json", ends | checkpoint.generation.to_json())
        tokenizer.save(draft)


def read(folder: Path) -> Checkpoint:
    """Return what a folder says of its model, without tensors: `inkfish.backends.native.load_file` has them.

    Raises:
        ModelError: a file is missing or damaged, or a setting is one that inkfish does not have.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(f"{folder} has {FILE} and no {CONFIG}; export the model again")
    description = parse_config(read_object(path), str(path))
    generation = read_generation(folder)
    ends = generation.eos_token_ids or description.eos_token_ids
    eos = first_in(ends, description.config.vocab_size)
    return Checkpoint(description.config, {}, "native", eos, generation)
