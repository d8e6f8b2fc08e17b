"""Does the reward prefer what people preferred? Asked before a run, by the very function the run uses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inkfish.errors import RunError
from inkfish.labels.store import Store
from inkfish.preferences.guards import better_than_chance
from inkfish.recipes.prefer.comparisons import read_comparisons
from inkfish.recipes.prefer.learning import Beginning, Config
from inkfish.recipes.prefer.rewards import Reward

__all__ = ["check_reward"]

MOST = 200
"""Labels asked about, the newest ones."""


def check_reward(config: Config, reward: Reward, begin: Beginning, say: Callable[[str], None]) -> None:
    """Refuse a reward that does not score the best-labelled candidate highest more often than chance.

    Without a label store nothing is asked.

    Raises:
        RunError: the reward goes another way than the labels.
    """
    if config.store is None:
        return
    with Store(config.store) as store:
        found = read_comparisons(store, begin.tokenizer, ratings=False, limit=None)[-MOST:]
    queries = [one.query for one in found for _ in one.responses]
    scores = np.array(reward(queries, [r for one in found for r in one.responses])).reshape(len(found), -1)
    targets = np.array([one.targets for one in found])
    right = int((targets[np.arange(len(found)), scores.argmax(1)] > 0).sum())
    chance = float((targets > 0).mean())
    if not better_than_chance(right, len(found), chance):
        raise RunError(
            f"the reward scores the best-labelled candidate highest on {right} of {len(found)} labels, "
            f"chance is {chance:.0%}: a sign is wrong, or it is not the reward of these labels"
        )
    say(f"the reward agrees with {right} of {len(found)} labels, chance is {chance:.0%}")
