"""Does a reward prefer what people preferred? Asked before a run, by the very function the run uses.

What people said is read from the labels themselves, not from the targets that are made of them, so that
labels which are turned round on the way to learning show too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import ModelError, RunError
from inkfish.labels.store import Store
from inkfish.preferences.guards import better_than_chance
from inkfish.recipes.prefer.comparisons import Comparison, read_comparisons, wanted_labels
from inkfish.recipes.prefer.learning import Beginning, Config
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.rewards import Reward

__all__ = ["EXAMPLES", "Agreement", "agreement", "chance_of", "check_reward", "read_examples"]
__all__ += ["written_examples"]

MOST = 200
"""Labels asked about, the newest ones."""
EXAMPLES = "held-out.jsonl"
"""Beside a finished reward model: labels that it was tested on, so that every run can ask them again."""


class Agreement(NamedTuple):
    """How far scores say what labels say."""

    right: list[bool]
    """Of each label whether a candidate that it names has the highest score; of ratings, of each pair of
    unequal ones whether the higher has the higher score."""
    chance: float
    """Share of them that would be right by chance."""

    @property
    def correct(self) -> int:
        """How many are right."""
        return sum(self.right)


def agreement(found: Sequence[Comparison], scores: NDArray[np.floating[Any]]) -> Agreement:
    """Hold scores against labels.

    Args:
        found: B labels of one kind.
        scores: (B, N), of their candidates.
    """
    if found and found[0].rating is not None:
        ratings = np.array([one.rating for one in found], float)
        rated, scored = ratings[:-1:2] - ratings[1::2], scores[:-1:2, 0] - scores[1::2, 0]
        return Agreement(((rated > 0) == (scored > 0))[rated != 0].tolist(), 0.5)
    right = [int(row.argmax()) in one.best for one, row in zip(found, scores, strict=True)]
    return Agreement(right, chance_of(found))


def chance_of(found: Sequence[Comparison]) -> float:
    """Return the share of choices that a candidate taken by chance would hit; ties make it likelier."""
    return float(np.mean([len(one.best) / len(one.responses) for one in found]))


def check_reward(config: Config, reward: Reward, begin: Beginning, say: Callable[[str], None]) -> None:
    """Refuse a reward that does not say what labels say more often than chance.

    The labels are those of the store, or those that a reward model was tested on, which stand beside it. Of a
    judge without a store nothing is known, and that is said.

    Raises:
        RunError: the reward goes another way than the labels.
    """
    found = known(config, begin)
    if not found:
        say("nothing says whether this reward has the right sign; with a --store of labels that is checked")
        return
    queries = [one.query for one in found for _ in one.responses]
    scores = np.array(reward(queries, [r for one in found for r in one.responses])).reshape(len(found), -1)
    agreed = agreement(found, scores)
    what = (
        "puts pairs of ratings in order"
        if found[0].rating is not None
        else "scores the best-labelled candidate highest"
    )
    count = len(agreed.right)
    if not better_than_chance(agreed.correct, count, agreed.chance):
        raise RunError(
            f"the reward {what} on {agreed.correct} of {count} labels, chance is {agreed.chance:.0%}: "
            "a sign is wrong, or it is not the reward of these labels"
        )
    say(f"the reward agrees with {agreed.correct} of {count} labels, chance is {agreed.chance:.0%}")


def known(config: Config, begin: Beginning) -> list[Comparison]:
    """Return labels to hold a reward against: of the store, else those beside the reward model."""
    if config.store is None:
        return read_examples(Path(config.reward))[-MOST:]
    with Store(config.store) as store:
        ratings = not wanted_labels(store, ratings=False)
        return read_comparisons(store, begin.tokenizer, ratings=ratings, limit=None)[-MOST:]


def written_examples(held: Sequence[Comparison]) -> bytes:
    """Return labels as the lines of a file, in the vocabulary of the model that learned from others."""
    rows = [
        {"query": one.query.ids, "text": one.query.text, "responses": one.responses}
        | ({"best": one.best} if one.rating is None else {"rating": one.rating})
        for one in held[-MOST:]
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def read_examples(folder: Path) -> list[Comparison]:
    """Return the labels beside a reward model; none where there is no such file.

    Raises:
        ModelError: it is damaged.
    """
    path = folder / EXAMPLES
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [
            Comparison(
                Query(tuple(row["query"]), row["text"]),
                tuple(map(tuple, row["responses"])),
                targets=(),
                item="",
                labeller="",
                best=tuple(row.get("best", ())),
                rating=row.get("rating"),
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path} is damaged; train the reward model again, or remove the file") from None
