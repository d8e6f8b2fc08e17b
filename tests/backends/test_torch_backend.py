"""The torch back end against the reference: one ragged batch after another, types, slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inkfish.backends import Backend, TopBackend
from inkfish.backends.reference import ReferenceBackend
from inkfish.backends.torch import TorchBackend, load
from inkfish.config import ModelConfig
from inkfish.engine import Engine, Event, Kept, Request, Token, extend
from inkfish.errors import SettingError
from inkfish.sampling import Sampling

Tensors = Mapping[str, NDArray[np.float32]]


@pytest.fixture
def backend(tiny_config: ModelConfig, tiny_tensors: Tensors) -> TorchBackend:
    return load(tiny_config, tiny_tensors, device="cpu")


class Twins:
    """Two back ends that are told the same, and must answer the same."""

    def __init__(self, one: Backend, other: Backend) -> None:
        self.one, self.other, self.rng = one, other, np.random.default_rng(0)
        self.live: list[int] = []

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        return int(self.rng.integers(low, high + 1))

    def ids(self, count: int) -> list[int]:
        """Random ids."""
        return self.rng.integers(0, 17, count).tolist()

    def allocate(self) -> None:
        if len(self.live) < 7:
            self.live.append(self.one.allocate())
            assert self.other.allocate() == self.live[-1]

    def prefill(self, slot: int) -> None:
        ids = self.ids(self.number(0, 32 - self.one.length(slot)))
        if ids:
            segments = ids[::-1] if self.number(0, 1) else None
            every = bool(self.number(0, 1))
            found = self.one.prefill(slot, ids, segments, every=every)
            assert found.dtype == np.float32
            assert np.allclose(found, self.other.prefill(slot, ids, segments, every=every), atol=1e-4)

    def decode(self, _: int) -> None:
        batch = [slot for slot in self.live if self.one.length(slot) < 32]
        self.rng.shuffle(batch)
        if batch:
            ids = self.ids(len(batch))
            segments = [i if i % 2 else None for i in ids] if self.number(0, 1) else None
            found = self.one.decode(batch, ids, segments)
            assert np.allclose(found, self.other.decode(batch, ids, segments), atol=1e-4)

    def extend(self, _: int) -> None:
        """Runs of ids on some slots: logits, the largest of them, totals."""
        batch = [slot for slot in self.live if self.one.length(slot) < 29]
        if not batch:
            return
        runs = [self.ids(self.number(1, 1 + 2 * self.number(0, 1))) for _ in batch]
        segments = [slot if slot % 2 else None for slot in batch] if self.number(0, 1) else None
        heat = [0.5 + slot for slot in batch]
        assert isinstance(self.one, TopBackend)
        top = self.one.extend_top(batch, runs, segments, k=5, temperatures=heat)
        expected = np.concatenate(extend(self.other, batch, runs, segments)).astype(np.float64)
        assert np.allclose(top.logits, expected, atol=1e-4)
        order = np.argsort(-top.logits, axis=1, kind="stable")[:, :5]
        assert np.array_equal(top.ids, order)
        assert np.array_equal(top.values, np.take_along_axis(top.logits, order, 1))
        gaps = expected - expected.max(1, keepdims=True)
        assert np.allclose(top.totals, np.exp(gaps).sum(1), rtol=1e-3)
        rows = np.repeat(heat, [len(run) for run in runs])[:, None]
        assert np.allclose(top.scaled_totals, np.exp(gaps / rows).sum(1), rtol=1e-3)

    def copy(self, slot: int) -> None:
        length, target = self.number(0, self.one.length(slot)), int(self.rng.choice(self.live))
        self.one.copy(slot, target, length)
        self.other.copy(slot, target, length)

    def truncate(self, slot: int) -> None:
        length = self.number(0, self.one.length(slot))
        self.one.truncate(slot, length)
        self.other.truncate(slot, length)

    def free(self, slot: int) -> None:
        self.one.free(slot)
        self.other.free(slot)
        self.live.remove(slot)


@pytest.mark.parametrize("fixed", [False, True])
def test_random_traffic_equals_the_reference(
    backend: TorchBackend, tiny_backend: ReferenceBackend, fixed: bool
) -> None:
    """200 random calls on slots of unequal length, with steps as a GPU takes them too: within 1e-4."""
    backend.fixed = fixed
    twins = Twins(backend, tiny_backend)
    actions = [twins.prefill, twins.decode, twins.extend, twins.copy, twins.truncate]
    for n in range(200):
        if not twins.live or n % 10 == 0:
            twins.allocate()
        action = twins.free if n % 25 == 24 else actions[twins.number(0, 4)]
        action(int(twins.rng.choice(twins.live)))
        assert [backend.length(slot) for slot in twins.live] == [tiny_backend.length(s) for s in twins.live]


def test_damaged_numbers_do_not_reach_the_next_user(backend: TorchBackend) -> None:
    good, bad = backend.allocate(), backend.allocate()
    backend.prefill(bad, [1] * 20)
    backend.cache[:, :, bad, :, :20] = torch.nan
    backend.truncate(bad, 2)
    backend.free(bad)
    assert backend.allocate() == bad
    backend.prefill(good, [1] * 20)
    backend.prefill(bad, [2])
    assert np.isfinite(backend.decode([good, bad], [3, 3])).all()


@pytest.mark.parametrize(("dtype", "within"), [("bfloat16", 0.3), ("float16", 0.05)])
def test_half_precision_is_near(
    tiny_config: ModelConfig, tiny_tensors: Tensors, backend: TorchBackend, dtype: str, within: float
) -> None:
    half = load(tiny_config, tiny_tensors, dtype=dtype, device="cpu")
    assert half.dtype == dtype
    assert backend.dtype == "float32"
    exact = backend.prefill(backend.allocate(), [1, 2, 3])
    found = half.prefill(half.allocate(), [1, 2, 3])
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < within * exact.std()


def test_threads_are_set(tiny_config: ModelConfig, tiny_tensors: Tensors) -> None:
    before = torch.get_num_threads()
    try:
        load(tiny_config, tiny_tensors, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_an_unknown_type_is_refused(tiny_config: ModelConfig, tiny_tensors: Tensors) -> None:
    with pytest.raises(
        SettingError, match="dtype is 'int8'; the torch back end has float32, bfloat16, float16"
    ) as e:
        load(tiny_config, tiny_tensors, dtype="int8")
    assert e.value.param == "dtype"


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        ("prefill", (0, []), "at least one id"),
        ("prefill", (0, [1] * 33), "33 positions, the context is 32"),
        ("truncate", (0, 1), "holds fewer than 1"),
        ("copy", (0, 0, 1), "holds fewer than 1"),
        ("decode", ([0, 0], [1, 1]), "a slot is named twice"),
    ],
)
def test_mistakes_of_programmers_are_said(
    backend: TorchBackend, call: str, arguments: tuple[Any, ...], message: str
) -> None:
    backend.allocate()
    with pytest.raises(AssertionError, match=message):
        getattr(backend, call)(*arguments)


def test_steps_of_fixed_shapes_are_few(backend: TorchBackend) -> None:
    """Whatever slots and lengths: rows up to a power of two, positions up to one, prepared once."""
    backend.fixed = True
    slots = [backend.allocate() for _ in range(7)]
    for slot in slots:
        backend.prefill(slot, [1])
    for n in range(1, 8):
        for _ in range(3):
            backend.decode(slots[:n], [2] * n)
    assert sorted(backend.steps) == [(rows, 32, 1) for rows in (1, 2, 4, 8)]


@pytest.mark.parametrize("fixed", [False, True])
def test_the_engine_writes_what_it_writes_on_the_reference(
    backend: TorchBackend, tiny_backend: ReferenceBackend, fixed: bool
) -> None:
    backend.fixed = fixed
    requests = [
        Request([1, 2, 3], 20, seed=1),
        Request([4], 31, seed=2, sampling=Sampling(temperature=1.5, top_k=5)),
        Request([5, 6, 7, 8] * 3, 12, seed=3, sampling=Sampling(temperature=0)),
        Request([1, 2, 9], 20, seed=1, sample=1, sampling=Sampling(repetition_penalty=1.3, top_p=0.9)),
        Request([3] * 40, 20, seed=6, slide=True, segments=[2] * 40),
    ]

    def tokens(events: Sequence[tuple[int, Event]]) -> list[list[int]]:
        return [[e.id for h, e in events if h == n and isinstance(e, Token)] for n in range(5)]

    expected = tokens(list(Engine(tiny_backend, slots=3).run(requests)))
    for speculate in (False, True):
        engine = Engine(backend, slots=3, kept=Kept(backend, most=2), speculate=speculate)
        assert tokens(list(engine.run(requests))) == expected


def test_logits_of_half_types_are_finer_than_the_type(
    tiny_config: ModelConfig, tiny_tensors: Tensors
) -> None:
    """Logits around -100 differ by less than bfloat16 can say there."""
    shifted = {
        **tiny_tensors,
        "ln_f.bias": tiny_tensors["ln_f.bias"] * 0 - 60 * tiny_tensors["wte.weight"][3],
    }
    half = load(tiny_config, shifted, dtype="bfloat16", device="cpu")
    logits = half.prefill(half.allocate(), [1, 2, 3])
    assert np.abs(logits).max() > 60
    coarse = torch.from_numpy(logits).bfloat16().float().numpy()
    assert np.abs(logits - coarse).max() > 0.01


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of its compiler
def test_compiled_steps_give_the_same(
    tiny_config: ModelConfig, tiny_tensors: Tensors, backend: TorchBackend
) -> None:
    compiled = load(tiny_config, tiny_tensors, device="cpu", compiled=True)
    for one in (compiled, backend):
        one.prefill(one.allocate(), [1, 2, 3])
    for token in range(9):
        assert np.allclose(compiled.decode([0], [token]), backend.decode([0], [token]), atol=1e-4)
    assert len(compiled.steps) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_tokens(
    tiny_config: ModelConfig, tiny_tensors: Tensors, backend: TorchBackend
) -> None:
    gpu = load(tiny_config, tiny_tensors)
    assert gpu.device.type == "cuda"
    ids = [1, 2, 3, 4, 5]
    found = gpu.prefill(gpu.allocate(), ids, every=True)
    assert np.allclose(found, backend.prefill(backend.allocate(), ids, every=True), atol=1e-3)
