"""inkfish: the GPT-2 workbench. Write, fine-tune, chat, translate, summarize and learn from preferences.

import inkfish

model = inkfish.load("starter")
print(model.generate("Once upon a time", max_tokens=50))

poet = inkfish.finetune("poems.txt", out="runs/poems").load()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from inkfish.errors import InkfishError

if TYPE_CHECKING:
    from inkfish.generate import LanguageModel
    from inkfish.recipes.steps import Result

__all__ = ["InkfishError", "__version__", "finetune", "load", "pretrain"]

__version__ = "0.1.0"


def load(
    name: str | Path = "starter",
    *,
    backend: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    speculate: bool | None = None,
) -> LanguageModel:
    """Return a model, ready to write; `inkfish.generate.load` explains the arguments and what is refused."""
    from inkfish.generate import load as load_model  # here: `inkfish --help` needs no numpy

    return load_model(name, backend=backend, dtype=dtype, threads=threads, device=device, speculate=speculate)


def finetune(*data: str | Path, **settings: Any) -> Result:
    """Go on training a model on own texts, as `inkfish finetune` does; `.load()` of the result is the model.

    Args:
        *data: files, folders and patterns.
        **settings: those of `inkfish.recipes.finetune.Config`, such as model="gpt2", out="runs/mine".

    Raises:
        InkfishError: what can be put right, in one line.
    """
    from inkfish.recipes import finetune as recipe  # here: it needs torch

    return recipe.run(recipe.Config(tuple(map(Path, data)), **with_paths(settings)))


def pretrain(*data: str | Path, **settings: Any) -> Result:
    """Train a model from scratch, as `inkfish pretrain` does; `.load()` of the result is the model.

    Args:
        *data: files, folders and patterns.
        **settings: those of `inkfish.recipes.pretrain.Config`, such as size="nano", out="runs/mine".

    Raises:
        InkfishError: what can be put right, in one line.
    """
    from inkfish.recipes import pretrain as recipe  # here: it needs torch

    return recipe.run(recipe.Config(tuple(map(Path, data)), **with_paths(settings)))


def with_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the run folder as a path."""
    return settings | ({"out": Path(settings["out"])} if "out" in settings else {})
