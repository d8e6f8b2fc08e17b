"""Run one suite on a publisher's files, or all of Table 3 of the GPT-2 paper on a folder of them.

    inkfish evaluate lambada lambada_test.jsonl --model gpt2
    inkfish evaluate wikitext103 wiki.test.tokens --stride 512 --records wt103.records --report wt103.json
    inkfish evaluate paper-gpt2 --data DIR --model gpt2

A run that is stopped goes on where it was when it is started again with the same --records.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import inkfish
from inkfish.errors import DataError
from inkfish.evaluation.published import COLUMNS, LAYERS, TABLE_3, Column
from inkfish.evaluation.suite import Fact, Records, Settings, Suite
from inkfish.evaluation.suites import find
from inkfish.evaluation.tables import markdown, number
from inkfish.generate import LanguageModel, load

__all__ = ["NAMES", "Config", "facts_table", "locate", "numbers_table", "paper", "paper_table", "run"]

Watch = Callable[[Iterable[Any], int, str], Iterator[Any]]

EXACT = {"dtype": "float32"}
"""How models are run where nothing else is said: a measure is of the model, not of a shorter type."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "lambada": ("lambada_test.jsonl", "lambada_test_plain_text.txt"),
    "cbt-cn": ("cbtest_CN_valid_2000ex.txt",),
    "cbt-ne": ("cbtest_NE_valid_2000ex.txt",),
    "wikitext2": ("wiki.test.tokens", "wiki.test.raw"),
    "wikitext103": ("wiki.test.tokens", "wiki.test.raw"),
    "ptb": ("ptb.test.txt",),
    "enwik8": ("enwik8",),
    "text8": ("text8",),
    "1bw": ("news.en.heldout-00000-of-00050",),
}
"""Suite → names of its files, as their publishers have them; anywhere inside the data folder."""


@dataclass(frozen=True)
class Config:
    """One suite on some files."""

    suite: str
    """Its name."""
    files: tuple[Path, ...]
    """The publisher's files."""
    model: str = "starter"
    """Name or folder of the model."""
    settings: Settings = field(default_factory=Settings)
    """What the suite is to do."""
    records: Path | None = None
    """File that keeps one record an item, so that a stopped run can go on; None keeps none."""
    load: Mapping[str, Any] = field(default_factory=dict)
    """How the model is run: `backend`, `dtype`, `threads` of `inkfish.load`."""


def plainly(items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    """Go through items without showing anything."""
    yield from items


def run(config: Config, *, watch: Watch = plainly, model: LanguageModel | None = None) -> dict[str, Any]:
    """Measure, and return the report.

    Args:
        config: what to measure.
        watch: shows the progress of an iterable with so many items.
        model: the model, where it is loaded already.

    Raises:
        InkfishError: a model or data that can't be read, or records of another run.
    """
    suite = find(config.suite)
    for path in config.files:
        if not path.is_file():
            raise DataError(f"there is no file {path}; {suite.name} reads {suite.files}", param="files")
    reader = model if model is not None else load(config.model, **{**EXACT, **config.load})
    started = time.monotonic()
    items = suite.load(config.files, config.settings, reader)
    if not items:
        raise DataError(f"{config.files[0]} has nothing to measure; {suite.name} reads {suite.files}")
    records = kept(config, suite, items)
    counted = checked(config, reader)
    todo = items[len(records.done) :]
    for record in watch(suite.measure(reader, todo, config.settings), len(todo), suite.name):
        records.add(record)
    return {
        "suite": suite.name,
        "model": config.model,
        "shape": asdict(reader.config),
        "dtype": reader.backend.dtype,
        "files": {path.name: digest(path) for path in config.files},
        "settings": asdict(config.settings),
        "facts": [asdict(fact) for fact in counted],
        "numbers": dict(suite.table(records.done)),
        "published": {name: dict(systems) for name, systems in suite.published.items()},
        "inkfish": inkfish.__version__,
        "seconds": round(time.monotonic() - started, 1),
    }


def kept(config: Config, suite: Suite, items: Sequence[Any]) -> Records:
    """Open the records of this run."""
    return Records(
        config.records, suite=suite.name, model=config.model, items=items, settings=config.settings
    )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked(config: Config, model: LanguageModel) -> list[Fact]:
    """Return the facts of whole files, having said on standard error what differs from what is published."""
    found = facts(config, model) if config.settings.limit is None else []
    for fact in found:
        if fact.expected is not None and not agrees(fact):
            published = f"published for the whole set: {number(fact.expected)}"
            line = f"{config.suite}: {fact.name} {number(fact.found)}, {published}"
            print(line, file=sys.stderr, flush=True)
    return found


def facts(config: Config, model: LanguageModel) -> list[Fact]:
    """Return what can be counted of the files without running the model."""
    return list(find(config.suite).facts(config.files, config.settings, model))


def facts_table(found: Sequence[Fact]) -> str:
    """Return facts as Markdown, each beside what is published."""
    rows = [
        [fact.name, "agrees" if agrees(fact) else "differs", number(fact.found), number(fact.expected)]
        for fact in found
    ]
    return markdown(["fact", "check", "found", "published"], rows)


def agrees(fact: Fact) -> bool:
    """Say whether a fact is as published; what has no published value agrees."""
    return fact.expected is None or abs(fact.found - fact.expected) <= 0.005 * abs(fact.expected)


def numbers_table(report: Mapping[str, Any]) -> str:
    """Return the numbers of a report as Markdown, those published of other systems after them."""
    rows = [[report["suite"], name, number(value)] for name, value in report["numbers"].items()]
    others = report["published"]
    rows += [
        [system, name, number(value)] for name, systems in others.items() for system, value in systems.items()
    ]
    return markdown(["system" if others else "suite", "number", report["model"]], rows)


def locate(folder: Path, suite: str) -> list[Path]:
    """Return the file of a suite inside a folder, at any depth; WikiText by its own folder's name."""
    found = [path for name in NAMES[suite] for path in sorted(folder.rglob(name)) if path.is_file()]
    if suite.startswith("wikitext"):
        size = suite.removeprefix("wikitext")
        found = [path for path in found if plain(path.parent.name).startswith(f"wikitext{size}")]
    return found[:1]


def plain(name: str) -> str:
    """Return a folder's name without its dashes, in small letters."""
    return name.lower().replace("-", "")


def paper(
    folder: Path, *, model: str, settings: Settings, load_settings: Mapping[str, Any], watch: Watch = plainly
) -> dict[str, Any]:
    """Run every suite of Table 3 whose file is in the folder, and return all numbers beside the paper's.

    Raises:
        DataError: none of the files is there.
    """
    wanted = {column.suite: column for column in COLUMNS}
    files = {suite: locate(folder, suite) for suite in wanted}
    if not any(files.values()):
        names = ", ".join(sorted({name for names in NAMES.values() for name in names}))
        remedy = "get them from their publishers"
        raise DataError(f"{folder} holds none of the paper's files ({names}); {remedy}", param="data")
    reader = load(model, **{**EXACT, **load_settings})
    reports = {}
    for suite, column in wanted.items():
        if not files[suite]:
            print(f"{suite}: no file of it in {folder}", file=sys.stderr, flush=True)
            continue
        chosen = replace(settings, raw=settings.raw or column.raw)
        config = Config(suite, tuple(files[suite]), model=model, settings=chosen)
        reports[suite] = run(config, watch=watch, model=reader)
    size = LAYERS.get(reader.config.n_layer, "117M")
    rows = [compared(column, i, size, reports) for i, column in enumerate(COLUMNS)]
    return {"model": model, "paper": size, "rows": rows, "reports": reports}


def compared(
    column: Column, place: int, size: str, reports: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return one column of Table 3: the paper's number, ours and the difference; None where not run."""
    ours = reports[column.suite]["numbers"][column.number] if column.suite in reports else None
    theirs = TABLE_3[size][place]
    return {
        "title": column.title,
        "suite": column.suite,
        "number": column.number,
        "paper": theirs,
        "ours": ours,
        "difference": None if ours is None else ours - theirs,
    }


def paper_table(found: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown."""
    rows = [
        [row["title"], row["number"], *(number(row[key]) for key in ("paper", "ours", "difference"))]
        for row in found["rows"]
    ]
    return markdown(["Table 3", "our number", f"paper, {found['paper']}", found["model"], "difference"], rows)
