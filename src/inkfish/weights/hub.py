"""Models by name: the shipped starter, folders and runs on this machine, what was fetched or imported."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from inkfish.errors import ModelError
from inkfish.untrusted import shown

__all__ = [
    "KNOWN",
    "STARTER",
    "default_store",
    "find",
    "place",
    "remove",
    "repository",
    "stored",
]

STARTER = Path(__file__).parents[1] / "starter"
"""The folder of the model that is shipped in the package."""

KNOWN = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
}
"""Short names → repositories on the hub."""

PART = r"[A-Za-z0-9][\w.-]{0,94}"
NAME = re.compile(rf"{PART}(/{PART})?", re.ASCII)
"""What a model may be called: a word, or as on the hub OWNER/WORD."""


def default_store() -> Path:
    """Return where fetched and imported models are, a Hugging Face folder each: a place of the user's.

    It is $XDG_DATA_HOME/inkfish/models, or where that is not set ~/.local/share/inkfish/models (XDG Base
    Directory Specification, which has a relative path ignored).
    """
    base = Path(os.path.expandvars("$XDG_DATA_HOME"))
    return (base if base.is_absolute() else Path("~/.local/share").expanduser()) / "inkfish" / "models"


def find(name: str, *, store: Path | None = None) -> Path:
    """Return the folder that holds a model: "starter", a folder, a run of ours, a fetched or imported model.

    A folder of that name on the disk is taken first. A run stands for its best checkpoint, or its last one
    where it has none. Nothing is fetched; what other programs fetched is found in the cache of
    `huggingface_hub`.

    Raises:
        ModelError: there is no such model here; the line names the alternatives.
    """
    if name == "starter":
        return STARTER
    folder = on_disk(name)
    if folder is not None:
        return checkpoint_of(folder) if (folder / "checkpoints").is_dir() else folder
    folder = here(name, store or default_store())
    if folder is not None:
        return folder
    fetch = (
        f"fetch it: inkfish models pull {name}" if name in KNOWN else "fetch gpt2: inkfish models pull gpt2"
    )
    raise ModelError(
        f"there is no model {shown(repr(name))} here; use starter, give the folder of a model or of a run, "
        f"or {fetch}"
    )


def on_disk(name: str) -> Path | None:
    """Return the folder of that path, None where there is none."""
    if not name or "\0" in name or len(name) > 4000:
        return None
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError):  # a part of the path is too long, or ~NAME is nobody
        return None


def here(name: str, store: Path) -> Path | None:
    """Return the folder of a fetched or imported model, None where there is none."""
    if not NAME.fullmatch(name) or ".." in name:
        return None
    folder = place(name, store)
    if folder.is_dir():
        return folder
    return cached(repository(name)) if name in KNOWN or "/" in name else None


def place(name: str, store: Path) -> Path:
    """Return where a model of that name is, or would be, in the store.

    Raises:
        ModelError: the name can't be that of a model.
    """
    if not NAME.fullmatch(name) or ".." in name or name == "starter":
        raise ModelError(
            f"{shown(repr(name))} can't be a model's name; use letters, digits, dots, dashes, at most one /"
        )
    return store / name.replace("/", "--")


def repository(name: str) -> str:
    """Return the repository on the hub that a name means."""
    return KNOWN.get(name, name)


def cached(repo: str) -> Path | None:
    """Return a repository's folder in the cache of huggingface_hub, None where its weights are not there."""
    from huggingface_hub import try_to_load_from_cache  # here: it takes 0.2 s, and most models are elsewhere

    for file in ("model.safetensors", "model.safetensors.index.json"):
        path = try_to_load_from_cache(repo, file)
        if isinstance(path, str):
            return Path(path).parent
    return None


def checkpoint_of(run: Path) -> Path:
    """Return the checkpoint that a run's pointer `best`, or else `last`, names."""
    for pointer in (run / "best", run / "last"):
        if pointer.is_file():
            with pointer.open(encoding="utf-8", errors="replace") as file:
                step = file.read(256).strip()
            folder = run / "checkpoints" / step
            if re.fullmatch(r"\w+", step) and folder.is_dir():
                return folder
            raise ModelError(
                f"{pointer} names the checkpoint {step!r}, which is not in {run / 'checkpoints'}"
            )
    raise ModelError(
        f"the run {run} has no checkpoint yet; let it train on, or use the model that it started from"
    )


def stored(store: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Yield the name and the folder of each fetched or imported model."""
    root = store or default_store()
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.is_dir() and not folder.name.startswith("."):
            yield folder.name.replace("--", "/"), folder


def remove(name: str, *, store: Path | None = None) -> Path:
    """Remove a fetched or imported model and return where it was.

    Raises:
        ModelError: there is no such model in the store; other folders are not ours to remove.
    """
    folder = place(name, store or default_store())
    if not folder.is_dir():
        names = ", ".join(name for name, _ in stored(store)) or "none"
        raise ModelError(f"there is no fetched or imported model {shown(repr(name))}; there is: {names}")
    shutil.rmtree(folder)
    forget_partial(folder)
    return folder


def forget_partial(folder: Path) -> None:
    """Remove what interrupted calls of `inkfish.weights.download.fetch` left of a model."""
    for draft in folder.parent.glob(f".{folder.name}.{'[0-9a-f]' * 12}.partial"):
        shutil.rmtree(draft)
