"""Models for other programs: Hugging Face folders with a card, and OpenAI's TensorFlow files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import printable
from inkfish.weights import huggingface
from inkfish.weights.bundle_writer import write_bundle
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.files import aside
from inkfish.weights.huggingface import write_json
from inkfish.weights.openai import HPARAMS, variable

__all__ = ["card", "to_huggingface", "to_openai"]


def to_huggingface(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    target: Path,
    *,
    name: str,
    dtype: str,
    beside: Mapping[str, bytes] | None = None,
    shard_size: int | None = None,
) -> None:
    """Write a Hugging Face folder with a model card.

    Args:
        checkpoint: the model.
        tokenizer: its vocabulary.
        target: the folder to make.
        name: what the model is called.
        dtype: "float32", "float16" or "bfloat16".
        beside: files to keep, such as the model's own card, README.md.
        shard_size: bytes of weights in one file, see `inkfish.weights.huggingface.write`.

    Raises:
        ModelError: the folder can't be written, or a weight is too large for the type.
    """
    huggingface.write(
        target,
        checkpoint.config,
        checkpoint.tensors,
        tokenizer=tokenizer,
        generation=checkpoint.generation,
        eos=checkpoint.eos if checkpoint.eos is not None else tokenizer.end,
        dtype=dtype,
        beside={"README.md": card(name, checkpoint.config).encode()} | dict(beside or {}),
        shard_size=shard_size,
    )


CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [gpt2, inkfish]
---
# {name}

A GPT-2 with {parameters:,} parameters: {layers} layers of {channels} channels and {heads} heads, a context of
{context:,} tokens, {vocabulary:,} entries in the vocabulary.

```
inkfish write "Once upon a time" --model FOLDER
```

Like every GPT-2 it continues texts in the manner of those that it was trained on. What it says may be false
or hurtful; it has no safeguards of its own.
"""


def card(name: str, config: ModelConfig) -> str:
    """Return a model card for a model that has none: its shape, how to use it, what to expect."""
    return CARD.format(
        name=name,
        parameters=config.parameters,
        layers=config.n_layer,
        channels=config.n_embd,
        heads=config.n_head,
        context=config.n_positions,
        vocabulary=config.vocab_size,
    )


def to_openai(checkpoint: Checkpoint, tokenizer: Tokenizer, target: Path) -> None:
    """Write OpenAI's layout, which openai/gpt-2, nshepperd/gpt-2 and gpt-2-simple read (float32).

    Raises:
        ModelError: the folder can't be written, or the model has parts that this layout can't say.
    """
    config = checkpoint.config
    if config.n_inner not in {None, 4 * config.n_embd} or config.layer_norm_epsilon != 1e-5:
        raise ModelError(
            f"n_inner is {config.inner_size} and layer_norm_epsilon {config.layer_norm_epsilon}; in OpenAI's "
            f"layout they are {4 * config.n_embd} and 1e-05: export to hf instead"
        )
    if tokenizer.vocabulary.words:
        raise ModelError("the vocabulary has added words, which OpenAI's layout has not; export to hf")
    values = {
        variable(name): np.asarray(tensor, np.float32)[np.newaxis, ...]
        if ".c_" in name and name.endswith(".weight")
        else tensor
        for name, tensor in checkpoint.tensors.items()
    }
    with aside(target) as draft:
        write_bundle(draft / "model.ckpt", values)
        (draft / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
        write_json(
            draft / "hparams.json", {theirs: getattr(config, ours) for theirs, ours in HPARAMS.items()}
        )
        write_encoder(tokenizer, draft)


def write_encoder(tokenizer: Tokenizer, folder: Path) -> None:
    """Write encoder.json and vocab.bpe."""
    vocabulary = tokenizer.vocabulary
    ids = {printable(token): i for token, i in vocabulary.ranked.items()}
    write_json(folder / "encoder.json", ids | dict(vocabulary.specials))
    merges = [f"{printable(left)} {printable(right)}" for left, right in vocabulary.merges()]
    text = "\n".join(["#version: 0.2", *merges, ""])
    (folder / "vocab.bpe").write_text(text, encoding="utf-8")
