"""Train a reward model on labels, normalise it, and test it on labels that were held out.

    inkfish prefer reward --store labels.sqlite --out runs/reward

Gain and bias are set before and after training so that samples of the base model have mean 0 and deviation 1.
A model that is no better than chance on held-out labels is not handed on. A file named `pause` in the run
folder stops it after the step at hand, as a signal does; the same command goes on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import KW_ONLY, asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import inkfish
from inkfish import weights
from inkfish.config import exact_div
from inkfish.errors import DataError, RunError, SettingError
from inkfish.labels.records import Item
from inkfish.labels.store import Store
from inkfish.metrics.calibration import calibration_error
from inkfish.metrics.winrate import wilson
from inkfish.model import GPT2
from inkfish.preferences import adam
from inkfish.preferences.guards import better_than_chance
from inkfish.preferences.reward_losses import best_of_n_loss, label_pairs_loss, ratings_loss
from inkfish.preferences.reward_model import RewardModel
from inkfish.preferences.rollout import respond
from inkfish.preferences.selftest import check_reward_learning
from inkfish.recipes.display import Display
from inkfish.recipes.limits import check_choices, check_real, check_whole
from inkfish.recipes.prefer.agreement import EXAMPLES, Agreement, agreement, written_examples
from inkfish.recipes.prefer.comparisons import (
    Comparison,
    Comparisons,
    batch_of,
    batches_of,
    read_comparisons,
    split,
)
from inkfish.recipes.prefer.memory import count_of, memory_sentence
from inkfish.recipes.prefer.queries import Query, framing
from inkfish.recipes.prefer.rewards import REPORT, in_pieces, score
from inkfish.recipes.prefer.running import backend_of
from inkfish.recipes.prefer.settings import check_context, truncation_of
from inkfish.recipes.prefer.together import check_shares, led, run_folder, team_of
from inkfish.tokenizer import Tokenizer
from inkfish.training import schedule
from inkfish.training.files import Disk, kill_at
from inkfish.training.optimise import autocast, optimise
from inkfish.training.optimizers import Optimizer
from inkfish.training.ranks import Ranks, joined
from inkfish.training.resources import cores, has_bfloat16, keep_freed_memory, memory_advice
from inkfish.training.run import Run, machine
from inkfish.training.settings import git_version
from inkfish.training.signals import Stop, stop_on_signals
from inkfish.weights import hub
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["Config", "Result", "run"]

LossName = Literal["best", "pairs", "ratings"]
WHOLE = {
    "limit": (1, 10**9),
    "batch": (1, 65_536),
    "at_once": (1, 65_536),
    "epochs": (1, 1000),
    "reference": (2, 10**6),
    "tokens": (1, 100_000),
    "not_before": (0, 100_000),
    "threads": (0, 256),
    "seed": (0, 2**31 - 1),
    "save_every": (1, 10**9),
}
REAL = {"lr": (0, 10), "held_out": (0.01, 0.9)}
MAY_CHANGE = ("store", "out", "threads", "save_every", "program", "machine", "model", "steps")


@dataclass(frozen=True)
class Config:
    """Settings of a reward model."""

    _: KW_ONLY
    store: Path = Path("labels.sqlite")
    """The label store."""
    out: Path = Path("runs/reward")
    """Run folder; one that is there is gone on with."""
    model: str = "starter"
    """What it starts from: the model that wrote the candidates."""
    loss: LossName = "best"
    """best: softmax over the candidates; pairs: the best against each other one; ratings: squared error."""
    limit: int | None = None
    """Most labels; by default all."""
    majority: bool = False
    """Each item counts once, as more than half of its labellers say; others are left out."""
    held_out: float = 0.1
    """Share of the items that is not learned from."""
    epochs: int = 1
    """How often the labels are read; more than once soon overfits."""
    batch: int = 32
    """Labels of a step."""
    at_once: int = 4
    """Labels computed at once, a divisor of batch."""
    lr: float = 5e-5
    """Peak learning rate; falls to 0 in a line."""
    optimizer: Literal["tf-adam", "adam"] = "tf-adam"
    """Adam with TensorFlow's epsilon, or torch's."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of matrix products while training; scores are always float32."""
    reference: int = 256
    """Samples of the base model on which the scores are normalised."""
    tokens: int | None = None
    """Of each of those samples; by default as of the labelled ones, which store their parameters."""
    temperature: float | None = None
    """Of those samples; by default likewise."""
    truncate: str | None = None
    """Those samples end after this text of one token; by default likewise."""
    not_before: int | None = None
    """Token of a sample from which on truncate counts; by default likewise."""
    before: str = ""
    """Text before each prompt that the model reads to write those samples, where the labels do not say it."""
    after: str = ""
    """Likewise after each prompt."""
    threads: int = 0
    """CPU threads; 0 is one for each core."""
    seed: int = 1
    """Of the head, the order of labels and what is held out."""
    save_every: int = 50
    """Steps between checkpoints."""
    force: bool = False
    """Go on although settings or labels have changed."""
    fresh: bool = False
    """Remove the run that is in the folder and begin anew."""

    def __post_init__(self) -> None:
        check_whole(self, WHOLE)
        check_real(self, REAL)
        if self.temperature is not None:
            check_real(self, {"temperature": (0.01, 2)})
        check_choices(self, {"loss": get_args(LossName), "optimizer": adam.NAMES})
        check_choices(self, {"precision": ("auto", "bfloat16", "float32")})
        if self.majority and self.loss == "ratings":
            raise SettingError("majority is of choices; leave it out, or take --loss best", param="majority")
        if self.batch % self.at_once:
            raise SettingError(
                f"at_once is {self.at_once} and batch {self.batch}; batch must be a multiple of at_once",
                param="at_once",
            )


@dataclass(frozen=True)
class Result:
    """How it ended."""

    folder: Path
    """The run folder."""
    report: dict[str, Any] | None
    """What stands in its reward.json; None where it was stopped."""
    stopped: int | None
    """Number of the signal that stopped it; None where it was finished."""
    leads: bool = True
    """Whether this process is the one that speaks for the run."""


@dataclass(frozen=True)
class Data:
    """What is learned from and what it is tested on."""

    learned: list[Comparison]
    held: list[Comparison]
    tokenizer: Tokenizer
    labels: Sequence[Comparison] = ()
    """All of them, as they were given."""


def run(config: Config) -> Result:
    """Train, normalise, test.

    Raises:
        InkfishError: what the user can put right, in one line; what was saved before stays.
    """
    keep_freed_memory()
    with joined(os.environ) as ranks, run_folder(config.out, ranks, fresh=config.fresh) as screen:
        if ranks.leads:
            (config.out / "pause").unlink(missing_ok=True)
        if ranks.leads and config.fresh:
            for name in (REPORT, EXAMPLES):
                (config.out / name).unlink(missing_ok=True)
        return begun(config, screen, ranks)
    return Result(config.out, None, None, leads=False)


def begun(config: Config, screen: Display, ranks: Ranks) -> Result:
    """Train, normalise and test as one of the processes of a run."""
    base, data, config = ranks.after_the_first(lambda: read(config, ranks, screen.say))
    torch.manual_seed(config.seed)
    model = RewardModel(GPT2(base.config))
    model.trunk.load_tensors(base.tensors)
    here = Run(
        config.out,
        disk=Disk(kill_at(os.environ.get("INKFISH_FAILPOINT", ""))),
        say=screen.say,
        tokenizer=data.tokenizer,
        eos=data.tokenizer.end,
        generation=base.generation,
        heads={"reward": model.reward},
        state={"gain": model.gain, "bias": model.bias},
    )
    with (
        stop_on_signals() as stop,
        cores(config.threads, side_by_side=not torch.cuda.is_available() and ranks.size == 1) as workers,
        memory_advice(f"take --at-once {config.at_once // 2 or 1}"),
    ):
        kept = settings(config, data.labels) | {"steps": steps_of(config, data)}
        led(ranks, lambda: here.begin(kept, may_change=MAY_CHANGE, force=config.force))
        screen.say(memory(config, model, data))
        report = train(config, model, data, here, screen, stop, workers, ranks)
    signal = int(stop.signal) if stop.signal is not None else None
    return Result(config.out, report, signal, ranks.leads)


def read(config: Config, ranks: Ranks, say: Callable[[str], None]) -> tuple[Checkpoint, Data, Config]:
    """Return the model, the labels, and the settings with what the labels say of their sampling."""
    folder = hub.find(config.model)
    base = weights.read(folder)
    tokenizer = Tokenizer.load(folder, vocab_size=base.config.vocab_size)
    with Store(config.store) as store:
        found = read_comparisons(
            store,
            tokenizer,
            ratings=config.loss == "ratings",
            limit=config.limit,
            majority=config.majority,
            say=say,
        )
        config = as_sampled(config, store.items()[0])
    data = Data(*split(found, config.held_out, config.seed), tokenizer, found)
    check_shares(ranks, **{"batch / at_once": config.batch // config.at_once})
    check_data(config, data)
    longest = max(max(len(one.query.ids), len(one.query.prompt)) for one in found)
    check_context(longest, max(len(r) for one in found for r in one.responses), base.config)
    return base, data, config


def as_sampled(config: Config, item: Item) -> Config:
    """Return the settings with what was not given as an item's candidates were sampled."""
    candidate = item.candidates[0]
    given = {
        "tokens": len(candidate.ids) if candidate.ids else 24,
        "temperature": 0.7,
        "truncate": None,
        "not_before": 16,
    }
    said = {name: candidate.origin.get(name, value) for name, value in given.items()}
    if config.truncate is None and said["truncate"] is None:
        del said["not_before"]  # there is nothing to wait for
    return replace(config, **{name: said[name] for name in said if getattr(config, name) is None})


def check_data(config: Config, data: Data) -> None:
    """Refuse labels that can't be learned from.

    Raises:
        DataError: too few.
    """
    if len(data.learned) < config.batch or not data.held:
        raise DataError(
            f"{len(data.labels):,} labels give {len(data.learned):,} to learn from, {len(data.held):,} held "
            f"out; a batch has {config.batch}: label more, or take a smaller --batch",
            param="store",
        )


def settings(config: Config, found: Sequence[Comparison]) -> dict[str, Any]:
    """Return all that the weights depend on; the labels by a hash of what they say."""
    import hashlib

    chosen = {name: value for name, value in asdict(config).items() if name not in {"force", "fresh"}}
    chosen = {name: value for name, value in chosen.items() if value != "" and value is not False}
    labels = repr([(one.item, one.targets, one.labeller) for one in found])
    return chosen | {
        "precision": precision(config),
        "hashes": {"labels": hashlib.sha256(labels.encode()).hexdigest()},
        "machine": machine(),
        "program": {"version": inkfish.__version__, "git": git_version()},
    }


def memory(config: Config, model: RewardModel, data: Data) -> str:
    """Return an estimate of the memory, in a sentence."""
    longest = max(len(one.query.ids) + max(map(len, one.responses)) for one in (*data.learned, *data.held))
    rows = config.at_once * len(data.learned[0].responses)
    return memory_sentence(
        model.trunk.config, count_of(model), rows=rows, length=longest, threads=config.threads
    )


def steps_of(config: Config, data: Data) -> int:
    """Return how many steps there are to take."""
    return config.epochs * len(data.learned) // config.batch


def precision(config: Config) -> str:
    """Return the type of matrix products."""
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if has_bfloat16("cuda" if torch.cuda.is_available() else "cpu") else "float32"


def train(
    config: Config,
    model: RewardModel,
    data: Data,
    here: Run,
    screen: Display,
    stop: Stop,
    workers: Executor | None,
    ranks: Ranks,
) -> dict[str, Any] | None:
    """Take the steps, normalise, test; return the report, None where it was stopped or for a follower."""
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = adam.make(config.optimizer, model, lr=config.lr)
    steps = steps_of(config, data)
    if not ranks.leads:
        led(ranks, lambda: None)
        take_steps(config, model, data, optimizer, here, screen, stop, workers, ranks, steps=steps)
        return None
    resumed = here.resume(model.trunk, optimizer)
    if here.progress.step >= steps and (config.out / REPORT).is_file():
        screen.say(f"{config.out} is finished")
        if not (config.out / EXAMPLES).is_file():
            here.write(EXAMPLES, written_examples(data.held))
        found: dict[str, Any] = json.loads((config.out / REPORT).read_text())
        return found
    for name in (REPORT, EXAMPLES):  # of fewer steps: they are not of what is learned now
        (config.out / name).unlink(missing_ok=True)
    reference = reference_samples(config, data)
    if not resumed:
        check_reward_learning()
        normalise(model, reference, config, workers)
    screen.say(f"{len(data.learned):,} labels to learn from, {len(data.held):,} held out; {steps:,} steps")
    led(ranks, lambda: None)  # the others wait until it is certain that there are steps to take
    if not take_steps(config, model, data, optimizer, here, screen, stop, workers, ranks, steps=steps):
        return None
    report = tested(config, model, data, workers)  # with the gain that was learned, which says how sure it is
    normalise(model, reference, config, workers)
    model.fold()
    screen.say(
        f"held-out accuracy {report['accuracy']:.1%} ({report['accuracy_low']:.1%} to "
        f"{report['accuracy_high']:.1%}), chance {report['chance']:.0%}; loss {report['loss']:.3f}; "
        f"correlation with length {report['length_correlation']:.2f}"
    )
    refuse_chance(report)
    here.saved_at = None
    here.save(model.trunk, optimizer)
    here.write(EXAMPLES, written_examples(data.held))
    here.write(REPORT, (json.dumps(report, indent=1) + "\n").encode())
    return report


def take_steps(
    config: Config,
    model: RewardModel,
    data: Data,
    optimizer: Optimizer,
    here: Run,
    screen: Display,
    stop: Stop,
    workers: Executor | None,
    ranks: Ranks,
    *,
    steps: int,
) -> bool:
    """Take the steps; return whether all were taken. The last checkpoint is left to who normalises."""
    model.train()
    team = team_of(
        ranks,
        model.trunk,
        model,
        optimizer,
        here,
        loss=lambda _, batch: LOSSES[config.loss](model, batch),
        count=lambda batch: len(batch.targets),
        stop=stop,
        seed=config.seed,
        precision=precision(config),
    )
    taken = optimise(
        model,
        batches_of(data.learned, size=config.at_once, seed=config.seed, cursor=here.progress.cursor),
        optimizer,
        schedule=lambda step: schedule.linear(step, steps=steps),
        steps=steps,
        start=here.progress.step,
        lr=config.lr,
        accumulate=exact_div(config.batch, config.at_once),
        clip=1e9,
        precision=precision(config),
        loss=LOSSES[config.loss],
        count=lambda batch: len(batch.targets),
        skipped=here.progress.skipped_in_a_row,
        workers=workers,
        gradients=team.gradients,
    )
    if not ranks.leads:
        team.follow(taken)
        return False
    for step in team.lead(taken):
        here.took(step)
        screen.step(step, steps)
        paused = step.number < steps and (bool(stop) or (config.out / "pause").exists())
        if paused or (step.number < steps and step.number % config.save_every == 0):
            here.save(model.trunk, optimizer)
        if paused:
            why = stop.name or "paused"
            screen.say(f"{why}: saved after step {step.number:,}; the same command goes on")
            return False
    return True


def scores_of(model: RewardModel, batch: Comparisons) -> Tensor:
    """Return the scores of a batch's candidates, (B, N)."""
    return model.scores(batch.sequences).view(batch.targets.shape)


def best_loss(model: RewardModel, batch: Comparisons) -> Tensor:
    """Return the sum of the losses of choices."""
    return best_of_n_loss(scores_of(model, batch), batch.targets).sum()


def pair_loss(model: RewardModel, batch: Comparisons) -> Tensor:
    """Return the sum over labels of the mean loss of a label's pairs: those of unequal targets."""
    return label_pairs_loss(scores_of(model, batch), batch.targets).sum()


def rating_loss(model: RewardModel, batch: Comparisons) -> Tensor:
    """Return the sum of the squared errors of ratings, which are centred on 4."""
    return ratings_loss(scores_of(model, batch), batch.targets - 4).sum()


LOSSES = {"best": best_loss, "pairs": pair_loss, "ratings": rating_loss}


def reference_samples(config: Config, data: Data) -> tuple[list[Query], list[list[int]]]:
    """Return prompts of the labels with new responses of the base model, as their reader would see them."""
    assert config.tokens is not None, "filled in by `as_sampled`"
    assert config.temperature is not None, "likewise"
    base = weights.read(hub.find(config.model))
    model = GPT2(base.config)
    model.load_tensors(base.tensors)
    frame = framing(data.tokenizer, before=config.before, after=config.after, task="complete")
    unique = list(dict.fromkeys(one.query for one in data.learned + data.held))
    queries = [unique[i % len(unique)] for i in range(config.reference)]
    found = respond(
        backend_of(model.eval(), device="cpu", threads=config.threads),
        [query.prompt if query.asked else frame(query).prompt for query in queries],
        length=config.tokens,
        temperature=config.temperature,
        seed=config.seed,
    )
    if config.truncate is None:
        return queries, found.tolist()
    rule = truncation_of(data.tokenizer, config.truncate, config.not_before or 0)
    return queries, [rule.cut(response) for response in found.tolist()]


def normalise(
    model: RewardModel,
    reference: tuple[list[Query], list[list[int]]],
    config: Config,
    workers: Executor | None,
) -> None:
    """Set gain and bias so that samples of the base model score 0 on average, with deviation 1."""
    queries, responses = reference
    model.eval()
    model.normalise(
        torch.tensor(score(model, queries, responses, at_once=4 * config.at_once, workers=workers))
    )


def tested(config: Config, model: RewardModel, data: Data, workers: Executor | None) -> dict[str, Any]:
    """Return how well the model foretells held-out labels."""
    model.eval()

    def piece(rows: slice) -> Tensor:
        batch = batch_of(data.held[rows])
        device = next(model.parameters()).device
        with torch.no_grad(), autocast(device, "float32"):
            moved = batch._replace(ids=batch.ids.to(device), mask=batch.mask.to(device))
            return scores_of(model, moved).cpu()

    pieces = in_pieces(len(data.held), 4 * config.at_once)
    parts = list(map(piece, pieces) if workers is None else workers.map(piece, pieces))
    scores = torch.cat(parts)
    # in characters, as its reader sees it: responses of a fixed length have equally many tokens
    lengths = [len(data.tokenizer.decode(list(r))) for one in data.held for r in one.responses]
    common = {
        "labels": len(data.learned),
        "held_out": len(data.held),
        "length_correlation": correlation(scores.flatten().numpy(), np.array(lengths)),
    }
    return common | (rated if config.loss == "ratings" else chosen)(scores, data.held)


def chosen(scores: Tensor, held: Sequence[Comparison]) -> dict[str, Any]:
    """Return the figures of choices: accuracy with Wilson's interval, loss, calibration, by labeller."""
    agreed = agreement(held, scores.numpy())
    right, p = [answer is True for answer in agreed.answers], F.softmax(scores, -1)
    labellers = np.array([one.labeller for one in held])
    return accuracy(agreed) | {
        "loss": float(best_of_n_loss(scores, torch.tensor([one.targets for one in held])).mean()),
        "calibration_error": calibration_error(p.max(-1).values.tolist(), right),
        "by_labeller": {
            str(who): float(np.array(right)[labellers == who].mean()) for who in np.unique(labellers)
        },
    }


def rated(scores: Tensor, held: Sequence[Comparison]) -> dict[str, Any]:
    """Return the figures of ratings: how often two are put in the right order, and the correlation."""
    agreed = agreement(held, scores.numpy())
    ratings = torch.tensor([one.rating for one in held])
    return accuracy(agreed) | {
        "loss": float(ratings_loss(scores[:, 0], ratings - 4).mean()),
        "pearson": correlation(scores[:, 0].numpy(), ratings.numpy()),
    }


def accuracy(agreed: Agreement) -> dict[str, Any]:
    """Return how often scores say what labels say, with Wilson's interval."""
    found = wilson(agreed.correct, agreed.count)
    return {
        "chance": agreed.chance,
        "accuracy": found.mean,
        "accuracy_low": found.low,
        "accuracy_high": found.high,
        "correct": agreed.correct,
        "decided": agreed.count,
    }


def correlation(x: Any, y: Any) -> float:
    """Return Pearson's correlation; 0 where one does not vary."""
    if np.std(x) == 0 or np.std(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def refuse_chance(report: dict[str, Any]) -> None:
    """Refuse a model that does not foretell held-out labels.

    Raises:
        RunError: it is no better than chance by a one-sided test at 5 %.
    """
    if math.isnan(report["loss"]) or not better_than_chance(
        report["correct"], report["decided"], report["chance"]
    ):
        raise RunError(
            f"the reward model is right on {report['accuracy']:.1%} of {report['decided']} held-out labels, "
            f"chance is {report['chance']:.1%}: it is not handed on; label more, or look whether labels are "
            "read the right way round"
        )
