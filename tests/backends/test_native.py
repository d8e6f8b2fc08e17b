"""The native back end against the numpy reference, and against itself: equal bits however it is asked."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inkfish.backends import Backend, TopBackend, native, reference
from inkfish.backends.native.convert import Packed, pack
from inkfish.config import ModelConfig
from inkfish.errors import ModelError, SettingError
from inkfish.sampling import History, Sampling, choose, choose_top, uniform
from inkfish.weights.checkpoint import Checkpoint

pytestmark = pytest.mark.skipif(not native.available(), reason="the native library was not built")

Logits = NDArray[np.float32]
ISAS = native.supported() if native.available() else []
KINDS = [(isa, dtype) for isa in ISAS for dtype in native.DTYPES]

SHAPES = {
    # heads of 4 channels, everything narrower than a panel
    "tiny": ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17),
    # odd widths everywhere, and three pages of keys and values
    "odd": ModelConfig(n_layer=2, n_head=3, n_embd=45, n_positions=300, vocab_size=101, n_inner=77),
    # heads of 80 channels, several panels, several blocks of steps
    "wide": ModelConfig(n_layer=1, n_head=2, n_embd=160, n_positions=70, vocab_size=333, n_inner=2100),
}


def checkpoint(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> Checkpoint:
    """Weights that were never in a file."""
    return Checkpoint(config, tensors, "float32")


def random_weights(config: ModelConfig, seed: int = 0) -> Checkpoint:
    """Random weights, of a size that lets logits spread over a few units."""
    rng = np.random.default_rng(seed)
    scale = 1.5 / np.sqrt(config.n_embd)
    return checkpoint(
        config,
        {
            name: (
                rng.standard_normal(shape) * scale + name.endswith(("_1.weight", "_2.weight", "_f.weight"))
            ).astype(np.float32)
            for name, shape in config.tensor_shapes().items()
        },
    )


WEIGHTS = {name: random_weights(config) for name, config in SHAPES.items()}


@functools.cache
def packed(shape: str, dtype: str) -> Packed:
    """Weights converted once for all tests: four bits take their time."""
    weights = WEIGHTS[shape]
    return pack(weights.config, weights.tensors, dtype)


def some_ids(config: ModelConfig, count: int, seed: int = 1) -> list[int]:
    """Random ids."""
    return np.random.default_rng(seed).integers(0, config.vocab_size, count).tolist()


def rounded(weights: Checkpoint, dtype: str) -> Checkpoint:
    """The same weights with matrices rounded as the type holds them, worked out here once more."""

    def one(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
        if tensor.ndim < 2 or name == "wpe.weight" or dtype == "float32":
            return tensor
        if dtype == "bfloat16":
            import torch  # an oracle of its own

            return torch.from_numpy(tensor).to(torch.bfloat16).float().numpy()
        inputs = 1 if name == "wte.weight" else 0
        scale = np.abs(tensor).max(inputs, keepdims=True) / 127
        return np.round(tensor / scale) * scale

    return checkpoint(weights.config, {name: one(name, tensor) for name, tensor in weights.tensors.items()})


def unpacked(blocks: NDArray[np.uint8], units: NDArray[np.float32], inputs: int) -> NDArray[np.float32]:
    """A matrix (outputs × inputs) from its four-bit panels (panels, blocks, 1152), as `layout.h` tells it."""
    matrix = np.zeros((len(blocks), 32, blocks.shape[1], 64))
    for n in range(32):
        for k in range(64):
            pair = blocks[:, :, 128 + k // 8 * 128 + 4 * n + k % 4]
            code = (pair >> 4 if k % 8 > 3 else pair & 15).astype(int) - 8
            matrix[:, n, :, k] = code * blocks[:, :, k // 16 * 32 + n].view(np.int8)
    values = matrix.reshape(len(blocks) * 32, -1) * units[:, None]
    return values[:, :inputs].astype(np.float32)


def four_bits_of(shape: str) -> Checkpoint:
    """What the file in four bits holds, read by hand."""
    weights, file = WEIGHTS[shape], packed(shape, "int4")
    config, tensors = weights.config, dict(rounded(weights, "int8").tensors)
    ends = [*file.offsets[1:].tolist(), file.data.size]
    stored = [file.data[start:end] for start, end in zip(file.offsets.tolist(), ends, strict=True)]
    at = 4  # after embedding, its scales and totals, positions
    for i in range(config.n_layer):
        for names in (("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj")):
            at += 2  # the norm's weight and bias
            for name in names:
                inputs, outputs = weights.tensors[f"h.{i}.{name}.weight"].shape
                panels = -(-outputs // 32)
                size = panels * -(-inputs // 64) * 1152
                matrix = unpacked(
                    stored[at][:size].reshape(panels, -1, 1152),
                    stored[at + 1].view(np.float32)[: panels * 32],
                    inputs,
                )
                tensors[f"h.{i}.{name}.weight"] = matrix[:outputs].T
                at += 4
    return checkpoint(config, tensors)


def everything(backend: Backend, ids: Sequence[int], segments: Sequence[int] | None = None) -> Logits:
    """Logits after each of the ids in a slot of their own."""
    slot = backend.allocate()
    logits = backend.prefill(slot, ids, segments, every=True)
    backend.free(slot)
    return logits


# ------------------------------------------------------------------------------------------------ right


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("isa", ISAS)
def test_float32_equals_the_reference(isa: str, shape: str) -> None:
    weights = WEIGHTS[shape]
    config = weights.config
    ids, segments = some_ids(config, config.n_positions), some_ids(config, config.n_positions, 2)
    want = everything(reference.load(config, weights.tensors), ids, segments)
    got = everything(native.load(weights, isa=isa, threads=2), ids, segments)
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max(), rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "limit"), [("bfloat16", 0.01), ("int8", 0.03), ("int4", 0.03)])
def test_short_types_stay_near_the_reference_on_their_rounded_weights(
    dtype: str, limit: float, shape: str
) -> None:
    """What is left is the rounding of activations: far below what a misplaced weight would do."""
    weights = WEIGHTS[shape]
    config = weights.config
    ids, segments = some_ids(config, config.n_positions), some_ids(config, config.n_positions, 2)
    held = four_bits_of(shape) if dtype == "int4" else rounded(weights, dtype)
    want = everything(reference.load(config, held.tensors), ids, segments)
    got = everything(native.NativeBackend(packed(shape, dtype)), ids, segments)
    assert np.sqrt(np.mean((got - want) ** 2)) < limit * want.std()


@pytest.mark.parametrize("dtype", native.DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_instruction_sets_give_equal_bits(shape: str, dtype: str) -> None:
    """All that have a fused multiply-add compute the same sums in the same order."""
    weights = WEIGHTS[shape]
    ids = some_ids(weights.config, weights.config.n_positions)
    fused = [isa for isa in ISAS if isa != "plain"]
    logits = [everything(native.NativeBackend(packed(shape, dtype), isa=isa), ids) for isa in fused]
    assert all(np.array_equal(one, logits[0]) for one in logits)


def test_a_model_without_loops_or_positions_to_spare() -> None:
    """One layer, one head, one channel, one position, one token."""
    config = ModelConfig(n_layer=1, n_head=1, n_embd=1, n_positions=1, vocab_size=1, n_inner=1)
    weights = random_weights(config)
    want = everything(reference.load(config, weights.tensors), [0])
    for isa, dtype in KINDS:
        np.testing.assert_allclose(
            everything(native.load(weights, isa=isa, dtype=dtype), [0]), want, rtol=0.02, atol=0.01
        )


def test_a_back_end_says_what_it_is() -> None:
    backend = native.load(WEIGHTS["tiny"], dtype="int8", threads=3, isa="plain")
    assert (backend.config, backend.dtype) == (SHAPES["tiny"], "int8")
    assert (backend.threads, backend.isa) == (3, "plain")
    assert isinstance(backend, TopBackend)


# ------------------------------------------------------------------------------------------- equal bits


def in_one_call(backend: Backend, ids: list[int], segments: list[int]) -> Logits:
    return everything(backend, ids, segments)


def one_by_one(backend: Backend, ids: list[int], segments: list[int]) -> Logits:
    slot = backend.allocate()
    return np.stack([backend.decode([slot], [i], [s])[0] for i, s in zip(ids, segments, strict=True)])


def in_chunks(backend: Backend, ids: list[int], segments: list[int]) -> Logits:
    slot, cuts = backend.allocate(), [0, 1, 3, 20, 29, len(ids)]
    return np.concatenate(
        [backend.prefill(slot, ids[a:b], segments[a:b], every=True) for a, b in pairwise(cuts)]
    )


def last_of_each_prefix(backend: Backend, ids: list[int], segments: list[int]) -> Logits:
    slot, rows = backend.allocate(), []
    for n in range(1, len(ids) + 1):
        backend.truncate(slot, 0)
        rows.append(backend.prefill(slot, ids[:n], segments[:n]))
    return np.stack(rows)


def in_a_ragged_batch(backend: Backend, ids: list[int], segments: list[int]) -> Logits:
    """Among up to 40 others of other lengths, that come and go."""
    mine, rows = backend.allocate(), []
    others: list[int] = []
    for n, (token, segment) in enumerate(zip(ids, segments, strict=True)):
        if len(others) < 40:
            others.append(backend.allocate())
            backend.prefill(others[-1], ids[: 1 + n % 3])
        if n % 11 == 10:
            backend.free(others.pop(0))
        guests = [slot for slot in others if backend.length(slot) < backend.config.n_positions]
        batch = [*guests[: n % 23], mine, *guests[n % 23 :]]
        logits = backend.decode(
            batch,
            [token if slot == mine else ids[-1 - n % 5] for slot in batch],
            [segment if slot == mine else None for slot in batch],
        )
        rows.append(logits[batch.index(mine)])
    return np.stack(rows)


def after_copies_and_retreats(backend: Backend, ids: list[int], segments: list[int]) -> Logits:
    """Each token comes from a copy that shares its past with a sequence that went another way."""
    slot, rows = backend.allocate(), []
    for token, segment in zip(ids, segments, strict=True):
        length = backend.length(slot)
        other = backend.allocate()
        backend.copy(slot, other, length)
        backend.decode([slot], [ids[0]], [None])
        rows.append(backend.decode([other], [token], [segment])[0])
        backend.truncate(slot, length)
        backend.copy(other, slot, length + 1)
        backend.free(other)
    return np.stack(rows)


WAYS: list[Callable[[Backend, list[int], list[int]], Logits]] = [
    one_by_one,
    in_chunks,
    last_of_each_prefix,
    in_a_ragged_batch,
    after_copies_and_retreats,
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("isa", "dtype"), KINDS)
def test_every_way_to_feed_a_sequence_gives_the_same_bits(isa: str, dtype: str, shape: str) -> None:
    weights = WEIGHTS[shape]
    count = min(70, weights.config.n_positions)
    ids, segments = some_ids(weights.config, count), some_ids(weights.config, count, 2)
    backend = native.NativeBackend(packed(shape, dtype), isa=isa, threads=2)
    want = in_one_call(backend, ids, segments)
    for way in WAYS:
        assert np.array_equal(way(backend, ids, segments), want), way.__name__


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
def test_bits_do_not_depend_on_the_number_of_threads(isa: str, dtype: str) -> None:
    ids, weights = some_ids(SHAPES["odd"], 300), packed("odd", dtype)
    logits = [
        everything(native.NativeBackend(weights, isa=isa, threads=threads), ids) for threads in (1, 2, 5)
    ]
    assert all(np.array_equal(one, logits[0]) for one in logits)


def test_prompts_longer_than_a_chunk_and_many_slots_at_once() -> None:
    """More than 512 rows go through the layers in parts."""
    config = ModelConfig(n_layer=1, n_head=2, n_embd=24, n_positions=1100, vocab_size=50)
    weights = random_weights(config)
    ids = some_ids(config, 1100)
    want = everything(reference.load(config, weights.tensors), ids)
    for dtype in native.DTYPES:
        backend = native.load(weights, dtype=dtype)
        got = everything(backend, ids)
        if dtype == "float32":
            np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max(), rtol=0)
        slot = backend.allocate()
        assert np.array_equal(backend.prefill(slot, ids), got[-1])
        slots = [backend.allocate() for _ in range(600)]
        assert np.array_equal(backend.decode(slots, ids[:1] * 600), np.repeat(got[:1], 600, 0))


# -------------------------------------------------------------------------------- one text, whatever else


class Noisy:
    """The control: a back end whose logits depend, as if rounded to bfloat16, on who else is in the batch."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def decode(self, slots: Sequence[int], ids: Sequence[int]) -> Logits:
        return self.backend.decode(slots, ids) * np.float32(1 + len(slots) / 256)


def text_under_traffic(backend: Any, rng: np.random.Generator, length: int) -> tuple[int, ...]:
    """Sample with a fixed seed, while others are read, decoded along and freed at random."""
    config, mine, text = backend.config, backend.allocate(), [1]
    guests: list[int] = []
    while len(text) <= length:
        if rng.random() < 0.3:
            guests.append(backend.allocate())
            backend.prefill(guests[-1], rng.integers(0, config.vocab_size, rng.integers(1, 9)).tolist())
        if guests and rng.random() < 0.2:
            backend.free(guests.pop(rng.integers(len(guests))))
        batch = [mine, *(slot for slot in guests if backend.length(slot) < config.n_positions)]
        rng.shuffle(batch)
        ids = [text[-1] if slot == mine else int(rng.integers(config.vocab_size)) for slot in batch]
        logits = backend.decode(batch, ids)[batch.index(mine)]
        text.append(choose(logits, History(), Sampling(), uniform(7, 0, len(text))))
    for slot in [mine, *guests]:
        backend.free(slot)
    return tuple(text)


@pytest.mark.parametrize("dtype", native.DTYPES)
@pytest.mark.parametrize("shape", ["tiny", pytest.param("wide", marks=pytest.mark.slow)])
def test_a_thousand_repeats_give_one_text(shape: str, dtype: str) -> None:
    """Narrow models are computed by one thread, wide ones by both."""
    backend = native.NativeBackend(packed(shape, dtype), threads=2)
    rng = np.random.default_rng(3)
    assert len({text_under_traffic(backend, rng, 20) for _ in range(1000)}) == 1


def test_the_same_test_finds_logits_that_depend_on_the_batch() -> None:
    backend = Noisy(native.load(WEIGHTS["tiny"], threads=2))
    rng = np.random.default_rng(3)
    assert len({text_under_traffic(backend, rng, 20) for _ in range(300)}) > 1


# ------------------------------------------------------------------------------------- the largest logits


@pytest.mark.parametrize("isa", ISAS)
def test_the_largest_logits_and_the_totals_of_all(isa: str) -> None:
    weights = WEIGHTS["wide"]
    backend = native.load(weights, isa=isa)
    slots = [backend.allocate() for _ in range(3)]
    ids = some_ids(weights.config, 3)
    plain = backend.decode(slots, ids, [None, 4, None])
    for slot in slots:
        backend.truncate(slot, 0)
    top = backend.decode_top(slots, ids, [None, 4, None], k=7, temperatures=[1.0, 0.3, 1.7])
    assert np.array_equal(top.logits, plain)
    order = np.argsort(-plain, axis=1, kind="stable")[:, :7]
    assert np.array_equal(top.ids, order)
    assert np.array_equal(top.values, np.take_along_axis(plain, order, 1))
    above = plain.astype(np.float64) - plain.max(1, keepdims=True)
    np.testing.assert_allclose(top.totals, np.exp(above).sum(1), rtol=1e-6)
    heat = np.array([1.0, 0.3, 1.7])[:, None]
    np.testing.assert_allclose(top.scaled_totals, np.exp(above / heat).sum(1), rtol=1e-5)


def test_equal_logits_come_in_the_order_of_their_ids() -> None:
    weights = WEIGHTS["tiny"]
    tied = dict(weights.tensors)
    tied["wte.weight"] = np.repeat(tied["wte.weight"][:6], 3, 0)[:17]
    backend = native.load(checkpoint(weights.config, tied))
    top = backend.decode_top([backend.allocate()], [3], k=17)
    assert top.ids[0].tolist() == np.argsort(-top.logits[0], kind="stable").tolist()
    assert len(np.unique(top.values)) == 6


def test_sampling_from_the_largest_gives_what_sampling_from_all_gives() -> None:
    config = SHAPES["wide"]
    backend = native.load(WEIGHTS["wide"])
    slot, decided = backend.allocate(), 0
    for n, setting in enumerate(
        Sampling(temperature=t, top_k=k, top_p=p) for t in (0, 0.4, 1) for k in (0, 9) for p in (0.5, 1)
    ):
        top = backend.decode_top([slot], [n], k=64, temperatures=[setting.temperature or 1])
        for position in range(50):
            u = uniform(5, 0, position)
            quick = choose_top(
                top.values[0],
                top.ids[0],
                float(top.scaled_totals[0]),
                setting,
                u,
                vocab_size=config.vocab_size,
            )
            decided += quick is not None
            assert quick in (None, choose(top.logits[0], History(), setting, u))
    assert decided > 500


@pytest.mark.parametrize("k", [0, 18])
def test_as_many_as_there_are(k: int) -> None:
    backend = native.load(WEIGHTS["tiny"])
    with pytest.raises(AssertionError, match=f"k is {k}, the vocabulary has 17 entries"):
        backend.decode_top([backend.allocate()], [1], k=k)


def test_temperatures_that_do_not_fit() -> None:
    backend = native.load(WEIGHTS["tiny"])
    slot = backend.allocate()
    with pytest.raises(AssertionError, match="2 temperatures for 1 slots"):
        backend.decode_top([slot], [1], k=1, temperatures=[1, 1])
    with pytest.raises(AssertionError, match="temperatures must be above 0"):
        backend.decode_top([slot], [1], k=1, temperatures=[0])


# ----------------------------------------------------------------------------------------------- mistakes


def mistakes(backend: native.NativeBackend, slot: int) -> list[tuple[str, Callable[[], object]]]:
    """What a program can do wrong, with the words it gets for it."""
    context = backend.config.n_positions
    return [
        ("no such slot", lambda: backend.decode([99], [1])),
        ("no such slot", lambda: backend.decode([slot, -1], [1, 1])),
        ("no such slot", lambda: backend.length(99)),
        ("no such slot", lambda: backend.free(99)),
        ("no such slot", lambda: backend.truncate(99, 0)),
        ("no such slot", lambda: backend.copy(slot, 99, 0)),
        ("no such slot", lambda: backend.copy(99, slot, 0)),
        ("named twice", lambda: backend.decode([slot, slot], [1, 1])),
        ("outside the vocabulary", lambda: backend.decode([slot], [17])),
        ("outside the vocabulary", lambda: backend.prefill(slot, [1, -1])),
        ("outside the vocabulary", lambda: backend.prefill(slot, [1], [17])),
        ("outside the vocabulary", lambda: backend.prefill(slot, [1], [-2])),
        ("more positions", lambda: backend.prefill(slot, [1] * (context - 2))),
        ("fewer tokens", lambda: backend.truncate(slot, 4)),
        ("fewer tokens", lambda: backend.truncate(slot, -1)),
        ("fewer tokens", lambda: backend.copy(slot, slot, 4)),
        ("at least one", lambda: backend.decode([], [])),
        ("at least one", lambda: backend.prefill(slot, [])),
        ("2 ids for 1 slots", lambda: backend.decode([slot], [1, 2])),
        ("not as many segments", lambda: backend.prefill(slot, [1, 2], [3])),
    ]


def test_mistakes_are_told_and_change_nothing() -> None:
    backend = native.load(WEIGHTS["tiny"], threads=2)
    slot = backend.allocate()
    want = everything(backend, [1, 2, 3, 4])
    backend.prefill(slot, [1, 2, 3])
    for words, call in mistakes(backend, slot):
        with pytest.raises(AssertionError, match=words):
            call()
        assert backend.length(slot) == 3
    assert np.array_equal(backend.decode([slot], [4])[0], want[3])


@pytest.mark.parametrize("threads", [0, -1, 257, 2.0, True])
def test_threads_that_can_not_be(threads: Any) -> None:
    with pytest.raises(
        SettingError, match=f"threads is {threads!r}; it must be a whole number from 1 to 256"
    ):
        native.load(WEIGHTS["tiny"], threads=threads)


def test_an_instruction_set_that_is_not_here() -> None:
    with pytest.raises(SettingError, match=r"isa is 'mmx'; this machine has plain"):
        native.load(WEIGHTS["tiny"], isa="mmx")


def test_a_type_that_is_not_known() -> None:
    with pytest.raises(
        SettingError, match="dtype is 'int7'; it must be one of float32, bfloat16, int8, int4"
    ):
        native.load(WEIGHTS["tiny"], dtype="int7")


@pytest.mark.parametrize(("dtype", "most"), [("int8", 65_536), ("int4", 16_384)])
def test_layers_too_wide(dtype: str, most: int) -> None:
    config = ModelConfig(n_layer=1, n_head=1, n_embd=1, n_positions=1, vocab_size=1, n_inner=most + 1)
    message = (
        f"dtype {dtype} takes layers of at most {most:,} inputs, this model has {most + 1:,}; use bfloat16"
    )
    with pytest.raises(SettingError, match=message):
        native.load(random_weights(config), dtype=dtype)


def test_the_widest_layer_for_int8_does_not_overflow() -> None:
    """All weights and activations at their largest: 65,536 × 127 × 255 must fit the sum."""
    config = ModelConfig(n_layer=1, n_head=1, n_embd=1, n_positions=1, vocab_size=2, n_inner=65_536)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    tensors["h.0.mlp.c_fc.bias"][:] = 3
    tensors["h.0.mlp.c_proj.weight"][:] = 1
    tensors["wte.weight"][:] = 1
    tensors["ln_f.bias"][:] = 1
    weights = checkpoint(config, tensors)
    for isa in ISAS:
        backend = native.load(weights, isa=isa, dtype="int8")
        slot = backend.allocate()
        backend.prefill(slot, [0])
        assert np.allclose(backend.decode([backend.allocate()], [0]), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    tensors = dict(WEIGHTS["tiny"].tensors)
    tensors["h.1.mlp.c_fc.weight"] = tensors["h.1.mlp.c_fc.weight"].copy()
    tensors["h.1.mlp.c_fc.weight"][3, 5] = value
    with pytest.raises(ModelError, match=r"h\.1\.mlp\.c_fc\.weight holds numbers that are not finite"):
        native.load(checkpoint(SHAPES["tiny"], tensors))


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code after this module's own imports in a process of its own."""
    lines = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom test_native import *\n{code}"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", lines],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )


def test_a_forked_child_is_told_to_load_again() -> None:
    """Threads do not survive a fork; without the check the child would wait for them for ever."""
    result = run(
        "backend = native.load(WEIGHTS['tiny'], threads=2); slot = backend.allocate()\n"
        "if os.fork() == 0:\n"
        "    try: backend.decode([slot], [1])\n"
        "    except AssertionError as error: print(error, flush=True)\n"
        "    sys.exit()  # closes the model in the child, which must not wait for its threads either\n"
        "os.wait(); print(backend.decode([slot], [1]).shape)"
    )
    assert result.stdout.splitlines() == [
        "the process was forked after the model was loaded; load it again in the child",
        "(1, 17)",
    ], result.stderr


def test_without_memory_nothing_is_lost() -> None:
    """A context of 80 MB of keys and values does not fit; the same slot goes on with what does."""
    result = run(
        "import resource\n"
        "config = ModelConfig(n_layer=8, n_head=8, n_embd=256, n_positions=5000, vocab_size=17, n_inner=8)\n"
        "backend = native.load(random_weights(config), threads=1); slot = backend.allocate()\n"
        "want = backend.prefill(slot, [1, 2]); backend.truncate(slot, 1)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20),) * 2)\n"
        "try: backend.prefill(slot, [3] * 4990)\n"
        "except MemoryError as error: print(error)\n"
        "print(backend.length(slot), np.array_equal(backend.decode([slot], [2])[0], want))"
    )
    assert result.stdout.splitlines() == [
        "there is not enough memory, or the system gives no more threads",
        "1 True",
    ], result.stderr


def test_threads_sleep_when_there_is_nothing_to_do() -> None:
    backend = native.load(WEIGHTS["tiny"], threads=2)
    backend.decode([backend.allocate()], [1])
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05


def test_several_python_threads_may_call_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    backend = native.load(WEIGHTS["odd"], threads=2)
    ids = some_ids(SHAPES["odd"], 60)
    want = everything(backend, ids)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: everything(backend, ids), range(16)))
    assert all(np.array_equal(logits, want) for logits in found)


def test_nothing_imports_torch() -> None:
    code = "import inkfish.backends.native, sys; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert out.stdout.strip() == "False"
