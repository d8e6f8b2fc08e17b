"""The loop of DPO: learn from labels directly, without a reward model; divergence is measured by sampling.

Every `sample_every` steps it writes some responses, measures with them how far it has moved, and asks labels;
the guards of the other algorithms look at these figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from inkfish.config import exact_div
from inkfish.errors import DataError, RunError
from inkfish.labels.store import Store
from inkfish.model import GPT2
from inkfish.preferences import adam
from inkfish.preferences.dpo import best_of_n_dpo_loss, implicit_rewards
from inkfish.preferences.guards import Limits, alarms, check_first_step, worse_than_chance
from inkfish.preferences.kl import k1
from inkfish.preferences.policy import Policy
from inkfish.preferences.reward_losses import label_pairs_loss
from inkfish.preferences.rollout import respond
from inkfish.preferences.selftest import check_dpo
from inkfish.preferences.sequences import join, score_responses
from inkfish.recipes.display import Display
from inkfish.recipes.prefer.agreement import Agreement, agreement, chance_of
from inkfish.recipes.prefer.comparisons import (
    Comparison,
    Comparisons,
    batch_of,
    batches_of,
    read_comparisons,
    split,
)
from inkfish.recipes.prefer.judges import find_judge
from inkfish.recipes.prefer.learning import Beginning, Config
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.rewards import in_pieces
from inkfish.recipes.prefer.running import backend_of
from inkfish.recipes.prefer.together import led, team_of
from inkfish.recipes.prefer.watching import (
    SHOWN,
    sample_text,
    signs_of,
    surprise_record,
    text_figures,
    write_samples,
)
from inkfish.training import curve, schedule
from inkfish.training.batches import order
from inkfish.training.metrics import read_metrics
from inkfish.training.optimise import optimise
from inkfish.training.ranks import ALONE, Ranks
from inkfish.training.run import Run
from inkfish.training.signals import Stop

__all__ = ["train"]

HELD_OUT = 0.1
"""Share of the items that is not learned from."""
MEASURED = 256
"""Most responses on which the divergence is measured; four for each label of a step are enough."""
FORETOLD = 128
"""Most held-out labels that are asked on the way, and learned ones; at the end, all held-out ones."""
Value = TypeVar("Value")


def summed(model: GPT2, batch: Comparisons, *, temperature: float) -> Tensor:
    """Return the log-probability of each candidate, (B, N)."""
    sequences = batch.sequences
    found = score_responses(model, sequences, temperature=temperature).logprobs
    return (found * sequences.counts).sum(1).view(batch.targets.shape)


def train(
    config: Config,
    policy: Policy,
    reference: GPT2,
    queries: Sequence[Query],
    coefficient: Tensor,
    begin: Beginning,
    here: Run,
    screen: Display,
    stop: Stop,
    workers: Executor | None,
    ranks: Ranks = ALONE,
) -> int:
    """Take all steps; return how many labels were learned from."""
    led(ranks, check_dpo)
    assert config.store is not None, "the settings demand one"
    with Store(config.store) as store:
        read = read_comparisons(
            store,
            begin.tokenizer,
            ratings=False,
            limit=config.limit,
            majority=config.majority,
            say=screen.say,
        )
    frame = config.framing(begin.tokenizer)  # for labels from elsewhere, which do not say how to ask
    found = [one if one.query.asked else replace(one, query=frame(one.query)) for one in read]
    learned, held = split(found, HELD_OUT, config.seed)
    led(ranks, lambda: check_enough(config, len(learned), len(held)))
    optimizer = adam.make(config.optimizer, policy.trunk, lr=config.lr)
    if ranks.leads and here.resume(policy.trunk, optimizer):
        screen.say(f"going on after {here.progress.step:,} steps")
    steps = config.episodes // config.batch
    fitting = max(1, config.at_once // len(found[0].responses))
    at_once = max(n for n in range(1, fitting + 1) if config.batch % (n * ranks.size) == 0)

    loss = loss_of(config, reference)
    team = team_of(
        ranks,
        policy.trunk,
        policy.trunk,
        optimizer,
        here,
        loss=loss,
        count=lambda batch: len(batch.targets),
        stop=stop,
        seed=config.seed,
    )
    taken = optimise(
        policy.trunk,
        batches_of(learned, size=at_once, seed=config.seed, cursor=here.progress.cursor, asked=True),
        optimizer,
        schedule=lambda step: schedule.linear(step, steps=steps),
        steps=steps,
        start=here.progress.step,
        lr=config.lr,
        accumulate=exact_div(config.batch, at_once),
        clip=1e9,
        loss=loss,
        count=lambda batch: len(batch.targets),
        workers=workers,
        skipped=here.progress.skipped_in_a_row,
        gradients=team.gradients,
    )
    if not ranks.leads:
        team.follow(taken)
        return 0
    watch = Watch(
        config, policy.trunk, reference, queries, learned, held, begin, here, screen, at_once, workers
    )
    if not here.progress.step:
        watch.begins()
    for step in team.lead(taken):
        here.took(step)
        screen.step(step, steps)
        paused = bool(stop) or (config.out / "pause").exists()
        last = step.number == steps
        measures = last or (config.sample_every and step.number % config.sample_every == 0)
        wrong = watch.after(step.number, last=last) if measures else []
        if paused or wrong or last or step.number % config.save_every == 0:
            here.save(policy.trunk, optimizer)
        if wrong:
            raise RunError(f"stopped after step {step.number}: {wrong[0]}; saved in {config.out}")
        if paused and not last:
            watch.show(watch.drawn(step.number, SHOWN), step.number, aloud=True)
            why = stop.name or "paused"
            screen.say(f"{why}: saved after step {step.number:,}; the same command goes on")
            break
    return here.progress.step * config.batch


def loss_of(config: Config, reference: GPT2) -> Callable[[GPT2, Comparisons], Tensor]:
    """Return the sum of the losses of a batch of labels: of whole ones, or of their pairs."""

    def loss(model: GPT2, batch: Comparisons) -> Tensor:
        with torch.no_grad():
            then = summed(reference, batch, temperature=config.temperature)
        now = summed(model, batch, temperature=config.temperature)
        if config.pairwise:
            return label_pairs_loss(implicit_rewards(now, then, beta=config.beta), batch.targets).sum()
        return best_of_n_dpo_loss(now, then, batch.targets, beta=config.beta).sum()

    return loss


def check_enough(config: Config, learned: int, held: int) -> None:
    """Refuse labels that do not fill a batch.

    Raises:
        DataError: how many there are.
    """
    if learned < config.batch or not held:
        raise DataError(
            f"{learned + held:,} labels are too few for a batch of {config.batch}; label more, or take a "
            "smaller --batch",
            param="store",
        )


class Drawn(NamedTuple):
    """New responses of the policy, which its divergence is measured on."""

    queries: Sequence[Query]
    responses: list[list[int]]
    logprobs: Tensor
    """(B, L), under the policy."""
    reference: Tensor
    """(B, L), likewise under the model that training began from."""
    entropy: Tensor
    """(B, L), of the policy's distributions."""

    @property
    def kl(self) -> Tensor:
        """(B,), nats by which the policy left the reference in each response; may be negative."""
        return k1(self.logprobs, self.reference).sum(1)


@dataclass
class Watch:
    """Measures a policy that learns from labels, and stops the run where something is wrong."""

    config: Config
    model: GPT2
    reference: GPT2
    queries: Sequence[Query]
    learned: Sequence[Comparison]
    held: Sequence[Comparison]
    begin: Beginning
    here: Run
    screen: Display
    at_once: int
    workers: Executor | None

    def __post_init__(self) -> None:
        self.judge = None if self.config.judge is None else find_judge(self.config.judge)
        # older versions measured less
        kept = [record for record in read_metrics(self.here.metrics.path) if "policy/entropy" in record]
        self.history = [signs_of(record) for record in kept]
        self.asked = min(FORETOLD, 2 * self.config.batch)

    def begins(self) -> None:
        """Measure the beginning, which later figures are held against.

        Raises:
            RunError: the policy is not the reference.
        """
        drawn = self.drawn(0)
        moved = 0.0 if self.config.start else float((drawn.logprobs - drawn.reference).abs().max())
        wrong = check_first_step((1.0, 1.0, 1.0), moved)
        if wrong is not None:
            raise RunError(wrong)
        held = self.held[: self.asked]
        if self.config.start is None:  # all candidates are equally good to it as yet
            share = chance_of(held)
        else:
            agreed = self.foretold(held)
            share = agreed.correct / max(1, agreed.count)
        self.note(0, drawn, accuracy_record(share, len(held)))

    def after(self, step: int, *, last: bool) -> list[str]:
        """Measure after a step, write down some samples, and return what is wrong."""
        agreed = self.foretold(self.held if last else self.held[: self.asked])
        known = self.foretold(self.latest())
        drawn, share = self.drawn(step), agreed.correct / max(1, agreed.count)
        accuracy = accuracy_record(share, agreed.count)
        record = self.note(step, drawn, accuracy | {"learned/accuracy": known.correct / max(1, known.count)})
        wrong = alarms(self.history, Limits(kl=self.config.most_kl))
        for what, found in (("held-out", agreed), ("learned", known)):
            # one that goes on from another policy may disagree with new labels in the beginning
            if self.config.start is None and worse_than_chance(found.correct, found.count, found.chance):
                wrong.insert(
                    0,
                    f"it prefers what labels do on {found.correct} of {found.count} {what} labels, "
                    f"chance is {found.chance:.0%}: labels are read the wrong way round",
                )
        self.show(drawn, step, aloud=last or bool(wrong))
        self.screen.say(
            f"step {step}: held-out accuracy {share:.1%}, KL {record['objective/kl']:.2f} nats, entropy "
            f"{record['policy/entropy']:.2f}"
        )
        title = f"{self.config.out.name}: dpo"
        self.here.write("curve.png", curve.draw_updates(read_metrics(self.here.metrics.path), title=title))
        return wrong

    def latest(self) -> list[Comparison]:
        """Return the labels that were learned last, of this epoch."""
        epoch, place = divmod(self.here.progress.cursor - 1, len(self.learned))
        places = order(len(self.learned), epoch, self.config.seed)[: place + 1]
        return [self.learned[i] for i in places[-self.asked :]]

    def note(self, step: int, drawn: Drawn, beside: dict[str, Any]) -> dict[str, Any]:
        """Write what was measured to the log."""
        seen = self.seen(drawn)
        record: dict[str, Any] = {
            "step": step,
            "objective/kl": float(drawn.kl.mean()),
            "objective/kl_error": float(drawn.kl.std(correction=0)) / math.sqrt(len(drawn.kl)),
            "policy/entropy": float(drawn.entropy.mean()),
            **surprise_record(drawn.logprobs, drawn.entropy),
            **text_figures(seen),
            **beside,
        }
        if self.judge is not None:
            texts = [self.begin.tokenizer.decode(response) for response in seen]
            judged = self.judge([query.text for query in drawn.queries], texts)
            record["judge"] = float(np.mean(judged))
            record["judge_error"] = float(np.std(judged)) / math.sqrt(len(judged))
        self.here.metrics.log(record)
        self.history.append(signs_of(record))
        return record

    def seen(self, drawn: Drawn) -> list[list[int]]:
        """Return responses as their reader sees them."""
        rule = self.config.truncation(self.begin.tokenizer)
        return [rule.cut(response) if rule else response for response in drawn.responses]

    def show(self, drawn: Drawn, step: int, *, aloud: bool) -> None:
        """Write samples down, and to the screen where they are to be seen at once."""
        texts = [
            sample_text(f"KL {float(kl):.2f}", query.text, self.begin.tokenizer.decode(response))
            for query, response, kl in zip(drawn.queries, self.seen(drawn), drawn.kl, strict=True)
        ]
        write_samples(texts[:SHOWN], self.here, self.screen, step, aloud=aloud)

    def foretold(self, held: Sequence[Comparison]) -> Agreement:
        """Return how often the implicit reward prefers what held-out labels do."""

        def piece(rows: slice) -> Tensor:
            batch = batch_of(held[rows], asked=True)
            batch = batch._replace(ids=batch.ids.to(self.begin.device), mask=batch.mask.to(self.begin.device))
            with torch.no_grad():
                now, then = (
                    summed(m, batch, temperature=self.config.temperature)
                    for m in (self.model, self.reference)
                )
            return implicit_rewards(now, then, beta=self.config.beta).cpu()

        found = torch.cat(in_parts(piece, in_pieces(len(held), self.at_once), self.workers))
        return agreement(held, found.numpy())

    def drawn(self, step: int, most: int = MEASURED) -> Drawn:
        """Return new responses to the same prompts; each step draws its own, so that they can be pooled."""
        config = self.config
        queries = self.queries[: min(most, 4 * config.batch)]
        backend = backend_of(self.model, device=self.begin.device, threads=config.threads)
        responses: list[list[int]] = respond(
            backend,
            [query.prompt for query in queries],
            length=config.tokens,
            temperature=config.temperature,
            seed=config.seed,
            first=step * MEASURED,
        ).tolist()
        sequences = join([query.prompt for query in queries], responses, length=config.tokens)
        sequences = sequences.to(torch.device(self.begin.device))

        def piece(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
            part = sequences.rows(rows)
            with torch.no_grad():  # of each thread its own
                now, then = (
                    score_responses(m, part, temperature=config.temperature)
                    for m in (self.model, self.reference)
                )
            return now.logprobs.cpu(), then.logprobs.cpu(), now.entropy.cpu()

        found = in_parts(piece, in_pieces(len(queries), config.at_once), self.workers)
        return Drawn(queries, responses, *(torch.cat(parts) for parts in zip(*found, strict=True)))


def accuracy_record(share: float, count: int) -> dict[str, Any]:
    """Return a held-out accuracy for the log; its error is not 0 where all agree (Laplace's rule)."""
    smooth = (share * count + 1) / (count + 2)
    error = math.sqrt(smooth * (1 - smooth) / (count + 2))
    return {"held_out/accuracy": share, "held_out/accuracy_error": error, "held_out/labels": count}


def in_parts(
    piece: Callable[[slice], Value], pieces: Sequence[slice], workers: Executor | None
) -> list[Value]:
    """Return what `piece` gives of each piece, computed side by side where there are workers."""
    return list(map(piece, pieces) if workers is None else workers.map(piece, pieces))
