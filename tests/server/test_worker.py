"""The model's own thread: orders between steps, one failure alone, no more than there is room for."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inkfish
from inkfish.backends import Backend
from inkfish.config import ModelConfig
from inkfish.engine import Engine, Failed, Finish, Request, Token
from inkfish.generate import LanguageModel
from inkfish.sampling import Sampling
from inkfish.server.problems import RequestError
from inkfish.server.worker import Delivery, Ended, Raised, Ticket, Worker


class Watched:
    """A back end that notes which slots are decoded, waits at a gate, and fails where it is told to."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.decoded: list[list[int]] = []
        self.gate = threading.Semaphore(0)
        self.open = True
        self.bad: int | None = None
        self.free_slots: list[int] = []

    @property
    def config(self) -> ModelConfig:
        return self.inner.config

    @property
    def dtype(self) -> str:
        return self.inner.dtype

    def allocate(self) -> int:
        return self.inner.allocate()

    def length(self, slot: int) -> int:
        return self.inner.length(slot)

    def prefill(self, slot: int, ids: Sequence[int], *rest: Any, **named: Any) -> NDArray[np.float32]:
        return self.inner.prefill(slot, ids, *rest, **named)

    def decode(self, slots: Sequence[int], ids: Sequence[int], *rest: Any) -> NDArray[np.float32]:
        if not self.open:
            self.gate.acquire(timeout=10)
        self.decoded.append(list(slots))
        if self.bad in ids:
            raise RuntimeError("a bad token")
        return self.inner.decode(slots, ids, *rest)

    def copy(self, source: int, target: int, length: int) -> None:
        self.inner.copy(source, target, length)

    def truncate(self, slot: int, length: int) -> None:
        self.inner.truncate(slot, length)

    def free(self, slot: int) -> None:
        self.free_slots.append(slot)
        self.inner.free(slot)


class Post:
    """Collects what a worker hands out."""

    def __init__(self) -> None:
        self.came: list[Delivery] = []
        self.dead = threading.Event()

    def of(self, ticket: Ticket) -> list[Any]:
        return [each for owner, happenings in self.came for each in happenings if owner is ticket]

    def tokens(self, ticket: Ticket, number: int = 0) -> list[int]:
        events = (each for each in self.of(ticket) if isinstance(each, tuple) and each[0] == number)
        return [event.id for _, event in events if isinstance(event, Token)]


def until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def settled(worker: Worker) -> bool:
    """Whether nobody waits any more and all have been told: a ticket is forgotten first."""
    return worker.load == 0 and not worker.news


Start = Callable[..., tuple[Worker, Watched, Post]]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    workers: list[tuple[Worker, Watched]] = []

    def begin(*, slots: int = 4, queue: int = 8, open: bool = True) -> tuple[Worker, Watched, Post]:
        model = inkfish.load(folder, backend="reference")
        backend, post = Watched(model.backend), Post()
        backend.open = open
        model.backend = backend
        worker = Worker(model, hand_out=post.came.extend, died=post.dead.set, slots=slots, queue=queue)
        workers.append((worker, backend))
        return worker, backend, post

    yield begin
    for worker, backend in workers:
        backend.open = True
        backend.gate.release(100)
        worker.close(RuntimeError("the test is over"))
        assert not worker.thread.is_alive()


def endless(seed: int = 1, prompt: Sequence[int] = (40, 41)) -> Request:
    return Request(prompt, 10**6, Sampling(logit_bias={0: -100}), seed=seed, slide=True)


def brief(seed: int, prompt: Sequence[int] = (40, 41), n: int = 12) -> Request:
    return Request(prompt, n, seed=seed)


def alone(model: LanguageModel, request: Request) -> list[int]:
    events = Engine(model.backend).run([request])
    return [event.id for _, event in events if isinstance(event, Token)]


def test_many_tickets_write_what_the_engine_alone_writes(start: Start, folder: Path) -> None:
    worker, _, post = start(slots=3, queue=30)
    tickets = [Ticket([brief(i, [40 + i], n=5 + i % 7), brief(i + 100, [41])]) for i in range(20)]
    for ticket in tickets:
        worker.submit(ticket)
    until(lambda: settled(worker))
    model = inkfish.load(folder, backend="reference")
    for ticket in tickets:
        for number, request in enumerate(ticket.requests):
            assert post.tokens(ticket, number) == alone(model, request)


@pytest.mark.parametrize("repeats", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_request_amid_others_always_writes_the_same(
    start: Start, repeats: int, temperature: float
) -> None:
    worker, _, post = start(slots=16, queue=5 * repeats)
    chance = random.Random(1)
    sampling = Sampling(temperature=temperature)
    same = [Ticket([Request((40, 41), 12, sampling, seed=7)]) for _ in range(repeats)]
    for ticket in same:
        for _ in range(chance.randrange(3)):
            prompt = [chance.randrange(1, 261) for _ in range(chance.randint(1, 20))]
            worker.submit(Ticket([brief(chance.randrange(1000), prompt, n=chance.randint(1, 20))]))
        worker.submit(ticket)
    other = Ticket([Request((40, 41), 12, Sampling(), seed=8)])
    worker.submit(other)
    until(lambda: settled(worker), seconds=120)
    written: dict[Ticket, list[int]] = {ticket: [] for ticket in (*same, other)}
    for owner, happenings in post.came:
        tokens = [each[1].id for each in happenings if isinstance(each, tuple) and isinstance(each[1], Token)]
        written.setdefault(owner, []).extend(tokens)
    assert len({tuple(written[ticket]) for ticket in same}) == 1
    assert written[other] != written[same[0]], "another seed would be noticed"


def test_a_short_request_that_comes_later_ends_first(start: Start, folder: Path) -> None:
    worker, _, post = start(slots=2)
    five_hundred = dataclasses.replace(endless(), max_tokens=500)
    long, short = Ticket([five_hundred]), Ticket([brief(5)])
    worker.submit(long)
    until(lambda: len(post.tokens(long)) >= 10)
    worker.submit(short)
    until(lambda: any(isinstance(each, tuple) and isinstance(each[1], Finish) for each in post.of(short)))
    assert worker.load == 1
    assert len(post.tokens(long)) < 500
    until(lambda: settled(worker), seconds=60)
    model = inkfish.load(folder, backend="reference")
    assert post.tokens(short) == alone(model, brief(5))
    assert post.tokens(long) == alone(model, five_hundred)


def test_a_cancelled_request_costs_at_most_one_more_step(start: Start) -> None:
    worker, backend, post = start(slots=2, open=False)
    dying, living = Ticket([endless(1)]), Ticket([endless(2)])
    worker.submit(dying)
    worker.submit(living)
    for _ in range(8):
        backend.gate.release()
    until(lambda: len(backend.decoded) == 8 and len(post.tokens(living)) >= 7)
    (slot,) = {row.slot for row in worker.engine.rows.values() if row.request.seed == 1}
    seen = sum(slot in slots for slots in backend.decoded)
    worker.cancel(dying)
    backend.gate.release(5)
    until(lambda: len(backend.decoded) == 13)
    assert sum(slot in slots for slots in backend.decoded) <= seen + 1
    assert slot in backend.free_slots
    assert worker.load == 1


def test_two_hundred_that_go_cost_at_most_one_more_step_each(start: Start) -> None:
    worker, backend, _ = start(slots=201, queue=0, open=False)
    living, *dying = [Ticket([endless(seed)]) for seed in range(201)]
    for ticket in (living, *dying):
        worker.submit(ticket)
    backend.gate.release(3)
    until(lambda: len(backend.decoded) == 3 and worker.sequences == (201, 0))
    slots = {row.request.seed: row.slot for row in worker.engine.rows.values()}
    for ticket in dying:
        worker.cancel(ticket)
    backend.gate.release(5)
    until(lambda: len(backend.decoded) == 8)
    later = backend.decoded[3:]
    for seed in range(1, 201):
        assert sum(slots[seed] in decoded for decoded in later) <= 1
    assert later[1:] == [[slots[0]]] * 4
    assert worker.load == 1


def test_what_waits_can_be_cancelled_too(start: Start) -> None:
    worker, _, post = start(slots=1)
    running, waiting = Ticket([endless()]), Ticket([endless(2)])
    worker.submit(running)
    worker.submit(waiting)
    until(lambda: worker.sequences == (1, 1))
    worker.cancel(waiting)
    until(lambda: worker.load == 1)
    assert not post.tokens(waiting)
    worker.cancel(running)
    until(lambda: worker.sequences == (0, 0) and worker.load == 0)


def test_one_sequence_of_a_ticket_can_be_cancelled(start: Start) -> None:
    worker, _, post = start()
    ticket = Ticket([endless(1), brief(2)])
    worker.submit(ticket)
    until(lambda: len(post.tokens(ticket, 0)) > 3)
    worker.cancel(ticket, 0)
    until(lambda: settled(worker))
    assert len(post.tokens(ticket, 1)) == 12


def test_exactly_slots_and_queue_are_taken(start: Start) -> None:
    worker, _, post = start(slots=2, queue=3)
    tickets = [Ticket([endless(i)]) for i in range(40)]
    taken, refused = [], []

    def ask(ticket: Ticket) -> None:
        try:
            worker.submit(ticket)
            taken.append(ticket)
        except RequestError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(ticket,)) for ticket in tickets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (5, 35)
    assert {(error.status, error.headers["retry-after"]) for error in refused} == {(429, "1")}
    until(lambda: worker.sequences == (2, 3))
    first = [ticket for ticket in taken if post.tokens(ticket)]
    worker.cancel(first[0])
    until(lambda: worker.load == 4)
    worker.submit(Ticket([brief(1)]))
    for ticket in taken:
        worker.cancel(ticket)
    until(lambda: settled(worker))


def test_one_failing_request_fails_alone(start: Start, folder: Path) -> None:
    worker, backend, post = start()
    model = inkfish.load(folder, backend="reference")
    good, bad = brief(3), brief(4, [60])
    backend.bad = next(i for i in alone(model, bad)[:-1] if i not in alone(model, good))
    tickets = [Ticket([good]), Ticket([bad])]
    for ticket in tickets:
        worker.submit(ticket)
    until(lambda: settled(worker))
    assert post.tokens(tickets[0]) == alone(model, good)
    (failure,) = [each[1] for each in post.of(tickets[1]) if isinstance(each[1], Failed)]
    assert str(failure.error) == "a bad token"
    again = Ticket([good])
    worker.submit(again)
    until(lambda: len(post.tokens(again)) == 12)


def test_a_request_that_the_engine_refuses_fails_alone(start: Start) -> None:
    worker, _, post = start()
    ticket = Ticket([Request([], 5), brief(1)])
    worker.submit(ticket)
    until(lambda: settled(worker))
    assert isinstance(post.of(ticket)[0][1], Failed)
    assert len(post.tokens(ticket, 1)) == 12


def test_other_work_is_done_beside_writing(start: Start) -> None:
    worker, _, post = start()
    closed = threading.Event()

    def work(n: int) -> Generator[int]:
        try:
            for i in range(n):
                time.sleep(0.005)
                yield i
            if n == 3:
                raise ValueError("three")
        finally:
            closed.set()

    writing, counting, failing = Ticket([endless()]), Ticket(work=work(30)), Ticket(work=work(3))
    for ticket in (writing, counting, failing):
        worker.submit(ticket)
    until(lambda: bool(post.of(counting) and post.of(failing)))
    assert worker.load == 1
    assert post.of(counting) == [Ended(list(range(30)))]
    (raised,) = post.of(failing)
    assert isinstance(raised, Raised)
    assert str(raised.error) == "three"
    assert len(post.tokens(writing)) >= 5
    closed.clear()
    gone = Ticket(work=work(10**6))
    worker.submit(gone)
    worker.cancel(gone)
    until(lambda: worker.load == 1)
    worker.cancel(writing)


def test_closing_tells_everyone_who_waits(start: Start) -> None:
    worker, _, post = start(slots=1)
    tickets = [Ticket([endless(1)]), Ticket([endless(2)])]
    for ticket in tickets:
        worker.submit(ticket)
    until(lambda: bool(post.tokens(tickets[0])))
    end = RequestError(503, "over")
    worker.close(end)
    assert [post.of(ticket)[-1] for ticket in tickets] == [Raised(end), Raised(end)]
    with pytest.raises(RequestError, match="shutting down"):
        worker.submit(Ticket([brief(1)]))
    assert not post.dead.is_set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_tells_everyone_and_the_server(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, _, post = start()
    ticket = Ticket([endless()])
    worker.submit(ticket)
    until(lambda: bool(post.tokens(ticket)))

    def broken() -> None:
        raise AssertionError("the engine is broken")

    monkeypatch.setattr(worker.engine, "step", broken)
    assert post.dead.wait(5)
    assert isinstance(post.of(ticket)[-1], Raised)
    assert not worker.alive
    with pytest.raises(RequestError, match="shutting down"):
        worker.submit(Ticket([brief(1)]))
