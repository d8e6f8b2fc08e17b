"""What all routes of the API share: the models, the mail, the counters, and whether the server is ending."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request

from inkfish.server.metrics import Metrics
from inkfish.server.models import How, Models
from inkfish.server.problems import RequestError
from inkfish.server.worker import Worker
from inkfish.server.writing import Mail, Writing, do_work

__all__ = ["Service"]

LOG = logging.getLogger("inkfish.server")
Value = TypeVar("Value")
BRIEF = 4096
"""Characters that are made into tokens at once; longer texts on another thread, so that others go on."""


class Service:
    """The models behind the API."""

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        runs: Path | None = None,
        how: How | None = None,
        died: Callable[[], None] = lambda: None,
    ) -> None:
        """Know some models; `open` loads the first.

        Args:
            sources: names of requests → names or folders.
            runs: a folder of runs, each of which is a model.
            how: models are run.
            died: called when a model's thread ends by an error of the program: the process should end.
        """
        self.mail = Mail()
        self.metrics = Metrics(self)
        self.died = died
        self.broken = False
        self.ready = False
        self.ending = False
        self.models = Models(
            sources, runs=runs, how=how or How(), hand_out=self.mail.hand_out, died=self.worker_died
        )
        self.closer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load the first model; on the event loop, before anything is asked."""
        self.mail.open()
        try:
            if self.models.first is not None:
                await self.models.worker(self.models.first)
        except Exception as error:
            LOG.error("%s", error)
            if error.__cause__ is not None:
                LOG.error("%s", error.__cause__)
            self.worker_died()
            raise
        self.ready = not self.ending

    def worker_died(self) -> None:
        """Note that a model's thread has ended, on that thread."""
        self.broken = True
        self.died()

    async def worker(self, name: str | None) -> Worker:
        """Return the worker of a model, of the first one for None.

        Raises:
            RequestError: there is no such model, no room for it, or the server is ending.
        """
        if self.ending:
            raise RequestError(503, "the server is shutting down", headers={"retry-after": "5"})
        if name is None:
            name = self.models.first or next(iter(self.models.names()), "starter")
        return await self.models.worker(name)

    def leave(self, seconds: float) -> None:
        """Begin to end: take nothing more, and cut off what has not ended after so long. From any thread."""
        self.ending, self.ready = True, False
        if self.mail.loop is not None:
            self.mail.loop.call_soon_threadsafe(self.begin_to_close, seconds)

    def begin_to_close(self, seconds: float) -> None:
        """Close in the background; on the event loop."""
        if self.closer is None:
            self.closer = asyncio.ensure_future(self.end_models(seconds))

    async def close(self) -> None:
        """End all models and wait for it."""
        self.ending, self.ready = True, False
        self.begin_to_close(0)
        assert self.closer is not None, "just made"
        await self.closer

    async def end_models(self, seconds: float) -> None:
        """End the models when nothing runs any more, or after so long."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while self.busy() and clock() < deadline:
            await asyncio.sleep(0.02)
        error = RequestError(503, "the server is shutting down", headers={"retry-after": "5"})
        await self.models.close(error)

    def busy(self) -> bool:
        """Whether any model has something to do."""
        return any(worker.load for worker in self.models.workers.values())

    async def prepared(self, length: int, build: Callable[[], Value]) -> Value:
        """Return what `build` makes of a text of so many characters, without holding others up."""
        return build() if length <= BRIEF else await asyncio.to_thread(build)

    async def while_wanted(self, request: Request, work: Coroutine[Any, Any, Value]) -> Value:
        """Return what some work gives; it is cancelled where the client goes away meanwhile.

        Raises:
            RequestError: the client has gone; nobody reads this.
        """
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(gone(request))
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise RequestError(499, "the client has gone")
        finally:
            for each in (task, watch):
                each.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    async def finish(self, request: Request, writing: Writing) -> None:
        """Wait until texts are written, as long as the client waits; their slots are free then."""
        try:
            await self.while_wanted(request, writing.finish())
            self.metrics.count(writing)
        finally:
            writing.close()

    async def do(self, request: Request, worker: Worker, work: Generator[Any]) -> list[Any]:
        """Return what some work on a model yields, as long as the client waits for it."""
        return await self.while_wanted(request, do_work(self.mail, worker, work))


async def gone(request: Request) -> None:
    """Wait until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
