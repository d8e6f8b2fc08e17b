"""Rounds of sampling, labelling and learning: each round asks about what the model writes by then.

    inkfish prefer rounds stories/ --rounds 3 --count 500 --labels vader --out runs/rounds
    inkfish prefer rounds stories/ --rounds 3 --count 500 --out runs/rounds         (people label)

In each round the policy of the round before and the model it all began from write two candidates each; they
are labelled; a reward model is trained anew from the beginning on all labels so far; the policy goes on with
that reward (Ziegler et al. 2019, section 2.3; batched as in Stiennon et al. 2020). Without --labels it stops
where people are to label, and the same command goes on from there, as it does after any interruption. With
--algorithm dpo a round learns from the labels themselves, without a reward model. Where a reward model is not
handed on, label more, or change its settings and say --fresh.
"""

# No `from __future__ import annotations`: the command line reads the types of the fields.

import json
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any

from inkfish.errors import SettingError
from inkfish.labels.store import Store
from inkfish.metrics.winrate import wilson
from inkfish.recipes.display import Display, display
from inkfish.recipes.limits import check_real, check_whole
from inkfish.recipes.prefer import learning, optimize, report, reward, sample, simulate
from inkfish.recipes.prefer.settings import Prompting
from inkfish.training.files import Disk
from inkfish.training.metrics import read_metrics

__all__ = ["Config", "Result", "run"]

DONE = "round.json"
"""In a round's folder once it is over: what there is to say of it."""


@dataclass(frozen=True)
class Config(learning.Config):
    """Settings of rounds; those of optimizing are of each round."""

    _: KW_ONLY
    out: Path = Path("runs/rounds")
    """Folder of all rounds; one that is there is gone on with."""
    rounds: int = 3
    """How often to sample, label and learn."""
    count: int = 500
    """Prompts labelled in each round, four candidates each."""
    labels: str | None = None
    """Judge of a simulated labeller; without one people label, on the page of inkfish prefer label."""
    agreement: float = 0.6
    """How often the simulated labeller would choose the same again."""
    reward_lr: float = 5e-5
    """Peak learning rate of the reward model."""
    reward_batch: int = 32
    """Labels of a step of the reward model."""
    reward_epochs: int = 1
    """How often the reward model reads the labels."""
    held_out: float = 0.1
    """Share of the items that the reward model is tested on."""

    force: bool = False
    """Go on with the round at hand although settings, prompts or labels have changed."""
    fresh: bool = False
    """Let the round at hand learn anew from its beginning; labels, and rounds that are over, stay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, {"rounds": (1, 1000), "count": (1, 10**7), "reward_batch": (1, 65_536)})
        check_whole(self, {"reward_epochs": (1, 1000)})
        check_real(self, {"agreement": (0, 1), "reward_lr": (0, 10)})

    def check_sources(self) -> None:
        """Refuse what rounds can't do, and what they make themselves.

        Raises:
            SettingError: which setting.
        """
        if self.algorithm == "best-of-n":
            raise SettingError(
                "algorithm is 'best-of-n', which learns nothing from round to round; choose ppo, rloo, grpo "
                "or dpo",
                param="algorithm",
            )
        for name in ("store", "reward", "start"):
            given, default = getattr(self, name), learning.Config.__dataclass_fields__[name].default
            if given != default:
                raise SettingError(
                    f"{name} is {str(given)!r}, but rounds make their own in {self.out}; leave it out",
                    param=name,
                )

    @property
    def labelled(self) -> Path:
        """The label store of all rounds."""
        return self.out / "labels.sqlite"


@dataclass(frozen=True)
class Result:
    """How far it has come."""

    policy: Path | None
    """The newest finished policy."""
    done: int
    """Rounds that are over."""
    stopped: int | None
    """Number of the signal that stopped it."""


def run(config: Config) -> Result:
    """Do the rounds that are left.

    Raises:
        InkfishError: what the user can put right, or a guard that stopped a round; what was done stays.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    policy: Path | None = None
    for number in range(1, config.rounds + 1):
        here = config.out / f"round-{number}"
        if not (here / DONE).is_file():
            sampled(config, number, policy)
            if not labelled(config):
                return Result(policy, number - 1, None)
            stopped = learned(config, number, here, policy)
            if stopped is not None or not (here / DONE).is_file():
                return Result(policy, number - 1, stopped)
        policy = here / "policy"
    return Result(policy, config.rounds, None)


def sampled(config: Config, number: int, policy: Path | None) -> None:
    """Have candidates written: half by the policy, half by the first model; in the first round by that."""
    shared = {field.name: getattr(config, field.name) for field in fields(Prompting)}
    sample.run(
        sample.Config(
            **shared | {"model": str(policy or config.model)},
            other=None if policy is None else config.model,
            store=config.labelled,
            count=config.count,
            skip=(number - 1) * config.count,
        )
    )


def labelled(config: Config) -> bool:
    """Let a program label what is open, or say that people are to; return whether all is labelled.

    What everybody so far has skipped is not waited for.
    """
    if config.labels is not None:
        simulate.run(
            simulate.Config(
                store=config.labelled, judge=config.labels, agreement=config.agreement, seed=config.seed
            )
        )
    with Store(config.labelled) as store, display() as screen:
        progress = store.progress()
        waiting = progress.items - progress.complete - progress.skipped
        if waiting:
            screen.say(
                f"{waiting:,} texts wait for labels: inkfish prefer label "
                f"--store {config.labelled}; then the same command goes on"
            )
            return False
    return True


def learned(config: Config, number: int, here: Path, policy: Path | None) -> int | None:
    """Train the reward model and the policy of a round; return the signal that stopped it.

    Raises:
        RunError: the reward model is not handed on, or a guard stopped the run.
    """
    found: dict[str, Any] = {}
    if config.algorithm != "dpo":
        trained = rewarded(config, here)
        if trained.stopped is not None or trained.report is None:
            return trained.stopped
        found = {"reward_accuracy": trained.report["accuracy"]}
    ended = optimize.run(optimizing(config, here, policy))
    episodes = config.episodes // config.batch * config.batch
    if ended.stopped is None and ended.episodes >= episodes:
        finish(config, number, here, found, policy)
    return ended.stopped


def rewarded(config: Config, here: Path) -> reward.Result:
    """Train the reward model of a round."""
    return reward.run(
        reward.Config(
            store=config.labelled,
            out=here / "reward",
            model=config.model,
            batch=config.reward_batch,
            at_once=max(n for n in range(1, 5) if config.reward_batch % n == 0),
            lr=config.reward_lr,
            epochs=config.reward_epochs,
            majority=config.majority,
            held_out=config.held_out,
            threads=config.threads,
            seed=config.seed,
            force=config.force,
            fresh=config.fresh,
        )
    )


def optimizing(config: Config, here: Path, policy: Path | None) -> learning.Config:
    """Return the settings of a round's learning: on prompts that are never labelled, from the last policy."""
    shared: dict[str, Any] = {field.name: getattr(config, field.name) for field in fields(learning.Config)}
    before = [] if policy is None else read_metrics(policy / "metrics.jsonl")
    shared |= {
        "reward": str(here / "reward"),
        "store": config.labelled,
        "out": here / "policy",
        "start": None if policy is None else str(policy),
        "skip": config.skip + config.rounds * config.count,
        "kl": next((r["objective/kl_coef"] for r in reversed(before) if "objective/kl_coef" in r), config.kl),
    }
    return learning.Config(**shared)


def finish(config: Config, number: int, here: Path, found: dict[str, Any], policy: Path | None) -> None:
    """Note what a round has brought, among it how often labellers preferred the last policy's texts."""
    record: dict[str, Any] = {"round": number} | found
    last = read_metrics(here / "policy" / "metrics.jsonl")[-1]
    names = ("objective/score", "held_out/accuracy", "objective/kl", "judge")
    record |= {name: last[name] for name in names if name in last}
    with display() as screen:
        if policy is not None:
            record["preferred"] = preferred(config, str(policy))._asdict()
        say(screen, record)
    Disk().replace(here / DONE, (json.dumps(record, indent=1) + "\n").encode())


def preferred(config: Config, policy: str) -> Any:
    """Return how often a text of a policy was best among its own two and two of the beginning."""
    with Store(config.labelled) as store:
        items = {item.key: item for item in store.items()}
        points = [
            report.point(items[label.item], label, policy)
            for label in store.labels()
            if label.verdict in {"best", "tie"}
            and policy in {c.origin.get("model") for c in items[label.item].candidates}
        ]
    return wilson(sum(points), len(points))


def say(screen: Display, record: dict[str, Any]) -> None:
    """Show a round's result."""
    text = f"round {record['round']}: "
    if "objective/score" in record:
        text += (
            f"held-out accuracy of the reward {record['reward_accuracy']:.1%}, score "
            f"{record['objective/score']:.3f} at KL {record['objective/kl']:.2f}"
        )
    else:
        text += f"held-out accuracy {record['held_out/accuracy']:.1%} at KL {record['objective/kl']:.2f}"
    if "preferred" in record:
        share = record["preferred"]
        text += (
            f"; of two texts of the policy it began from and two of the first model, labellers preferred the "
            f"policy's {share['mean']:.1%} of the time ({share['low']:.1%} to {share['high']:.1%})"
        )
    screen.say(text)
