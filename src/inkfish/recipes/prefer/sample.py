"""Write candidates to be labelled: several responses to each prompt, into a label store.

inkfish prefer sample stories/ --store labels.sqlite --count 5000
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import inkfish
from inkfish.errors import DataError, ModelError, SettingError
from inkfish.generate import LanguageModel, load
from inkfish.labels.records import Candidate, Item, Kind
from inkfish.labels.store import Store
from inkfish.preferences.rollout import respond
from inkfish.preferences.truncation import Truncation
from inkfish.recipes.display import display
from inkfish.recipes.limits import check_whole
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.settings import Prompting
from inkfish.tokenizer import Tokenizer

__all__ = ["Config", "Result", "run"]

AT_ONCE = 64
"""Prompts sampled and stored together."""
TRIES = 8
"""How often candidates are drawn anew for a prompt where too few pass the filter."""
SEEDS = 2**32
"""Lies between the seeds of two tries."""


@dataclass(frozen=True)
class Config(Prompting):
    """Settings of sampling."""

    _: KW_ONLY
    store: Path = Path("labels.sqlite")
    """The label store; made where it is missing, added to where it is there."""
    count: int = 100
    """Prompts."""
    skip: int = 0
    """Prompts left out at the beginning of the order."""
    n: int = 4
    """Candidates of each prompt."""
    other: str | None = None
    """A second model that writes half of the candidates; inkfish prefer report says whose are preferred."""
    filter: bool = False
    """Only candidates that truncate ends; prompts where too few of eight times as many do are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, {"count": (1, 10**7), "skip": (0, 10**9), "n": (1, 64)})
        if self.other is not None and self.n % 2:
            raise SettingError(f"n is {self.n}; two models write equally many, so it must be even", param="n")


@dataclass(frozen=True)
class Result:
    """What was written."""

    store: Path
    """The label store."""
    added: int
    """Items that were new."""
    items: int
    """Items in the store."""


def run(config: Config) -> Result:
    """Sample, and store what is sampled, a few prompts at a time; what is there already is not done again.

    Raises:
        InkfishError: what the user can put right, in one line; what was stored before stays.
    """
    with display() as screen, Store(config.store, create=True) as store:
        model, *others = writers = [
            load(name, dtype="float32", threads=config.threads or None)
            for name in (config.model, config.other)
            if name is not None
        ]
        if any(other.tokenizer.fingerprint != model.tokenizer.fingerprint for other in others):
            raise ModelError(f"{config.model} and {config.other} have different vocabularies")
        rule = config.truncation(model.tokenizer)
        queries = config.queries(model.tokenizer, model.config, screen.say)
        chosen = queries[config.skip : config.skip + config.count]
        if len(chosen) < config.count:
            raise DataError(
                f"the data give {len(queries):,} prompts, not {config.skip + config.count:,}; give more "
                f"text, a smaller --count, or more than {config.per_document} --per-document",
                param="count",
            )
        known = {item.query_ids for item in store.items()}
        added = 0
        for start in range(0, len(chosen), AT_ONCE):
            part = chosen[start : start + AT_ONCE]
            if not all(query.ids in known for query in part):
                added += store.add(items_of(config, writers, rule, part, config.skip + start))[0]
            screen.say(f"{min(start + AT_ONCE, len(chosen)):,} of {len(chosen):,} prompts")
        items = store.items()
        there = {item.query_ids for item in items}
        missing = sum(query.ids not in there for query in chosen)
        if missing:
            screen.say(f"to {missing:,} prompts too few candidates pass the filter; they are left out")
        return Result(config.store, added, len(items))


def items_of(
    config: Config,
    writers: Sequence[LanguageModel],
    rule: Truncation | None,
    queries: Sequence[Query],
    first: int,
) -> Iterator[Item]:
    """Yield items of those prompts to which every model has written enough candidates."""
    names = (config.model, *([config.other] if config.other else []))
    each = config.n // len(writers)
    written = [responses_of(config, one, rule, queries, first, each) for one in writers]
    for number, query in enumerate(queries):
        sides = [side[number] for side in written]
        if all(len(side) == each for side in sides):
            shown = [
                candidate(config, writer.tokenizer, rule, response, name, first + number, place)
                for name, writer, side in zip(names, writers, sides, strict=True)
                for place, response in enumerate(side)
            ]
            kind: Kind = "best" if len(shown) > 2 else "pair" if len(shown) == 2 else "rating"
            meta = {"asked": query.asked} if query.asked else {}
            yield Item(kind, query.text, tuple(shown), query.ids, meta=meta)


def responses_of(
    config: Config,
    writer: LanguageModel,
    rule: Truncation | None,
    queries: Sequence[Query],
    first: int,
    count: int,
) -> list[list[list[int]]]:
    """Return up to `count` responses to each prompt; with a filter the first good ones of several tries."""
    filtering = rule is not None and config.filter
    found: list[list[list[int]]] = [[] for _ in queries]
    for attempt in range(TRIES if filtering else 1):
        short = [place for place, good in enumerate(found) if len(good) < count]
        if not short:
            break
        written: list[list[int]] = respond(
            writer.backend,
            [queries[place].prompt for place in short],
            length=config.tokens,
            temperature=config.temperature,
            seed=config.seed + attempt * SEEDS,
            numbers=[first + place for place in short],
            samples=count,
        ).tolist()
        for row, response in enumerate(written):
            if not filtering or (rule is not None and rule.end(response)):
                found[short[row // count]].append(response)
    return [good[:count] for good in found]


def candidate(
    config: Config,
    tokenizer: Tokenizer,
    rule: Truncation | None,
    response: list[int],
    model: str,
    prompt: int,
    place: int,
) -> Candidate:
    """Return a candidate as its reader sees it, with all that its sampling depends on."""
    origin: dict[str, Any] = {
        "model": model,
        "seed": config.seed,
        "prompt": prompt,
        "temperature": config.temperature,
        "tokens": config.tokens,
        "truncate": config.truncate,
        "not_before": config.not_before,
        "filter": config.filter,
        "inkfish": inkfish.__version__,
        "sample": place,
    }
    ids = rule.cut(response) if rule else response
    return Candidate(tokenizer.decode(ids), tuple(ids), origin)
