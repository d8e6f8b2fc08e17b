"""The loop of DPO: learn from labels directly, without a reward model; divergence is measured by sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inkfish.config import exact_div
from inkfish.errors import DataError
from inkfish.labels.store import Store
from inkfish.model import GPT2
from inkfish.preferences import adam
from inkfish.preferences.dpo import best_of_n_dpo_loss, implicit_rewards
from inkfish.preferences.policy import Policy
from inkfish.preferences.reward_losses import label_pairs_loss
from inkfish.preferences.rollout import respond
from inkfish.preferences.selftest import check_dpo
from inkfish.preferences.sequences import join, score_responses
from inkfish.recipes.display import Display
from inkfish.recipes.prefer.comparisons import (
    Comparison,
    Comparisons,
    batch_of,
    batches_of,
    read_comparisons,
    split,
)
from inkfish.recipes.prefer.learning import Beginning, Config
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.rewards import in_pieces
from inkfish.recipes.prefer.running import backend_of
from inkfish.recipes.prefer.together import led, team_of
from inkfish.training import schedule
from inkfish.training.optimise import optimise
from inkfish.training.ranks import ALONE, Ranks
from inkfish.training.run import Run
from inkfish.training.signals import Stop

__all__ = ["divergence", "train"]

HELD_OUT = 0.1
"""Share of the items that is not learned from."""
MEASURED = 256
"""Most responses on which the divergence is measured; four for each label of a step are enough."""


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
    for step in team.lead(taken):
        here.took(step)
        screen.step(step, steps)
        paused = bool(stop) or (config.out / "pause").exists()
        ends = paused or step.number == steps
        if ends or step.number % config.save_every == 0:
            here.save(policy.trunk, optimizer)
        if ends:
            record = measured(config, policy.trunk, reference, queries, held, begin, at_once, workers)
            here.metrics.log({"step": step.number} | record)
            screen.say(
                f"held-out accuracy {record['held_out/accuracy']:.1%}, KL {record['objective/kl']:.2f} nats"
            )
        if paused:
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


def measured(
    config: Config,
    model: GPT2,
    reference: GPT2,
    queries: Sequence[Query],
    held: Sequence[Comparison],
    begin: Beginning,
    at_once: int,
    workers: Executor | None,
) -> dict[str, Any]:
    """Return how often the implicit reward prefers what labels do, and how far the policy has moved."""

    def piece(rows: slice) -> Tensor:
        batch = batch_of(held[rows], asked=True)
        batch = batch._replace(ids=batch.ids.to(begin.device), mask=batch.mask.to(begin.device))
        with torch.no_grad():
            now, then = (summed(m, batch, temperature=config.temperature) for m in (model, reference))
        best = implicit_rewards(now, then, beta=config.beta).argmax(1, keepdim=True).cpu()
        return batch.targets.gather(1, best)[:, 0] > 0

    pieces = in_pieces(len(held), at_once)
    right = torch.cat(list(map(piece, pieces) if workers is None else workers.map(piece, pieces)))
    moved = divergence(config, model, reference, queries[: min(MEASURED, 4 * config.batch)], begin, workers)
    return {"held_out/accuracy": float(right.float().mean()), "objective/kl": float(moved.mean())}


def divergence(
    config: Config,
    model: GPT2,
    reference: GPT2,
    queries: Sequence[Query],
    begin: Beginning,
    workers: Executor | None,
) -> Tensor:
    """Return the sum of log-ratios of a new response to each query, (B,); its mean estimates the KL."""
    backend = backend_of(model, device=begin.device, threads=config.threads)
    responses = respond(
        backend,
        [query.prompt for query in queries],
        length=config.tokens,
        temperature=config.temperature,
        seed=config.seed,
    ).tolist()
    sequences = join([query.prompt for query in queries], responses, length=config.tokens)
    sequences = sequences.to(torch.device(begin.device))

    def piece(rows: slice) -> Tensor:
        with torch.no_grad():
            now, then = (
                score_responses(m, sequences.rows(rows), temperature=config.temperature).logprobs.sum(1)
                for m in (model, reference)
            )
        return now - then

    pieces = in_pieces(len(queries), config.at_once)
    return torch.cat(list(map(piece, pieces) if workers is None else workers.map(piece, pieces))).cpu()
