"""`inkfish finetune`: go on training a model on your texts; each setting is an option, or in a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from inkfish.cli.options import examples
from inkfish.cli.output import note
from inkfish.errors import MissingExtraError

try:
    from inkfish.recipes import finetune as recipe
except ModuleNotFoundError as error:
    if error.name not in {"torch", "matplotlib", "tokenizers"}:
        raise
    raise MissingExtraError("training", "train") from None

__all__ = ["app"]

app = App(
    name="finetune",
    help_epilogue=examples(
        "inkfish finetune poems/ --out runs/poems",
        'inkfish finetune bios.csv --template "{race} {class} named {name}: {story}" --out runs/bios',
        "inkfish finetune novel.docx --model gpt2 --train lora --out runs/novel",
        "inkfish finetune dialogues.jsonl --task chat --out runs/chat",
        "inkfish write --model runs/poems",
        about="Stopped at any moment and started again by the same command, a run goes on bit for bit.",
    ),
)


@app.default
def finetune(
    config: Annotated[recipe.Config, Parameter(name="*")],
    *,
    recipe_file: Annotated[Path | None, Parameter(name="--recipe")] = None,
) -> int:
    """Go on training a model on your own texts.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = recipe.run(config)
    if result.stopped is not None:
        return 128 + result.stopped  # as the shell reports an end by a signal
    if result.leads:
        note(f"inkfish {'chat' if config.task == 'chat' else 'write'} --model {result.folder}")
    return 0
