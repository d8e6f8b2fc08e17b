"""Folders of weights: read, written, found by name, fetched, exported. Loading one never runs code."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from inkfish.errors import ModelError
from inkfish.tokenizer import Tokenizer
from inkfish.weights import huggingface, openai
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.files import unreplaced

__all__ = ["Checkpoint", "Model", "read", "read_model"]


class Model(NamedTuple):
    """What a model folder holds."""

    checkpoint: Checkpoint
    """Shape, weights, defaults."""
    tokenizer: Tokenizer
    """The vocabulary."""


def read(folder: Path, *, n_head: int | None = None) -> Checkpoint:
    """Read a model folder of any layout: Hugging Face's, or OpenAI's (TensorFlow).

    Where another process saves over the folder meanwhile, the old weights are read whole, or the new.

    Args:
        folder: as `inkfish.weights.hub.find` returns it.
        n_head: attention heads, where a TensorFlow run has lost its hparams.json.

    Raises:
        ModelError: see `inkfish.weights.huggingface.read` and `inkfish.weights.openai.read`.
    """
    return unreplaced(folder / huggingface.CONFIG, lambda: read_once(folder, n_head))


def read_model(folder: Path, *, n_head: int | None = None) -> Model:
    """Read a model folder of any layout with its vocabulary, both old or both new as in `read`.

    Raises:
        ModelError: as `read`.
        TokenizerError: the vocabulary is missing or damaged.
    """

    def read_both() -> Model:
        checkpoint = read_once(folder, n_head)
        return Model(checkpoint, Tokenizer.load(folder, vocab_size=checkpoint.config.vocab_size))

    return unreplaced(folder / huggingface.CONFIG, read_both)


def read_once(folder: Path, n_head: int | None) -> Checkpoint:
    """Read a folder of any layout."""
    if not (folder / huggingface.CONFIG).exists():
        if openai.is_openai(folder):
            return openai.read(folder, n_head=n_head)
        places = (path for pattern in ("checkpoint/*", "*") for path in folder.glob(pattern))
        runs = sorted(path for path in places if openai.is_openai(path))
        if runs:
            raise ModelError(f"{folder} holds runs and is none; name one of them: {runs[0]}")
    return huggingface.read(folder)
