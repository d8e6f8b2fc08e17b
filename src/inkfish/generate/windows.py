"""How a text longer than the context is scored: windows that move on, each id scored once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Window", "windows"]


class Window(NamedTuple):
    """A part of a long sequence that fits the context."""

    start: int
    """Index of its first id."""
    stop: int
    """Index after its last id; ids[start + 1 : stop] can be predicted."""
    first: int
    """Index of the first id that this window scores; those before it are context."""


def windows(length: int, context: int, stride: int) -> Iterator[Window]:
    """Cut a sequence of `length` ids into windows that together score all but the first id, each once.

    A window predicts up to `context` ids, one after each id that it reads. With stride = context no window
    overlaps another; with a smaller one each id but the first few has at least context - stride ids before
    it.
    """
    scored = 1
    start = 0
    while scored < length:
        stop = min(start + context + 1, length)
        yield Window(start, stop, scored)
        scored = stop
        start += stride
