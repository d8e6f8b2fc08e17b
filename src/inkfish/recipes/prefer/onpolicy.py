"""The loop of PPO, RLOO and GRPO: write, score, learn; again and again, watched."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inkfish.config import exact_div
from inkfish.errors import RunError
from inkfish.model import GPT2
from inkfish.preferences import adam
from inkfish.preferences.experience import Experience, Rollout, Update, minibatches
from inkfish.preferences.guards import Limits, Signs, alarms, check_first_step
from inkfish.preferences.kl import KLController
from inkfish.preferences.policy import Policy
from inkfish.preferences.ppo import explained_variance
from inkfish.preferences.rollout import respond
from inkfish.preferences.selftest import check_algorithm
from inkfish.preferences.sequences import Sequences, join, score_responses
from inkfish.recipes.display import Display
from inkfish.recipes.prefer.agreement import check_reward
from inkfish.recipes.prefer.judges import find_judge
from inkfish.recipes.prefer.learning import Beginning, Config, algorithm_of
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.rewards import Reward, check_scores, find_reward, in_pieces
from inkfish.recipes.prefer.running import backend_of
from inkfish.recipes.prefer.together import all_or_none, gathered, led, team_of
from inkfish.recipes.prefer.watching import (
    SHOWN,
    sample_text,
    signs_of,
    surprise_record,
    text_figures,
    write_samples,
)
from inkfish.training import curve, schedule
from inkfish.training.metrics import read_metrics
from inkfish.training.optimise import Gradients, Step, learned_tokens, optimise
from inkfish.training.optimizers import Optimizer
from inkfish.training.ranks import ALONE, Ranks
from inkfish.training.run import Run
from inkfish.training.signals import Stop

__all__ = ["train"]


@dataclass
class Episode:
    """One update's responses, while they are learned from."""

    rollout: Rollout
    experience: Experience
    queries: list[Query]
    responses: list[list[int]]
    judged: list[float] | None
    seconds: dict[str, float]
    updates: list[Update] = field(default_factory=list)
    """Of each micro-batch."""


class Writer:
    """Writes and scores the responses of each update; the stream of batches that `optimise` learns from."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        reference: GPT2,
        queries: Sequence[Query],
        coefficient: Tensor,
        begin: Beginning,
        workers: Executor | None,
        ranks: Ranks,
    ) -> None:
        self.ranks = ranks
        self.config, self.policy, self.reference, self.queries = config, policy, reference, queries
        self.coefficient, self.begin, self.workers = coefficient, begin, workers
        self.algorithm = algorithm_of(config)
        self.rule = config.truncation(begin.tokenizer)
        self.reward: Reward = find_reward(
            config.reward,
            begin.tokenizer,
            truncation=self.rule,
            at_once=config.at_once,
            workers=workers,
            device=begin.device,
        )
        self.judge = None if config.judge is None else find_judge(config.judge)
        self.now: Episode | None = None

    def loss(self, policy: Policy, seen: Experience) -> Tensor:
        """Return the loss of a micro-batch and keep what there is to say about it."""
        update = self.algorithm.loss(policy, seen)
        assert self.now is not None, "there is no loss before a rollout"
        self.now.updates.append(update._replace(loss=update.loss.detach()))
        return update.loss

    def batches(self, update: int) -> Iterator[Experience]:
        """Yield micro-batches for ever, from the update with this index on."""
        config = self.config
        while True:
            self.now = self.episode(update)
            size, pieces = config.minibatch, in_pieces(config.minibatch, config.at_once)
            order = config.seed * 2**32 + update
            for batch in minibatches(self.now.experience, size=size, epochs=config.epochs, seed=order):
                for rows in pieces:
                    yield batch.rows(torch.arange(size, device=batch.ids.device)[rows])
            update += 1

    def episode(self, update: int) -> Episode:
        """Write and score the responses of one update; several processes write a share each."""
        config, began = self.config, time.perf_counter()
        count = exact_div(config.batch, config.group)
        first, share = update * count, exact_div(count, self.ranks.size)
        asked = [self.queries[(first + i) % len(self.queries)] for i in range(count)]
        mine = asked[self.ranks.rank * share : (self.ranks.rank + 1) * share]
        backend = backend_of(self.policy.trunk, device=self.begin.device, threads=config.threads)
        found: list[list[int]] = respond(
            backend,
            [query.prompt for query in mine],
            length=config.tokens,
            temperature=config.temperature,
            seed=config.seed,
            first=first + self.ranks.rank * share,
            samples=config.group,
        ).tolist()
        written = time.perf_counter()
        queries = [query for query in asked for _ in range(config.group)]
        responses, rollout = self.scored(queries, found)
        self.coefficient.fill_(self.ranks.share(float(self.coefficient)))  # process 0 steers it
        experience = self.algorithm.experience(rollout, float(self.coefficient))
        judged = None
        if self.judge is not None and self.ranks.leads:
            texts = [self.begin.tokenizer.decode(r) for r in self.seen(responses)]
            judged = self.judge([query.text for query in queries], texts)
        seconds = {"write": written - began, "score": time.perf_counter() - written}
        cursor = first + count
        return Episode(rollout, experience._replace(cursor=cursor), queries, responses, judged, seconds)

    def seen(self, responses: Sequence[list[int]]) -> list[list[int]]:
        """Return responses as their reader sees them."""
        return [self.rule.cut(response) if self.rule else response for response in responses]

    def scored(self, queries: list[Query], found: list[list[int]]) -> tuple[list[list[int]], Rollout]:
        """Return all responses, and what policy, reference and reward say of them.

        Args:
            queries: of all processes' responses.
            found: the responses that this process has written.
        """
        size, rank = exact_div(len(queries), self.ranks.size), self.ranks.rank
        mine, device = queries[rank * size : (rank + 1) * size], torch.device(self.begin.device)
        thought = self.thoughts(self.joined(mine, found))
        scores = gathered(self.ranks, all_or_none(self.ranks, lambda: self.reward(mine, found)))
        check_scores(scores, len(queries))
        responses = gathered(self.ranks, found)
        if self.ranks.size > 1:
            whole = gathered(self.ranks, [tuple(part.cpu() for part in thought)])
            thought = tuple(torch.cat(parts).to(device) for parts in zip(*whole, strict=True))
        sequences = self.joined(queries, responses)
        return responses, Rollout(
            sequences, torch.tensor(scores, dtype=torch.float32, device=device), *thought
        )

    def joined(self, queries: Sequence[Query], responses: Sequence[list[int]]) -> Sequences:
        """Return prompts with their responses, as the policy reads them."""
        asked = [query.prompt for query in queries]
        found = join(asked, responses, length=self.config.tokens, group=self.config.group)
        return found.to(torch.device(self.begin.device))

    def thoughts(self, sequences: Sequences) -> tuple[Tensor, ...]:
        """Return log-probabilities under policy and reference, values and entropy, each (B, L)."""
        heat = self.config.temperature

        def piece(rows: slice) -> tuple[Tensor, ...]:
            part = sequences.rows(rows)
            with torch.no_grad():  # of each thread its own
                judged = self.policy(part, temperature=heat)
                reference = score_responses(self.reference, part, temperature=heat).logprobs
            return judged.logprobs, reference, judged.values, judged.entropy

        pieces = in_pieces(len(sequences.ids), self.config.at_once)
        found = list(map(piece, pieces) if self.workers is None else self.workers.map(piece, pieces))
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def together(self, gradients: Gradients | None) -> Gradients | None:
        """Return what computes gradients, and gathers what all processes have to say of them."""
        if gradients is None:
            return None

        def compute(group: Sequence[Any]) -> float:
            assert self.now is not None, "a batch comes from a rollout"
            before = len(self.now.updates)
            mean = gradients(group)
            mine = [update._replace(loss=update.loss.cpu()) for update in self.now.updates[before:]]
            self.now.updates[before:] = gathered(self.ranks, mine)
            return mean

        return compute


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
    """Take all updates; return how many responses were learned from.

    Raises:
        RunError: a guard stopped the run; it is saved, and the last samples are written down.
    """
    led(ranks, lambda: check_algorithm(algorithm_of(config, temperature=0.7)))
    policy.value.requires_grad_(config.algorithm == "ppo")  # the others have no use for it
    optimizer = adam.make(config.optimizer, policy, lr=config.lr)
    if ranks.leads and here.resume(policy.trunk, optimizer):
        screen.say(f"going on after {here.progress.step:,} steps")
    writer = Writer(config, policy, reference, queries, coefficient, begin, workers, ranks)
    led(ranks, lambda: check_reward(config, writer.reward, begin, screen.say))
    team = team_of(
        ranks,
        policy.trunk,
        policy,
        optimizer,
        here,
        loss=lambda _, batch: writer.loss(policy, batch),
        count=learned_tokens,
        stop=stop,
        seed=config.seed,
    )
    each = config.epochs * exact_div(config.batch, config.minibatch)
    updates = config.episodes // config.batch
    steps = updates * each
    done = exact_div(here.progress.step, each)
    history = [signs_of(record) for record in read_metrics(here.metrics.path) if "objective/kl" in record]
    taken = optimise(
        policy,
        writer.batches(done),
        optimizer,
        schedule=lambda step: schedule.linear(step // each, steps=updates),
        steps=steps,
        start=here.progress.step,
        lr=config.lr,
        accumulate=exact_div(config.minibatch, config.at_once),
        clip=1e9,
        loss=writer.loss,
        workers=workers,
        skipped=here.progress.skipped_in_a_row,
        gradients=writer.together(team.gradients),
    )
    if not ranks.leads:
        team.follow(taken)
        return 0
    watch = Watch(config, writer, here, screen, optimizer, coefficient, history)
    learning = 0.0
    for step in team.lead(taken):
        learning += step.seconds
        if step.number == 1 and writer.now is not None:
            each_step = exact_div(config.minibatch, config.at_once)
            refuse_first_step(writer.now, each=each_step, moved=config.start is not None)
        if step.number % each == 0:
            paused = watch.after(step, step.number // each, learning, stop, last=step.number == steps)
            learning = 0.0
            if paused:
                break
    return here.progress.step // each * config.batch


@dataclass
class Watch:
    """Notes each update, steers the KL coefficient, saves, and stops the run where something is wrong."""

    config: Config
    writer: Writer
    here: Run
    screen: Display
    optimizer: Optimizer
    coefficient: Tensor
    history: list[Signs]

    def after(self, step: Step, update: int, seconds: float, stop: Stop, *, last: bool) -> bool:
        """Do what is to be done after an update; return whether the run is to pause.

        Args:
            step: the update's last step.
            update: number of the update, from 1.
            seconds: that the update took.
            stop: asks for an early end.
            last: whether it is the run's last update.

        Raises:
            RunError: a guard stops the run.
        """
        record = self.note(step, update, seconds)
        wrong = alarms(self.history, Limits(kl=self.config.most_kl))
        paused = bool(stop) or (self.config.out / "pause").exists()
        ends = bool(wrong) or paused or last
        if ends or (self.config.sample_every and update % self.config.sample_every == 0):
            show(self.writer, self.here, self.screen, update, record["objective/kl_coef"], aloud=ends)
            self.draw()
        if ends or update % self.config.save_every == 0:
            self.here.save(self.writer.policy.trunk, self.optimizer)
        if wrong:
            raise RunError(f"stopped after update {update}: {wrong[0]}; saved in {self.config.out}")
        if paused:
            why = stop.name or "paused"
            self.screen.say(f"{why}: saved after update {update}; the same command goes on")
        return paused

    def draw(self) -> None:
        """Draw the run's curves."""
        title = f"{self.config.out.name}: {self.config.algorithm}"
        self.here.write("curve.png", curve.draw_updates(read_metrics(self.here.metrics.path), title=title))

    def note(self, step: Step, update: int, seconds: float) -> dict[str, Any]:
        """Write an update to the log and the screen, and steer the KL coefficient."""
        config, here, episode = self.config, self.here, self.writer.now
        assert episode is not None, "an update has a rollout"
        learning = seconds - sum(episode.seconds.values())
        read = self.writer.seen(episode.responses)
        record = record_of(config, episode, read, float(self.coefficient), learning)
        here.progress = replace(
            here.progress,
            step=step.number,
            cursor=step.cursor,
            tokens=here.progress.tokens + config.batch * config.tokens,
            seconds=here.progress.seconds + seconds,
            skipped_in_a_row=step.skipped,
        )
        here.metrics.log({"step": step.number, "update": update, "lr": step.lr} | record)
        self.history.append(signs_of(record))
        self.screen.say(line(record, update, config.episodes // config.batch))
        controller = KLController(float(self.coefficient), config.kl_target or None, config.horizon)
        steered = controller.after(record["objective/kl"], episodes=config.batch)
        self.coefficient.fill_(steered.coefficient)
        return record


def refuse_first_step(episode: Episode, *, each: int, moved: bool) -> None:
    """Refuse a run in which policy, sampling and reference do not agree before anything is learned.

    Args:
        episode: the first one.
        each: micro-batches of a step.
        moved: whether the policy begins elsewhere than at the reference.

    Raises:
        RunError: what differs.
    """
    seen = episode.updates[:each]
    ratios = (min(u.ratios[0] for u in seen), 1.0, max(u.ratios[2] for u in seen))
    kl = 0.0 if moved else float((episode.rollout.logprobs - episode.rollout.reference).abs().max())
    wrong = check_first_step(ratios, kl)
    if wrong is not None:
        raise RunError(wrong)


def record_of(
    config: Config,
    episode: Episode,
    seen_responses: Sequence[list[int]],
    coefficient: float,
    learning: float,
) -> dict[str, Any]:
    """Return an update's line of metrics.jsonl; the names are the released code's where it has the figure."""
    rollout, seen, updates = episode.rollout, episode.experience, episode.updates
    actions = sum(update.actions for update in updates)
    kl = rollout.kl

    def mean(name: str) -> float:
        return math.fsum(getattr(update, name) for update in updates) / actions

    seconds = sum(episode.seconds.values()) + learning
    record: dict[str, Any] = {
        "episodes": config.batch,
        "objective/score": float(rollout.scores.mean()),
        "objective/score_error": float(rollout.scores.std(correction=0)) / math.sqrt(config.batch),
        "objective/kl": float(kl.mean()),
        "objective/kl_error": float(kl.std(correction=0)) / math.sqrt(config.batch),
        "objective/kl_coef": coefficient,
        "objective/entropy": float(rollout.entropy.sum(1).mean()),
        "objective/score_total": float((rollout.scores - coefficient * kl).mean()),
        "policy/entropy": float(rollout.entropy.mean()),
        **surprise_record(rollout.logprobs, rollout.entropy),
        "policy/approxkl": mean("approximate_kl"),
        "policy/clipfrac": mean("clipped"),
        "loss/policy": mean("policy"),
        "loss/value": mean("value"),
        "val/error": float(((rollout.values - seen.returns) ** 2).mean()),
        "val/var_explained": explained_variance(rollout.values, seen.returns),
        "val/clipfrac": mean("value_clipped"),
        "returns/mean": float(seen.returns.mean()),
        "returns/var": float(seen.returns.var(correction=0)),
        "ratio/min": min(update.ratios[0] for update in updates),
        "ratio/mean": math.fsum(update.ratios[1] for update in updates) / len(updates),
        "ratio/max": max(update.ratios[2] for update in updates),
        "seconds": round(seconds, 3),
        "seconds/learn": round(learning, 3),
        "episodes_per_second": round(config.batch / seconds, 3),
    }
    record |= {f"seconds/{name}": round(value, 3) for name, value in episode.seconds.items()}
    return record | texts_record(config, episode, seen_responses)


def texts_record(config: Config, episode: Episode, responses: Sequence[list[int]]) -> dict[str, Any]:
    """Return what is to say of an update's texts, as their reader sees them."""
    record: dict[str, Any] = dict(text_figures(responses))
    if config.truncate is not None:
        record["frac_penalised"] = float((episode.rollout.scores == config.penalty).float().mean())
    if episode.judged is not None:
        record["judge"] = float(np.mean(episode.judged))
        record["judge_error"] = float(np.std(episode.judged)) / math.sqrt(len(episode.judged))
    return record


def line(record: dict[str, Any], update: int, updates: int) -> str:
    """Return an update for people."""
    judge = "" if "judge" not in record else f", judge {record['judge']:.3f}"
    return (
        f"update {update} of {updates}: score {record['objective/score']:.3f}{judge}, "
        f"KL {record['objective/kl']:.2f} at {record['objective/kl_coef']:.3f}, "
        f"entropy {record['policy/entropy']:.2f}, ratio up to {record['ratio/max']:.2f}, "
        f"{record['episodes_per_second']:.1f} responses/s"
    )


def show(
    writer: Writer,
    here: Run,
    screen: Display,
    update: int,
    coefficient: float,
    *,
    aloud: bool,
) -> None:
    """Write samples for different prompts with their scores down, and to the screen at the end."""
    episode = writer.now
    assert episode is not None, "samples are of an update"
    kl, texts = episode.rollout.kl.tolist(), []
    for i in range(0, len(episode.queries), writer.config.group)[:SHOWN]:
        score = float(episode.rollout.scores[i])
        response = writer.begin.tokenizer.decode(writer.seen(episode.responses[i : i + 1])[0])
        head = f"score {score:.2f}, KL {kl[i]:.2f}, total {score - coefficient * kl[i]:.2f}"
        texts.append(sample_text(head, episode.queries[i].text, response))
    write_samples(texts, here, screen, update, aloud=aloud)
