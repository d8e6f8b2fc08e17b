"""`inkfish prefer`: learn from human preferences, or from a program that stands in for people.

What labels need stands here and needs no torch; the other commands are modules of their own, imported only
when chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from inkfish.cli.options import examples
from inkfish.cli.output import note
from inkfish.errors import DataError
from inkfish.labels import exchange
from inkfish.labels.store import Store
from inkfish.recipes.prefer import report as report_recipe
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub

__all__ = ["app"]

COMMANDS = {
    "sample": ("candidates:sample", "Write candidates to be labelled into a label store."),
    "label": ("label:app", "Open the page on which people say what is best."),
    "simulate": ("candidates:simulate", "Label by a program, with the noise of people."),
    "reward": ("preferring:reward", "Train a reward model on labels."),
    "optimize": ("preferring:optimize", "Make a model write what is preferred."),
    "rounds": (
        "preferring:rounds",
        "Sample, label and learn several times, each time from what the model writes by then.",
    ),
    "compare": (
        "preferring:compare",
        "Let a judge decide which of two models writes better, or draw reward over divergence for runs.",
    ),
    "summaries": (
        "preferring:summaries",
        "Hold summaries of several models beside the reference and lead-3: ROUGE, novelty, where they copy.",
    ),
    "doctor": (
        "preferring:doctor",
        "Try every stage for two minutes, and say whether it works here and how long the real thing takes.",
    ),
}
"""Command → where it is among `inkfish.cli`, and its line in `inkfish prefer --help`."""

app = App(
    name="prefer",
    help="Learn from human preferences.",
    help_epilogue=examples(
        "inkfish prefer sample stories/ --store labels.sqlite --count 500",
        "inkfish prefer simulate --store labels.sqlite --judge vader",
        "inkfish prefer reward --store labels.sqlite --out runs/reward",
        "inkfish prefer optimize stories/ --reward runs/reward --out runs/policy",
        "inkfish prefer compare held-out.txt --model runs/policy --store pairs.sqlite",
        "inkfish prefer report --store pairs.sqlite",
        about="Candidates are sampled, people (or a program) say which is best, a reward model learns from "
        "them, and the model learns to write what it prefers.",
    ),
)

for name, (place, line) in COMMANDS.items():
    app.command(f"inkfish.cli.{place}", name=name, help=line)


@app.command
def report(
    config: Annotated[report_recipe.Config, Parameter(name="*")] = report_recipe.Config(),  # noqa: B008
) -> int:
    """Count what labellers said of two models' texts, which compare has put into a label store.

    Args:
        config: The settings.
    """
    report_recipe.run(config)
    return 0


Form = Literal["openai", "trl", "summaries", "hh", "csv"]


@app.command(
    name="import",
    help_epilogue=examples(
        "inkfish prefer import labels.json --form openai --store labels.sqlite",
        "inkfish prefer import harmless-base/train.jsonl.gz --form hh --store hh.sqlite",
        "inkfish prefer import labels.csv --form csv --store labels.sqlite",
    ),
)
def import_labels(
    file: Path, /, *, form: Form, store: Path = Path("labels.sqlite"), model: str = "gpt2"
) -> int:
    """Take labels from a file of another program into a label store, all or none.

    Args:
        file: The file, UTF-8, also packed by gzip.
        form: openai (best of four, token ids), trl (prompt, chosen, rejected), summaries
            (summarize-from-feedback), hh (hh-rlhf), or csv (as exported here).
        store: The label store; made where it is missing.
        model: Model whose vocabulary the token ids are of.
    """
    found = exchange.read(file, form=form, vocabulary=vocabulary(model, form))
    with Store(store, create=True) as opened:
        items, labels = exchange.add(opened, found)
    note(f"{items:,} items and {labels:,} labels are new in {store}")
    return 0


@app.command(
    name="export",
    help_epilogue=examples(
        "inkfish prefer export pairs.jsonl --form trl --store labels.sqlite",
        "inkfish prefer export labels.json --form openai --store labels.sqlite",
        "inkfish prefer export labels.csv --form csv --store labels.sqlite",
        about="What was imported comes back with all that its rows had. Formats of choices have no room for "
        "ties, skips, ratings and what is all bad; csv has.",
    ),
)
def export_labels(
    out: Path, /, *, form: Form, store: Path = Path("labels.sqlite"), model: str = "gpt2"
) -> int:
    """Write a store's labels in another program's format.

    Args:
        out: The file to write.
        form: As for import.
        store: The label store.
        model: Model whose vocabulary the token ids are to be of.
    """
    with Store(store) as opened:
        written = exchange.write(opened, form=form, vocabulary=vocabulary(model, form))
    try:
        out.write_bytes(written.content.encode())
    except OSError as error:
        raise DataError(f"{out} can't be written: {error.strerror}; name a file elsewhere") from None
    note(f"{written.rows:,} rows written to {out}")
    if written.left_out:
        note(f"labels left out, as {form} has no room for them: {exchange.counted(written.left_out)}")
    return 0


def vocabulary(model: str, form: str) -> Tokenizer:
    """Return what turns ids into text, for the one format that has ids."""
    return Tokenizer.gpt2() if form != "openai" or model == "gpt2" else Tokenizer.load(hub.find(model))
