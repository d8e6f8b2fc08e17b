"""`inkfish pretrain`: train a model from scratch, with every setting as an option or in a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from inkfish.cli.options import examples
from inkfish.cli.output import note
from inkfish.errors import MissingExtraError

try:
    from inkfish.recipes import pretrain as recipe
except ModuleNotFoundError as error:
    if error.name not in {"torch", "matplotlib", "tokenizers"}:
        raise
    raise MissingExtraError("training", "train") from None

__all__ = ["app"]

app = App(
    name="pretrain",
    help_epilogue=examples(
        "inkfish pretrain novel.txt --out runs/novel",
        "inkfish pretrain texts/ --recipe recipes/nano.toml --steps 2000 --out runs/mine",
        "inkfish write --model runs/novel",
        about="Stopped at any moment and started again by the same command, a run goes on bit for bit.",
    ),
)


@app.default
def pretrain(
    config: Annotated[recipe.Config, Parameter(name="*")],
    *,
    recipe_file: Annotated[Path | None, Parameter(name="--recipe")] = None,
) -> int:
    """Train a model from scratch on text files.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = recipe.run(config)
    if result.stopped is not None:
        return 128 + result.stopped  # as the shell reports an end by a signal
    if result.leads:
        note(f"inkfish write --model {result.folder}")
    return 0
