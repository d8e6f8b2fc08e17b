"""Sampling against Hugging Face's processors, hand-worked tables and itself by another way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.generation import logits_process as hugging_face

from inkfish.errors import SettingError
from inkfish.sampling import History, Sampling, choose, choose_top, distribution, uniform

V = 17
NOTHING = History()


def some_logits(seed: int, size: int = V, scale: float = 3.0) -> NDArray[np.float32]:
    """Random logits, rounded so that ties are common."""
    draws = np.random.default_rng(seed).standard_normal(size) * scale
    return (np.round(draws * 2) / 2).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        *[
            ("temperature", v, "a number from 0 to 2")
            for v in (-1, 2.0001, math.nan, math.inf, "0.5", True, None)
        ],
        *[("top_p", v, "a number from 0 to 1") for v in (-1e-9, 1.0001, math.nan)],
        *[("min_p", v, "a number from 0 to 1") for v in (-0.1, 1.1)],
        *[("top_k", v, "a whole number, 0 or more") for v in (-1, 1.5, True, "3")],
        *[("repetition_penalty", v, "a number from 0.01 to 100") for v in (0, -1, 101)],
        *[("presence_penalty", v, "a number from -2 to 2") for v in (2.01, -2.01)],
        *[("frequency_penalty", v, "a number from -2 to 2") for v in (2.01, -2.01)],
        *[("no_repeat_ngram", v, "a whole number, 0 or more") for v in (-1, 2.0)],
        *[("min_tokens", v, "a whole number, 0 or more") for v in (-1, None)],
        ("top_p_rule", "drop", '"keep" or "openai"'),
        ("logit_bias", {"foo": 1}, "a token id"),
        ("logit_bias", {-1: 1}, "a token id"),
        ("logit_bias", {True: 1}, "a token id"),
        ("logit_bias", {3: 101}, "a number from -100 to 100"),
        ("logit_bias", {3: math.nan}, "a number from -100 to 100"),
    ],
)
def test_values_outside_the_limits_are_refused(name: str, value: Any, limits: str) -> None:
    with pytest.raises(SettingError, match=limits) as caught:
        Sampling(**{name: value})
    assert caught.value.param == name
    assert "\n" not in str(caught.value)


def test_values_at_the_limits_are_taken() -> None:
    for value in (0, -0.0, 5e-324, 1e-6, 2):
        Sampling(temperature=value)
    for value in (0, 1e-9, 1):
        Sampling(top_p=value, min_p=value)
    for value in (-2, 2):
        Sampling(presence_penalty=value, frequency_penalty=value)
    Sampling(top_k=10**9, logit_bias={0: -100, 16: 100}).check_vocabulary(V)


def test_a_bias_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(SettingError, match="token 50,257; ids go from 0 to 50,256 here") as caught:
        Sampling(logit_bias={50257: 1.0}).check_vocabulary(50257)
    assert caught.value.param == "logit_bias"


@pytest.mark.parametrize("temperature", [0, -0.0])
def test_temperature_zero_takes_the_likeliest_of_equals_the_lowest(temperature: float) -> None:
    logits = np.array([1, 3, 2, 3], np.float32)
    assert {choose(logits, NOTHING, Sampling(temperature=temperature), u) for u in (0.0, 0.5, 0.999)} == {1}
    assert distribution(logits, NOTHING, Sampling(temperature=temperature)).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-6, 1e-4])
def test_tiny_temperatures_are_finite_and_greedy(temperature: float) -> None:
    logits = np.array([1, 3, 2, -40000], np.float32)
    parameters = Sampling(temperature=temperature)
    assert {choose(logits, NOTHING, parameters, u) for u in (0.0, 0.5, 1 - 2**-53)} == {1}
    assert distribution(logits, NOTHING, parameters).tolist() == [0, 1, 0, 0]


def hugging_face_distribution(
    logits: NDArray[np.float32], history: History, parameters: Sampling
) -> NDArray[np.float64]:
    """The same distribution by transformers' processors in float64."""
    ids = torch.tensor([[*history.prompt, *history.generated]])
    steps: list[Any] = []
    if parameters.repetition_penalty != 1:
        steps.append(hugging_face.RepetitionPenaltyLogitsProcessor(parameters.repetition_penalty))
    if parameters.no_repeat_ngram:
        steps.append(hugging_face.NoRepeatNGramLogitsProcessor(parameters.no_repeat_ngram))
    if parameters.min_tokens:
        steps.append(
            hugging_face.MinNewTokensLengthLogitsProcessor(
                len(history.prompt), parameters.min_tokens, list(history.stop_ids)
            )
        )
    steps.append(hugging_face.TemperatureLogitsWarper(parameters.temperature))
    if parameters.top_k:
        steps.append(hugging_face.TopKLogitsWarper(parameters.top_k))
    if parameters.top_p < 1:
        steps.append(hugging_face.TopPLogitsWarper(parameters.top_p))
    if parameters.min_p:
        steps.append(hugging_face.MinPLogitsWarper(parameters.min_p))
    scores = torch.tensor(logits, dtype=torch.float64)[None]
    for step in steps:
        scores = step(ids, scores)
    result: NDArray[np.float64] = scores.softmax(-1)[0].numpy()
    return result


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.7]),
    top_k=st.sampled_from([0, 1, 3, 16, 17, 50]),
    top_p=st.sampled_from([1.0, 0.95, 0.61803, 0.1]),
    min_p=st.sampled_from([0.0, 0.05, 0.3]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    no_repeat_ngram=st.sampled_from([0, 1, 2, 3]),
    min_tokens=st.sampled_from([0, 3, 9]),
)
def test_distribution_equals_hugging_faces(seed: int, **fields: Any) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(V) * 3).astype(np.float32)  # no ties: their order is ours to say
    ids = rng.integers(0, V, 12).tolist()
    history = History(ids[:7], ids[7:], stop_ids=(4, 9))
    parameters = Sampling(**fields)
    ours = distribution(logits, history, parameters)
    assert np.allclose(ours, hugging_face_distribution(logits, history, parameters), atol=1e-12)
    assert ours.sum() == pytest.approx(1)


def test_top_k_keeps_ties_as_the_release_and_hugging_face_do() -> None:
    logits = np.array([2, 1, 1, 1, 0], np.float32)
    kept = distribution(logits, NOTHING, Sampling(top_k=2)) > 0
    assert kept.tolist() == [True, True, True, True, False]
    assert np.allclose(
        distribution(logits, NOTHING, Sampling(top_k=2)),
        hugging_face_distribution(logits, NOTHING, Sampling(top_k=2)),
    )


@pytest.mark.parametrize(
    ("top_p", "keep", "openai"),
    [
        (0.0, 1, 1),
        (1e-9, 1, 1),
        (0.4, 1, 1),
        (0.6, 2, 1),
        (0.74, 2, 1),
        (0.76, 3, 2),
        (0.99, 4, 3),
        (1.0, 4, 4),
    ],
)
def test_top_p_by_both_definitions(top_p: float, keep: int, openai: int) -> None:
    """Probabilities 1/2, 1/4, 1/8, 1/8; openai is the largest beginning whose sum is at most p."""
    logits = np.log2(np.array([4, 2, 1, 1])).astype(np.float32) * np.float32(math.log(2))
    for rule, count in (("keep", keep), ("openai", openai)):
        parameters = Sampling(top_p=top_p, top_p_rule=rule)  # type: ignore[arg-type]  # a value of the literal
        assert np.count_nonzero(distribution(logits, NOTHING, parameters)) == count


def test_penalties_and_bias_by_hand() -> None:
    """Presence and frequency count generated tokens only, the repetition penalty prompt tokens too."""
    logits = np.array([1.0, 2.0, 3.0, -4.0, 0.5], np.float32)
    history = History(prompt=(0, 3), generated=(1, 1, 2))
    parameters = Sampling(
        repetition_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25, logit_bias={4: 1.5, 0: -1}
    )
    by_hand = np.array([1 / 2 - 1, 2 / 2 - 0.5 - 2 * 0.25, 3 / 2 - 0.5 - 0.25, -4 * 2, 0.5 + 1.5])
    expected = np.exp(by_hand) / np.exp(by_hand).sum()
    assert np.allclose(distribution(logits, history, parameters), expected, atol=1e-15)


def test_min_tokens_forbids_stop_ids_at_first() -> None:
    logits = np.array([5.0, 1.0], np.float32)
    parameters = Sampling(temperature=0, min_tokens=2)
    assert choose(logits, History(generated=(1,), stop_ids=(0,)), parameters, 0.0) == 1
    assert choose(logits, History(generated=(1, 1), stop_ids=(0,)), parameters, 0.0) == 0


@pytest.mark.parametrize(
    "parameters",
    [
        Sampling(logit_bias=dict.fromkeys(range(V), -100)),
        Sampling(no_repeat_ngram=1),
        Sampling(min_tokens=100),
        Sampling(no_repeat_ngram=1, min_tokens=100, top_k=1, top_p=0, min_p=1),
    ],
)
def test_the_support_is_never_empty(parameters: Sampling) -> None:
    history = History(prompt=range(V), stop_ids=range(V))
    probabilities = distribution(some_logits(1), history, parameters)
    assert probabilities.sum() == pytest.approx(1)
    assert 0 <= choose(some_logits(1), history, parameters, 0.7) < V


def test_impossible_tokens_are_never_drawn() -> None:
    logits = np.full(V, -np.inf, np.float32)
    logits[[3, 8]] = 1.0
    for u in (0.0, 0.49, 0.51, 1 - 2**-53):
        assert choose(logits, NOTHING, Sampling(), u) == (3 if u < 0.5 else 8)


VARIANTS = [
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(temperature=1.8),
    Sampling(top_k=5),
    Sampling(top_k=40, top_p=0.9),
    Sampling(top_p=0.9),
    Sampling(top_p=0.9, top_p_rule="openai", temperature=0.8),
    Sampling(min_p=0.05),
    Sampling(min_p=0.02, top_p=0.95, top_k=100, temperature=1.3),
    Sampling(temperature=0),
]


@pytest.mark.parametrize("parameters", VARIANTS)
@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 12.0])
def test_choose_inverts_the_distribution(parameters: Sampling, scale: float) -> None:
    """Also far from the first candidates, where the search for them has to widen."""
    for seed in range(3):
        logits = some_logits(seed, 1000, scale)
        probabilities = distribution(logits, NOTHING, parameters)
        order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
        above = np.cumsum(probabilities[order])
        for u in (0.0, 0.1234, 0.5, 0.87654, 0.999, 0.9999999, 1 - 2**-53):
            token = choose(logits, NOTHING, parameters, u)
            rank = order.index(token)
            assert probabilities[token] > 0
            assert u < above[rank] + 1e-12
            assert u >= above[rank] - probabilities[token] - 1e-12


def total_weight(logits: NDArray[np.float32], parameters: Sampling) -> float:
    """What a back end reports beside the largest logits, in float32."""
    if parameters.temperature == 0:
        return math.nan
    best = logits.max()
    return float(np.float32(np.exp((logits - best).astype(np.float64) / parameters.temperature).sum()))


@pytest.mark.parametrize("parameters", VARIANTS)
@pytest.mark.parametrize("count", [1, 20, 200, 1000])
def test_choosing_from_the_top_equals_choosing_from_all(parameters: Sampling, count: int) -> None:
    decided = 0
    for seed in range(60):
        logits = np.random.default_rng(seed).standard_normal(1000).astype(np.float32) * 3
        order = np.argsort(-logits, kind="stable")[:count]
        u, total = uniform(1, 0, seed), total_weight(logits, parameters)
        token = choose_top(logits[order], order, total, parameters, u, vocab_size=1000)
        decided += token is not None
        assert token in (None, choose(logits, NOTHING, parameters, u))
    assert decided >= {1: 0, 20: 0, 200: 45, 1000: 60}[count]


@settings(max_examples=500, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, V),
    u=st.floats(0, 1, exclude_max=True),
    temperature=st.sampled_from([0.01, 0.5, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 4, 17]),
    top_p=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.2, 1.0]),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1000.0]),
)
def test_the_top_never_decides_wrongly(seed: int, count: int, u: float, scale: float, **fields: Any) -> None:
    logits = some_logits(seed, V, scale)
    order = np.argsort(-logits, kind="stable")[:count]
    parameters = Sampling(**fields)
    total = total_weight(logits, parameters)
    token = choose_top(logits[order], order, total, parameters, u, vocab_size=V)
    assert token in (None, choose(logits, NOTHING, parameters, u))


def test_the_top_does_not_decide_about_penalties() -> None:
    parameters = Sampling(repetition_penalty=1.1)
    assert choose_top(np.zeros(1), np.zeros(1, np.intp), 1.0, parameters, 0.5, vocab_size=1) is None


def philox(key: tuple[int, int], counter: int) -> int:
    """The first word of Philox4x64-10 in plain integers, from Salmon et al. 2011, section 3.3 and table 2."""
    mask = 2**64 - 1
    c, k = [counter & mask, 0, 0, 0], list(key)
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [high >> 64 ^ c[1] ^ k[0], high & mask, low >> 64 ^ c[3] ^ k[1], low & mask]
        k = [k[0] + 0x9E3779B97F4A7C15 & mask, k[1] + 0xBB67AE8584CAA73B & mask]
    return c[0]


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 1, -1])
def test_uniform_is_philox(seed: int) -> None:
    """numpy steps the counter before its first word."""
    for sample, position in ((0, 0), (3, 1023), (127, 10**6)):
        expected = (philox((seed % 2**64, sample), position + 1) >> 11) / 2**53
        assert uniform(seed, sample, position) == expected
        theirs = np.random.Philox(key=np.array([seed % 2**64, sample], np.uint64), counter=position)
        assert uniform(seed, sample, position) == (int(theirs.random_raw()) >> 11) / 2**53


def chi_square_tail(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Probability of a statistic at least this large if `expected` is true."""
    statistic = float(((observed - expected) ** 2 / expected).sum())
    freedom = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, torch.tensor(statistic / 2, dtype=torch.float64)))


@pytest.mark.parametrize("parameters", [Sampling(), Sampling(temperature=0.8, top_k=12, top_p=0.95)])
def test_draws_follow_the_distribution(parameters: Sampling) -> None:
    """Chi-square over 20,000 draws; a right program fails for one seed in a million (p < 1e-6)."""
    logits = some_logits(7, V, 1.0)
    probabilities = distribution(logits, NOTHING, parameters)
    draws = [choose(logits, NOTHING, parameters, uniform(99, n % 8, n // 8)) for n in range(20_000)]
    observed = np.bincount(draws, minlength=V).astype(np.float64)
    possible = probabilities > 0
    assert observed[~possible].sum() == 0
    assert chi_square_tail(observed[possible], 20_000 * probabilities[possible]) > 1e-6
    wrong = np.roll(probabilities[possible], 1)  # the control: another distribution must be noticed
    assert chi_square_tail(observed[possible], 20_000 * wrong) < 1e-6
