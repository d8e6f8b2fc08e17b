"""One model trained by several processes: the gradients are those of the whole batch, whoever computed them.

ddp    every process has the whole model; gradients are summed while they are computed (Li et al. 2020)
fsdp   every process has a part of each block's weights, gradients and optimizer state, and borrows the rest
       while it needs it (FSDP2; Zhao et al. 2023); process 0 has a whole copy for looking and saving

The batches of a step are dealt out in turn, so that all processes together read what one alone would. Left
out: Adafactor and heads with fsdp; splitting a layer, or the layers, between GPUs: a GPT-2 does not need it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from inkfish.errors import RunError
from inkfish.model import GPT2
from inkfish.training.batches import Examples, random
from inkfish.training.optimise import Count, Loss, Step, autocast, on
from inkfish.training.optimizers import Optimizer, Stateful
from inkfish.training.ranks import END, GATHER, STEP, Ranks
from inkfish.training.shards import full
from inkfish.training.signals import SIGNALS, Stop

__all__ = ["State", "Team"]

DROPOUT = 2**62
"""Keeps the random numbers of dropout apart from those of the data."""


class State:
    """An optimizer's state as it was gathered, in the form in which a run saves it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.gathered: dict[str, Tensor] = {}

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the state by the names that `Optimizer.tensors` gives."""
        return self.gathered


class Losses(nn.Module):
    """A model together with its loss: what is wrapped, as gradients are made in its `forward`."""

    def __init__(self, trained: nn.Module, loss: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.trained, self.loss = trained, loss

    def forward(self, batch: Any) -> Tensor:
        """Return the sum of the losses of a batch."""
        return self.loss(batch)


class Team:
    """The processes of a run at work on one model. Every process makes one, after process 0 has resumed."""

    def __init__(
        self,
        ranks: Ranks,
        model: GPT2,
        trained: nn.Module,
        optimizer: Optimizer,
        *,
        make: Callable[[nn.Module], Optimizer],
        loss: Loss,
        count: Count,
        precision: str,
        stop: Stop,
        seed: int,
        start: int,
        sharded: bool,
    ) -> None:
        """Give every process what process 0 has, and wrap the model.

        Args:
            ranks: this process.
            model: the same shape everywhere; process 0's weights count.
            trained: the model, with its heads where it has any.
            optimizer: of `trained`; process 0's state counts.
            make: makes the same optimizer for another module.
            loss: sum of the losses of a batch.
            count: what it is divided by.
            precision: as in `optimise`.
            stop: asks this process to stop; set where another one was asked.
            seed: of dropout.
            start: steps that were taken before.
            sharded: fsdp instead of ddp.
        """
        assert ranks.size > 1, "a team has at least two processes"
        assert trained is model or not sharded, "heads are not sharded"
        self.ranks, self.count, self.precision, self.stop = ranks, count, precision, stop
        self.saved: Stateful
        self.seed, self.step, self.whole = seed, start, model
        self.device = next(model.parameters()).device
        for parameter in trained.parameters():
            torch.distributed.broadcast(parameter.detach(), 0)
        if sharded:
            part = copy.deepcopy(model) if ranks.leads else model
            for block in part.h:
                fully_shard(block)
            self.module: Any = Losses(part, lambda batch: loss(part, batch))
            fully_shard(self.module)
            self.optimizer, self.saved = make(part), State(optimizer.name)
        else:
            self.module = DistributedDataParallel(Losses(trained, lambda batch: loss(model, batch)))
            self.optimizer, self.saved = optimizer, optimizer
        self.sharded = sharded
        self.hand_out(optimizer)

    def hand_out(self, optimizer: Optimizer) -> None:
        """Bring the state that process 0's optimizer has resumed to all, each its part."""
        state = optimizer.tensors()
        shapes = self.ranks.share([(name, t.shape, t.dtype, t.device.type) for name, t in state.items()])
        for name, shape, dtype, device in shapes:
            tensor = state[name] if self.ranks.leads else torch.empty(shape, dtype=dtype, device=device)
            torch.distributed.broadcast(tensor, 0)
            self.optimizer.load_tensors({name: tensor})

    def gradients(self, group: Sequence[Examples]) -> float:
        """Set the gradients to those of the mean loss over a whole step's batches, and return that mean.

        Args:
            group: all batches of the step, of which this process computes its share.
        """
        assert len(group) % self.ranks.size == 0, "every process has equally many batches"
        self.step += 1
        draw = random(self.seed, self.step, stream=DROPOUT + (self.ranks.rank << 40))
        torch.manual_seed(int(draw.integers(0, 2**63)))
        total = max(1, sum(map(self.count, group)))
        mine, value = group[self.ranks.rank :: self.ranks.size], 0.0
        for number, batch in enumerate(mine, start=1):
            last = number == len(mine)
            with nullcontext() if last or self.sharded else self.module.no_sync():
                with autocast(self.device, self.precision):
                    loss = self.module(on(batch, self.device)) / total
                (loss * self.ranks.size).backward()  # both wrappers take the mean over processes
            value += float(loss.detach())
        return self.agreed(value)

    def agreed(self, value: float) -> float:
        """Return the sum of all processes' values, and stop where any process was asked to."""
        asked = [float(self.stop.signal == number) for number in SIGNALS]
        total, *asked = self.ranks.sum(torch.tensor([value, *asked], dtype=torch.float64)).tolist()
        for number, count in zip(SIGNALS, asked, strict=True):
            if count and self.stop.signal is None:
                self.stop.signal = number
        return total

    def lead(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Yield the steps, each of which all processes take."""
        while True:
            self.ranks.send(STEP)
            step = next(steps, None)
            if step is None:
                return
            yield step

    def follow(self, steps: Iterator[Step]) -> None:
        """Do what process 0 tells until the end."""
        while (order := self.ranks.receive()) != END:
            if order == STEP:
                with suppress(RunError):  # process 0 has the same one, and says it
                    next(steps, None)
            else:
                self.collect()

    def gather(self) -> None:
        """Bring `whole` and `saved` up to date, as process 0; with ddp they are."""
        if self.sharded:
            self.ranks.send(GATHER)
            self.collect()

    def gathered_before(self, look: Callable[[], bool]) -> Callable[[], bool]:
        """Return a function that gathers before it looks."""

        def gather_and_look() -> bool:
            self.gather()
            return look()

        return gather_and_look

    @torch.no_grad()
    def collect(self) -> None:
        """Put the parts of model and state together; all processes take part, process 0 keeps the result."""
        own = dict(self.whole.named_parameters())
        for name, parameter in self.module.trained.named_parameters():
            value = full(parameter)
            if self.ranks.leads:
                own[name].copy_(value)
        for name, tensor in self.optimizer.tensors().items():
            value = full(tensor)
            if self.ranks.leads:
                assert isinstance(self.saved, State), "a sharded optimizer has its state gathered"
                self.saved.gathered[name] = value.cpu()
