"""Best-of-n: nothing is learned; of n responses to each prompt the one of the highest reward is taken.

The baseline of all learning from a reward: its divergence is at most log n - (n - 1)/n nats.
"""

from __future__ import annotations

import json

import numpy as np

from inkfish.errors import RunError
from inkfish.generate import load
from inkfish.preferences.kl import best_of_n_kl
from inkfish.preferences.rollout import respond
from inkfish.recipes.display import Display
from inkfish.recipes.prefer.agreement import check_reward
from inkfish.recipes.prefer.learning import Beginning, Config
from inkfish.recipes.prefer.rewards import find_reward

__all__ = ["FILE", "run"]

FILE = "best-of-n.jsonl"
"""What was chosen, in the run folder."""
AT_ONCE = 64
"""Prompts done together."""


def run(config: Config, begin: Beginning, screen: Display) -> int:
    """Choose for `episodes` prompts, and write them down; return how many.

    Raises:
        RunError: the file can't be written.
    """
    reward = find_reward(
        config.reward,
        begin.tokenizer,
        truncation=config.truncation(begin.tokenizer),
        at_once=config.at_once,
        workers=None,
        device=begin.device,
    )
    check_reward(config, reward, begin, screen.say)
    queries = config.queries(begin.tokenizer, begin.base.config, screen.say)[config.skip :][: config.episodes]
    backend = load(config.start or config.model, dtype="float32", threads=config.threads or None).backend
    rows, chosen, every = [], [], []
    for start in range(0, len(queries), AT_ONCE):
        part = queries[start : start + AT_ONCE]
        found = respond(
            backend,
            [query.prompt for query in part],
            length=config.tokens,
            temperature=config.temperature,
            seed=config.seed,
            first=start,
            samples=config.samples,
        ).tolist()
        repeated = [query for query in part for _ in range(config.samples)]
        scores = np.array(reward(repeated, found)).reshape(len(part), config.samples)
        for number, (query, best) in enumerate(zip(part, scores.argmax(1), strict=True)):
            response = begin.tokenizer.decode(found[number * config.samples + int(best)])
            score = float(scores[number, best])
            rows.append({"query": query.text, "response": response, "score": score})
        chosen += scores.max(1).tolist()
        every += scores.flatten().tolist()
        screen.say(f"{len(rows):,} of {len(queries):,} prompts")
    try:
        (config.out / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    except OSError as error:
        raise RunError(f"can't write {config.out / FILE}: {error.strerror}; free space") from None
    screen.say(
        f"best of {config.samples}: reward {np.mean(chosen):.3f}, of all {np.mean(every):.3f}; "
        f"KL at most {best_of_n_kl(config.samples):.2f} nats"
    )
    return len(rows)
