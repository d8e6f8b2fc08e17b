"""A dry run of every stage in about two minutes: does it work here, and how long would the real thing take?

inkfish prefer doctor stories/
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from inkfish.errors import RunError
from inkfish.labels import exchange
from inkfish.labels.store import Store
from inkfish.preferences.selftest import check_algorithm, check_dpo, check_reward_learning
from inkfish.recipes.display import display
from inkfish.recipes.prefer import compare, learning, optimize, reward, sample, simulate
from inkfish.recipes.prefer.learning import algorithm_of
from inkfish.recipes.prefer.settings import Prompting
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub

__all__ = ["Config", "run"]

PROMPTS, BATCH = 48, 16


@dataclass(frozen=True)
class Config(Prompting):
    """Settings of the dry run: those of a real one."""


def run(config: Config) -> dict[str, float]:
    """Go through all stages in a folder that is removed again; return the seconds of each.

    Raises:
        InkfishError: the first thing that does not work, in one line.
    """
    seconds: dict[str, float] = {}
    with display() as screen, tempfile.TemporaryDirectory() as scratch:
        for name, stage in stages(config, Path(scratch)).items():
            began = time.perf_counter()
            stage()
            seconds[name] = time.perf_counter() - began
            screen.say(f"ok  {name} ({seconds[name]:.1f} s)")
        each = {
            "a response sampled": seconds["sample"] / (4 * PROMPTS),
            "a label learned": seconds["reward"] / PROMPTS,
            "an episode of ppo": seconds["ppo"] / (2 * BATCH),
        }
        for name, value in each.items():
            screen.say(f"{name} takes about {value:.2f} s with everything around it")
    return seconds


def stages(config: Config, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the stages by name, in their order."""
    shared = {field.name: getattr(config, field.name) for field in fields(Prompting)}
    store, rewarded = folder / "labels.sqlite", folder / "reward"

    def optimised(name: Any) -> Callable[[], Any]:
        return lambda: optimize.run(
            learning.Config(
                **shared,
                algorithm=name,
                reward=str(rewarded),
                store=store if name == "dpo" else None,
                out=folder / name,
                episodes=2 * BATCH,
                batch=BATCH,
                minibatch=BATCH,
                at_once=8,
                epochs=1,
                lr=1e-6,
                sample_every=0,
            )
        )

    def learned_reward() -> None:
        # a dry run has too few labels to beat chance, so nothing is demanded of it but to run
        try:
            reward.run(
                reward.Config(
                    store=store,
                    model=config.model,
                    out=rewarded,
                    batch=8,
                    held_out=0.3,
                    reference=32,
                    tokens=config.tokens,
                    save_every=1,
                    threads=config.threads,
                )
            )
        except RunError as error:
            if "not handed on" not in str(error):
                raise
            hand_on(rewarded)

    return {
        "self-test": lambda: self_test(config),
        "sample": lambda: sample.run(sample.Config(**shared, store=store, count=PROMPTS)),
        "simulate": lambda: simulate.run(simulate.Config(store=store, judge="descriptive", agreement=1.0)),
        "exchange": lambda: round_trip(config, store, folder),
        "reward": learned_reward,
        **{name: optimised(name) for name in ("ppo", "rloo", "grpo", "dpo", "best-of-n")},
        "compare": lambda: compare.run(
            compare.Config(
                **(shared | {"model": str(folder / "ppo")}),
                other=config.model,
                judge=("descriptive",),
                count=BATCH,
            )
        ),
    }


def self_test(config: Config) -> None:
    """Let each algorithm learn a toy, and see that it goes the right way."""
    for name in ("ppo", "rloo", "grpo"):
        settings = learning.Config(config.data, algorithm=name)
        check_algorithm(algorithm_of(settings, temperature=0.7))
    check_reward_learning()
    check_dpo()


def round_trip(config: Config, store: Path, folder: Path) -> None:
    """Write the labels in every format that has room for them, and read two of them again."""
    vocabulary = Tokenizer.load(hub.find(config.model))
    with Store(store) as opened:
        for form in exchange.FORMATS:
            written = exchange.write(opened, form=form, vocabulary=vocabulary)
            (folder / f"labels.{form}").write_bytes(written.content.encode())
    for form in ("openai", "csv"):
        with Store(folder / f"{form}.sqlite", create=True) as opened:
            exchange.add(opened, exchange.read(folder / f"labels.{form}", form=form, vocabulary=vocabulary))


def hand_on(folder: Path) -> None:
    """Let the next stages of the dry run have a reward model that did not pass its test."""
    (folder / "reward.json").write_text("{}\n")
