"""OpenAI's layout of a GPT-2, and the runs of nshepperd/gpt-2 and gpt-2-simple, which have the same.

A folder holds `model.ckpt.*` or `model-STEP.*` (a TensorFlow checkpoint), a text file `checkpoint` that names
the latest of them, and `hparams.json`, `encoder.json`, `vocab.bpe`; runs of nshepperd/gpt-2 lack these three.
A `.meta` file is a graph and is never opened. Variables are named as in openai/gpt-2's src/model.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from inkfish.config import SIZES, ModelConfig
from inkfish.errors import ModelError
from inkfish.untrusted import JSON_LIMIT, member, read_bytes, read_object, shown
from inkfish.weights.bundle import TYPES, Entry, read_index, read_tensors
from inkfish.weights.checkpoint import Checkpoint, check_shapes

__all__ = ["is_openai", "read", "variable"]

HPARAMS = {
    "n_vocab": "vocab_size",
    "n_ctx": "n_positions",
    "n_embd": "n_embd",
    "n_head": "n_head",
    "n_layer": "n_layer",
}
"""Fields of hparams.json → fields of ModelConfig."""

NOT_THE_MODEL = re.compile(r"(?!model/).*|.*/(Adam|Adam_1|Momentum|Adafactor\w*|ExponentialMovingAverage)")
"""Variables that training adds to those of the model."""


def is_openai(folder: Path) -> bool:
    """Whether a folder looks like OpenAI's layout."""
    return (folder / "hparams.json").exists() or any(folder.glob("model*.index"))


def variable(name: str) -> str:
    """Return OpenAI's name of a tensor: "h.0.ln_1.weight" is "model/h0/ln_1/g", matrices end in "/w"."""
    path, _, kind = name.rpartition(".")
    if path in {"wte", "wpe"}:
        return f"model/{path}"
    letter = "b" if kind == "bias" else "g" if "ln_" in path else "w"
    return f"model/{re.sub(r'^h[.]', 'h', path).replace('.', '/')}/{letter}"


def read(folder: Path, *, n_head: int | None = None) -> Checkpoint:
    """Read a folder of OpenAI's layout: the checkpoint that its pointer names, or its latest one.

    Args:
        folder: where the files are.
        n_head: attention heads, for a run without hparams.json whose shape is not one of the released ones.

    Raises:
        ModelError: a file is missing or damaged, or variables are missing, extra or misshapen (all in one
            line).
    """
    prefix = latest(folder)
    path = member(folder, f"{prefix}.index")
    if path is None:
        raise ModelError(
            f"{folder / 'checkpoint'} names {prefix}, and {prefix}.index is not there; copy it here, "
            "or delete the file named checkpoint to take the latest that is there"
        )
    index = read_index(path)
    entries = {name: e for name, e in index.entries.items() if not NOT_THE_MODEL.fullmatch(name)}
    config = hparams(folder, entries, n_head)
    places = {variable(name): name for name in config.tensor_shapes()}
    found = {places.get(name, name): unconvolved(entry) for name, entry in entries.items()}
    check_shapes(config, found, source=str(path), other=unreadable(entries))
    tensors = read_tensors(folder, prefix, index, list(places))
    return Checkpoint(
        config=config,
        tensors={
            name: tensors[variable(name)].reshape(shape) for name, shape in config.tensor_shapes().items()
        },
        dtype=TYPES[index.entries["model/wte"].dtype][0],
        eos=50_256 if config.vocab_size == 50_257 else None,
    )


def unreadable(entries: Mapping[str, Entry]) -> list[str]:
    """List the variables that are not plain tensors of a floating type."""
    faults = [f"{shown(name)} is stored in parts (not supported)" for name, e in entries.items() if e.sliced]
    return faults + [
        f"{shown(name)} is stored as TensorFlow's type {e.dtype}, expected 1, 2, 14 or 19 (floating types)"
        for name, e in entries.items()
        if e.dtype not in TYPES and not e.sliced
    ]


def unconvolved(entry: Entry) -> tuple[int, ...]:
    """Return a variable's shape, matrices without the leading 1 (they are convolutions of width 1)."""
    return entry.shape[1:] if len(entry.shape) == 3 and entry.shape[0] == 1 else entry.shape


def latest(folder: Path) -> str:
    """Return the prefix of the checkpoint to read, such as "model.ckpt" or "model-1000".

    The pointer's path is of the machine that trained; only its last part is used.
    """
    pointer = member(folder, "checkpoint")
    if pointer is not None:
        text = read_bytes(pointer, limit=JSON_LIMIT).decode(errors="replace")
        said = re.search(r'^model_checkpoint_path: "([^"\n]*)"', text, re.MULTILINE)
        if said is None:
            raise ModelError(
                f'{pointer} has no line model_checkpoint_path: "…"; delete it to take the latest'
            )
        return re.split(r"[/\\]", said[1])[-1]
    prefixes = [path.name.removesuffix(".index") for path in folder.glob("*.index")]
    if not prefixes:
        raise ModelError(
            f"{folder} has no model.ckpt.index or model-STEP.index; copy the checkpoint's files here"
        )
    return max(prefixes, key=step)


def step(prefix: str) -> tuple[int, str]:
    """Return the number at the end of a prefix, and the prefix."""
    number = re.search(r"-(\d{1,18})$", prefix)
    return int(number[1]) if number else -1, prefix


def hparams(folder: Path, entries: Mapping[str, Entry], n_head: int | None) -> ModelConfig:
    """Return the shape that hparams.json says, or where there is none, that of the variables."""
    path = member(folder, "hparams.json")
    if path is None:
        return deduced(folder, entries, n_head)
    values = read_object(path)
    missing = [name for name in HPARAMS if type(values.get(name)) is not int]
    if missing:
        raise ModelError(f"{path}: {', '.join(missing)} must be whole numbers")
    try:
        return ModelConfig(**{ours: values[theirs] for theirs, ours in HPARAMS.items()})
    except ModelError as error:
        raise ModelError(f"{path}: {error}", param=error.param) from None


def deduced(folder: Path, entries: Mapping[str, Entry], n_head: int | None) -> ModelConfig:
    """Return the shape that the variables have; the number of heads leaves no trace in them.

    The released sizes have known numbers of heads, and fine-tuning does not change them.
    """
    wte, wpe = (entries[name].shape if name in entries else () for name in ("model/wte", "model/wpe"))
    if len(wte) != 2 or len(wpe) != 2:
        raise ModelError(f"{folder} holds no GPT-2: model/wte and model/wpe are not among its variables")
    layers = len({name.split("/")[1] for name in entries if re.match(r"model/h\d+/", name)})
    released = {(size.n_layer, size.n_embd): size.n_head for size in SIZES.values()}
    heads = n_head or released.get((layers, wte[1]))
    if heads is None:
        raise ModelError(
            f"{folder} has no hparams.json, and {layers} layers of {wte[1]} channels are no released "
            "size, whose number of heads is known; copy hparams.json from the model that it was trained from"
        )
    return ModelConfig(n_layer=layers, n_head=heads, n_embd=wte[1], n_positions=wpe[0], vocab_size=wte[0])
