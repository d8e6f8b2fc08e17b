"""Hugging Face folders: `config.json` and `model.safetensors` (or its shards), read and written.

Left out: pickles (`pytorch_model.bin`), which can run code when they are opened, and models with parts that
the released GPT-2 does not have. Both are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.untrusted import member, read_object, shown
from inkfish.weights.checkpoint import Checkpoint, check_shapes
from inkfish.weights.config_json import Description, parse_config, written_config
from inkfish.weights.files import aside
from inkfish.weights.generation_config import GenerationDefaults
from inkfish.weights.tensor_file import FLOATS, StoredTensor, map_file, write_file

__all__ = ["CONFIG", "Checkpoint", "GenerationDefaults", "Saveable", "read", "write"]

CONFIG = "config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
STALE = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|heads\.safetensors")
"""Files that do not stay when a folder is written over by a model that has none of their name."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
HARMLESS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
"""Buffers that old versions of transformers saved: the causal mask and the value masked cells get."""


Tensor = tuple[str, NDArray[Any]]
"""A tensor with its name."""


class Saveable(Protocol):
    """What `write` needs of a tokenizer."""

    def save(self, folder: Path) -> None:
        """Write the vocabulary's files into the folder."""
        ...


def read(folder: Path) -> Checkpoint:
    """Read a Hugging Face folder. Weights are mapped, not copied; values are not looked at (`check_finite`).

    Tensors may be named with or without the prefix "transformer."; mask buffers and a tied copy of the token
    embedding (`lm_head.weight`) are left out.

    Raises:
        ModelError: a file is missing or damaged, a setting is one that inkfish does not have, or tensors are
            missing, extra or misshapen (all of them in one line).
    """
    if not folder.is_dir():
        raise ModelError(f"there is no folder {folder}")
    path = member(folder, CONFIG)
    if path is None:
        raise ModelError(f"{folder} has no config.json{what_it_is(folder)}")
    description = parse_config(read_object(path), str(path))
    stored = strip_prefix(map_weights(folder), folder)
    tensors = {name: t for name, t in stored.items() if not HARMLESS.fullmatch(name)}
    head = tensors.pop("lm_head.weight", None)
    wrong_types = [
        f"{name} is stored as {t.dtype}, expected F32, F16, BF16 or F64"
        for name, t in tensors.items()
        if t.dtype not in FLOATS
    ]
    shapes = {name: t.shape for name, t in tensors.items()}
    check_shapes(description.config, shapes, source=str(folder), other=wrong_types)
    arrays = {name: tensors[name].array() for name in description.config.tensor_shapes()}
    check_head(head, arrays["wte.weight"], description, folder)
    generation = read_generation(folder)
    return Checkpoint(
        config=description.config,
        tensors=arrays,
        dtype=FLOATS[tensors["wte.weight"].dtype][0],
        eos=first_in(generation.eos_token_ids or description.eos_token_ids, description.config.vocab_size),
        generation=generation,
    )


def what_it_is(folder: Path) -> str:
    """Say what a folder without config.json seems to be."""
    if (folder / "adapter_config.json").exists():
        return "; it holds a LoRA adapter: inkfish models import FOLDER --base MODEL --name NAME"
    if (folder / "hparams.json").exists() or (folder / "checkpoint").exists():
        return "; it has OpenAI's TensorFlow layout: inkfish models import makes a Hugging Face folder of it"
    return "; a model folder has config.json and model.safetensors"


def map_weights(folder: Path) -> dict[str, StoredTensor]:
    """Map the file or the shards of a folder and return the tensors under the names they have there."""
    path = member(folder, WEIGHTS)
    if path is not None:
        return map_file(path)
    index = member(folder, INDEX)
    if index is not None:
        return map_shards(folder, index)
    pickles = [p.name for p in sorted(folder.iterdir()) if p.name.endswith(PICKLES)]
    if pickles:
        raise ModelError(
            f"{folder} holds its weights as {shown(pickles[0])}, a pickle, which can run code when opened; "
            "where you trust it, convert it with transformers: save_pretrained(out, safe_serialization=True)"
        )
    if member(folder, "model.inkfish") is not None:
        raise ModelError(f"{folder} was exported to write with; for this use the model that it was made from")
    raise ModelError(f"{folder} has no {WEIGHTS}; fetch or copy the model again")


def map_shards(folder: Path, index: Path) -> dict[str, StoredTensor]:
    """Map the shards that an index names, and check that each tensor is where the index says."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise ModelError(f"{index}: weight_map must say for each tensor in which file it is")
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(places.values())):
        path = member(folder, shard)
        if path is None:
            raise ModelError(
                f"{folder} has no {shown(shard)}, which {INDEX} names; fetch or copy the model again"
            )
        found = map_file(path)
        faults = [name for name in found if places.get(name) != shard]
        faults += [name for name, place in places.items() if place == shard and name not in found]
        if faults:
            raise ModelError(f"{path} and {INDEX} disagree about {', '.join(map(shown, faults[:10]))}")
        tensors |= found
    return tensors


def strip_prefix(tensors: Mapping[str, StoredTensor], folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors without the prefix that some versions of transformers put before their names."""
    stripped = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    if len(stripped) != len(tensors):
        twice = [name for name in tensors if f"transformer.{name}" in tensors]
        raise ModelError(
            f"{folder} holds {', '.join(map(shown, twice))} with and without the prefix transformer."
        )
    return stripped


def check_head(head: StoredTensor | None, wte: NDArray[Any], description: Description, folder: Path) -> None:
    """Refuse an output matrix that is not the token embedding."""
    if head is None:
        if not description.tied:
            raise ModelError(
                f"{folder}: tie_word_embeddings is false, lm_head.weight missing; only tied heads work"
            )
        return
    if head.dtype in FLOATS and head.shape == wte.shape and same(head.array(), wte):
        return
    raise ModelError(
        f"{folder}: lm_head.weight {head.shape} differs from wte.weight {wte.shape}; "
        "only tied heads are supported"
    )


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two matrices are equal, compared a few rows at a time."""
    return all(np.array_equal(a[i : i + 1024], b[i : i + 1024]) for i in range(0, len(a), 1024))


def read_generation(folder: Path) -> GenerationDefaults:
    """Return the folder's sampling defaults, none where it has no generation_config.json."""
    path = member(folder, "generation_config.json")
    if path is None:
        return GenerationDefaults()
    return GenerationDefaults.from_json(read_object(path), str(path))


def first_in(ids: tuple[int, ...], vocab_size: int) -> int | None:
    """Return the first id that the vocabulary has; transformers writes 50256 whatever the vocabulary."""
    return next((token for token in ids if token < vocab_size), None)


def write(
    folder: Path,
    config: ModelConfig,
    tensors: Mapping[str, NDArray[Any]],
    *,
    tokenizer: Saveable | None = None,
    generation: GenerationDefaults | None = None,
    eos: int | None = None,
    dtype: str = "float32",
    metadata: Mapping[str, str] | None = None,
    shard_size: int | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write a folder that `read` and `transformers.AutoModelForCausalLM.from_pretrained` load.

    All or nothing, see `inkfish.weights.files.aside`: a process that has the old weights mapped keeps them,
    and one that opens the folder meanwhile finds the old model, the new one, or no config.json.

    Args:
        folder: where; its own files of these names are replaced, its old weights go, others stay.
        config: the shape.
        tensors: named and shaped as `config.tensor_shapes()` says, any float type.
        tokenizer: saved into the folder as tokenizer.json.
        generation: sampling defaults.
        eos: the token that ends a text.
        dtype: type to store, "float32", "float16" or "bfloat16", rounded to nearest, ties to even.
        metadata: texts to put into the header of the weights.
        shard_size: bytes of weights in one file, from which on there are several with an index; None is one.
        beside: further files by name, such as a card.

    Raises:
        ModelError: tensors are missing, extra, misshapen or not finite, or the disk is full or not writable.
    """
    assert dtype in {"float32", "float16", "bfloat16"}, f"{dtype} is not a type to save weights in"
    check_shapes(config, {name: tensor.shape for name, tensor in tensors.items()}, source="the model")
    generation = generation or GenerationDefaults()
    with aside(folder, seal=CONFIG, stale=STALE) as draft:
        named = [(f"transformer.{name}", tensors[name]) for name in config.tensor_shapes()]
        write_weights(
            draft, named, dtype=dtype, metadata={"format": "pt"} | dict(metadata or {}), limit=shard_size
        )
        write_json(draft / CONFIG, written_config(config, eos=eos, dtype=dtype))
        said = generation.to_json()
        if eos is not None:
            said = {"bos_token_id": eos, "eos_token_id": eos} | said
        write_json(draft / "generation_config.json", said)
        if tokenizer is not None:
            tokenizer.save(draft)
        for name, contents in (beside or {}).items():
            (draft / name).write_bytes(contents)


def write_weights(
    draft: Path, named: list[Tensor], *, dtype: str, metadata: Mapping[str, str], limit: int | None
) -> None:
    """Write model.safetensors, or where that would have more bytes than the limit, shards and their index."""
    width = 4 if dtype == "float32" else 2
    shards = split(named, width, limit)
    if len(shards) == 1:
        return write_file(draft / WEIGHTS, named, dtype=dtype, metadata=metadata)
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(draft / file, shard, dtype=dtype, metadata=metadata)
        places |= {name: file for name, _ in shard}
    total = sum(tensor.size for _, tensor in named)
    counts = {"total_parameters": total, "total_size": total * width}
    return write_json(draft / INDEX, {"metadata": counts, "weight_map": places})


def split(named: list[Tensor], width: int, limit: int | None) -> list[list[Tensor]]:
    """Split tensors into runs of at most `limit` bytes; one that is larger stands alone."""
    shards: list[list[Tensor]] = [[]]
    size = 0
    for name, tensor in named:
        size += tensor.size * width
        if limit is not None and size > limit and shards[-1]:
            shards.append([])
            size = tensor.size * width
        shards[-1].append((name, tensor))
    return shards


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file as transformers does: two spaces, keys sorted, a newline at the end."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
