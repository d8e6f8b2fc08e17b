"""A request that has a slot, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inkfish.engine.choice import Logits
from inkfish.engine.lookup import Lookup
from inkfish.engine.requests import Request

__all__ = ["Row"]


@dataclass
class Row:
    """A request that has a slot. The slot holds ids[start:fed]."""

    handle: int
    request: Request
    slot: int
    ids: list[int]
    segments: list[int] | None
    start: int = 0
    fed: int = 0
    reading: bool = True
    """Whether its prompt (or window, after sliding) is being read; if not, its last id is still to be fed."""
    begun: bool = False
    """Whether any of its prompt was read, or it was settled what need not be."""
    key: Any = None
    """Equal for rows of equal prompts; None after sliding."""
    first: Logits | None = None
    """The logits after the prompt, for later samples of the same prompt."""
    lookup: Lookup | None = None
    """Where guesses come from; None without them."""

    @property
    def held(self) -> int:
        """How many ids the slot holds."""
        return self.fed - self.start

    @property
    def last_segment(self) -> int | None:
        """The segment of what is generated."""
        return None if self.segments is None else self.segments[-1]

    def room(self, context: int) -> int:
        """Return how many tokens may follow the next one before the row ends or slides."""
        left = self.request.max_tokens - (len(self.ids) - len(self.request.prompt))
        return min(left, context - self.held) - 1

    def past(self, begin: int, end: int) -> tuple[list[int], Sequence[int] | None]:
        """Return some of its ids with their segments."""
        return self.ids[begin:end], None if self.segments is None else self.segments[begin:end]
