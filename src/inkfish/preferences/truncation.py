"""Where a response ends for its reader: after the first such token that does not come too early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Truncation"]


@dataclass(frozen=True)
class Truncation:
    """One rule for sampling, labels, scoring and training (Ziegler et al. 2019, section 3.1.1)."""

    token: int
    """Ends the response, and stays in it."""
    not_before: int = 0
    """Index in the response before which the token does not count."""
    penalty: float = -1.0
    """The score of a response without such a token, in place of the reward."""

    def end(self, response: Sequence[int]) -> int | None:
        """Return how many tokens the reader sees, None where the token does not come."""
        for index in range(self.not_before, len(response)):
            if response[index] == self.token:
                return index + 1
        return None

    def cut(self, response: Sequence[int]) -> list[int]:
        """Return what the reader sees: all of it where the token does not come."""
        return list(response[: self.end(response)])
