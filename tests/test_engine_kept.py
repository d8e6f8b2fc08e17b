"""Beginnings that were read before: found, not read again, the same texts, within their memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inkfish.backends import native
from inkfish.backends.reference import ReferenceBackend
from inkfish.config import ModelConfig
from inkfish.engine import Engine, Event, Failed, Finish, Kept, Request, Reused, Slid, Token
from inkfish.errors import ModelError
from inkfish.sampling import Sampling
from inkfish.weights import Checkpoint


def written(engine: Engine, *requests: Request) -> list[list[int]]:
    """The tokens of each request."""
    found: dict[int, list[int]] = {}
    for handle, event in engine.run(requests):
        if isinstance(event, Token):
            found.setdefault(handle, []).append(event.id)
    return [found[handle] for handle in sorted(found)]


def test_turns_read_only_what_is_new(tiny_backend: ReferenceBackend) -> None:
    kept = Kept(tiny_backend)
    prompt = [1, 2, 3, 4]
    for reused in (0, 6, 6 + 4):  # the last token of a reply is drawn, not fed
        request = Request(prompt, 3, seed=5)
        [reply] = written(Engine(tiny_backend, kept=kept), request)
        assert [reply] == written(Engine(tiny_backend), request)
        assert kept.reused == reused
        prompt = [*prompt, *reply, 7]
    assert len(tiny_backend.slots) == 1
    kept.close()
    assert not tiny_backend.slots


@pytest.mark.parametrize(
    ("ids", "segments", "reused"),
    [
        ([1, 2, 3, 4], [5, 5, 6, 6], 3),  # at least one id is read
        ([1, 2, 9, 4], [5, 5, 6, 6], 2),
        ([1, 2, 3, 4], [5, 7, 6, 6], 1),
        ([1, 2, 3, 4], None, 0),
        ([9], [5], 0),
    ],
)
def test_the_common_beginning_with_its_segments(
    tiny_backend: ReferenceBackend, ids: list[int], segments: list[int] | None, reused: int
) -> None:
    kept = Kept(tiny_backend)
    written(Engine(tiny_backend, kept=kept), Request([1, 2, 3, 4, 8], 2, segments=[5, 5, 6, 6, 6]))
    request = Request(ids, 2, segments=segments)
    again = written(Engine(tiny_backend, kept=kept), request)
    assert kept.reused == reused
    assert again == written(Engine(tiny_backend), request)


def test_several_at_once_and_sliding_ones(tiny_backend: ReferenceBackend) -> None:
    kept = Kept(tiny_backend)
    requests = [Request([1, 2, 3], 4, sample=i) for i in range(3)] + [Request([1, 2, 3], 60, slide=True)]
    for _ in range(2):
        assert written(Engine(tiny_backend, kept=kept), *requests) == written(Engine(tiny_backend), *requests)
        assert len(tiny_backend.slots) == 1
    long = Request([1, 2, 3] * 20, 4, slide=True)
    assert written(Engine(tiny_backend, kept=kept), long) == written(Engine(tiny_backend), long)


def test_a_cancelled_sequence_is_kept_as_far_as_it_was_read(tiny_backend: ReferenceBackend) -> None:
    kept = Kept(tiny_backend)
    engine = Engine(tiny_backend, chunk=4, kept=kept)
    engine.submit(Request(list(range(1, 11)), 5))
    engine.step()
    engine.close()
    written(Engine(tiny_backend, kept=kept), Request(list(range(1, 11)), 1))
    assert kept.reused == 4


def test_a_failed_sequence_is_not_kept(
    tiny_backend: ReferenceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelError("broken")

    kept = Kept(tiny_backend)
    with monkeypatch.context() as patch:
        patch.setattr(tiny_backend, "prefill", fail)
        events: list[Event] = [e for _, e in Engine(tiny_backend, kept=kept).run([Request([1], 1)])]
    assert isinstance(events[-1], Failed)
    assert not tiny_backend.slots


def reused(events: Sequence[tuple[int, Event]]) -> dict[int, int]:
    """What is said to have been read before, by handle."""
    return {handle: event.length for handle, event in events if isinstance(event, Reused)}


def prompt(seed: int, length: int) -> list[int]:
    """Random ids."""
    return np.random.default_rng(seed).integers(0, 17, length).tolist()


class Counting(ReferenceBackend):
    """Counts the tokens of prompts that it is given to read."""

    read = 0

    def prefill(self, slot: int, ids: Sequence[int], *args: Any, **keywords: Any) -> NDArray[np.float32]:
        self.read += len(ids)
        return super().prefill(slot, ids, *args, **keywords)


def test_several_beginnings_are_found_and_told(tiny_backend: ReferenceBackend) -> None:
    backend = Counting(tiny_backend.config, tiny_backend.tensors)
    kept = Kept(backend, most=4)
    stems = [prompt(seed, 12) for seed in range(3)]
    for stem in stems:
        written(Engine(backend, kept=kept), Request(stem, 1))
    before = backend.read
    requests = [Request([*stem, 16, n], 1, seed=n) for n, stem in enumerate(stems)]
    events = list(Engine(backend, kept=kept).run(requests))
    assert reused(events) == {0: 12, 1: 12, 2: 12}
    assert backend.read - before == 3 * 2
    assert [type(e) for h, e in events if h == 1] == [Reused, Token, Finish]
    kept.close()
    assert not backend.slots


def test_what_runs_is_shared_too(tiny_backend: ReferenceBackend) -> None:
    """A prompt whose beginning another sequence has read, which goes on."""
    backend = Counting(tiny_backend.config, tiny_backend.tensors)
    stem = prompt(1, 10)
    first, second = Request([*stem, 3], 15, seed=1), Request([*stem, 4, 5], 5, seed=2)
    engine = Engine(backend, kept=Kept(backend))
    handles = [engine.submit(first)]
    events = [pair for _ in range(4) for pair in engine.step()]
    before = backend.read
    handles.append(engine.submit(second))
    events += engine.step()
    assert reused(events) == {handles[1]: 10}
    assert backend.read - before == 2 + 1
    while engine.busy:
        events += engine.step()
    texts = [[e.id for h, e in events if h == handle and isinstance(e, Token)] for handle in handles]
    assert texts == [written(Engine(tiny_backend), request)[0] for request in (first, second)]


def test_equal_prompts_at_once_are_told_as_well(tiny_backend: ReferenceBackend) -> None:
    engine = Engine(tiny_backend, kept=Kept(tiny_backend))
    assert reused(list(engine.run([Request([1, 2, 3], 2, sample=n) for n in range(3)]))) == {1: 3, 2: 3}


def test_nothing_is_told_without_a_cache(tiny_backend: ReferenceBackend) -> None:
    assert reused(list(Engine(tiny_backend).run([Request([1, 2, 3], 2, sample=n) for n in range(3)]))) == {}


def test_the_least_recently_used_goes_first(tiny_backend: ReferenceBackend) -> None:
    kept = Kept(tiny_backend, most=2)
    a, b, c = ([n, n, n, n] for n in (1, 2, 3))
    for ids in (a, b, a, c):  # b is the least recently used when c comes
        written(Engine(tiny_backend, kept=kept), Request(ids, 1))
    found = {}
    for name, ids in (("a", a), ("b", b)):
        written(Engine(tiny_backend, kept=kept), Request(ids, 1))
        found[name] = kept.reused
    assert found == {"a": 3, "b": 0}
    assert len(tiny_backend.slots) == 2


def test_memory_stays_within_the_budget(tiny_backend: ReferenceBackend) -> None:
    one = 2 * 2 * 12 * 4 * 128  # a sequence of up to 128 positions
    kept = Kept(tiny_backend, most=100, budget=3 * one)
    for seed in range(20):
        written(Engine(tiny_backend, kept=kept), Request(prompt(seed, 9), 2))
        assert kept.size <= 3 * one
    assert len(tiny_backend.slots) == 3
    small = Kept(tiny_backend, most=100, budget=1)
    written(Engine(tiny_backend, kept=small), Request([1, 2], 2))
    assert small.size == one, "one alone may be larger"


def test_a_beginning_of_something_kept_is_not_kept_twice(tiny_backend: ReferenceBackend) -> None:
    kept = Kept(tiny_backend, most=5)
    for length in (20, 10, 15, 25):
        written(Engine(tiny_backend, kept=kept), Request(prompt(1, 25)[:length], 1, sampling=Sampling()))
    assert len(tiny_backend.slots) == 1
    written(Engine(tiny_backend, kept=kept), Request(prompt(1, 25), 1))
    assert kept.reused == 24


def test_without_memory_for_a_copy_the_prompt_is_read(
    tiny_backend: ReferenceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise MemoryError

    kept = Kept(tiny_backend)
    request = Request([1, 2, 3, 4], 4)
    expected = written(Engine(tiny_backend, kept=kept), request)
    monkeypatch.setattr(tiny_backend, "copy", full)
    assert written(Engine(tiny_backend, kept=kept), request) == expected
    assert kept.reused == 0
    engine = Engine(tiny_backend, kept=kept)
    engine.submit(replace(request, max_tokens=9))
    events = engine.step()
    handle = engine.submit(Request([1, 2, 3, 9], 4))
    while engine.busy:
        events += engine.step()
    texts = [e.id for h, e in events if h == handle and isinstance(e, Token)]
    assert [texts] == written(Engine(tiny_backend), Request([1, 2, 3, 9], 4))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int4"])
def test_bits_are_the_same_as_without(dtype: str) -> None:
    """150 requests with few stems, three at a time, with and without: every event but the news of reuse."""
    if not native.available():
        pytest.skip("the native back end was not compiled")
    config = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=300, vocab_size=17)
    rng = np.random.default_rng(2)
    tensors = {n: rng.normal(0, 0.4, s).astype(np.float32) for n, s in config.tensor_shapes().items()}
    backend = native.load(Checkpoint(config, tensors, "float32"), dtype=dtype)
    stems = [prompt(seed, int(rng.integers(1, 200))) for seed in range(4)]
    requests = []
    for n in range(150):
        ids = [
            *stems[int(rng.integers(0, 4))][: int(rng.integers(1, 200))],
            *prompt(n, int(rng.integers(0, 6))),
        ]
        segments = [n % 2] * len(ids) if rng.random() < 0.3 else None
        requests.append(Request(ids, int(rng.integers(1, 20)), seed=n, segments=segments, slide=n % 50 == 0))
    with_cache = list(Engine(backend, slots=3, chunk=16, kept=Kept(backend, most=20)).run(requests))
    without = list(Engine(backend, slots=3, chunk=16).run(requests))
    for handle in range(150):
        alone, cached = (
            [e for h, e in events if h == handle and not isinstance(e, Reused)]
            for events in (without, with_cache)
        )
        assert alone == cached
    lengths = reused(with_cache)
    assert len(lengths) > 100
    assert sum(lengths.values()) > 0.5 * sum(len(request.prompt) for request in requests)
    assert not any(isinstance(event, Slid) for _, event in with_cache)
