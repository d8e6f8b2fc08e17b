"""`inkfish evaluate`: how good a model is, by the papers' protocols and on a model's card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter

from inkfish.cli.options import ModelOptions, examples
from inkfish.cli.output import Output, as_json, check_target, note
from inkfish.cli.progress import watched
from inkfish.errors import SettingError
from inkfish.evaluation.suite import Settings, read_json_lines
from inkfish.generate import load

__all__ = ["app"]

app = App(
    name="evaluate",
    help="Measure a model: on a card of its own, or as the papers did.",
    help_epilogue=examples(
        "inkfish evaluate list",
        "inkfish evaluate lambada lambada_test.jsonl --model gpt2",
        "inkfish evaluate wikitext103 wiki.test.tokens --model gpt2 --records wt103.records",
        "inkfish evaluate translation test.en test.fr --source en --target fr",
        "inkfish evaluate paper-gpt2 --data DIR --model gpt2 --report mine.json",
        "inkfish evaluate samples --out mine.test.jsonl --count 500 --model runs/poems",
        "inkfish evaluate copying --against poems/ --model runs/poems",
        "inkfish evaluate card --data DIR --limit 20",
        about="A suite reads its publisher's own files; list says which. A stopped run goes on where it was "
        "when it is started again with the same --records.",
    ),
)


@app.command(name="list")
def list_suites(*, json: bool = False) -> None:
    """List the suites and the files that they read.

    Args:
        json: Print JSON.
    """
    from inkfish.evaluation.suites import ALL

    with Output() as output:
        if json:
            rows = [{"suite": s.name, "about": s.about, "files": s.files} for s in ALL.values()]
            output.write(as_json(rows) + "\n")
        else:
            output.write("".join(f"{s.name:17} {s.about}\n{'':17} {s.files}\n" for s in ALL.values()))


Protocol = Annotated[Settings, Parameter(name="*", group=Group("Protocol", sort_key=3))]


@app.default
def evaluate(
    suite: str,
    /,
    *files: Path,
    check: bool = False,
    records: Path | None = None,
    report: Path | None = None,
    json: bool = False,
    protocol: Protocol = Settings(),  # noqa: B008  # frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008  # frozen
) -> None:
    """Run one suite on its publisher's files.

    Args:
        suite: Its name; see inkfish evaluate list.
        files: The files.
        check: Only count words, bytes, tokens or questions, beside what is published for the whole set.
        records: Keep one record an item in this file, and go on after the last one.
        report: Also write numbers, settings and hashes of the files to this file as JSON.
        json: Print JSON.
        protocol: How the suite is run.
        model: Which model, and how it is run.
    """
    from inkfish.evaluation.suites import find
    from inkfish.recipes import evaluate as recipe

    name = find(suite).name
    if not files:
        raise SettingError(f"{name} needs files: {find(name).files}", param="files")
    for path, option in ((records, "records"), (report, "report")):
        if path is not None:
            check_target(path, option)
    config = recipe.Config(name, files, model.model, protocol, records=records, load=model.given())
    with Output() as output:
        if check:
            found = recipe.facts(config, load(model.model, **model.given()))
            output.write(
                as_json([asdict(fact) for fact in found]) + "\n" if json else recipe.facts_table(found)
            )
            return
        done = recipe.run(config, watch=watched)
        if report is not None:
            report.write_text(as_json(done) + "\n", encoding="utf-8")
        output.write(as_json(done) + "\n" if json else recipe.numbers_table(done))


@app.command(name="paper-gpt2")
def paper_gpt2(
    *,
    data: Path,
    report: Path | None = None,
    json: bool = False,
    protocol: Protocol = Settings(),  # noqa: B008  # frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008  # frozen
) -> None:
    """Print Table 3 of the GPT-2 paper beside what this model gives, with the differences.

    Args:
        data: Folder that holds the publishers' files, at any depth; what is missing is said and left out.
        report: Also write everything to this file as JSON, to be sent to us.
        json: Print JSON.
        protocol: How the suites are run.
        model: Which model, and how it is run.
    """
    from inkfish.recipes import evaluate as recipe

    if report is not None:
        check_target(report, "report")
    how = model.given()
    done = recipe.paper(data, model=model.model, settings=protocol, load_settings=how, watch=watched)
    if report is not None:
        report.write_text(as_json(done) + "\n", encoding="utf-8")
    with Output() as output:
        output.write(as_json(done) + "\n" if json else recipe.paper_table(done))


@app.command
def contamination(*, train: tuple[Path, ...], test: tuple[Path, ...], json: bool = False) -> None:
    """Print which share of a test set's 8-grams stands in a training text.

    Args:
        train: File, folder or pattern of the training text (repeatable).
        test: File of the test set (repeatable).
        json: Print JSON.
    """
    from inkfish.evaluation.contamination import contamination as measure

    found = measure(train, test)
    with Output() as output:
        if json:
            output.write(as_json(found._asdict()) + "\n")
        else:
            counts = f"{found.test:,} in the test set, {found.training:,} in the training text"
            output.write(f"{found.share:.2f} % of the 8-grams ({counts})\n")


@app.command
def detection(
    *, data: Path, real: str = "webtext", fake: str, limit: int | None = None, json: bool = False
) -> None:
    """Print how well TF-IDF and logistic regression tell generated texts from real ones.

    Args:
        data: Folder with NAME.train.jsonl, NAME.valid.jsonl and NAME.test.jsonl of both.
        real: Name of the real texts.
        fake: Name of the generated texts, such as small-117M-k40, or those of inkfish evaluate samples.
        limit: Most texts of each file.
        json: Print JSON.
    """
    from inkfish.evaluation.detection import detect, read_split

    found = detect(*(read_split(data, name, limit=limit) for name in (real, fake)))
    with Output() as output:
        if json:
            output.write(as_json(found._asdict()) + "\n")
        else:
            how = f"{found.texts:,} test texts, strength {found.strength:g}"
            output.write(f"{found.accuracy:.2f} % accuracy ({how}; 50 is chance)\n")


@app.command
def samples(
    *,
    out: Path,
    count: int = 5000,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    model: ModelOptions = ModelOptions(),  # noqa: B008  # frozen
) -> None:
    """Write samples from nothing as JSON lines, as OpenAI's gpt-2-output-dataset has them.

    Args:
        out: File to write, such as mine.test.jsonl; what it holds already is gone on with.
        count: How many samples in all.
        temperature: Of the draw; the data set has 1.
        top_k: Choose among so many likeliest tokens; 0 is all, and 40 in the sets named k40.
        seed: Of the set; sample i is the same however many are written.
        model: Which model, and how it is run.
    """
    from inkfish.evaluation.detection import sample_rows

    check_target(out)
    if count < 1:
        raise SettingError(f"count is {count}; it must be at least 1", param="count")
    done = len(read_json_lines(out, "id", "text")) if out.exists() else 0
    todo = range(done, count)
    rows = sample_rows(
        load(model.model, **model.given()), todo, seed=seed, temperature=temperature, top_k=top_k
    )
    with Output(out, append=True) as output:
        for row in watched(rows, len(todo), "writing"):
            output.write(as_json(row, indent=None) + "\n")
    note(f"{max(done, count):,} samples in {out}, {len(todo):,} of them new")


@app.command
def copying(
    *,
    against: tuple[Path, ...],
    field: str = "text",
    count: int = 20,
    tokens: int = 200,
    run: int = 8,
    seed: int = 0,
    json: bool = False,
    model: ModelOptions = ModelOptions(),  # noqa: B008  # frozen
) -> None:
    """Print how much of what a model writes stands word for word in a training text.

    Args:
        against: The training text: file, folder or pattern (repeatable).
        field: Where the text stands in a row.
        count: Texts that the model writes from nothing.
        tokens: Most tokens of each.
        run: Fewest tokens in a row that count as copied.
        seed: Of the texts.
        json: Print JSON.
        model: Which model, and how it is run.
    """
    from inkfish.recipes import copying as recipe

    config = recipe.Config(against, field=field, count=count, tokens=tokens, run=run, seed=seed)
    found = recipe.run(config, model.model, **model.given())
    with Output() as output:
        output.write(as_json(asdict(found)) + "\n" if json else recipe.table(found, config))


@app.command
def card(
    *,
    data: Path,
    against: str | None = None,
    part: tuple[str, ...] = (),
    limit: int | None = None,
    seed: int = 0,
    report: Path | None = None,
    json: bool = False,
    model: ModelOptions = ModelOptions(),  # noqa: B008  # frozen
) -> None:
    """Print the table of a model's card: what it can do, beside baselines.

    Args:
        data: Folder of training and held-out text, as python -m inkfish.recipes.starter makes it.
        against: A second model, measured too, such as the previous edition.
        part: Only this part: likelihood, chat, translation, summaries or stories (repeatable).
        limit: Most examples of each part, for a quick look.
        seed: For openings, distractors and samples: the same seed, the same table.
        report: Also write everything to this file as JSON.
        json: Print JSON.
        model: Which model, and how it is run.
    """
    from inkfish.recipes.card import Config, run, table

    if report is not None:
        check_target(report, "report")
    chosen = {"parts": part} if part else {}
    config = Config(data=data, model=model.model, against=against, limit=limit, seed=seed, **chosen)
    found = run(config, **model.given())
    if report is not None:
        report.write_text(as_json(found) + "\n", encoding="utf-8")
    with Output() as output:
        output.write(as_json(found) + "\n" if json else table(found))
