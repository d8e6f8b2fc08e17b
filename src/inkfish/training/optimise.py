"""The training loop as a generator of steps; who iterates it evaluates, logs, samples, saves and stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from inkfish.errors import RunError
from inkfish.training.batches import IGNORED, Examples
from inkfish.training.loss import language_loss
from inkfish.training.optimizers import Optimizer
from inkfish.training.shards import full

__all__ = ["Count", "Gradients", "Loss", "Step", "autocast", "learned_tokens", "optimise"]

Loss = Callable[[Any, Any], Tensor]
"""(model, batch) → the sum of the losses of the batch's tokens, or of whatever `Count` counts."""
Count = Callable[[Any], int]
"""batch → how many losses its sum has; the gradient of a step is that of the mean."""
Gradients = Callable[[Sequence[Examples]], float]
"""Batches of a step → their mean loss, whose gradients the parameters then have."""


@dataclass(frozen=True)
class Step:
    """What one step did."""

    number: int
    """Steps taken so far, this one included."""
    loss: float
    """Mean loss a token, in nats; NaN or infinite where the step was skipped because of it."""
    lr: float
    """Peak learning rate × the schedule's factor."""
    grad_norm: float
    """Length of the gradient before clipping."""
    tokens: int
    """Tokens read in this step."""
    seconds: float
    """Duration of this step, without what the caller did between steps."""
    cursor: int
    """Examples of the stream that are used up after this step."""
    skipped: int
    """Steps skipped in a row, up to this one; 0 where the weights were updated."""
    batch: str
    """Which examples were read."""


def learned_tokens(batch: Examples) -> int:
    """Return the number of tokens whose loss counts."""
    return int((batch.targets != IGNORED).sum())


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which matrix products are done in `precision`, "float32" or "bfloat16"."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def optimise(
    model: nn.Module,
    batches: Iterator[Examples],
    optimizer: Optimizer,
    *,
    schedule: Callable[[int], float],
    steps: int,
    start: int = 0,
    lr: float = 1.0,
    accumulate: int = 1,
    clip: float = 1.0,
    precision: str = "float32",
    patience: int = 10,
    loss: Loss = language_loss,
    count: Count = learned_tokens,
    skipped: int = 0,
    workers: Executor | None = None,
    gradients: Gradients | None = None,
) -> Iterator[Step]:
    """Train, and yield after each step.

    Args:
        model: trained in place; must be in training mode if dropout is wanted.
        batches: endless.
        optimizer: made with the peak learning rate.
        schedule: index of a step → factor of the peak learning rate.
        steps: number of the last step.
        start: steps that were taken before.
        lr: the peak learning rate, for the record.
        accumulate: batches whose gradients make one step; the mean is over all their tokens.
        clip: longest gradient (Pascanu et al. 2013, algorithm 1).
        precision: "bfloat16" for matrix products in it, or "float32".
        patience: steps in a row that may be skipped because of a loss or gradient that is not finite.
        loss: sum of the losses of a batch's tokens.
        count: what that sum is divided by, over all batches of a step.
        skipped: steps in a row that were skipped before `start`.
        workers: threads that compute the `accumulate` batches side by side, one core each, while torch itself
            is set to one thread. Unlike threads inside each operation they do not wait for one another when
            other programs run, and the result is the same for any number of them. Not with dropout, as they
            would share its random numbers.
        gradients: computes them instead of `accumulated_loss`, with `model`, `loss`, `count`, `precision` and
            `workers` of its own: several processes do so together.

    Yields:
        One `Step` after each update (or skipped update).

    Raises:
        RunError: `patience` steps in a row were skipped; the batches are named.
    """
    parameters = optimizer.parameters()
    gradients = gradients or partial(
        accumulated_loss,
        model,
        parameters=parameters,
        loss=loss,
        count=count,
        precision=precision,
        workers=workers,
    )
    for index in range(start, steps):
        began = time.perf_counter()
        group = [next(batches) for _ in range(accumulate)]
        mean = gradients(group)
        norm = float(full(torch.nn.utils.clip_grad_norm_(parameters, clip)))
        factor = schedule(index)
        if math.isfinite(mean) and math.isfinite(norm):
            optimizer.step(factor)
            skipped = 0
        else:
            optimizer.zero_grad()
            skipped += 1
        step = Step(
            number=index + 1,
            loss=mean,
            lr=lr * factor,
            grad_norm=norm,
            tokens=sum(batch.ids.numel() for batch in group),
            seconds=time.perf_counter() - began,
            cursor=group[-1].cursor,
            skipped=skipped,
            batch=", ".join(batch.name for batch in group),
        )
        yield step
        if skipped >= patience:
            raise RunError(
                f"stopped at step {step.number}: {skipped} steps in a row had a loss or gradient that is not "
                f"finite (loss {mean}, gradient {norm} on {step.batch}); lower the learning rate"
            )


def accumulated_loss(
    model: nn.Module,
    group: Sequence[Examples],
    parameters: Sequence[Tensor],
    *,
    loss: Loss = language_loss,
    count: Count = learned_tokens,
    precision: str = "float32",
    workers: Executor | None = None,
) -> float:
    """Set the gradients to those of the mean loss a token over a group of batches, and return that mean.

    Gradients are added in the order of the batches, so the sum does not depend on which worker was faster.
    """
    total_count = max(1, sum(map(count, group)))

    def one(batch: Examples) -> tuple[float, Sequence[Tensor]]:
        batch = on(batch, parameters[0].device)
        with autocast(parameters[0].device, precision):
            mean = loss(model, batch) / total_count
        return float(mean.detach()), torch.autograd.grad(mean, parameters)

    total, sums = 0.0, None
    for value, gradients in workers.map(one, group) if workers is not None else map(one, group):
        total += value
        if sums is None:
            sums = list(gradients)
        else:
            torch._foreach_add_(sums, list(gradients))
    for parameter, gradient in zip(parameters, sums or [], strict=True):
        parameter.grad = gradient
    return total


AnyExamples = TypeVar("AnyExamples", bound=Examples)


def on(batch: AnyExamples, device: torch.device) -> AnyExamples:
    """Return the batch with all its tensors on a device."""
    fields: Any = batch
    moved = {name: part.to(device) for name, part in fields._asdict().items() if isinstance(part, Tensor)}
    return fields._replace(**moved)
