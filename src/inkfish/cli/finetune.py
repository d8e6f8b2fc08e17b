"""`inkfish finetune`: go on training a model on your texts; each setting is an option, or in a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.help import DefaultFormatter, HelpPanel
from rich.console import Console, ConsoleOptions

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

GROUPS = {
    "Model and data": "model data out recipe task encoding field form template completion prefix line-prefix "
    "no-header keep-duplicates equalise validation-share",
    "What is trained": "train last lora-rank lora-alpha lora-dropout lora-layers dropout noise",
    "Steps": "epochs steps batch at-once sequence seed patience",
    "Optimizer": "optimizer lr weight-decay schedule warmup decay clip",
    "Machine": "device precision threads checkpointing parallel",
    "While it runs": "plan evaluate-every evaluate-windows give-up-after sample-every sample-tokens prompts "
    "samples temperature top-k top-p save-every keep force fresh",
    "To talk (--task chat)": "candidates history permutations lm-coef mc-coef original-segments",
}
"""Title → options, as the help page shows them."""


def in_groups(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
    """Show the one long list of options in groups; what no group names comes last."""
    show = DefaultFormatter()
    left = {entry.names[0].removeprefix("--"): entry for entry in panel.entries if entry.names}
    if panel.format != "parameter" or "model" not in left:
        show(console, options, panel)
        return
    for title, names in GROUPS.items():
        show(console, options, panel.copy(title=title, entries=[left.pop(name) for name in names.split()]))
    if left:
        show(console, options, panel.copy(title="Other", entries=list(left.values())))


app = App(
    name="finetune",
    help_formatter=in_groups,
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
