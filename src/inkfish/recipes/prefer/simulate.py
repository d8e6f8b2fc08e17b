"""Label items by a program, through the same queue as people: so the loop runs and is checked without them.

    inkfish prefer simulate --store labels.sqlite --judge vader --agreement 0.6

Where an item has one text only, it gets a rating from 1 to 7: the judge's score, with the same noise, cut at
the sevenths of the scores that such texts of the store have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import inkfish
from inkfish.errors import DataError
from inkfish.labels.queue import Shown, answer, next_item, why_nothing
from inkfish.labels.records import Item, Label
from inkfish.labels.store import Store
from inkfish.preferences.gold import Judge
from inkfish.preferences.labeller import Labeller, rating_agreement, self_agreement, tuned_noise
from inkfish.recipes.display import Display, display
from inkfish.recipes.limits import check_real, check_whole
from inkfish.recipes.prefer.judges import find_judge

__all__ = ["Config", "Result", "run"]

TUNED_ON = 1000
"""Most items of a kind that the noise is tuned on."""
SEVENTHS = np.arange(1, 7) / 7
"""Shares of the scores that lie below the borders of ratings."""


@dataclass(frozen=True)
class Config:
    """Settings of a simulated labeller."""

    _: KW_ONLY
    store: Path = Path("labels.sqlite")
    """The label store."""
    judge: str = "vader"
    """vader, afinn, descriptive, length:FEWEST-MOST, reward:FOLDER, classifier:LIKED:DISLIKED (files with an
    example on each line), rouge:ROWS or f1:ROWS (against references), or python:MODULE:FUNCTION."""
    labeller: str = "simulated"
    """Name under which it labels."""
    count: int | None = None
    """Items to label; by default all that are open."""
    agreement: float = 0.6
    """How often it would choose the same again, 0 to 1; 1 is no noise at all."""
    tie: float = 0.0
    """Candidates within so much of the best, in the judge's units, tie with it."""
    slot_bias: float = 0.0
    """Added to the score of what stands first, in the judge's units."""
    overlap: int | None = None
    """Labellers that see each item; kept in the store."""
    repeat_every: int | None = None
    """After so many items a labeller gets an earlier one again; 0 never; kept in the store."""
    seed: int = 1
    """Of the noise."""

    def __post_init__(self) -> None:
        check_whole(self, {"count": (1, 10**9), "seed": (0, 2**31 - 1)})
        check_whole(self, {"overlap": (1, 10**6), "repeat_every": (0, 10**9)})
        check_real(self, {"agreement": (0, 1), "tie": (0, 1e6), "slot_bias": (-1e6, 1e6)})


@dataclass(frozen=True)
class Result:
    """What was labelled."""

    labelled: int
    """Labels given."""
    noise: float
    """Scale of the noise in the judge's units."""
    agreement: float
    """How often two such labels of an item agree, ties and slot bias included, worked out from the scores."""


def run(config: Config) -> Result:
    """Label what is open.

    Raises:
        InkfishError: what the user can put right, in one line; labels given before stay.
    """
    judge = find_judge(config.judge)
    with display() as screen, Store(config.store) as store:
        person = tuned(config, judge, store.items())
        store.set(store.settings.changed(overlap=config.overlap, repeat_every=config.repeat_every))
        noise, again = person.labeller.noise, person.agreement
        screen.say(f"noise {noise:.3g}; it would say the same again {again:.1%} of the time")
        labelled = label_open(config, judge, person, store, screen)
        if not labelled:
            screen.say(why_nothing(store, config.labeller))
    return Result(labelled, noise, again)


@dataclass(frozen=True)
class Person:
    """A labeller that is tuned to the texts of a store."""

    labeller: Labeller
    """With its noise."""
    borders: NDArray[np.float64]
    """Scores between two ratings."""
    agreement: float
    """How often it says the same again."""


def tuned(config: Config, judge: Judge, items: Sequence[Item]) -> Person:
    """Return the labeller that agrees with itself as wanted: in choices, where there are none in ratings.

    Raises:
        DataError: there are no items, or such as need labellers of their own.
        SettingError: no noise gives the agreement.
    """
    if not items:
        raise DataError(f"{config.store} holds no items; inkfish prefer sample writes them", param="store")
    several = [item for item in items if item.kind != "rating"][:TUNED_ON]
    alone = [item for item in items if item.kind == "rating"][:TUNED_ON]
    if len({len(item.candidates) for item in several}) > 1:
        raise DataError("items have unequal numbers of candidates; label them apart", param="store")
    plain = Labeller(0.0, config.tie, config.slot_bias)
    rated = np.array(scores_of(judge, alone) if alone else [])
    borders = np.quantile(rated, SEVENTHS) if alone else np.zeros(len(SEVENTHS))
    measure = of_choices(judge, several, plain) if several else of_ratings(rated, borders)
    noise = 0.0 if config.agreement == 1 else tuned_noise(measure, config.agreement)
    return Person(replace(plain, noise=noise), borders, measure(noise))


def of_choices(judge: Judge, items: Sequence[Item], plain: Labeller) -> Callable[[float], float]:
    """Return what says how often choices agree at a noise."""
    scores = np.array(scores_of(judge, items)).reshape(len(items), -1)
    return lambda noise: self_agreement(scores, replace(plain, noise=noise))


def of_ratings(scores: NDArray[np.float64], borders: NDArray[np.float64]) -> Callable[[float], float]:
    """Return what says how often ratings agree at a noise."""
    return lambda noise: rating_agreement(scores, borders, noise)


def label_open(config: Config, judge: Judge, person: Person, store: Store, screen: Display) -> int:
    """Label what is open, up to the wanted count; return how many labels were given."""
    labelled = 0
    while config.count is None or labelled < config.count:
        shown = next_item(store, config.labeller)
        if shown is None:
            break
        answer(store, choice(config, person, judge, shown))
        labelled += 1
        if labelled % 500 == 0:
            screen.say(f"{labelled:,} labelled")
    return labelled


def scores_of(judge: Judge, items: Sequence[Item]) -> list[float]:
    """Return the judge's scores of all candidates of items."""
    queries = [item.query for item in items for _ in item.candidates]
    return judge(queries, [candidate.text for item in items for candidate in item.candidates])


def choice(config: Config, person: Person, judge: Judge, shown: Shown) -> Label:
    """Return the label of one item; its noise depends on seed, item and name alone."""
    name = f"{config.labeller}:{config.seed}:{shown.item.key}:{shown.repeat}"
    digest = hashlib.sha256(name.encode()).digest()
    draw = np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], np.uint64)))
    scores = np.array(scores_of(judge, [shown.item]))
    said = Label(
        request=hashlib.sha256(f"simulated:{name}".encode()).hexdigest(),
        item=shown.item.key,
        labeller=config.labeller,
        verdict="rating",
        order=shown.order,
        tool=f"inkfish {inkfish.__version__}, judge {config.judge}",
    )
    if shown.item.kind == "rating":
        return replace(said, rating=float(person.labeller.rate(float(scores[0]), person.borders, draw)))
    best = person.labeller.choose(scores, shown.order, draw)
    return replace(said, verdict="best" if len(best) == 1 else "tie", best=best)
