"""A model on a thread of its own: requests come in from anywhere, what happens to them goes out by steps.

The engine belongs to this thread. Between two of its steps the thread takes what was submitted and cancelled
meanwhile, so a request that nobody waits for any more costs at most one further step; and it does a piece of
whatever else needs the model (scoring), so that nothing holds the others up for long.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from inkfish.engine import Engine, Event, Failed, Finish, Kept, Request
from inkfish.generate import LanguageModel
from inkfish.server.problems import RequestError

__all__ = ["Delivery", "Ended", "Raised", "Ticket", "Worker"]

KEPT = 32
"""Sequences that stay in memory after their end, so that those that begin alike read only what is new."""
SHARE = 0.02
"""Seconds that work beside the engine may take between two steps, before it has to wait for the next."""


@dataclass(frozen=True)
class Raised:
    """Work that went wrong, or that the end of the server cut short."""

    error: Exception


@dataclass(frozen=True)
class Ended:
    """Work that is done, with what it gave."""

    value: Any


@dataclass(eq=False)
class Ticket:
    """Something that was asked of a worker: sequences to continue, or other work, a generator."""

    requests: Sequence[Request] = ()
    """Sequences; events name them by their number."""
    work: Generator[Any] | None = None
    """Work in pieces; all that it yields is handed out at its end."""
    handles: list[int] = field(default_factory=list)
    """The engine's names for the sequences."""
    running: int = 0
    """Sequences that have not ended."""
    cancelled: bool = False
    """Whether nobody waits for it."""
    made: list[Any] = field(default_factory=list)
    """What the work has yielded."""


Happening = tuple[int, Event] | Ended | Raised
Delivery = tuple[Ticket, list[Happening]]


class Worker:
    """One model and its thread."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        hand_out: Callable[[list[Delivery]], None],
        died: Callable[[], None],
        slots: int | None = None,
        queue: int = 64,
    ) -> None:
        """Start the thread.

        Args:
            model: is this worker's alone from now on, but for its tokenizer and settings.
            hand_out: called on the thread after each step with what happened.
            died: called on the thread if it ends by an error of the program.
            slots: sequences that run at once; None is what the memory is good for.
            queue: requests that may wait beside as many running ones as there are slots.
        """
        self.model, self.hand_out, self.died = model, hand_out, died
        # Both keep texts the same where logits do not depend on how ids are split; `speculate` is on there.
        kept = Kept(model.backend, most=KEPT) if model.speculate else None
        self.engine = Engine(model.backend, slots=slots, kept=kept, speculate=model.speculate)
        self.capacity = self.engine.slots + queue
        self.lock = threading.Condition()
        self.orders: deque[Callable[[], None]] = deque()
        self.outstanding: set[Ticket] = set()
        self.owners: dict[int, tuple[Ticket, int]] = {}
        self.works: deque[Ticket] = deque()
        self.news: dict[Ticket, list[Happening]] = {}
        self.closing: Exception | None = None
        self.alive = True
        self.steps = 0
        self.used = time.monotonic()
        self.thread = threading.Thread(target=self.run, name=f"model {model.name}", daemon=True)
        self.thread.start()

    @property
    def load(self) -> int:
        """How many requests are running or waiting."""
        return len(self.outstanding)

    @property
    def sequences(self) -> tuple[int, int]:
        """How many sequences run and how many wait for a slot."""
        return len(self.engine.rows), len(self.engine.waiting)

    def submit(self, ticket: Ticket) -> None:
        """Ask for something, from any thread.

        Raises:
            RequestError: 429 if there is no room, 503 if the worker is ending.
        """
        with self.lock:
            if self.closing is not None or not self.alive:
                raise RequestError(503, "the server is shutting down", headers={"retry-after": "5"})
            if len(self.outstanding) >= self.capacity:
                raise RequestError(
                    429,
                    f"the server is busy with {self.capacity} requests; try again soon",
                    headers={"retry-after": "1"},
                )
            self.outstanding.add(ticket)
            self.order(lambda: self.begin(ticket))

    def cancel(self, ticket: Ticket, number: int | None = None) -> None:
        """End a ticket, or one of its sequences, from any thread; no-op after its end."""
        with self.lock:
            self.order(lambda: self.end(ticket, number))

    def close(self, error: Exception) -> None:
        """End the thread and everything that runs, telling it this error; from any thread, waits for it."""
        with self.lock:
            self.closing = error
            self.lock.notify()
        if threading.current_thread() is not self.thread:
            self.thread.join()

    def order(self, action: Callable[[], None]) -> None:
        """Have something done on the thread; to be called with the lock held."""
        self.orders.append(action)
        self.used = time.monotonic()
        self.lock.notify()

    def run(self) -> None:
        """Be the thread."""
        try:
            while self.wait():
                self.work()
                if self.engine.busy:
                    self.take(self.engine.step())
                    self.steps += 1
                self.tell()
            self.fail_all(self.closing or RuntimeError("the worker has ended"))
        except BaseException:
            self.alive = False
            with suppress(Exception):
                self.fail_all(RuntimeError("the thread of the model has ended"))
            self.died()
            raise
        finally:
            self.alive = False
            self.engine.close()
            if self.engine.kept is not None:
                self.engine.kept.close()

    def wait(self) -> bool:
        """Wait until there is something to do, and do what was ordered; False once it is time to end."""
        with self.lock:
            while not (self.orders or self.works or self.engine.busy or self.closing):
                self.lock.wait()
            orders, self.orders = self.orders, deque()
        for order in orders:
            order()
        return self.closing is None

    def begin(self, ticket: Ticket) -> None:
        """Hand a ticket's sequences to the engine, or put its work in the row."""
        if ticket.work is not None:
            self.works.append(ticket)
        for number, request in enumerate(ticket.requests):
            try:
                handle = self.engine.submit(request)
            except Exception as error:
                self.note(ticket, (number, Failed(error)))
                continue
            ticket.handles.append(handle)
            ticket.running += 1
            self.owners[handle] = ticket, number
        self.settle(ticket)

    def end(self, ticket: Ticket, number: int | None) -> None:
        """Cancel in the engine."""
        for handle in [h for h in ticket.handles if number in (None, self.owners.get(h, (ticket, -1))[1])]:
            self.engine.cancel(handle)
        if number is None:
            ticket.cancelled = True
            if ticket in self.works:
                self.works.remove(ticket)
                self.finish(ticket)

    def take(self, events: Sequence[tuple[int, Event]]) -> None:
        """Note what happened in a step."""
        for handle, event in events:
            ticket, number = self.owners[handle]
            self.note(ticket, (number, event))
            if isinstance(event, Finish | Failed):
                del self.owners[handle]
                ticket.running -= 1
                self.settle(ticket)

    def work(self) -> None:
        """Do some of the work that waits, each in its turn, for a short time."""
        until = time.monotonic() + SHARE
        while self.works and time.monotonic() < until:
            ticket = self.works.popleft()
            assert ticket.work is not None, "only work is put in the row"
            try:
                ticket.made.append(next(ticket.work))
                self.works.append(ticket)
            except StopIteration:
                self.note(ticket, Ended(ticket.made))
                self.finish(ticket)
            except Exception as error:
                self.note(ticket, Raised(error))
                self.finish(ticket)

    def note(self, ticket: Ticket, happening: Happening) -> None:
        """Remember what to tell, unless nobody listens."""
        if not ticket.cancelled:
            self.news.setdefault(ticket, []).append(happening)

    def settle(self, ticket: Ticket) -> None:
        """Forget a ticket all of whose sequences have ended."""
        if ticket.running == 0 and ticket not in self.works:
            self.finish(ticket)

    def finish(self, ticket: Ticket) -> None:
        """Forget a ticket."""
        if ticket.work is not None:
            ticket.work.close()  # frees its slot
        with self.lock:
            self.outstanding.discard(ticket)

    def tell(self) -> None:
        """Hand out what happened."""
        if self.news:
            self.hand_out(list(self.news.items()))
            self.news = {}

    def fail_all(self, error: Exception) -> None:
        """Tell everyone who waits that nothing more comes."""
        with self.lock:
            tickets = list(self.outstanding)
            self.outstanding.clear()
        for ticket in tickets:
            self.note(ticket, Raised(error))
        self.tell()
