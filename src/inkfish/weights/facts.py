"""What there is to say about a model before it is used: shape, size, memory, licence, card."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from inkfish.config import ModelConfig
from inkfish.untrusted import JSON_LIMIT
from inkfish.weights import read

__all__ = ["describe", "folder_size", "licence", "memory_to_train", "memory_to_write"]

NO_SETTINGS = {"_from_model_config", "bos_token_id", "pad_token_id", "transformers_version", "use_cache"}
"""Fields of generation_config.json that change no text here."""


def memory_to_write(config: ModelConfig, *, bytes_per_weight: int = 4) -> int:
    """Return the bytes that writing one text takes: weights, keys and values of a full context, logits."""
    cache = 2 * config.n_layer * config.n_positions * config.n_embd * 4
    return config.parameters * bytes_per_weight + cache + 4 * config.vocab_size


def memory_to_train(config: ModelConfig, *, batch: int = 1) -> int:
    """Return about how many bytes fine-tuning all weights takes, in float32, nothing recomputed.

    A weight takes 16 bytes (itself, its gradient, AdamW's two means). Activations that wait for the backward
    pass, as measured: for each token and block 9 channels' worth and twice the hidden layer,
    and twice the logits (they and their gradient).
    """
    tokens = batch * config.n_positions
    block = 9 * config.n_embd + 2 * config.inner_size
    activations = tokens * (config.n_layer * block + 2 * config.vocab_size) * 4
    return 16 * config.parameters + activations


def folder_size(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def card_of(folder: Path) -> str | None:
    """Return the beginning of a folder's model card, None where it has none."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(JSON_LIMIT)


def licence(folder: Path) -> str | None:
    """Return the licence that a model card's front matter names."""
    card = card_of(folder) or ""
    head = card.split("\n---", 1)[0] if card.startswith("---") else ""
    found = re.search(r"^licen[sc]e:[ \t]*([\w.+-]{1,60})[ \t]*$", head, re.MULTILINE)
    return found[1] if found else None


def origin(folder: Path) -> str | None:
    """Return where a fetched model is from, as REPOSITORY@REVISION."""
    path = folder / "source.json"
    if not path.is_file() or path.stat().st_size > JSON_LIMIT:
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"{said['repository']}@{said['revision']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def describe(name: str, folder: Path) -> dict[str, Any]:
    """Return what there is to say about a model, in the order in which it is shown.

    Raises:
        ModelError: the folder is damaged.
    """
    checkpoint = read(folder)
    config = checkpoint.config
    return {
        "model": name,
        "folder": str(folder),
        "source": origin(folder),
        "licence": licence(folder),
        "card": str(folder / "README.md") if (folder / "README.md").is_file() else None,
        "parameters": config.parameters,
        "layers": config.n_layer,
        "heads": config.n_head,
        "channels": config.n_embd,
        "context": config.n_positions,
        "vocabulary": config.vocab_size,
        "stored_as": checkpoint.dtype,
        "end_token": checkpoint.eos,
        "bytes_on_disk": folder_size(folder),
        "bytes_to_write": memory_to_write(config),
        "bytes_to_train": memory_to_train(config),
        "defaults": replace(checkpoint.generation, other={}).to_json(),
        "settings_not_used": sorted(set(checkpoint.generation.other) - NO_SETTINGS),
    }
