"""Summaries of several models beside the reference and lead-3: what is their own, what is copied.

    inkfish prefer summaries held-out.jsonl --models gpt2 --models runs/supervised --models runs/policy

Rows have a text and its summary, or several. Ziegler et al. 2019 saw by such a table that what people had
preferred was copying (section 4.3): lead-3 is the row that tells. ROUGE says little of models that learned
from preferences: of their texts it agrees with people hardly better than chance (Stiennon et al. 2020).
"""

# No `from __future__ import annotations`: the command line reads the types of the fields.

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

from inkfish.errors import DataError, SettingError
from inkfish.evaluation.extracts import lead
from inkfish.metrics.answers import words
from inkfish.metrics.interval import bootstrap
from inkfish.metrics.novelty import (
    begins_alike,
    copy_position,
    has_preamble,
    ngram_novelty,
    sentence_novelty,
)
from inkfish.metrics.summaries import rouge
from inkfish.recipes.display import display
from inkfish.recipes.limits import check_out, check_whole
from inkfish.recipes.prefer.compare import System
from inkfish.recipes.prefer.queries import TaskName
from inkfish.recipes.prefer.references import read_references
from inkfish.recipes.prefer.settings import Prompting
from inkfish.tasks.sentences import first_sentences, sentences

__all__ = ["Config", "figures", "run", "table"]

SENTENCES = 3
"""Of a summary; what comes after is left out."""


@dataclass(frozen=True)
class Config(Prompting):
    """Settings of the table."""

    _: KW_ONLY
    models: tuple[str, ...] = ("starter",)
    """Models whose summaries are looked at (repeatable): as it was, supervised, learned from preferences."""
    count: int = 100
    """Texts."""
    whole: bool = True
    cut_after: str | None = " "
    task: TaskName = "summarize"
    query_tokens: int = 400
    tokens: int = 75
    out: Path | None = None
    """Write table and summaries to this JSON file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, {"count": (1, 10**7)})
        if len(self.data) != 1:
            raise SettingError("the table is about one file of rows; name one", param="data")


def run(config: Config) -> dict[str, dict[str, float]]:
    """Let the models write, and return the figures of each row.

    Raises:
        InkfishError: what the user can put right, in one line.
    """
    references = read_references(config.data[0])
    if config.out is not None:
        check_out(config.out)
    with display() as screen:
        systems = [System(name) for name in config.models]
        first = systems[0]
        queries = config.queries(first.tokenizer, first.config, screen.say)[: config.count]
        if len(queries) < config.count:
            raise DataError(f"the data give {len(queries):,} texts, not {config.count:,}", param="count")
        sources = [references.source(query.text) for query in queries]
        known = [references.of(query.text) for query in queries]
        texts = {"reference": [answers[0] for answers in known]}
        texts["lead-3"] = [lead(source, SENTENCES) for source in sources]
        for system in systems:
            rule = config.truncation(system.tokenizer)
            everything = config.queries(system.tokenizer, system.config, lambda _: None)
            asked = [q for q in everything if references.source(q.text) in set(sources)]
            answers = system.answer(config, asked, samples=1)
            shown = [system.tokenizer.decode(rule.cut(a) if rule else a) for a in answers]
            places = [references.source(query.text) for query in asked]
            wrote = dict(zip(places, shown, strict=True))  # vocabularies differ in where they cut
            texts[system.name] = [summary(wrote.get(source, "")) for source in sources]
        found = {name: figures(name, mine, sources, known) for name, mine in texts.items()}
        screen.say(table(found))
    if config.out is not None:
        settings = json.loads(json.dumps(asdict(config), default=str))
        rows = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
        whole = {"settings": settings, "table": found, "summaries": rows}
        config.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return found


def summary(text: str) -> str:
    """Return the first sentences of what a model wrote."""
    return first_sentences(text.strip(), SENTENCES).strip()


def figures(
    name: str, texts: Sequence[str], sources: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Return what there is to say of one row's summaries; shares are of 100.

    The reference is not held against itself.
    """
    pairs = [(words(text), words(source)) for text, source in zip(texts, sources, strict=True)]
    lines = [
        sentence_novelty(*[[words(line) for line in sentences(part)] for part in both])
        for both in zip(texts, sources, strict=True)
    ]
    places = [place for own, source in pairs for place in copy_position(own, source)]
    starts = [begins_alike(own, source) for own, source in pairs]
    plain = [start for start, source in zip(starts, sources, strict=True) if not has_preamble(source)]
    found = {
        "new 1-grams": percent([ngram_novelty(own, source, 1) for own, source in pairs]),
        "new 3-grams": percent([ngram_novelty(own, source, 3) for own, source in pairs]),
        "new sentences": percent(lines),
        "copied from": percent(places),
        "begins alike": percent(list(map(float, starts))),
        "begins alike, no preamble": percent(list(map(float, plain))),
        "words": statistics.fmean(len(own) for own, _ in pairs),
    }
    if name == "reference":
        return found
    scores = rouge(["\n".join(sentences(text)) for text in texts], references)
    interval = bootstrap([score.average for score in scores])
    columns = zip(("R-1", "R-2", "R-L"), zip(*scores, strict=True), strict=True)
    means = {column: statistics.fmean(values) for column, values in columns}
    return means | {"R-AVG": interval.mean, "R-AVG low": interval.low, "R-AVG high": interval.high} | found


def percent(values: Sequence[float]) -> float:
    """Return the mean as a share of 100; 0 of nothing."""
    return 100 * statistics.fmean(values) if values else 0.0


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return rows for people, the columns those of the last row."""
    columns = [name for name in list(found.values())[-1] if not name.endswith(("low", "high"))]
    width = max(len(name) for name in found)
    lines = [" " * width + "".join(f"  {column:>5}" for column in columns)]
    for name, row in found.items():
        cells = [f"{row[c]:.1f}" if c in row else "–" for c in columns]
        padded: list[Any] = [f"  {cell:>{max(5, len(c))}}" for cell, c in zip(cells, columns, strict=True)]
        lines.append(name.ljust(width) + "".join(padded))
    return "\n".join(lines)
