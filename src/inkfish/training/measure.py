"""What a run costs: memory, tokens a second, time to go."""

from __future__ import annotations

import resource
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

__all__ = ["Pace", "duration", "peak_memory"]


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had resident.

    Linux's own record is asked first: the one of getrusage begins with what the parent process had.
    """
    with suppress(OSError):
        fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Pace:
    """Speed over the last steps."""

    def __init__(self, window: int = 50) -> None:
        self.steps: deque[tuple[int, float]] = deque(maxlen=window)

    def add(self, tokens: int, seconds: float) -> None:
        """Note a step."""
        self.steps.append((tokens, seconds))

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second over the window; 0 before the first step."""
        seconds = sum(seconds for _, seconds in self.steps)
        return sum(tokens for tokens, _ in self.steps) / seconds if seconds else 0.0

    def remaining(self, steps: int) -> float:
        """Return the seconds that `steps` more steps take at this pace."""
        return steps * sum(seconds for _, seconds in self.steps) / max(1, len(self.steps))


def duration(seconds: float) -> str:
    """Return a time as "3 s", "12 min" or "2 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
