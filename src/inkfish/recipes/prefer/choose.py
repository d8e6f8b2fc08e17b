"""Best-of-n: nothing is learned; of n responses to each prompt the one of the highest reward is taken.

The baseline of all learning from a reward: its divergence is at most log n - (n - 1)/n nats.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from inkfish.errors import RunError
from inkfish.generate import load
from inkfish.preferences.kl import best_of_n_kl
from inkfish.preferences.rollout import respond
from inkfish.recipes.display import Display
from inkfish.recipes.prefer.agreement import check_reward
from inkfish.recipes.prefer.learning import Beginning, Config
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.rewards import check_scores, find_reward
from inkfish.training.run import Run
from inkfish.training.signals import Stop

__all__ = ["FILE", "run"]

FILE = "best-of-n.jsonl"
"""What was chosen, in the run folder."""
AT_ONCE = 64
"""Prompts done together, and written down."""


def run(
    config: Config, queries: Sequence[Query], begin: Beginning, here: Run, screen: Display, stop: Stop
) -> int:
    """Choose for the prompts that have no response yet, and write each down; return how many have one.

    Raises:
        RunError: the file can't be written; what was written stays.
    """
    rule = config.truncation(begin.tokenizer)
    reward = find_reward(
        config.reward,
        begin.tokenizer,
        truncation=rule,
        at_once=config.at_once,
        workers=None,
        device=begin.device,
    )
    check_reward(config, reward, begin, screen.say)
    backend = load(config.start or config.model, dtype="float32", threads=config.threads or None).backend
    rows = written(here)
    if rows:
        screen.say(f"going on after {len(rows):,} prompts")
    for start in range(len(rows), len(queries), AT_ONCE):
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
        rewarded = reward(repeated, found)
        check_scores(rewarded, len(found))
        scores = np.array(rewarded).reshape(len(part), config.samples)
        for number, (query, best) in enumerate(zip(part, scores.argmax(1), strict=True)):
            response = found[number * config.samples + int(best)]
            text = begin.tokenizer.decode(rule.cut(response) if rule else response)
            row = {"query": query.text, "response": text, "score": float(scores[number, best])}
            rows.append(row | {"mean": float(scores[number].mean())})
        append(here, rows[start:])
        screen.say(f"{len(rows):,} of {len(queries):,} prompts")
        if (bool(stop) or (config.out / "pause").exists()) and len(rows) < len(queries):
            why = stop.name or "paused"
            screen.say(f"{why}: {len(rows):,} prompts are written down; the same command goes on")
            return len(rows)
    chosen, every = (float(np.mean([row[name] for row in rows])) for name in ("score", "mean"))
    screen.say(
        f"best of {config.samples}: reward {chosen:.3f}, of all {every:.3f}; "
        f"KL at most {best_of_n_kl(config.samples):.2f} nats; written: {config.out / FILE}"
    )
    return len(rows)


def written(here: Run) -> list[dict[str, Any]]:
    """Return the rows that are there, and leave but them: a crash may have torn the last one."""
    path = here.folder / FILE
    rows: list[dict[str, Any]] = []
    with suppress(FileNotFoundError, ValueError):
        rows.extend(
            json.loads(line) for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        )
    here.write(FILE, lines(rows))
    return rows


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return rows as the lines of a file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def append(here: Run, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to what was written.

    Raises:
        RunError: the disk is full.
    """
    try:
        here.disk.append(here.folder / FILE, lines(rows))
    except OSError as error:
        raise RunError(f"can't write {here.folder / FILE}: {error.strerror}; free space") from None
