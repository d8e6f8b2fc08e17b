"""Many sequences at once over one back end: requests join and leave at any step, each as if it were alone.

The engine knows ids only. A request waits until a slot is free (first come, first served), its prompt is read
in chunks so that the others are not held up, and from then on each step gives it one token. Samples of one
prompt read it once and copy; with `Kept`, sequences that begin alike read that beginning once. Where guesses
pay (`inkfish.engine.lookup`) a step gives a sequence several tokens, the same ones. An engine belongs to one
thread; the next `step` tells what came of `submit` and `cancel`. Left out: text and stop strings
(`inkfish.generate`), beam search.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from itertools import accumulate, pairwise

from inkfish.backends import Backend, TopBackend
from inkfish.config import ModelConfig
from inkfish.engine.choice import Logits, Peak, alternatives, log_sum_exp, next_token
from inkfish.engine.kept import Kept, Lent, longest, marks
from inkfish.engine.lookup import Cost, Lookup
from inkfish.engine.requests import (
    Alternative,
    Event,
    Failed,
    Finish,
    Request,
    Reused,
    Slid,
    Token,
    check_ids,
    check_request,
    check_whole,
)
from inkfish.engine.rows import Row

__all__ = [
    "Alternative",
    "Engine",
    "Event",
    "Failed",
    "Finish",
    "Kept",
    "Request",
    "Reused",
    "Slid",
    "Token",
    "alternatives",
    "check_ids",
    "check_request",
    "check_whole",
    "log_sum_exp",
]

CACHE_BUDGET = 2 << 30
"""Bytes that the caches of all slots may fill by default, were they all full."""
MOST_SLOTS = 64
PEAK = 128
"""How many of the largest logits to have found by a back end that can: enough for nearly every draw."""

Scores = tuple[Logits, Peak | None]
"""The logits (V,) at one position, and the largest of them if the back end has found them."""


class Engine:
    """Continuous batching over any back end."""

    def __init__(
        self,
        backend: Backend,
        *,
        slots: int | None = None,
        chunk: int = 128,
        kept: Kept | None = None,
        speculate: bool = False,
    ) -> None:
        """Make an engine without requests.

        Args:
            backend: what computes; the engine allocates its slots there.
            slots: how many sequences run at once; None is what fits 2 GiB of caches, from 1 to 64.
            chunk: how many prompt tokens are read in one step before the others go on, 1 or more.
            kept: slots of this back end that requests begin from and leave; with it, what running ones have
                read of the same beginning is not read again either.
            speculate: guess tokens by looking them up in the text so far, where that pays. Texts stay the
                same where logits do not depend on how ids are split into calls (native); elsewhere up to
                rounding.
        """
        assert kept is None or kept.backend is backend, "kept slots belong to the engine's back end"
        if slots is not None:
            check_whole("slots", slots, 1)
        check_whole("chunk", chunk, 1)
        self.backend = backend
        self.lister = backend if isinstance(backend, TopBackend) else None
        self.slots = slots or default_slots(backend.config)
        self.chunk = chunk
        self.kept = kept
        self.speculate = speculate
        self.cost = Cost()
        self.waiting: dict[int, Request] = {}
        self.rows: dict[int, Row] = {}
        self.events: list[tuple[int, Event]] = []
        self.submitted = 0

    @property
    def busy(self) -> bool:
        """Whether another `step` has anything to do or to tell."""
        return bool(self.waiting or self.rows or self.events)

    def submit(self, request: Request) -> int:
        """Put a request in the queue and return its handle; handles count from 0.

        Raises:
            SettingError: a field outside its limits.
            ContextError: prompt and max_tokens do not fit the context, and it may not slide.
        """
        check_request(request, self.backend.config)
        handle = self.submitted
        self.submitted += 1
        self.waiting[handle] = request
        return handle

    def cancel(self, handle: int) -> None:
        """End a request now and free its slot; its `Finish` comes with the next step. No-op after its end."""
        if self.waiting.pop(handle, None) is not None:
            self.events.append((handle, Finish("cancelled")))
        elif handle in self.rows:
            self.end(self.rows[handle], Finish("cancelled"))

    def close(self) -> None:
        """End everything without telling, and free all slots."""
        for handle in [*self.waiting, *self.rows]:
            self.cancel(handle)
        self.events.clear()

    def run(self, requests: Iterable[Request]) -> Generator[tuple[int, Event], None, None]:
        """Submit requests as there is room, step until all have ended, and yield what happens.

        Requests are taken from the iterable only as slots become free, so it may be long. What still runs
        when the iteration is left is ended, so this is for an engine that nobody else uses.
        """
        source = iter(requests)
        exhausted = False
        try:
            while True:
                while not exhausted and len(self.waiting) < self.slots:
                    request = next(source, None)
                    exhausted = request is None
                    if request is not None:
                        self.submit(request)
                if not self.busy:
                    return
                yield from self.step()
        finally:
            self.close()

    def step(self) -> list[tuple[int, Event]]:
        """Go on by one token in each running sequence; return what happened to which handle, in order."""
        self.admit()
        ready = [row for row in self.rows.values() if not row.reading]
        self.read()
        self.decode(ready)
        events, self.events = self.events, []
        return events

    def admit(self) -> None:
        """Give free slots to those who wait, first come, first served."""
        while self.waiting and len(self.rows) < self.slots:
            handle = next(iter(self.waiting))
            request = self.waiting.pop(handle)
            try:
                slot, fed = self.lend(request)
            except Exception as error:  # no memory for it; the others go on
                self.events.append((handle, Failed(error)))
                continue
            segments = None if request.segments is None else list(request.segments)
            row = self.rows[handle] = Row(handle, request, slot, list(request.prompt), segments, fed=fed)
            if self.speculate:
                row.lookup = Lookup(row.ids)
            if len(row.ids) > self.backend.config.n_positions:
                self.slide(row)
            row.key = (tuple(row.ids), None if segments is None else tuple(segments))

    def lend(self, request: Request) -> Lent:
        """Return a slot for a request, with what is kept of the prompt's beginning."""
        if self.kept is None:
            return Lent(self.backend.allocate(), 0)
        return self.kept.lend(request.prompt, request.segments)

    def read(self) -> None:
        """Read about `chunk` tokens of prompts; a sequence whose prompt is read gets its first token.

        Chunks begin at multiples of `chunk` from the prompt's start (or from what is held of it already), so
        rounding depends on nothing else.
        """
        reading = [row for row in self.rows.values() if row.reading]
        if not reading:
            return
        leaders = {row.key: row for row in self.rows.values() if row.first is not None}
        budget = self.chunk
        for row in reading:
            leader = leaders.setdefault(row.key or row.handle, row)
            if leader is not row:
                self.share(leader, row)
            elif budget > 0 and not row.begun and self.kept is not None:
                self.begin(row)
            while leader is row and row.reading and budget > 0:
                budget -= self.read_chunk(row)
        for row in reading:
            if row.first is not None:
                self.advance(row, row.first)

    def begin(self, row: Row) -> None:
        """Take over what another running sequence holds of the prompt's beginning, if that is more."""
        row.begun = True
        if row.start == 0:
            wanted = marks(row.ids, row.segments)[:-1]
            alike = [
                r for r in self.rows.values() if r is not row and r.start == 0 and r.ids[0] == row.ids[0]
            ]
            length, source = longest(wanted, [(r.slot, marks(*r.past(0, r.fed))) for r in alike])
            if source is not None and length > row.fed:
                try:
                    self.backend.copy(source, row.slot, length)
                except MemoryError:  # then it is read
                    length = row.fed
                row.fed = length
        if row.held:
            self.events.append((row.handle, Reused(row.held)))

    def read_chunk(self, row: Row) -> int:
        """Feed the next chunk of a row's prompt and return its length."""
        end = min(row.fed + self.chunk, len(row.ids))
        segments = None if row.segments is None else row.segments[row.fed : end]
        length = end - row.fed
        try:
            logits = self.backend.prefill(row.slot, row.ids[row.fed : end], segments)
        except Exception as error:  # whatever it is, it must not end the other sequences
            row.reading = False
            self.end(row, Failed(error))
            return length
        row.fed = end
        if end == len(row.ids):
            row.reading, row.first = False, logits
        return length

    def share(self, leader: Row, row: Row) -> None:
        """Give a row the cache of another one with the same prompt, once that has read it."""
        if leader.first is None:
            return
        length = len(row.ids) - row.start
        try:
            self.backend.copy(leader.slot, row.slot, length)
        except Exception as error:  # as in read_chunk
            self.end(row, Failed(error))
            return
        if self.kept is not None:
            self.events.append((row.handle, Reused(length)))
        row.fed, row.reading, row.first = len(row.ids), False, leader.first

    def decode(self, rows: Sequence[Row]) -> None:
        """Feed each row its last token and what is guessed to follow, all in one call; choose what comes."""
        if not rows:
            return
        guesses = self.guesses(rows) if self.speculate else [[] for _ in rows]
        start = time.perf_counter()
        try:
            found = self.scores(rows, guesses)
        except Exception:  # one of them, or all together: find out
            self.decode_apart(rows)
            return
        self.cost.note(sum(map(len, found)), time.perf_counter() - start)
        for row, guess, scores in zip(rows, guesses, found, strict=True):
            self.accept(row, guess, scores)

    def guesses(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return for each row the tokens that are worth trying after its last one."""
        price = self.cost.share(len(rows)) * len(rows)
        context = self.backend.config.n_positions
        return [[] if row.lookup is None else row.lookup.guess(row.room(context), price) for row in rows]

    def decode_apart(self, rows: Sequence[Row]) -> None:
        """Decode one by one after a failure, so that only those fail that can't be decoded."""
        for row in rows:
            try:
                self.backend.truncate(row.slot, row.held)
                (scores,) = self.scores([row], [[]])
            except Exception as error:  # as in read_chunk
                self.end(row, Failed(error))
                continue
            self.accept(row, [], scores)

    def accept(self, row: Row, guess: Sequence[int], scores: Sequence[Scores]) -> None:
        """Choose a row's next tokens, as long as they are what was guessed and fed."""
        for (logits, peak), guessed in zip(scores, [*guess, None], strict=True):
            row.fed += 1
            self.advance(row, logits, peak)
            if row.handle not in self.rows or row.reading:
                return
            if row.ids[-1] != guessed:
                break
        if guess:
            self.backend.truncate(row.slot, row.held)

    def scores(self, rows: Sequence[Row], guesses: Sequence[Sequence[int]]) -> list[list[Scores]]:
        """Feed each row its last token and its guess; return what follows each of them, by rows."""
        slots = [row.slot for row in rows]
        runs = [[row.ids[-1], *guess] for row, guess in zip(rows, guesses, strict=True)]
        last = [row.last_segment for row in rows]
        segments = None if all(segment is None for segment in last) else last
        if self.lister is None:
            return [[(one, None) for one in logits] for logits in extend(self.backend, slots, runs, segments)]
        temperatures = [row.request.sampling.temperature or 1.0 for row in rows]
        k = min(PEAK, self.backend.config.vocab_size)
        top = self.lister.extend_top(slots, runs, segments, k=k, temperatures=temperatures)
        scores: list[Scores] = [(logits, Peak(*rest)) for logits, *rest in zip(*top, strict=True)]
        return [scores[begin:end] for begin, end in pairwise(accumulate(map(len, runs), initial=0))]

    def advance(self, row: Row, logits: Logits, peak: Peak | None = None) -> None:
        """Choose a row's next token and tell it; then end the row, make room, or leave it ready."""
        request = row.request
        try:
            token = next_token(request, row.ids, logits, peak)
        except Exception as error:  # as in read_chunk
            self.end(row, Failed(error))
            return
        row.ids.append(token.id)
        if row.lookup is not None:
            row.lookup.push(token.id)
        if row.segments is not None:
            row.segments.append(row.segments[-1])
        self.events.append((row.handle, token))
        if token.id in request.stop_ids:
            self.end(row, Finish("stop"))
        elif len(row.ids) - len(request.prompt) == request.max_tokens:
            self.end(row, Finish("length"))
        elif row.held == self.backend.config.n_positions:
            self.slide(row)

    def slide(self, row: Row) -> None:
        """Start a row's cache afresh with the last half context."""
        kept = max(1, self.backend.config.n_positions // 2)
        row.start = row.fed = len(row.ids) - kept
        row.reading, row.key, row.first = True, None, None
        self.backend.truncate(row.slot, 0)
        self.events.append((row.handle, Slid(len(row.ids), kept)))

    def end(self, row: Row, event: Finish | Failed) -> None:
        """Free or keep a row's slot and tell why."""
        del self.rows[row.handle]
        if self.kept is None or isinstance(event, Failed):
            self.backend.free(row.slot)
        else:
            self.kept.give_back(row.slot, *row.past(row.start, row.fed))
        self.events.append((row.handle, event))


def default_slots(config: ModelConfig) -> int:
    """Return how many float32 caches of the whole context fit the budget, from 1 to 64."""
    cache = 2 * config.n_layer * config.n_embd * config.n_positions * 4
    return min(max(1, CACHE_BUDGET // cache), MOST_SLOTS)


def extend(
    backend: Backend,
    slots: Sequence[int],
    runs: Sequence[Sequence[int]],
    segments: Sequence[int | None] | None,
) -> list[Logits]:
    """Append a run of ids to each slot, and return the logits after each id: for each run (T, V)."""
    extra = segments if segments is not None else [None] * len(slots)
    found: list[Logits | None] = [
        None
        if len(run) == 1
        else backend.prefill(slot, run, None if segment is None else [segment] * len(run), every=True)
        for slot, run, segment in zip(slots, runs, extra, strict=True)
    ]
    single = [n for n, run in enumerate(runs) if len(run) == 1]
    if single:
        chosen = None if segments is None else [segments[n] for n in single]
        logits = backend.decode([slots[n] for n in single], [runs[n][0] for n in single], chosen)
        for n, row in zip(single, logits, strict=True):
            found[n] = row[None]
    return [logits for logits in found if logits is not None]
