"""Stopping politely: the first SIGINT or SIGTERM asks, the second one ends the process at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["SIGNALS", "Stop", "stop_on_signals"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Those that ask to stop."""


class Stop:
    """Whether someone asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def name(self) -> str:
        """Name of the signal, such as "SIGINT"."""
        return self.signal.name if self.signal is not None else ""


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM inside the block into `stop`; the second has its usual effect.

    Outside the main thread, where Python allows no handlers, nothing changes.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = signal.Signals(number)
        for other in SIGNALS:
            signal.signal(other, signal.SIG_DFL)

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
