"""The processes of one run under torchrun: who leads, what the others are told, what if one ends.

Process 0 leads: it alone holds the run folder, prints, looks and saves. The others wait for its orders and
take the same steps on their share of each batch. Whoever is told `END`, or loses another one, leaves.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor

from inkfish.errors import RunError
from inkfish.training.optimise import Step
from inkfish.training.optimizers import Optimizer

__all__ = ["ALONE", "END", "GATHER", "STEP", "Ranks", "Solo", "joined"]

END, READY, STEP, GATHER = range(4)
"""What process 0 tells: leave, go on with the preparation, take a step, gather the whole model."""
PATIENCE = timedelta(minutes=30)
"""How long a process waits for another one: longer than preparing data or looking at a model takes."""
LOST = (
    "gloo",
    "Connection",
    "connection",
    "Timed out",
    "timed out",
    "NCCL",
    "ncclRemoteError",
    "Broken pipe",
)
"""What torch's errors say when another process does not answer."""
Value = TypeVar("Value")


class LeaveError(Exception):
    """Process 0 has told this one to leave."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run."""

    rank: int
    """Its number."""
    size: int
    """How many there are."""

    @property
    def leads(self) -> bool:
        """Whether this is process 0, or the only one."""
        return self.rank == 0

    def send(self, order: int) -> None:
        """Tell the others, as process 0."""
        if self.size > 1:
            torch.distributed.broadcast(torch.tensor([order]), 0)

    def receive(self) -> int:
        """Wait for process 0 and return what it tells."""
        order = torch.zeros(1, dtype=torch.int64)
        torch.distributed.broadcast(order, 0)
        return int(order)

    def after_the_first(self, work: Callable[[], Value]) -> Value:
        """Return what `work` returns; it writes files that the others then find, so process 0 is first.

        Raises:
            LeaveError: process 0 has failed.
        """
        if not self.leads and self.receive() == END:
            raise LeaveError
        result = work()
        if self.leads:
            self.send(READY)
        return result

    def share(self, value: Value) -> Value:
        """Return process 0's value."""
        if self.size == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, 0, device=torch.device("cpu"))
        return values[0]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of all processes' values."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values


ALONE = Ranks(0, 1)
"""The only process."""


class Solo:
    """What `inkfish.training.parallel.Team` is where there is but one process."""

    gradients = None

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = self.saved = optimizer

    def lead(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Return the steps."""
        return steps

    def follow(self, steps: Iterator[Step]) -> None:
        """Never called."""
        raise AssertionError("a process alone follows nobody")

    def gather(self) -> None:
        """Do nothing: the model is whole."""

    def gathered_before(self, look: Callable[[], bool]) -> Callable[[], bool]:
        """Return the function."""
        return look


@contextmanager
def joined(environment: Mapping[str, str], *, patience: timedelta = PATIENCE) -> Iterator[Ranks]:
    """Join the processes that torchrun started, or be alone; who is told to leave skips the rest.

    Args:
        environment: has torchrun's RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
        patience: how long to wait for another process.

    Raises:
        RunError: another process has ended, or does not answer.
    """
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    import torch.distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(environment["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    ranks = Ranks(int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    with noticing_loss(ranks), suppress(LeaveError):
        torch.distributed.init_process_group(backend, timeout=patience)
        try:
            yield ranks
        except RuntimeError as error:
            if is_loss(error):
                atexit.register(
                    leave
                )  # taking the group down would wait for who is gone, now and then for ever
                raise
            part(ranks)
            raise
        except BaseException:
            part(ranks)
            raise
        part(ranks)


def part(ranks: Ranks) -> None:
    """Let the others leave, and take the group down."""
    with suppress(RuntimeError):  # the others may be gone
        if ranks.leads:
            ranks.send(END)
        torch.distributed.destroy_process_group()


def leave() -> None:
    """End the process at once, as the error it has told asks for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2)


def is_loss(error: RuntimeError) -> bool:
    """Whether torch says that another process does not answer."""
    return any(word in str(error) for word in LOST)


@contextmanager
def noticing_loss(ranks: Ranks) -> Iterator[None]:
    """Turn torch's error about a process that does not answer into one line.

    Raises:
        RunError: instead of it.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_loss(error):
            raise
        raise RunError(
            f"process {ranks.rank} of {ranks.size} has lost another one, which has ended or does not answer; "
            "start again: the run goes on from its last checkpoint"
        ) from None
