"""The engine against a plain loop over the reference back end: joining, leaving, failing, sliding."""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inkfish.backends import Backend, Top, native, reference
from inkfish.backends.reference import ReferenceBackend
from inkfish.config import SIZES, ModelConfig
from inkfish.engine import (
    Alternative,
    Engine,
    Event,
    Failed,
    Finish,
    Kept,
    Request,
    Slid,
    Token,
    alternatives,
    default_slots,
    log_sum_exp,
)
from inkfish.errors import ContextError, ModelError, SettingError
from inkfish.sampling import History, Sampling, choose, uniform
from inkfish.weights import Checkpoint


def by_hand(backend: Backend, request: Request) -> list[int]:
    """Continue one sequence by the shortest loop there is, without cache and context limit."""
    ids, start = list(request.prompt), len(request.prompt)
    while len(ids) < start + request.max_tokens:
        slot = backend.allocate()
        logits = backend.prefill(slot, ids)
        backend.free(slot)
        history = History(request.prompt, ids[start:], request.stop_ids)
        ids.append(choose(logits, history, request.sampling, uniform(request.seed, request.sample, len(ids))))
        if ids[-1] in request.stop_ids:
            break
    return ids[start:]


def collect(events: Iterable[tuple[int, Event]]) -> dict[int, list[Event]]:
    """Events by handle."""
    found: dict[int, list[Event]] = defaultdict(list)
    for handle, event in events:
        found[handle].append(event)
    return found


def ids_of(events: Sequence[Event]) -> list[int]:
    """The tokens among events."""
    return [event.id for event in events if isinstance(event, Token)]


def finish(engine: Engine) -> dict[int, list[Event]]:
    """Step until nothing is left."""
    events: list[tuple[int, Event]] = []
    while engine.busy:
        events += engine.step()
    return collect(events)


@pytest.fixture(params=["reference", "native"])
def any_backend(request: pytest.FixtureRequest) -> Backend:
    """A model with more tokens than the native back end lists: draws go through the list and past it."""
    config = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=301)
    rng = np.random.default_rng(1)
    tensors = {
        name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in config.tensor_shapes().items()
    }
    if request.param == "reference":
        return reference.load(config, tensors)
    if not native.available():
        pytest.skip("the native back end was not compiled")
    return native.load(Checkpoint(config, tensors, dtype="float32"))


MIXED = [
    Request([1, 2, 3], 20, seed=1),
    Request([4], 31, seed=2, sampling=Sampling(temperature=1.5, top_k=5)),
    Request([5, 6, 7, 8, 9, 10, 11, 12, 13], 5, seed=3, sampling=Sampling(temperature=0)),
    Request([1, 2, 3], 20, seed=1, sample=1),
    Request([16] * 20, 12, seed=5, sampling=Sampling(repetition_penalty=1.3, top_p=0.9)),
    Request([3, 3], 30, seed=6, stop_ids=(2, 5)),
    Request([2, 4], 1, seed=7),
]


@pytest.mark.parametrize("slots", [1, 2, 3, 64])
@pytest.mark.parametrize("chunk", [1, 4, 256])
def test_each_sequence_is_as_if_alone(any_backend: Backend, slots: int, chunk: int) -> None:
    events = collect(Engine(any_backend, slots=slots, chunk=chunk).run(MIXED))
    for handle, request in enumerate(MIXED):
        assert ids_of(events[handle]) == by_hand(any_backend, request)
    assert any_backend.allocate() == 0, "all slots are free again"


def test_log_probabilities_have_the_same_bits_whatever_the_neighbours(tiny_backend: ReferenceBackend) -> None:
    together = collect(Engine(tiny_backend, slots=4, chunk=4).run(MIXED))
    for handle, request in enumerate(MIXED):
        alone = collect(Engine(tiny_backend, slots=1, chunk=4).run([request]))[0]
        assert together[handle] == alone


def test_a_late_short_request_overtakes_an_early_long_one(tiny_backend: ReferenceBackend) -> None:
    long, short = Request([1], 31, seed=1), Request([2, 3], 4, seed=2)
    engine = Engine(tiny_backend, slots=4)
    engine.submit(long)
    events = [pair for _ in range(10) for pair in engine.step()]
    engine.submit(short)
    ends = []
    while engine.busy:
        for handle, event in engine.step():
            events.append((handle, event))
            ends += [handle] if isinstance(event, Finish) else []
    assert ends == [1, 0]
    found = collect(events)
    assert [ids_of(found[0]), ids_of(found[1])] == [by_hand(tiny_backend, r) for r in (long, short)]


def test_each_step_gives_each_running_sequence_one_token(tiny_backend: ReferenceBackend) -> None:
    engine = Engine(tiny_backend, slots=3)
    for seed in range(3):
        engine.submit(Request([1 + seed], 6, seed=seed))
    for _ in range(5):
        assert [(handle, type(event)) for handle, event in engine.step()] == [(n, Token) for n in range(3)]
    assert [event for _, event in engine.step() if isinstance(event, Finish)] == [Finish("length")] * 3
    assert not engine.busy


def test_who_waits_is_served_first_come_first_served(tiny_backend: ReferenceBackend) -> None:
    engine = Engine(tiny_backend, slots=1)
    order = [engine.submit(Request([n], 2)) for n in range(5)]
    ends = []
    while engine.busy:
        assert len(tiny_backend.slots) <= 1
        ends += [handle for handle, event in engine.step() if isinstance(event, Finish)]
    assert ends == order


def test_a_long_prompt_does_not_hold_up_the_others(tiny_backend: ReferenceBackend) -> None:
    engine = Engine(tiny_backend, slots=2, chunk=2)
    first = engine.submit(Request([1], 20))
    engine.step()
    second = engine.submit(Request([2] * 16, 1))
    steps = [engine.step() for _ in range(8)]
    assert all(any(handle == first for handle, _ in events) for events in steps)
    assert [n for n, events in enumerate(steps) if any(handle == second for handle, _ in events)] == [7]


class CountingBackend(ReferenceBackend):
    """The reference back end, counting the tokens it is given to read; made to fail at will."""

    read = 0
    poison: int | None = None
    error: Exception | None = None

    def prefill(self, slot: int, ids: Sequence[int], *args: Any, **keywords: Any) -> NDArray[np.float32]:
        self.read += len(ids)
        if self.error is not None and self.poison in ids:
            raise self.error
        logits = super().prefill(slot, ids, *args, **keywords)
        return np.full_like(logits, np.nan) if self.poison in ids else logits


class ListingBackend(CountingBackend):
    """The same with lists of the largest logits, as the native back end gives them."""

    def decode_top(
        self,
        slots: Sequence[int],
        ids: Sequence[int],
        segments: Sequence[int | None] | None = None,
        *,
        k: int,
        temperatures: Sequence[float] | None = None,
    ) -> Top:
        logits = self.decode(slots, ids, segments)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :k].astype(np.int32)
        values = np.take_along_axis(logits, order, 1)
        gaps = (logits - values[:, :1]).astype(np.float64)
        heat = np.ones((len(slots), 1)) if temperatures is None else np.array(temperatures)[:, None]
        return Top(logits, values, order, np.exp(gaps).sum(1), np.exp(gaps / heat).sum(1))


@pytest.fixture
def counting_backend(tiny_backend: ReferenceBackend) -> CountingBackend:
    return CountingBackend(tiny_backend.config, tiny_backend.tensors)


@pytest.mark.parametrize(("slots", "most"), [(8, 10), (3, 20)])
def test_samples_of_one_prompt_read_it_once(counting_backend: CountingBackend, slots: int, most: int) -> None:
    prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    requests = [Request(prompt, 1 + n % 3, seed=5, sample=n) for n in range(8)]
    events = collect(Engine(counting_backend, slots=slots, chunk=4).run(requests))
    decoded = sum(len(ids_of(events[n])) - 1 for n in range(8))
    assert 10 <= counting_backend.read - decoded <= most
    for n, request in enumerate(requests):
        assert ids_of(events[n]) == by_hand(counting_backend, request)


def test_samples_go_on_when_the_one_that_read_for_them_is_cancelled(tiny_backend: ReferenceBackend) -> None:
    engine = Engine(tiny_backend, slots=3, chunk=2)
    requests = [Request([1, 2, 3, 4, 5, 6, 7, 8], 5, seed=5, sample=n) for n in range(3)]
    for request in requests:
        engine.submit(request)
    engine.step()
    engine.cancel(0)
    events = finish(engine)
    assert events[0] == [Finish("cancelled")]
    assert [ids_of(events[n]) for n in (1, 2)] == [by_hand(tiny_backend, requests[n]) for n in (1, 2)]


def test_different_segments_are_different_prompts(tiny_backend: ReferenceBackend) -> None:
    plain = Request([1, 2, 3], 8, seed=5)
    spoken = [replace(plain, segments=segments) for segments in ([4, 4, 4], [4, 4, 7])]
    together = collect(Engine(tiny_backend).run([plain, *spoken]))
    for n, request in enumerate([plain, *spoken]):
        assert together[n] == collect(Engine(tiny_backend).run([request]))[0]
    slot = tiny_backend.allocate()
    ids, logits = [1, 2, 3], tiny_backend.prefill(slot, [1, 2, 3], [4, 4, 7])
    for _ in range(8):
        ids.append(choose(logits, History(), Sampling(), uniform(5, 0, len(ids))))
        logits = tiny_backend.prefill(slot, ids[-1:], [7])
    assert ids_of(together[2]) == ids[3:]


def test_cancelling_frees_at_once(tiny_backend: ReferenceBackend) -> None:
    engine = Engine(tiny_backend, slots=1, chunk=2)
    running, waiting = engine.submit(Request([1] * 9, 9)), engine.submit(Request([2], 9))
    engine.step()
    engine.cancel(waiting)
    engine.cancel(running)
    assert not tiny_backend.slots
    assert engine.step() == [(waiting, Finish("cancelled")), (running, Finish("cancelled"))]
    engine.cancel(running)
    assert not engine.busy
    assert engine.step() == []


def test_leaving_a_run_early_frees_everything(tiny_backend: ReferenceBackend) -> None:
    engine = Engine(tiny_backend, slots=2)
    events = engine.run(Request([1], 30) for _ in range(10**9))
    next(events)
    events.close()
    assert not tiny_backend.slots
    assert not engine.busy


@pytest.mark.parametrize("kind", [CountingBackend, ListingBackend])
@pytest.mark.parametrize("error", [None, MemoryError("no memory"), IndexError("a bug")])
def test_one_failing_request_fails_alone(
    tiny_backend: ReferenceBackend, kind: type[CountingBackend], error: Exception | None
) -> None:
    """Whether its prompt or one of its tokens is what the back end can't take."""
    counting_backend = kind(tiny_backend.config, tiny_backend.tensors)
    counting_backend.poison, counting_backend.error = 16, error
    good = [Request([n, 2], 12, seed=n, sampling=Sampling(logit_bias={16: -100})) for n in range(3)]
    bad_prompt = Request([16, 1], 5)
    bad_token = Request([3], 5, sampling=Sampling(temperature=0, logit_bias={16: 100}))
    events = collect(Engine(counting_backend).run([good[0], bad_prompt, good[1], bad_token, good[2]]))
    for handle, request in zip((0, 2, 4), good, strict=True):
        assert ids_of(events[handle]) == by_hand(counting_backend, request)
        assert events[handle][-1] == Finish("length")
    expected = ModelError if error is None else type(error)
    for handle, tokens in ((1, []), (3, [16])):
        assert ids_of(events[handle]) == tokens
        last = events[handle][-1]
        assert isinstance(last, Failed)
        assert isinstance(last.error, expected)
    assert not counting_backend.slots


def test_no_memory_for_a_slot_or_a_copy_fails_one_request(
    tiny_backend: ReferenceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(*_: int) -> None:
        raise MemoryError

    monkeypatch.setattr(tiny_backend, "copy", copy)
    requests = [Request([1, 2], 3, sample=n) for n in range(2)]
    events = collect(Engine(tiny_backend).run(requests))
    assert ids_of(events[0]) == by_hand(tiny_backend, requests[0])
    assert isinstance(events[1][0], Failed)
    monkeypatch.setattr(tiny_backend, "allocate", copy)
    assert isinstance(collect(Engine(tiny_backend).run(requests))[0][0], Failed)


def test_logits_that_are_not_finite_are_said_in_one_line() -> None:
    for values in ([math.nan, 1.0], [math.inf, 1.0], [-math.inf, -math.inf]):
        with pytest.raises(ModelError, match=r"^the logits are not finite: .* dtype float32$"):
            log_sum_exp(np.array(values, np.float32))


def test_the_context_is_used_to_its_end_and_not_beyond(tiny_backend: ReferenceBackend) -> None:
    exactly = Request([1] * 30, 2)
    events = collect(Engine(tiny_backend).run([exactly]))[0]
    assert [type(event) for event in events] == [Token, Token, Finish]
    with pytest.raises(
        ContextError, match=r"of 30 tokens and max_tokens 3 do not .* context of 32;"
    ) as caught:
        Engine(tiny_backend).submit(replace(exactly, max_tokens=3))
    assert caught.value.param == "max_tokens"
    with pytest.raises(ContextError, match="of 32 tokens and max_tokens 1 do not fit") as caught:
        Engine(tiny_backend).submit(Request([1] * 32, 1))
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("length", [1, 20, 31, 32, 33, 100])
def test_sliding_reads_the_last_half_context_again(tiny_backend: ReferenceBackend, length: int) -> None:
    prompt = [n % 17 for n in range(length)]
    request = Request(prompt, 50, seed=3, slide=True)
    events = collect(Engine(tiny_backend, chunk=4).run([request]))[0]
    ids, start = list(prompt), 0
    expected: list[Event] = []
    while len(ids) < length + 50:
        if len(ids) - start > 32:
            start = len(ids) - 16
            expected.append(Slid(len(ids), 16))
        slot = tiny_backend.allocate()
        logits = tiny_backend.prefill(slot, ids[start:])
        tiny_backend.free(slot)
        ids.append(choose(logits, History(), Sampling(), uniform(3, 0, len(ids))))
    assert ids_of(events) == ids[length:]
    assert [event for event in events if isinstance(event, Slid)] == expected
    assert len(expected) >= 2
    assert events[-1] == Finish("length")


def test_sliding_takes_segments_along(tiny_backend: ReferenceBackend) -> None:
    request = Request([1] * 30, 8, seed=3, slide=True, segments=[4] * 29 + [9])
    events = collect(Engine(tiny_backend).run([request]))[0]
    ids = [1] * 30 + ids_of(events)
    slot = tiny_backend.allocate()
    logits = tiny_backend.prefill(slot, ids[17:33], [4] * 12 + [9] * 4)
    assert choose(logits, History(), Sampling(), uniform(3, 0, 33)) == ids[33]


def test_the_stop_token_is_the_last_one(tiny_backend: ReferenceBackend) -> None:
    free = by_hand(tiny_backend, Request([3, 3], 20, seed=6))
    events = collect(Engine(tiny_backend).run([Request([3, 3], 20, seed=6, stop_ids=[free[7]])]))[0]
    assert ids_of(events) == free[: free.index(free[7]) + 1]
    assert events[-1] == Finish("stop")


def test_min_tokens_puts_the_stop_off(tiny_backend: ReferenceBackend) -> None:
    request = Request([3], 20, sampling=Sampling(min_tokens=15, logit_bias={5: 50}), stop_ids=[5])
    assert len(ids_of(collect(Engine(tiny_backend).run([request]))[0])) == 16


def test_log_probabilities_are_the_models_own(tiny_backend: ReferenceBackend) -> None:
    sampling = Sampling(temperature=0.5, top_k=3, logit_bias={4: 2.0})
    events = collect(Engine(tiny_backend).run([Request([7, 8], 10, top=17, sampling=sampling)]))[0]
    slot = tiny_backend.allocate()
    logits = tiny_backend.prefill(slot, [7, 8, *ids_of(events)], every=True)[1:].astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for n, token in enumerate(events[:-1]):
        assert isinstance(token, Token)
        assert token.logprob == pytest.approx(expected[n, token.id], abs=1e-5)
        assert [a.id for a in token.top] == np.argsort(-expected[n]).tolist()
        assert [a.logprob for a in token.top] == pytest.approx(sorted(expected[n])[::-1], abs=1e-5)


def test_alternatives_order_ties_by_id_and_leave_out_the_impossible() -> None:
    logits = np.array([1, -np.inf, 2, 1, 2, 0], np.float32)
    assert [a.id for a in alternatives(logits, 3, 0.0)] == [2, 4, 0]
    assert [a.id for a in alternatives(logits, 100, 0.0)] == [2, 4, 0, 3, 5]
    assert alternatives(logits, 1, 0.5) == (Alternative(2, 1.5),)
    assert alternatives(logits, 0, 0.5) == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": []}, "the prompt is empty; it needs at least one token"),
        ({"prompt": [17]}, "prompt holds the id 17; ids go from 0 to 16 here"),
        ({"prompt": [-1]}, "prompt holds the id -1"),
        ({"prompt": [2**63]}, "prompt holds the id 9223372036854775808"),
        ({"prompt": [1.5]}, "prompt holds 1.5; token ids are whole numbers"),
        ({"prompt": [True]}, "prompt holds True; token ids are whole numbers"),
        ({"prompt": [[1]]}, r"prompt holds \[1\]; token ids are whole numbers"),
        ({"stop_ids": [99]}, "stop_ids holds the id 99"),
        ({"segments": [1]}, "segments has 1 ids and prompt 2; one for each"),
        ({"segments": [1, 17]}, "segments holds the id 17"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be a whole number, 1 or more"),
        ({"max_tokens": -1}, "max_tokens is -1; it must be a whole number, 1 or more"),
        ({"max_tokens": 1.0}, "max_tokens is 1.0; it must be a whole number"),
        ({"max_tokens": 2**63}, "max_tokens 9,223,372,036,854,775,808 do not fit"),
        ({"seed": -(2**63) - 1}, "seed is -9223372036854775809; it must be a whole number, from -92"),
        ({"seed": 0.5}, "seed is 0.5; it must be a whole number"),
        ({"sample": -1}, "sample is -1; it must be a whole number"),
        ({"top": 101}, "top is 101; it must be a whole number, from 0 to 100"),
        ({"sampling": Sampling(min_tokens=6)}, "min_tokens is 6 and max_tokens 5; it must not be larger"),
        ({"sampling": Sampling(logit_bias={17: 1})}, "logit_bias names the token 17; ids go from 0 to 16"),
    ],
)
def test_bad_requests_are_refused_before_anything_starts(
    tiny_backend: ReferenceBackend, fields: dict[str, Any], message: str
) -> None:
    engine = Engine(tiny_backend)
    with pytest.raises(SettingError, match=message) as caught:
        engine.submit(replace(Request([1, 2], 5), **fields))
    assert caught.value.param in fields or caught.value.param in {"min_tokens", "logit_bias"}
    assert "\n" not in str(caught.value)
    assert not engine.busy
    engine.submit(Request([1, 2], 5))
    assert len(ids_of(finish(engine)[0])) == 5


@pytest.mark.parametrize("fields", [{"slots": 0}, {"slots": 1.5}, {"chunk": 0}])
def test_bad_engine_settings_are_refused(tiny_backend: ReferenceBackend, fields: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="it must be a whole number, 1 or more"):
        Engine(tiny_backend, **fields)


def test_default_slots_fit_two_gibibytes() -> None:
    tiny = ModelConfig(n_layer=1, n_head=1, n_embd=8, n_positions=8, vocab_size=8)
    assert [default_slots(c) for c in (tiny, SIZES["gpt2"], SIZES["gpt2-xl"])] == [64, 28, 3]
    assert default_slots(replace(SIZES["gpt2-xl"], n_layer=500)) == 1


def test_memory_is_constant_over_thousands_of_requests(tiny_backend: ReferenceBackend) -> None:
    """Growth after a warm-up is below 32 bytes a request: nothing of it stays."""
    engine = Engine(tiny_backend, slots=8)

    def serve(count: int) -> int:
        for event in engine.run(Request([n % 17, 3], 2, seed=n) for n in range(count)):
            assert event
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = serve(300)
        assert serve(1000) - before < 32 * 1000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("quick", [False, True])
def test_a_thousand_times_amid_random_traffic_one_text(any_backend: Backend, quick: bool) -> None:
    """Any slot, any neighbours, whatever joins and leaves, with guesses and kept beginnings or without.

    The control: another seed gives another text.
    """
    rng = np.random.default_rng(0)
    wanted = Request([5, 6, 7], 6, seed=42)
    kept = Kept(any_backend, most=7) if quick else None
    engine = Engine(any_backend, slots=5, chunk=3, kept=kept, speculate=quick)
    mine, traffic = set[int](), list[int]()
    texts: dict[int, list[int]] = defaultdict(list)
    while len(mine) < 1000 or engine.busy:
        if len(mine) < 1000 and len(engine.waiting) < 5:
            mine.add(engine.submit(wanted))
            length = int(rng.integers(1, 9))
            noise = Request(rng.integers(0, 17, length).tolist(), length, seed=length, sample=len(mine))
            traffic.append(engine.submit(noise))
        if rng.random() < 0.1:
            engine.cancel(traffic[-1])
        for handle, event in engine.step():
            if isinstance(event, Token):
                texts[handle].append(event.id)
    assert {tuple(texts[handle]) for handle in mine} == {tuple(by_hand(any_backend, wanted))}
    assert by_hand(any_backend, replace(wanted, seed=43)) != by_hand(any_backend, wanted)
