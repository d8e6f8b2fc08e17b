"""Write candidates to be labelled: several responses to each prompt, into a label store.

inkfish prefer sample stories/ --store labels.sqlite --count 5000
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
SAMPLING = ("seed", "temperature", "tokens", "truncate", "not_before", "filter")
"""Settings that decide how candidates are written, whatever the prompt and the model."""


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
        if self.other == self.model:
            raise SettingError(
                f"other is {self.other}, as the model is, and would write the same; name another one",
                param="other",
            )
        if self.filter and self.truncate is None:
            raise SettingError(
                "filter is on, and there is no truncate that could end a candidate; give one",
                param="filter",
            )

    @property
    def writers(self) -> tuple[str, ...]:
        """Names of the models that write."""
        return (self.model,) if self.other is None else (self.model, self.other)


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
    with display() as screen:
        writers = [load(name, dtype="float32", threads=config.threads or None) for name in config.writers]
        model = writers[0]
        if any(other.tokenizer.fingerprint != model.tokenizer.fingerprint for other in writers):
            raise ModelError(f"{config.model} and {config.other} have different vocabularies")
        rule = config.truncation(model.tokenizer)
        chosen = chosen_of(config, config.queries(model.tokenizer, model.config, screen.say))
        with Store(config.store, create=True) as store:
            known = sampled(config, store, chosen)
            wanted = [number for number, query in enumerate(chosen) if query.ids not in known]
            added = missing = 0
            for start in range(0, len(wanted), AT_ONCE):
                part = {config.skip + number: chosen[number] for number in wanted[start : start + AT_ONCE]}
                items = list(items_of(config, writers, rule, part))
                added, missing = added + store.add(items)[0], missing + len(part) - len(items)
                done = len(chosen) - len(wanted) + start + len(part)
                screen.say(f"{done:,} of {len(chosen):,} prompts")
            if missing:
                screen.say(f"to {missing:,} prompts too few candidates pass the filter; they are left out")
            return Result(config.store, added, store.progress().items)


def chosen_of(config: Config, queries: Sequence[Query]) -> Sequence[Query]:
    """Return the prompts to be sampled.

    Raises:
        DataError: there are not so many.
    """
    chosen = queries[config.skip : config.skip + config.count]
    if len(chosen) < config.count:
        raise DataError(
            f"the data give {len(queries):,} prompts, not {config.skip + config.count:,}; give more "
            f"text, a smaller --count, or more than {config.per_document} --per-document",
            param="count",
        )
    return chosen


def sampled(config: Config, store: Store, queries: Sequence[Query]) -> set[tuple[int, ...] | None]:
    """Return the prompts in a store that were sampled as now.

    Other models may have answered other prompts there, as `inkfish prefer rounds` has it.

    Raises:
        DataError: something was sampled otherwise, so that its labels would not go together with new ones.
    """
    asked = {query.ids: query for query in queries}
    found = [item for item in store.items() if "prompt" in item.candidates[0].origin]
    for item in found:
        then, now = settings_of(item), settings(config)
        if item.query_ids in asked:
            then |= {"model": ", ".join(dict.fromkeys(str(c.origin["model"]) for c in item.candidates))}
            then |= {"prompt": item.meta.get("asked", [])}
            now |= {"model": ", ".join(config.writers), "prompt": list(asked[item.query_ids].asked)}
        check_same(config.store, then, now)
    return {item.query_ids for item in found}


def settings_of(item: Item) -> dict[str, Any]:
    """Return what decided how an item was sampled, whatever its prompt and the models."""
    origin = item.candidates[0].origin
    return {"n": len(item.candidates)} | {name: origin[name] for name in SAMPLING if name in origin}


def settings(config: Config) -> dict[str, Any]:
    """Return the same of what is wanted now."""
    return {"n": config.n} | {name: getattr(config, name) for name in SAMPLING}


def check_same(store: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to sample otherwise than a store was sampled.

    Raises:
        DataError: the first setting that differs.
    """
    for name, value in then.items():
        if name == "prompt" and value != now[name]:
            raise DataError(
                f"task, before or after differs from what {store} was sampled with; give another --store",
                param="store",
            )
        if value != now[name]:
            raise DataError(
                f"{name} is {now[name]!r}, and {store} was sampled with {value!r}; give that, or another "
                "--store",
                param=name,
            )


class Draw(NamedTuple):
    """A response that was kept."""

    ids: list[int]
    """Its tokens, not cut."""
    attempt: int
    """In which try it was drawn, from 0."""
    sample: int
    """Its number in that try, from 0."""


def items_of(
    config: Config,
    writers: Sequence[LanguageModel],
    rule: Truncation | None,
    queries: Mapping[int, Query],
) -> Iterator[Item]:
    """Yield items of those prompts, given by their numbers, to which every model has written enough."""
    each = config.n // len(writers)
    written = [responses_of(config, one, rule, queries, each) for one in writers]
    for place, (number, query) in enumerate(queries.items()):
        sides = [side[place] for side in written]
        if all(len(side) == each for side in sides):
            shown = [
                candidate(config, writer.tokenizer, rule, draw, {"model": name, "prompt": number})
                for name, writer, side in zip(config.writers, writers, sides, strict=True)
                for draw in side
            ]
            kind: Kind = "best" if len(shown) > 2 else "pair" if len(shown) == 2 else "rating"
            meta = {"asked": query.asked} if query.asked else {}
            yield Item(kind, query.text, tuple(shown), query.ids, meta=meta)


def responses_of(
    config: Config,
    writer: LanguageModel,
    rule: Truncation | None,
    queries: Mapping[int, Query],
    count: int,
) -> list[list[Draw]]:
    """Return up to `count` responses to each prompt; with a filter the first good ones of several tries."""
    numbers, asked = list(queries), list(queries.values())
    found: list[list[Draw]] = [[] for _ in queries]
    for attempt in range(TRIES if config.filter else 1):
        short = [place for place, good in enumerate(found) if len(good) < count]
        if not short:
            break
        written: list[list[int]] = respond(
            writer.backend,
            [asked[place].prompt for place in short],
            length=config.tokens,
            temperature=config.temperature,
            seed=config.seed + attempt * SEEDS,
            numbers=[numbers[place] for place in short],
            samples=count,
        ).tolist()
        for row, response in enumerate(written):
            if not config.filter or (rule is not None and rule.end(response)):
                found[short[row // count]].append(Draw(response, attempt, row % count))
    return [good[:count] for good in found]


def candidate(
    config: Config, tokenizer: Tokenizer, rule: Truncation | None, draw: Draw, origin: Mapping[str, Any]
) -> Candidate:
    """Return a candidate as its reader sees it, with all that its sampling depends on.

    It was drawn with the seed + try · 2³², as number `sample` of n (with two models n/2) for its prompt.
    """
    decided = {name: getattr(config, name) for name in SAMPLING} | {"inkfish": inkfish.__version__}
    ids = rule.cut(draw.ids) if rule else draw.ids
    place = {"try": draw.attempt, "sample": draw.sample}
    return Candidate(tokenizer.decode(ids), tuple(ids), {**origin, **decided, **place})
