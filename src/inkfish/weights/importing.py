"""Model folders of any layout copied into the store, LoRA adapters merged into their base model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from inkfish.errors import ModelError
from inkfish.untrusted import member, read_bytes
from inkfish.weights import Model, adapter, heads, huggingface, read_model
from inkfish.weights.checkpoint import check_finite
from inkfish.weights.hub import KNOWN, default_store, place

__all__ = ["carried", "import_folder", "opened"]

LICENCES = ("LICENSE", "LICENSE.txt")
CARRIED = (*LICENCES, "README.md", heads.FILE)
"""Files that a copy of a model keeps besides its weights and vocabulary."""
CARRIED_LIMIT = 16 << 20
"""Bytes of the longest file that is carried along."""


def import_folder(
    folder: Path,
    name: str,
    *,
    base: Path | None = None,
    store: Path | None = None,
    n_head: int | None = None,
) -> Path:
    """Copy a model folder of any layout into the store as a Hugging Face folder, its values checked.

    Args:
        folder: a Hugging Face folder, OpenAI's layout, a run, or a LoRA adapter.
        name: what to call it from now on.
        base: folder of the model that the adapter belongs to; the two are merged.
        store: where.
        n_head: attention heads, where a TensorFlow run has lost its hparams.json.

    Raises:
        ModelError: the folder is damaged, a weight is not finite, or the name is taken.
        TokenizerError: the vocabulary is damaged or missing.
    """
    target = place(name, store or default_store())
    if name in KNOWN:
        raise ModelError(f"{name} is the name of a model on the hub; choose another --name")
    if target.exists():
        raise ModelError(
            f"the name {name} is taken; choose another --name, or first: inkfish models rm {name}"
        )
    checkpoint, tokenizer = opened(folder, base, n_head)
    check_finite(checkpoint)
    huggingface.write(
        target,
        checkpoint.config,
        checkpoint.tensors,
        tokenizer=tokenizer,
        generation=checkpoint.generation,
        eos=checkpoint.eos if checkpoint.eos is not None else tokenizer.end,
        dtype="float32" if checkpoint.dtype == "float64" else checkpoint.dtype,
        beside=carried(folder, CARRIED if base is None else LICENCES),
    )
    return target


def opened(folder: Path, base: Path | None = None, n_head: int | None = None) -> Model:
    """Read a model, or a LoRA adapter merged into its base.

    Raises:
        ModelError: a model with a base or an adapter without, or one of the two is damaged.
        TokenizerError: the vocabulary is damaged or missing.
    """
    is_adapter = (folder / adapter.CONFIG).exists() and not any(folder.glob("model*.safetensors"))
    if base is None:
        if is_adapter:
            said = adapter.read(folder).base or "it does not say which"
            raise ModelError(f"{folder} is a LoRA adapter; say --base MODEL, the one it belongs to ({said})")
        return read_model(folder, n_head=n_head)
    if not is_adapter:
        raise ModelError(f"{folder} is no LoRA adapter, which has {adapter.CONFIG} alone; leave out --base")
    found = adapter.read(folder)
    checkpoint, tokenizer = read_model(base, n_head=n_head)
    return Model(adapter.merged(checkpoint, found, source=folder), tokenizer)


def carried(folder: Path, names: Iterable[str] = CARRIED) -> dict[str, bytes]:
    """Return the files of some names that a folder has.

    Raises:
        ModelError: one is longer than CARRIED_LIMIT, or a link out of the folder.
    """
    paths = {name: member(folder, name) for name in names}
    return {name: read_bytes(path, limit=CARRIED_LIMIT) for name, path in paths.items() if path is not None}
