"""Label items by a program, through the same queue as people: so the loop runs and is checked without them.

inkfish prefer simulate --store labels.sqlite --judge vader --agreement 0.6
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np

import inkfish
from inkfish.errors import DataError, SettingError
from inkfish.labels.queue import Shown, answer, next_item
from inkfish.labels.records import Item, Label
from inkfish.labels.store import Store
from inkfish.preferences.gold import Judge
from inkfish.preferences.labeller import Labeller, self_agreement, tuned_noise
from inkfish.recipes.display import display
from inkfish.recipes.limits import check_real, check_whole
from inkfish.recipes.prefer.rewards import find_judge

__all__ = ["Config", "Result", "run"]

TUNED_ON = 1000
"""Most items that the noise is tuned on."""


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
    seed: int = 1
    """Of the noise."""

    def __post_init__(self) -> None:
        check_whole(self, {"count": (1, 10**9), "seed": (0, 2**31 - 1)})
        check_real(self, {"agreement": (0, 1), "tie": (0, 1e6), "slot_bias": (-1e6, 1e6)})


@dataclass(frozen=True)
class Result:
    """What was labelled."""

    labelled: int
    """Labels given."""
    noise: float
    """Scale of the noise in the judge's units."""
    agreement: float
    """How often two such labels of an item agree, worked out from the scores."""


def run(config: Config) -> Result:
    """Label what is open.

    Raises:
        InkfishError: what the user can put right, in one line; labels given before stay.
    """
    judge = find_judge(config.judge)
    with display() as screen, Store(config.store) as store:
        items = store.items()
        if not items:
            raise DataError(
                f"{config.store} holds no items; inkfish prefer sample writes them", param="store"
            )
        several = [item for item in items if item.kind != "rating"][:TUNED_ON]
        if not several:
            raise DataError("a simulated labeller chooses among candidates; these have one", param="store")
        widths = {len(item.candidates) for item in several}
        if len(widths) > 1:
            raise DataError("items have unequal numbers of candidates; label them apart", param="store")
        scores = np.array(scores_of(judge, several)).reshape(len(several), -1)
        most = self_agreement(scores, 0.0)
        noise = 0.0 if config.agreement == 1 else tuned_noise(scores, config.agreement)
        chooser = Labeller(noise, config.tie, config.slot_bias)
        reached = most if noise == 0 else config.agreement
        screen.say(f"noise {noise:.3g}; it would choose the same again {reached:.0%} of the time")
        labelled = 0
        while config.count is None or labelled < config.count:
            shown = next_item(store, config.labeller)
            if shown is None:
                break
            answer(store, choice(config, chooser, judge, shown))
            labelled += 1
            if labelled % 500 == 0:
                screen.say(f"{labelled:,} labelled")
    return Result(labelled, noise, reached)


def scores_of(judge: Judge, items: Sequence[Item]) -> list[float]:
    """Return the judge's scores of all candidates of items.

    Raises:
        SettingError: it does not give a finite number for each.
    """
    queries = [item.query for item in items for _ in item.candidates]
    texts = [candidate.text for item in items for candidate in item.candidates]
    found = judge(queries, texts)
    if len(found) != len(texts) or not np.isfinite(found).all():
        raise SettingError("the judge must give one finite number for each response", param="judge")
    return found


def choice(config: Config, chooser: Labeller, judge: Judge, shown: Shown) -> Label:
    """Return the label of one item; its noise depends on seed, item and name alone."""
    name = f"{config.labeller}:{config.seed}:{shown.item.key}:{shown.repeat}"
    digest = hashlib.sha256(name.encode()).digest()
    draw = np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], np.uint64)))
    best = chooser.choose(np.array(scores_of(judge, [shown.item])), shown.order, draw)
    return Label(
        request=hashlib.sha256(f"simulated:{name}".encode()).hexdigest(),
        item=shown.item.key,
        labeller=config.labeller,
        verdict="best" if len(best) == 1 else "tie",
        best=best,
        order=shown.order,
        tool=f"inkfish {inkfish.__version__}, judge {config.judge}",
    )
