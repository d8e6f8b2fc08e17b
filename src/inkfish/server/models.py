"""The models that a server has: loaded when first asked for, as many at once as the memory budget holds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inkfish.errors import InkfishError, ModelError
from inkfish.generate import load
from inkfish.server.problems import RequestError
from inkfish.server.worker import Delivery, Worker
from inkfish.weights import facts, hub, read

__all__ = ["Entry", "How", "Models", "half_of_memory", "named"]

FRESH = 1.0
"""Seconds for which a model's files are taken to be as they were when somebody last looked."""
BYTES = {None: 4, "float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int4": 1}


@dataclass(frozen=True)
class Entry:
    """A model that can be asked for."""

    name: str
    """As requests call it."""
    source: str
    """As `inkfish.load` calls it: a name or a folder."""
    files: tuple[tuple[str, int, int], ...]
    """Names, times of change (ns) and sizes of its files: other ones, and it is loaded anew."""

    @property
    def created(self) -> int:
        """When its folder was last changed, in seconds since 1970."""
        return max((time for _, time, _ in self.files), default=0) // 10**9


@dataclass(frozen=True)
class How:
    """How models are run."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `inkfish.load`: backend, dtype, threads."""
    slots: int | None = None
    """Sequences at once."""
    queue: int = 64
    """Requests that may wait."""
    memory: int = 0
    """Bytes that all models together may take; 0 is half of the machine's."""


class Models:
    """Names → workers, one for each folder whatever its names. All methods belong to the event loop."""

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        runs: Path | None,
        how: How,
        hand_out: Callable[[list[Delivery]], None],
        died: Callable[[], None],
    ) -> None:
        """Know some models, without loading any.

        Args:
            sources: names of requests → names or folders; the first one is loaded at the start.
            runs: a folder of runs, each of which is a model of its name.
            how: they are run.
            hand_out: as for `Worker`.
            died: as for `Worker`.
        """
        self.sources, self.runs, self.how = dict(sources), runs, how
        self.hand_out, self.died = hand_out, died
        self.budget = how.memory or half_of_memory()
        self.workers: dict[str, Worker] = {}
        """By the model's source."""
        self.sizes: dict[str, int] = {}
        self.loaded: dict[str, Entry] = {}
        self.looked: dict[str, tuple[float, Entry]] = {}
        """Entries by name, and when they were made."""
        self.loading = asyncio.Lock()
        self.closed = False

    @property
    def first(self) -> str | None:
        """The model that stands for a server which has several, if there is one."""
        return next(iter(self.sources), None)

    def names(self) -> list[str]:
        """Return the names of all models that can be asked for now."""
        runs = sorted(self.runs.iterdir()) if self.runs is not None and self.runs.is_dir() else []
        written = [run.name for run in runs if (run / "last").is_file() or (run / "best").is_file()]
        return [*self.sources, *(name for name in written if name not in self.sources)]

    def entry(self, name: str) -> Entry:
        """Return the model of that name, as it lies on the disk; looks there once in a second at most.

        Raises:
            RequestError: there is none.
        """
        now = time.monotonic()
        when, entry = self.looked.get(name, (-FRESH, None))
        if entry is None or now - when >= FRESH:
            entry = self.look(name)
            self.looked[name] = now, entry
        return entry

    def look(self, name: str) -> Entry:
        """Return the model of that name as it lies on the disk now.

        Raises:
            RequestError: there is none.
        """
        if name in self.sources:
            return Entry(name, self.sources[name], files_of(self.sources[name]))
        known = self.names()
        if name in known:
            assert self.runs is not None, "this name is a run's"
            return Entry(name, str(self.runs / name), files_of(str(self.runs / name)))
        raise RequestError(
            404,
            f"there is no model of this name here; there is: {', '.join(known) or 'none'}",
            param="model",
            code="model_not_found",
        )

    async def worker(self, name: str) -> Worker:
        """Return a model's worker, loading it first if need be.

        Raises:
            RequestError: there is no such model, or no memory for it, or the server is ending.
        """
        entry = self.entry(name)
        if self.is_current(entry):
            return self.workers[entry.source]
        async with self.loading:
            if self.closed:
                raise RequestError(503, "the server is shutting down", headers={"retry-after": "5"})
            if not self.is_current(entry):
                await self.load(entry)
            return self.workers[entry.source]

    def is_current(self, entry: Entry) -> bool:
        """Whether a model is loaded as it is on the disk now; one with work to do stays as it is."""
        worker = self.workers.get(entry.source)
        if worker is None or not worker.alive:
            return False
        return self.loaded[entry.source].files == entry.files or worker.load > 0

    async def load(self, entry: Entry) -> None:
        """Load a model, after idle ones have made room for it."""
        old = self.workers.pop(entry.source, None)
        if old is not None:
            await asyncio.to_thread(old.close, gone())
        try:
            size = await asyncio.to_thread(self.size, entry.source)
            await self.make_room(size)
            model = await asyncio.to_thread(load, entry.source, **self.how.options)
        except (InkfishError, OSError) as error:
            raise RequestError(
                400, f"the model {entry.name} can't be loaded: {reason(error, entry)}", param="model"
            ) from error
        self.workers[entry.source] = Worker(
            model,
            hand_out=self.hand_out,
            died=self.died,
            slots=self.how.slots,
            queue=self.how.queue,
        )
        self.sizes[entry.source], self.loaded[entry.source] = size, entry

    def size(self, source: str) -> int:
        """Return about how many bytes a model takes: its weights and one full cache."""
        config = read(hub.find(source)).config
        return facts.memory_to_write(config, bytes_per_weight=BYTES[self.how.options.get("dtype")])

    async def make_room(self, size: int) -> None:
        """Unload models that nobody uses, the longest unused first, until another one fits.

        Raises:
            RequestError: it does not, or not now.
        """
        if size > self.budget:
            raise RequestError(
                400,
                f"this model takes {size / 2**30:.1f} GiB and all together may take "
                f"{self.budget / 2**30:.1f}; start the server with more --memory",
                param="model",
                code="model_too_large",
            )
        while sum(self.sizes[source] for source in self.workers) + size > self.budget:
            idle = [source for source, worker in self.workers.items() if worker.load == 0]
            if not idle:
                raise RequestError(
                    503,
                    "other models are at work and leave no memory for this one; try again soon",
                    headers={"retry-after": "5"},
                )
            oldest = min(idle, key=lambda source: self.workers[source].used)
            await asyncio.to_thread(self.workers.pop(oldest).close, gone())

    async def close(self, error: Exception) -> None:
        """End all workers; what still runs is told the error."""
        self.closed = True
        workers, self.workers = list(self.workers.values()), {}
        for worker in workers:
            await asyncio.to_thread(worker.close, error)


def gone() -> RequestError:
    """Return what to tell a request that came in the moment in which its model was unloaded."""
    return RequestError(503, "the model was just unloaded; try again", headers={"retry-after": "1"})


def reason(error: Exception, entry: Entry) -> str:
    """Return why a model can't be loaded, without telling where it is."""
    if not isinstance(error, InkfishError):
        return "reading it failed"
    text = str(error)
    return "its folder is damaged; the server's log says how" if "/" in text else text


def files_of(source: str) -> tuple[tuple[str, int, int], ...]:
    """Return a model's files; none where they can't be found."""
    try:
        found = [(path.name, path.stat()) for path in sorted(hub.find(source).iterdir())]
    except (ModelError, OSError, ValueError):
        return ()
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def named(models: tuple[str, ...], aliases: tuple[str, ...]) -> dict[str, str]:
    """Return the names by which requests call models: a folder's own name; and further ones, NAME=MODEL.

    Raises:
        ModelError: two models of one name, or an alias of another form.
    """
    names: dict[str, str] = {}
    pairs = [(Path(model).name if Path(model).is_dir() else model, model) for model in models]
    for alias in aliases:
        name, _, source = alias.partition("=")
        if not name or not (source or models):
            raise ModelError(f"--alias is {alias!r}; it is NAME=MODEL, or NAME for the first model")
        pairs.append((name, source or models[0]))
    for name, source in pairs:
        if names.setdefault(name, source) != source:
            raise ModelError(f"two models are called {name}; give one another name: --alias NAME={source}")
    return names


def half_of_memory() -> int:
    """Return half of this machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
