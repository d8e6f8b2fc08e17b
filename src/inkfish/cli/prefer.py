"""`inkfish prefer`: learn from human preferences, or from a program that stands in for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from inkfish.cli.options import examples
from inkfish.cli.output import note
from inkfish.cli.serve import Access, announce
from inkfish.cli.texts import read_file
from inkfish.errors import DataError, MissingExtraError, SettingError
from inkfish.labels import exchange
from inkfish.labels.store import Settings, Store
from inkfish.server import create_app, listen, serve
from inkfish.server.label import page as label_page
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub

try:
    from inkfish.recipes.prefer import compare as compare_recipe
    from inkfish.recipes.prefer import doctor as doctor_recipe
    from inkfish.recipes.prefer import frontier as frontier_recipe
    from inkfish.recipes.prefer import learning
    from inkfish.recipes.prefer import report as report_recipe
    from inkfish.recipes.prefer import reward as reward_recipe
    from inkfish.recipes.prefer import rounds as rounds_recipe
    from inkfish.recipes.prefer import sample as sample_recipe
    from inkfish.recipes.prefer import simulate as simulate_recipe
    from inkfish.recipes.prefer import summaries as summaries_recipe
except ModuleNotFoundError as error:
    if error.name not in {"torch", "matplotlib", "tokenizers"}:
        raise
    raise MissingExtraError("learning from preferences", "train") from None

__all__ = ["app"]

RecipeFile = Annotated[Path | None, Parameter(name="--recipe")]

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


@app.command
def sample(
    config: Annotated[sample_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Write candidates to be labelled into a label store.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = sample_recipe.run(config)
    note(f"{result.added:,} items added, {result.items:,} in {result.store}")
    return 0


@app.command
def label(
    *,
    store: Path = Path("labels.sqlite"),
    overlap: int | None = None,
    repeat_every: int | None = None,
    gold_by: str | None = None,
    gold_every: int | None = None,
    rubric: Path | None = None,
    runs: Path = Path("runs"),
    access: Access = Access(),  # noqa: B008  # frozen
) -> int:
    """Open the page on which people say what is best.

    Args:
        store: The label store, which inkfish prefer sample or compare has made.
        overlap: Labellers that see each item; kept in the store.
        repeat_every: After so many items a labeller gets an earlier one again; 0 never; kept in the store.
        gold_by: Take for right what this labeller has chosen; the figures say how often others agree with it.
        gold_every: After so many items everybody gets one of those; 0 never; kept in the store.
        rubric: Text file with the instructions that stand beside each item; kept in the store.
        runs: Folder of runs that any labeller may pause.
        access: Where the server listens and who may use it.
    """
    with Store(store) as opened:
        opened.set(label_settings(opened.settings, overlap, repeat_every, gold_every, rubric))
        if gold_by is not None:
            note(f"of {opened.make_gold(gold_by):,} items the best is known")
    settings = access.settings()
    site = create_app(settings, pages=[label_page(store, runs)])
    listener = listen(settings)
    announce(settings, listener.getsockname()[1], lan=access.lan)
    serve(site, settings, listener=listener)
    return 0


def label_settings(
    now: Settings,
    overlap: int | None,
    repeat_every: int | None,
    gold_every: int | None,
    rubric: Path | None,
) -> Settings:
    """Return a store's settings with what was given.

    Raises:
        SettingError: a number below its limit.
        DataError: instructions that can't be read.
    """
    given = (("overlap", overlap, 1), ("repeat_every", repeat_every, 0), ("gold_every", gold_every, 0))
    for name, value, low in given:
        if value is not None and value < low:
            raise SettingError(f"{name} is {value}; it must be {low} or more", param=name)
    return Settings(
        overlap=now.overlap if overlap is None else overlap,
        repeat_every=now.repeat_every if repeat_every is None else repeat_every,
        gold_every=now.gold_every if gold_every is None else gold_every,
        lease=now.lease,
        rubric=now.rubric if rubric is None else read_file(rubric),
    )


@app.command
def simulate(
    config: Annotated[simulate_recipe.Config, Parameter(name="*")] = simulate_recipe.Config(),  # noqa: B008
    *,
    recipe_file: RecipeFile = None,
) -> int:
    """Label by a program, with the noise of people.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = simulate_recipe.run(config)
    note(f"{result.labelled:,} labelled")
    return 0


@app.command
def reward(
    config: Annotated[reward_recipe.Config, Parameter(name="*")] = reward_recipe.Config(),  # noqa: B008
    *,
    recipe_file: RecipeFile = None,
) -> int:
    """Train a reward model on labels.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = reward_recipe.run(config)
    return 0 if result.stopped is None else 128 + result.stopped


@app.command
def optimize(
    config: Annotated[learning.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Make a model write what is preferred.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    from inkfish.recipes.prefer import optimize as optimize_recipe

    result = optimize_recipe.run(config)
    if result.stopped is not None:
        return 128 + result.stopped
    if result.leads:
        note(f"inkfish prefer compare HELD-OUT --model {result.folder}")
    return 0


@app.command
def rounds(
    config: Annotated[rounds_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Sample, label and learn several times, each time from what the model writes by then.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = rounds_recipe.run(config)
    if result.stopped is not None:
        return 128 + result.stopped
    if result.policy is not None:
        note(f"inkfish prefer compare HELD-OUT --model {result.policy}")
    return 0


@app.command
def compare(
    config: Annotated[compare_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Let a judge decide which of two models writes better, or draw reward over divergence for whole runs.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    if config.frontier:
        frontier_recipe.run(config)
    else:
        compare_recipe.run(config)
    return 0


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


@app.command
def summaries(
    config: Annotated[summaries_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Hold summaries of several models beside the reference and lead-3: ROUGE, novelty, where they copy.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    summaries_recipe.run(config)
    return 0


@app.command
def doctor(
    config: Annotated[doctor_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Try every stage for two minutes, and say whether it works here and how long the real thing takes.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    doctor_recipe.run(config)
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
        items, labels = opened.add(
            [one.item for one in found], [one.label for one in found if one.label is not None]
        )
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
