"""Slots that outlive their sequences: one that begins alike reads only what is new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Backend

__all__ = ["Kept", "Lent", "Marks", "common", "marks"]

BUDGET = 512 << 20
"""Bytes that kept caches may fill by default."""
PAGE = 128
"""Positions that caches are counted in; the native back end has pages of so many."""

Marks = NDArray[np.int64]
"""What tells a beginning from another: for each position one number made of id and segment (T,)."""


class Lent(NamedTuple):
    """A slot to go on with."""

    slot: int
    length: int
    """How many ids of the new sequence it holds already."""


class Kept:
    """The slots of the last sequences that ended: turns of a chat, prompts that begin alike, their versions.

    Of several the least recently used go first. Belongs to one back end; may be handed to one engine after
    another. Back ends whose logits depend on how ids were split into calls (`inkfish.backends`) may round
    otherwise than without it; the native one gives the same bits.
    """

    def __init__(self, backend: Backend, *, most: int = 1, budget: int = BUDGET) -> None:
        """Begin with nothing kept.

        Args:
            backend: where the slots are.
            most: how many slots are kept, 1 or more.
            budget: bytes of keys and values that they may hold together, were nothing shared; a sequence
                that is larger by itself is kept alone.
        """
        assert most >= 1, "at least one slot is kept"
        self.backend, self.most, self.budget = backend, most, budget
        self.reused = 0
        """How many tokens the last sequence did not have to read."""
        self._marks: dict[int, Marks] = {}  # of each kept slot, the least recently used first

    def lend(self, ids: Sequence[int], segments: Sequence[int] | None) -> Lent:
        """Return a new slot that holds the longest kept beginning of the sequence.

        At least one id is left to be read: logits come of reading. The slot is the borrower's until it is
        given back; what it was copied from stays.
        """
        wanted = marks(ids, segments)[:-1]
        slot = self.backend.allocate()
        self.reused, source = longest(wanted, self._marks.items())
        if source is None:
            return Lent(slot, 0)
        self._marks[source] = self._marks.pop(source)
        try:
            self.backend.copy(source, slot, self.reused)
        except MemoryError:  # the sequence that runs is worth more than all that ended
            self.close()
            self.reused = 0
        return Lent(slot, self.reused)

    def give_back(self, slot: int, ids: Sequence[int], segments: Sequence[int] | None) -> None:
        """Keep a slot that holds these ids, in place of those that hold a beginning of it only."""
        held = marks(ids, segments)
        self.backend.truncate(slot, len(held))  # an interrupt may have come between reading and counting
        length, source = longest(held, self._marks.items())
        if length == len(held):  # nothing new, or nothing at all
            self.backend.free(slot)
            if source is not None:
                self._marks[source] = self._marks.pop(source)
            return
        for other, theirs in [*self._marks.items()]:
            if common(held, theirs) == len(theirs):
                self.drop(other)
        self._marks[slot] = held
        while len(self._marks) > self.most or (len(self._marks) > 1 and self.size > self.budget):
            self.drop(next(iter(self._marks)))

    @property
    def size(self) -> int:
        """Bytes of keys and values in the kept slots, counted as if none were shared."""
        config = self.backend.config
        width = 4 if self.backend.dtype == "float32" else 2
        pages = sum(-(-len(held) // PAGE) for held in self._marks.values())
        return 2 * config.n_layer * config.n_embd * width * PAGE * pages

    def drop(self, slot: int) -> None:
        """Free a kept slot."""
        del self._marks[slot]
        self.backend.free(slot)

    def close(self) -> None:
        """Free the memory."""
        for slot in [*self._marks]:
            self.drop(slot)


def marks(ids: Sequence[int], segments: Sequence[int] | None) -> Marks:
    """Return what tells ids with their segments from others (T,)."""
    numbers = np.asarray(ids, np.int64) << 32
    if segments is not None:
        numbers = numbers + np.asarray(segments, np.int64) + 1
    return numbers


def common(first: Marks, second: Marks) -> int:
    """Return how long a beginning two sequences share."""
    length = min(len(first), len(second))
    differing = first[:length] != second[:length]
    return int(differing.argmax()) if differing.any() else length


def longest(wanted: Marks, held: Iterable[tuple[int, Marks]]) -> tuple[int, int | None]:
    """Return how much of a sequence is held at most, and by which slot; of equals by the last one."""
    best, source = 0, None
    for slot, theirs in held:
        length = common(wanted, theirs)
        if length and length >= best:
            best, source = length, slot
    return best, source
