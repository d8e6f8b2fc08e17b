"""Write candidates to be labelled: several responses to each prompt, into a label store.

inkfish prefer sample stories/ --store labels.sqlite --count 5000
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import inkfish
from inkfish.backends import Backend
from inkfish.errors import DataError
from inkfish.generate import load
from inkfish.labels.records import Candidate, Item
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
    filter: bool = False
    """Only candidates that truncate ends; prompts where too few do are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, {"count": (1, 10**7), "skip": (0, 10**9), "n": (1, 64)})


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
        model = load(config.model, dtype="float32", threads=config.threads or None)
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
                items = candidates(config, model.backend, model.tokenizer, rule, part, config.skip + start)
                added += store.add(items)[0]
            screen.say(f"{min(start + AT_ONCE, len(chosen)):,} of {len(chosen):,} prompts")
        return Result(config.store, added, store.progress().items)


def candidates(
    config: Config,
    backend: Backend,
    tokenizer: Tokenizer,
    rule: Truncation | None,
    queries: Sequence[Query],
    first: int,
) -> Iterator[Item]:
    """Yield items with candidates; with a filter twice as many are written, and the first good ones taken."""
    samples = config.n * (2 if config.filter and rule else 1)
    found = respond(
        backend,
        [query.ids for query in queries],
        length=config.tokens,
        temperature=config.temperature,
        seed=config.seed,
        first=first,
        samples=samples,
    )
    for number, query in enumerate(queries):
        responses = [row.tolist() for row in found[number * samples : (number + 1) * samples]]
        if config.filter and rule:
            responses = [response for response in responses if rule.end(response) is not None]
        if len(responses) >= config.n:
            yield item(config, tokenizer, rule, query, responses[: config.n], first + number)


def item(
    config: Config,
    tokenizer: Tokenizer,
    rule: Truncation | None,
    query: Query,
    responses: Sequence[list[int]],
    number: int,
) -> Item:
    """Return one item; candidates are cut as their reader sees them."""
    parameters: dict[str, Any] = {
        "model": config.model,
        "seed": config.seed,
        "prompt": number,
        "temperature": config.temperature,
        "tokens": config.tokens,
        "inkfish": inkfish.__version__,
    }
    shown = [rule.cut(response) if rule else response for response in responses]
    return Item(
        "best" if len(shown) > 2 else "pair" if len(shown) == 2 else "rating",
        query.text,
        tuple(
            Candidate(tokenizer.decode(ids), tuple(ids), parameters | {"sample": place})
            for place, ids in enumerate(shown)
        ),
        query.ids,
    )
