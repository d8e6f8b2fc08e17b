"""Does a reward prefer what people preferred? Asked before a run, by the very function the run uses.

What people said is read from the labels themselves, not from the targets that are made of them, so that
labels which are turned round on the way to learning show too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import ModelError, RunError
from inkfish.labels.store import Store
from inkfish.metrics.winrate import upper_tail
from inkfish.preferences.guards import LEVEL, better_than_chance, worse_than_chance
from inkfish.preferences.truncation import Truncation
from inkfish.recipes.prefer.comparisons import Comparison, read_comparisons, wanted_labels
from inkfish.recipes.prefer.learning import Beginning, Config
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.rewards import Reward, check_scores

__all__ = ["EXAMPLES", "Agreement", "agreement", "chance_of", "check_reward", "read_examples"]
__all__ += ["written_examples"]

MOST = 200
"""Labels of a store that are asked about, the newest ones."""
EXAMPLES = "held-out.jsonl"
"""Beside a finished reward model: labels that it was tested on, so that every run can ask them again."""


@dataclass(frozen=True)
class Agreement:
    """How far scores say what labels say."""

    answers: list[bool | None]
    """Of each label whether candidates that it names have the highest score; None where all candidates tie,
    or some that it names have the same score as some that it does not. Of ratings, of each pair of unequal
    ones whether the higher has the higher score, None where the scores are equal."""
    chance: float
    """Share of them that would be right by chance."""

    @property
    def correct(self) -> int:
        """How many are right."""
        return sum(answer is True for answer in self.answers)

    @property
    def count(self) -> int:
        """How many are right or wrong."""
        return sum(answer is not None for answer in self.answers)


def agreement(found: Sequence[Comparison], scores: NDArray[np.floating[Any]]) -> Agreement:
    """Hold scores against labels.

    Args:
        found: B labels of one kind.
        scores: (B, N), of their candidates.
    """
    if found and found[0].rating is not None:
        ratings = np.array([one.rating for one in found], float)
        rated, scored = ratings[:-1:2] - ratings[1::2], scores[:-1:2, 0] - scores[1::2, 0]
        pairs = [(rate, score) for rate, score in zip(rated, scored, strict=True) if rate]
        return Agreement([bool((rate > 0) == (score > 0)) if score else None for rate, score in pairs], 0.5)
    return Agreement([chosen(one, row) for one, row in zip(found, scores, strict=True)], chance_of(found))


def chosen(one: Comparison, scores: NDArray[np.floating[Any]]) -> bool | None:
    """Return whether the highest of a label's scores are of candidates that it names, None where both are."""
    tops = {i in one.best for i in np.flatnonzero(scores == scores.max())}
    return None if len(one.best) == len(one.responses) or len(tops) > 1 else tops.pop()


def chance_of(found: Sequence[Comparison]) -> float:
    """Return the share of choices that a candidate taken by chance would hit; ties make it likelier."""
    shares = [len(one.best) / len(one.responses) for one in found if len(one.best) < len(one.responses)]
    return float(np.mean(shares)) if shares else 1.0


def check_reward(config: Config, reward: Reward, begin: Beginning, say: Callable[[str], None]) -> None:
    """Refuse a reward that does not say what labels say more often than chance.

    The labels are those of the store, or those that a reward model was tested on, which stand beside it. Of a
    judge without a store nothing is known, and that is said.

    Raises:
        RunError: the reward goes another way than the labels, or gives scores that are no numbers.
    """
    everything = known(config, begin)
    found = ended(everything, config.truncation(begin.tokenizer))
    if not found:
        say("nothing says whether this reward has the right sign; with a --store of labels that is checked")
        return
    queries = [one.query for one in found for _ in one.responses]
    scores = reward(queries, [r for one in found for r in one.responses])
    check_scores(scores, len(queries))
    agreed = agreement(found, np.array(scores).reshape(len(found), -1))
    correct, count, chance = agreed.correct, agreed.count, agreed.chance
    if not count and len(set(scores)) == 1:
        raise RunError(f"the reward gives each of {len(scores)} candidates the same score, {scores[0]:g}")
    if upper_tail(count, count, chance) > LEVEL:
        say(f"the reward agrees with {correct} of {count} labels: too few to say whether its sign is right")
        return
    # a reward model has passed with all of its labels; with a part of them it must not be the contrary
    passed = config.store is None and len(found) < len(everything)
    if (
        worse_than_chance(correct, count, chance)
        if passed
        else not better_than_chance(correct, count, chance)
    ):
        rates = found[0].rating is not None
        what = "puts pairs of ratings in order" if rates else "scores the best-labelled candidate highest"
        raise RunError(
            f"the reward {what} on {correct} of {count} labels, chance is {chance:.0%}: "
            "a sign is wrong, or it is not the reward of these labels"
        )
    say(f"the reward agrees with {correct} of {count} labels, chance is {chance:.0%}")


def known(config: Config, begin: Beginning) -> list[Comparison]:
    """Return labels to hold a reward against: of the store, else those beside the reward model."""
    if config.store is None:
        return read_examples(Path(config.reward))
    with Store(config.store) as store:
        ratings = not wanted_labels(store, ratings=False) and bool(wanted_labels(store, ratings=True))
        return read_comparisons(store, begin.tokenizer, ratings=ratings, limit=None)[-MOST:]


def ended(found: Sequence[Comparison], rule: Truncation | None) -> list[Comparison]:
    """Return labels of whose candidates none would get the penalty, which is no matter of the sign."""
    if rule is None:
        return list(found)
    return [one for one in found if all(rule.end(response) is not None for response in one.responses)]


def written_examples(held: Sequence[Comparison]) -> bytes:
    """Return labels as the lines of a file, in the vocabulary of the model that learned from others."""
    rows = [
        {"query": one.query.ids, "text": one.query.text, "responses": one.responses}
        | ({"best": one.best} if one.rating is None else {"rating": one.rating})
        for one in held
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
