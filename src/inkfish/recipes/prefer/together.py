"""Several processes on one run of preference learning, as torchrun starts them: who does what.

    torchrun --nproc-per-node 8 -m inkfish prefer optimize stories/ --reward runs/reward --out runs/policy

Each process writes and scores its share of an update's responses, then all have all of them, so that
whitening spans the whole update; each computes its share of every step's micro-batches (`training.parallel`).
Process 0 alone holds the folder, asks the guards, prints and saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from inkfish.errors import InkfishError, RunError, SettingError
from inkfish.model import GPT2
from inkfish.recipes.display import Display, display
from inkfish.training.optimise import Count, Loss
from inkfish.training.optimizers import Optimizer
from inkfish.training.ranks import Ranks, Solo
from inkfish.training.run import Run, forget, locked
from inkfish.training.signals import Stop

if TYPE_CHECKING:
    from inkfish.training.parallel import Team

__all__ = ["all_or_none", "check_shares", "gathered", "led", "run_folder", "team_of"]

Value = TypeVar("Value")


@contextmanager
def run_folder(folder: Path, ranks: Ranks, *, fresh: bool) -> Iterator[Display]:
    """Hold the run folder and yield what shows the run; for all but process 0, one that shows nothing.

    Raises:
        RunError: another process holds it, or it can't be made.
    """
    if not ranks.leads:
        yield Display(quiet=True)
        return
    with locked(folder), display() as screen:
        if fresh:
            forget(folder)
        yield screen


def check_shares(ranks: Ranks, **parts: int) -> None:
    """Refuse numbers that the processes can't share equally.

    Raises:
        SettingError: which one.
    """
    for name, count in parts.items():
        if count % ranks.size:
            raise SettingError(
                f"{name} is {count}, which {ranks.size} processes can't share equally; make it a multiple of "
                f"{ranks.size}",
                param=name,
            )


def led(ranks: Ranks, work: Callable[[], object]) -> None:
    """Let process 0 do something that may fail, while the others wait; all leave where it does."""
    ranks.after_the_first(lambda: work() if ranks.leads else None)


def all_or_none(ranks: Ranks, work: Callable[[], Value]) -> Value:
    """Return what `work` gives in this process; where it fails in one, all of them stop.

    Raises:
        RunError: with the words of the process that failed; alone, what `work` raises.
    """
    if ranks.size == 1:
        return work()
    done: list[Value] = []
    why = None
    try:
        done.append(work())
    except InkfishError as error:
        why = str(error)
    for words in gathered(ranks, [why]):
        if words is not None:
            raise RunError(words)
    return done[0]


def gathered(ranks: Ranks, mine: Sequence[Value]) -> list[Value]:
    """Return what all processes have, in their order."""
    if ranks.size == 1:
        return list(mine)
    found: list[Sequence[Value]] = [[]] * ranks.size
    torch.distributed.all_gather_object(found, list(mine))
    return [value for part in found for value in part]


def team_of(
    ranks: Ranks,
    trunk: GPT2,
    trained: nn.Module,
    optimizer: Optimizer,
    here: Run,
    *,
    loss: Loss,
    count: Count,
    stop: Stop,
    seed: int,
    precision: str = "float32",
) -> Team | Solo:
    """Bring all processes to where process 0 is, and return them.

    Args:
        ranks: this process.
        trunk: the language model.
        trained: that with its head.
        optimizer: of `trained`.
        here: the run, resumed by process 0.
        loss: of a batch, with `trunk` in front.
        count: what losses are divided by.
        stop: asks for an early end.
        seed: of the run.
        precision: of matrix products.
    """
    if ranks.size == 1:
        return Solo(optimizer)
    from inkfish.training.parallel import Team  # here: it takes a second

    here.progress = ranks.share(here.progress)
    return Team(
        ranks,
        trunk,
        trained,
        optimizer,
        make=lambda _: optimizer,
        loss=loss,
        count=count,
        precision=precision,
        stop=stop,
        seed=seed,
        start=here.progress.step,
        sharded=False,
    )
