"""What a training run shows: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from inkfish.config import ModelConfig
from inkfish.training.measure import Pace, duration, peak_memory

if TYPE_CHECKING:
    from inkfish.training.optimise import Step  # it needs torch, and labelling shows things too

__all__ = ["Display", "describe_shape", "display"]

PLAIN_SECONDS = 10.0
"""Where there is no terminal, a line stands for at least so long."""


class Display:
    """Shows steps and says things."""

    def __init__(self, live: Progress | None = None, *, quiet: bool = False) -> None:
        self.live, self.pace, self.quiet = live, Pace(), quiet
        self.task: TaskID | None = None
        self.validation: float | None = None
        self.shown_at = float("-inf")

    def say(self, text: str) -> None:
        """Print a line, above the live one."""
        if self.quiet:
            return
        if self.live is None:
            print(text, flush=True)
        else:
            self.live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, step: Step, steps: int) -> None:
        """Show a step: loss, validation, speed, time to go, memory."""
        self.pace.add(step.tokens, step.seconds)
        if step.skipped:
            self.say(
                f"step {step.number:,} skipped: loss {step.loss}, gradient {step.grad_norm} on {step.batch}"
            )
        text = self.line(step, steps)
        if self.live is not None:
            if self.task is None:
                self.task = self.live.add_task("", total=steps)
            self.live.update(self.task, completed=step.number, description=text)
        elif time.monotonic() - self.shown_at >= PLAIN_SECONDS or step.number == steps:
            self.shown_at = time.monotonic()
            self.say(text)

    def line(self, step: Step, steps: int) -> str:
        """Return the progress line."""
        validation = "" if self.validation is None else f", validation {self.validation:.3f} bits/byte"
        return (
            f"step {step.number:,} of {steps:,}: loss {step.loss:.3f}{validation}, lr {step.lr:.1e}, "
            f"{self.pace.tokens_per_second:,.0f} tokens/s, "
            f"{duration(self.pace.remaining(steps - step.number))} to go, {peak_memory() / 2**30:.1f} GiB"
        )


@contextmanager
def display() -> Iterator[Display]:
    """Yield a display, live if standard output is a terminal."""
    console = Console()
    if not console.is_terminal:
        yield Display()
        return
    with Progress(BarColumn(24), TextColumn("{task.description}", markup=False), console=console) as live:
        yield Display(live)


def describe_shape(shape: ModelConfig) -> str:
    """Return a shape for people."""
    size = f"{shape.n_layer} layers, {shape.n_head} heads, {shape.n_embd} channels"
    return f"{size}, context {shape.n_positions}, vocabulary {shape.vocab_size:,}"
