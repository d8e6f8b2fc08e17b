"""Guessing changes nothing but the time: same events, bit for bit, whatever is guessed and however wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from inkfish.backends import Backend, native, reference
from inkfish.backends.reference import ReferenceBackend
from inkfish.config import ModelConfig
from inkfish.engine import Engine, Event, Failed, Finish, Kept, Request, Slid, Token
from inkfish.engine.lookup import MOST, STREAKS, Cost, Lookup
from inkfish.sampling import Sampling
from inkfish.weights import Checkpoint

CONFIG = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=64, vocab_size=301)


def make_tensors(config: ModelConfig) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    rng = np.random.default_rng(1)
    return {
        name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in config.tensor_shapes().items()
    }


@pytest.fixture(params=["reference", "float32", "bfloat16", "int8", "int4"])
def any_backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "reference":
        return reference.load(CONFIG, make_tensors(CONFIG))
    if not native.available():
        pytest.skip("the native back end was not compiled")
    return native.load(Checkpoint(CONFIG, make_tensors(CONFIG), dtype="float32"), dtype=request.param)


def collect(engine: Engine, requests: Sequence[Request]) -> dict[int, list[Event]]:
    found: dict[int, list[Event]] = defaultdict(list)
    for handle, event in engine.run(requests):
        found[handle].append(event)
    return found


class Oracle(Lookup):
    """Guesses of every length and kind: half of what it says was seen, half is made up."""

    calls = 0
    fed = 0

    def guess(self, most: int, share: float) -> list[int]:
        Oracle.calls += 1
        rng = np.random.default_rng(Oracle.calls)
        known = super().guess(most, 0.0)[: int(rng.integers(0, 6))]
        made_up = rng.integers(0, 3, int(rng.integers(0, 6))).tolist()
        found = [*known, *made_up][:most]
        Oracle.fed += len(found)
        return found


REQUESTS = [
    Request([1, 2, 1, 2, 1, 2], 40, sampling=Sampling(temperature=0)),
    Request([4], 63, seed=2, sampling=Sampling(temperature=0.3, top_k=5)),
    Request([5, 6, 7] * 7, 20, seed=3, sampling=Sampling(repetition_penalty=1.3, top_p=0.9), top=3),
    Request([1, 2, 1, 2, 1, 2], 40, seed=4, sampling=Sampling(logit_bias={0: 8, 1: 8, 2: 8})),
    Request([9, 2], 100, seed=5, sampling=Sampling(logit_bias={0: 9, 1: 9, 2: 9}), slide=True),
    Request([3, 3], 50, seed=6, sampling=Sampling(logit_bias={0: 9, 1: 9, 2: 7}), stop_ids=(2,)),
    Request([1, 2, 1], 30, seed=7, segments=[4, 5, 6], sampling=Sampling(no_repeat_ngram=3)),
    Request([1, 2, 1], 30, seed=7, sampling=Sampling(min_tokens=9, logit_bias={2: 9}), stop_ids=(2,)),
]


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_events_are_those_without_guesses(
    any_backend: Backend, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens, log-probabilities, alternatives, slides and ends; the native back end to the last bit."""
    plain = collect(Engine(any_backend, slots=slots), REQUESTS)
    monkeypatch.setattr("inkfish.engine.Lookup", Oracle)
    before = Oracle.fed
    guessed = collect(Engine(any_backend, slots=slots, speculate=True), REQUESTS)
    assert Oracle.fed - before > 300
    assert any(isinstance(event, Slid) for event in plain[4])
    if any_backend.__class__ is ReferenceBackend:  # rounds otherwise where ids are split otherwise
        for handle, events in plain.items():
            assert [e.id for e in events if isinstance(e, Token)] == [
                e.id for e in guessed[handle] if isinstance(e, Token)
            ]
            assert [type(e) for e in events] == [type(e) for e in guessed[handle]]
    else:
        assert guessed == plain
    assert any_backend.allocate() == 0, "all slots are free again"


def test_the_comparison_can_fail(tiny_backend: ReferenceBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: with logits that are one position late the texts differ."""
    request = Request([1, 2, 1, 2, 1], 20, seed=3)
    plain = collect(Engine(tiny_backend), [request])
    monkeypatch.setattr("inkfish.engine.Lookup", Oracle)
    monkeypatch.setattr("inkfish.engine.extend", wrong)
    assert collect(Engine(tiny_backend, speculate=True), [request]) != plain


def wrong(
    backend: Backend, slots: Sequence[int], runs: Sequence[Sequence[int]], segments: object
) -> list[reference.Array]:
    """Logits of one position at another."""
    assert segments is None
    return [
        np.roll(backend.prefill(slot, run, every=True), 1, axis=0)
        for slot, run in zip(slots, runs, strict=True)
    ]


def test_repeating_text_takes_few_calls(any_backend: Backend) -> None:
    """A greedy text that runs in a circle: far fewer calls than tokens, without any tuning."""
    request = Request([1, 2], 60, sampling=Sampling(temperature=0, logit_bias={7: 100}))
    engine = Engine(any_backend, speculate=True)
    engine.cost.share = lambda rows: 0.05  # type: ignore[method-assign]
    engine.submit(request)
    steps = 0
    while engine.busy:
        engine.step()
        steps += 1
    assert steps < 20


def test_wrong_guesses_end_by_themselves() -> None:
    """Noise of 8 tokens, one guess in 8 is right: soon nothing is guessed, until the text repeats itself."""
    lookup = Lookup([])
    fed = []
    for token in np.random.default_rng(0).integers(0, 8, 400).tolist():
        fed.append(len(lookup.guess(15, 0.3)))
        lookup.push(token)
    assert np.count_nonzero(fed[:30]) > 0
    assert np.count_nonzero(fed[30:]) < 0.15 * 370
    for token in [*range(100, 150)] * 3:
        lookup.push(token)
    assert len(lookup.guess(15, 0.3)) > 2


def test_a_guess_goes_on_where_the_last_tokens_stood_last() -> None:
    assert Lookup([1, 2, 3, 9, 1, 2, 4, 9, 1, 2]).guess(3, 0.01) == [4, 9, 1]
    assert Lookup([5, 1, 2, 3, 6, 1, 2, 4, 5, 1, 2]).guess(2, 0.01) == [3, 6], (
        "three tokens tell more than two"
    )
    assert Lookup([1, 2, 3, 1, 2]).guess(15, 0.0)[:7] == [3, 1, 2, 3, 1, 2, 3], "a circle goes on"
    assert Lookup([1, 2, 3, 4]).guess(15, 0.01) == []
    assert Lookup([1]).guess(15, 0.01) == []
    assert len(Lookup([1] * 40).guess(100, 0.0)) == MOST
    assert Lookup([1] * 40).guess(0, 0.0) == []


def test_how_much_is_guessed_follows_price_and_streak() -> None:
    lookup = Lookup([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2])
    by_price = [len(lookup.guess(15, price)) for price in (0.01, 0.1, 0.25, 1.0)]
    assert by_price == sorted(by_price, reverse=True)
    assert by_price[-1] == 0
    for token in (3, 4, 5):
        lookup.push(token)
    assert lookup.streak == 3
    assert len(lookup.guess(15, 0.3)) > by_price[2]
    lookup.push(99)
    assert (lookup.streak, lookup.next) == (0, None)
    assert lookup.right[3] < STREAKS[3]


def test_the_cost_of_a_row_is_fitted() -> None:
    cost = Cost()
    assert cost.share(1) == 0.1
    for rows in [1, 1, 8, 1, 4, 16, 2, 1] * 9:
        cost.note(rows, 5e-3 + 2e-3 * rows)
    assert cost.share(1) == pytest.approx(2 / 7)
    assert cost.share(16) == pytest.approx(2 / 37)
    cost.note(1, 100.0)  # the machine slept
    assert 0.01 < cost.share(1) < 1


def test_equal_calls_tell_nothing_of_a_row() -> None:
    cost = Cost()
    for _ in range(30):
        cost.note(3, 0.01)
    assert cost.share(3) == 0.1


def test_a_failure_with_guesses_is_tried_without(tiny_backend: ReferenceBackend) -> None:
    """Feeding more than one id at once fails: the texts are the same, one call for each token."""
    request = Request([1, 2] * 4, 12, sampling=Sampling(temperature=0, logit_bias={1: 50}))
    plain = collect(Engine(tiny_backend), [request])

    class Fragile(ReferenceBackend):
        failures = 0

        def prefill(
            self, slot: int, ids: Sequence[int], segments: Sequence[int] | None = None, *, every: bool = False
        ) -> reference.Array:
            if every:
                self.failures += 1
                super().prefill(slot, ids[:1], segments)
                raise MemoryError
            return super().prefill(slot, ids, segments, every=every)

    fragile = Fragile(tiny_backend.config, tiny_backend.tensors)
    found = collect(Engine(fragile, speculate=True), [request])
    assert fragile.failures > 0
    assert [type(e) for e in found[0]] == [type(e) for e in plain[0]]
    assert not any(isinstance(event, Failed) for event in found[0])
    assert not fragile.slots


def test_cancelling_and_keeping_with_guesses(tiny_backend: ReferenceBackend) -> None:
    """What a slot holds beyond the text is cut off before it is kept."""
    kept = Kept(tiny_backend)
    request = Request([1, 2] * 4, 20, sampling=Sampling(temperature=0, logit_bias={1: 50}))
    engine = Engine(tiny_backend, kept=kept, speculate=True)
    handle = engine.submit(request)
    events = [event for _ in range(4) for _, event in engine.step()]
    engine.cancel(handle)
    assert engine.step() == [(handle, Finish("cancelled"))]
    text = [event.id for event in events if isinstance(event, Token)]
    assert 4 < len(text) < 20
    again = replace(request, prompt=[*request.prompt, *text, 3], max_tokens=3)
    found, alone = (
        [event.id for event in collect(engine, [again])[0] if isinstance(event, Token)]
        for engine in (Engine(tiny_backend, kept=kept), Engine(tiny_backend))
    )
    assert found == alone
    assert kept.reused == 8 + len(text) - 1
