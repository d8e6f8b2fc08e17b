"""Texts as a worker writes them, seen from the event loop: whole characters, stop strings held back."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from typing import Any

from inkfish.engine import Finish
from inkfish.generate import Draft
from inkfish.generate.jobs import Job
from inkfish.server.worker import Delivery, Ended, Happening, Raised, Ticket, Worker

__all__ = ["Mail", "Writing", "do_work"]


class Mail:
    """Brings what workers hand out, on their threads, to those who wait on the event loop."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.boxes: dict[Ticket, asyncio.Queue[list[Happening]]] = {}

    def open(self) -> None:
        """Begin to bring; on the event loop."""
        self.loop = asyncio.get_running_loop()

    def hand_out(self, deliveries: list[Delivery]) -> None:
        """Take what happened, on a worker's thread."""
        assert self.loop is not None, "workers start after the mail"
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.sort, deliveries)

    def sort(self, deliveries: list[Delivery]) -> None:
        """Put it where it is waited for."""
        for ticket, happenings in deliveries:
            box = self.boxes.get(ticket)
            if box is not None:
                box.put_nowait(happenings)

    def submit(self, worker: Worker, ticket: Ticket) -> asyncio.Queue[list[Happening]]:
        """Ask a worker for something and return where the answers come.

        Raises:
            RequestError: as `Worker.submit`.
        """
        worker.submit(ticket)
        box = self.boxes[ticket] = asyncio.Queue()
        return box

    def cancel(self, worker: Worker, ticket: Ticket) -> None:
        """Wait for a ticket no more."""
        if self.boxes.pop(ticket, None) is not None:
            worker.cancel(ticket)


class Writing:
    """The samples of one or several prompts. Close it, whatever happens: that frees the slots."""

    def __init__(self, mail: Mail, worker: Worker, jobs: Sequence[Job]) -> None:
        """Ask for the texts.

        Raises:
            RequestError: as `Worker.submit`.
        """
        self.mail, self.worker = mail, worker
        self.drafts = [
            Draft(
                worker.model.tokenizer,
                stop=job.stop,
                stop_ids=job.request.stop_ids,
                sentence_after=job.sentence_after,
                mask=job.mask,
            )
            for job in jobs
            for _ in range(job.n)
        ]
        self.open = len(self.drafts)
        self.ticket = Ticket(
            [dataclasses.replace(job.request, sample=i) for job in jobs for i in range(job.n)]
        )
        self.prompt_tokens = sum(len(job.request.prompt) for job in jobs)
        """Tokens of all prompts, each counted once."""
        self.firsts = [sum(job.n for job in jobs[:number]) for number in range(len(jobs))]
        """The first draft of each prompt."""
        self.first_token: float | None = None
        """Seconds until the first token."""
        self.began = time.monotonic()
        self.box = mail.submit(worker, self.ticket)

    @property
    def completion_tokens(self) -> int:
        """Tokens drawn so far."""
        return sum(draft.drawn for draft in self.drafts)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompts that did not have to be read."""
        return sum(self.drafts[number].reused for number in self.firsts)

    async def changes(self) -> AsyncIterator[Sequence[int]]:
        """Yield after each step the numbers of the drafts that have changed, until all have ended.

        Raises:
            Exception: what went wrong with one of them.
        """
        while self.open:
            yield list(self.take(await self.box.get()))

    def take(self, happenings: Sequence[Happening]) -> Iterator[int]:
        """Yield the numbers of drafts that change by what happened."""
        changed: dict[int, None] = {}
        for happening in happenings:
            if isinstance(happening, Raised):
                raise happening.error
            assert not isinstance(happening, Ended), "sequences end one by one"
            number, event = happening
            draft = self.drafts[number]
            if draft.finish_reason is not None:
                continue
            draft.take(event)
            changed[number] = None
            if self.first_token is None and draft.drawn:
                self.first_token = time.monotonic() - self.began
            if draft.finish_reason is not None:
                self.open -= 1
                if not isinstance(
                    event, Finish
                ):  # a stop string or the end of a sentence, which it found itself
                    self.worker.cancel(self.ticket, number)
        yield from changed

    async def finish(self) -> None:
        """Wait until all have ended."""
        async for _ in self.changes():
            pass

    def close(self) -> None:
        """Stop what still runs."""
        self.mail.cancel(self.worker, self.ticket)


async def do_work(mail: Mail, worker: Worker, work: Generator[Any]) -> list[Any]:
    """Return all that some work on the model yields.

    Raises:
        RequestError: as `Worker.submit`.
        Exception: what went wrong.
    """
    ticket = Ticket(work=work)
    box = mail.submit(worker, ticket)
    try:
        (happening,) = await box.get()
        if isinstance(happening, Raised):
            raise happening.error
        assert isinstance(happening, Ended), "work ends or fails"
        values: list[Any] = happening.value
        return values
    finally:
        mail.cancel(worker, ticket)
