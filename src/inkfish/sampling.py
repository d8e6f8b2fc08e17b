"""From logits to the next token: pure functions of (logits, history, parameters, u), without any state.

The steps, in the order of Hugging Face's processors with OpenAI's penalties and bias after the first:

    repetition penalty → presence and frequency penalty → logit bias → no repeated n-gram → minimum length
    → temperature → top-k → top-p → min-p → draw

Each filter sees what the one before it has left, as probabilities that sum to 1 again. The draw inverts
the cumulative distribution over the candidates in the order (-logit, id): the first one whose cumulative
probability exceeds u. All three filters keep a beginning of that order, so no more of it is ever sorted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import SettingError

__all__ = ["History", "Sampling", "choose", "choose_top", "distribution", "uniform"]

Array = NDArray[np.float64]
Rule = Literal["keep", "openai"]

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
"""Limits of the fractional settings; OpenAI's API has the same for those that it knows."""
COUNTS = ("top_k", "no_repeat_ngram", "min_tokens")
BIAS_LIMIT = 100
MARGINS = (6.0, 14.0, np.inf)
"""How far below the best logit, in units of the temperature, candidates are first looked for."""
MASK = 2**64 - 1
ROUNDING = 1e-5
"""Relative error allowed to a total that was computed elsewhere, in float32."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The defaults sample from the model's own distribution.

    Raises:
        SettingError: a value outside its limits; `param` names it.
    """

    temperature: float = 1.0
    """Divides the logits, 0 to 2; 0 always takes the likeliest token (of equal ones the lowest id)."""
    top_k: int = 0
    """Keep the k likeliest tokens and what ties with the last of them (as OpenAI's release); 0 keeps all."""
    top_p: float = 1.0
    """Keep the likeliest tokens that together have this probability (Holtzman et al. 2020, section 3.1);
    1 keeps all, 0 keeps one."""
    top_p_rule: Rule = "keep"
    """The token that crosses top_p: "keep" keeps it; "openai" drops it, unless it is the first, as OpenAI's
    released code does."""
    min_p: float = 0.0
    """Keep tokens at least this many times as likely as the likeliest (Nguyen et al. 2024); 0 keeps all."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of all tokens in prompt and text so far (Keskar et
    al. 2019, section 4.1)."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of every token generated so far (OpenAI's API); -2 to 2."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time it was generated so far (OpenAI's API); -2 to 2."""
    no_repeat_ngram: int = 0
    """Forbid tokens that would repeat an n-gram of this length in prompt and text, unless that were all
    tokens; 0 is off."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of single tokens: id → -100 to 100."""
    min_tokens: int = 0
    """Forbid the tokens that end a text until this many were generated. Says nothing about stop strings."""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            check_number(name, getattr(self, name), low, high)
        for name in COUNTS:
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise SettingError(f"{name} is {value!r}; it must be a whole number, 0 or more", param=name)
        if self.top_p_rule not in get_args(Rule):
            raise SettingError(
                f'top_p_rule is {self.top_p_rule!r}; it must be "keep" or "openai"', param="top_p_rule"
            )
        for token, bias in self.logit_bias.items():
            if type(token) is not int or token < 0:
                raise SettingError(f"logit_bias names {token!r}; it must be a token id", param="logit_bias")
            check_number("logit_bias", bias, -BIAS_LIMIT, BIAS_LIMIT)

    def check_vocabulary(self, vocab_size: int) -> None:
        """Refuse a bias on a token that a vocabulary does not have.

        Raises:
            SettingError: the largest such id.
        """
        largest = max(self.logit_bias, default=0)
        if largest >= vocab_size:
            raise SettingError(
                f"logit_bias names the token {largest:,}; ids go from 0 to {vocab_size - 1:,} here",
                param="logit_bias",
            )

    @property
    def reshapes(self) -> bool:
        """Whether a step before the temperature is set, which may change the candidates' order."""
        return bool(
            self.repetition_penalty != 1
            or self.presence_penalty
            or self.frequency_penalty
            or self.no_repeat_ngram
            or self.logit_bias
            or self.min_tokens
        )


@dataclass(frozen=True)
class History:
    """What stands before the token to choose."""

    prompt: Sequence[int] = ()
    """Ids that were given."""
    generated: Sequence[int] = ()
    """Ids that were chosen since."""
    stop_ids: Sequence[int] = ()
    """Ids that end the text, which `Sampling.min_tokens` forbids at first."""


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Refuse what is no number from low to high; NaN is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise SettingError(f"{name} is {value!r}; it must be a number from {low} to {high}", param=name)


def uniform(seed: int, sample: int, position: int) -> float:
    """Return the random number in [0, 1) for one token: Philox4x64-10 (Salmon et al. 2011), without state.

    Args:
        seed: the request's seed, taken modulo 2⁶⁴.
        sample: which of the n samples of one prompt, 0 or more.
        position: the token's index in the whole sequence, prompt included.

    The same number as numpy's `Philox(key=(seed, sample), counter=position)` draws first, in a few
    microseconds and without the start-up of `numpy.random`.
    """
    a, b, c, d = position + 1, 0, 0, 0  # numpy counts before it draws
    key, other = seed & MASK, sample & MASK
    for _ in range(10):
        high, low = divmod(a * 0xD2E7470EE14C6C93, 1 << 64)
        upper, lower = divmod(c * 0xCA5A826395121157, 1 << 64)
        a, b, c, d = upper ^ b ^ key, lower, high ^ d ^ other, low
        key, other = (key + 0x9E3779B97F4A7C15) & MASK, (other + 0xBB67AE8584CAA73B) & MASK
    return (a >> 11) * 2.0**-53


def choose(logits: NDArray[np.floating[Any]], history: History, parameters: Sampling, u: float) -> int:
    """Return the id of the next token.

    Args:
        logits: the model's (V,); -inf makes a token impossible, at least one must be finite, none NaN.
        history: what stands before.
        parameters: how to choose.
        u: a random number in [0, 1), see `uniform`; without use at temperature 0.
    """
    scores = adjust(logits, history, parameters)
    if parameters.temperature == 0:
        return int(scores.argmax())
    best = scores.max()
    with np.errstate(over="ignore"):  # tiny temperatures: -inf, whose weight is 0
        scaled = (scores - best) / parameters.temperature
    total = float(np.exp(scaled).sum())
    for margin in MARGINS:
        # Values alone, descending: only the one that is drawn needs its id. Equal logits share a margin.
        values = np.sort(scores[np.flatnonzero(scaled >= -margin)])[::-1]
        kept = keep(values, total, parameters, complete=margin == np.inf)
        rank = None if kept is None else draw(kept, u)
        if rank is not None:
            break
    assert rank is not None, "among all candidates one is always drawn"
    ties_before = rank - int(np.searchsorted(-values, -values[rank]))
    return int(np.flatnonzero(scores == values[rank])[ties_before])


def choose_top(
    values: NDArray[np.floating[Any]],
    ids: NDArray[np.integer[Any]],
    total: float,
    parameters: Sampling,
    u: float,
    *,
    vocab_size: int,
) -> int | None:
    """Return what `choose` would from the largest logits alone, or None where they do not decide it.

    Args:
        values: the K largest raw logits (K,), in the order (-logit, id).
        ids: their tokens (K,).
        total: the sum over all V tokens of exp((logit - largest) / temperature), to a relative error of 1e-5;
            without use at temperature 0.
        parameters: how to choose; with any step before the temperature the answer is None.
        u: as for `choose`.
        vocab_size: V.
    """
    if parameters.reshapes:
        return None
    if parameters.temperature == 0:
        return int(ids[0])
    top = values.astype(np.float64)
    ranks = set()
    for bound in (total * (1 - ROUNDING), total * (1 + ROUNDING)):  # the rank grows with the total
        kept = keep(top, bound, parameters, complete=len(top) == vocab_size)
        ranks.add(None if kept is None else draw(kept, u))
    rank = ranks.pop()
    return None if rank is None or ranks else int(ids[rank])


def distribution(logits: NDArray[np.floating[Any]], history: History, parameters: Sampling) -> Array:
    """Return the probability of each token (V,) that `choose` draws from: for reading, teaching and tests."""
    scores = adjust(logits, history, parameters)
    probabilities = np.zeros_like(scores)
    order = np.argsort(-scores, kind="stable")  # (-logit, id)
    if parameters.temperature == 0:
        probabilities[order[0]] = 1.0
        return probabilities
    with np.errstate(over="ignore"):
        weights = np.exp((scores[order] - scores[order[0]]) / parameters.temperature)
    kept = keep(scores[order], float(weights.sum()), parameters, complete=True)
    assert kept is not None, "the kept candidates are all known"
    count = len(kept.cumulative)
    probabilities[order[:count]] = weights[:count] / weights[:count].sum()
    return probabilities


def adjust(logits: NDArray[np.floating[Any]], history: History, parameters: Sampling) -> Array:
    """Return the logits (V,) in float64 after the steps that come before the temperature."""
    scores = np.array(logits, np.float64)
    if not parameters.reshapes:
        return scores
    everything = [*history.prompt, *history.generated]
    if parameters.repetition_penalty != 1 and everything:
        seen = list(set(everything))  # np.unique would import numpy.ma
        penalty = parameters.repetition_penalty
        scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    if history.generated:
        chosen, counts = np.unique(np.asarray(history.generated), return_counts=True)
        scores[chosen] -= parameters.presence_penalty + parameters.frequency_penalty * counts
    for token, bias in parameters.logit_bias.items():
        scores[token] += bias
    if parameters.no_repeat_ngram:
        forbid(scores, repeating(everything, parameters.no_repeat_ngram))
    if len(history.generated) < parameters.min_tokens:
        forbid(scores, history.stop_ids)
    return scores


def forbid(scores: Array, tokens: Iterable[int]) -> None:
    """Make tokens impossible in place, unless nothing would be left."""
    banned = np.unique(np.fromiter(tokens, np.intp))
    before = scores[banned]
    scores[banned] = -np.inf
    if not np.isfinite(scores.max()):
        scores[banned] = before


def repeating(ids: Sequence[int], n: int) -> set[int]:
    """Return the tokens that would complete an n-gram which stands in `ids` already."""
    start = len(ids) - n + 1
    if start < 0:
        return set()
    tail = list(ids[start:])
    return {ids[i + n - 1] for i in range(start) if list(ids[i : i + n - 1]) == tail}


class Kept(NamedTuple):
    """The candidates that the filters have left, best first."""

    cumulative: Array
    """Running sum of their weights exp((logit - best) / temperature), as far as they are known."""
    total: float
    """Sum of the weights of all of them."""
    whole: bool
    """Whether all of them are known."""


def keep(values: Array, total: float, parameters: Sampling, *, complete: bool) -> Kept | None:
    """Apply top-k, top-p and min-p.

    Args:
        values: the largest logits, descending.
        total: the sum of all candidates' weights, those beyond `values` too.
        parameters: the filters and the temperature.
        complete: whether `values` are all there are.

    Returns:
        What is left, or None where more values are needed to tell.
    """
    with np.errstate(over="ignore"):
        weights = np.exp((values - values[0]) / parameters.temperature)
    kept: Kept | None = Kept(np.cumsum(weights), total, complete)
    if kept is not None and parameters.top_k:
        kept = cut(kept, top_k_count(values, parameters.top_k))
    if kept is not None and parameters.top_p < 1:
        kept = cut(kept, top_p_count(kept, parameters))
    if kept is not None and parameters.min_p:
        kept = cut(kept, int(np.count_nonzero(weights[: len(kept.cumulative)] >= parameters.min_p)))
    return kept


def cut(kept: Kept, count: int) -> Kept | None:
    """Leave the first `count` candidates; None where that is all the known ones and there may be more."""
    assert count > 0, "a filter keeps at least one candidate"
    if count >= len(kept.cumulative):
        return kept if kept.whole else None
    return Kept(kept.cumulative[:count], float(kept.cumulative[count - 1]), True)


def top_k_count(values: Array, k: int) -> int:
    """Return how many candidates top-k keeps: those not below the k-th."""
    return k if k >= len(values) else int(np.searchsorted(-values, -values[k - 1], side="right"))


def top_p_count(kept: Kept, parameters: Sampling) -> int:
    """Return how many candidates top-p keeps; one more than are known where the mass lies beyond."""
    mass = parameters.top_p * kept.total
    if parameters.top_p_rule == "openai":
        return max(1, int(np.searchsorted(kept.cumulative, mass, side="right")))
    return int(np.searchsorted(kept.cumulative, mass, side="left")) + 1


def draw(kept: Kept, u: float) -> int | None:
    """Return the rank of the first candidate whose cumulative probability exceeds u; None if unknown."""
    rank = int(np.searchsorted(kept.cumulative, u * kept.total, side="right"))
    if rank < len(kept.cumulative):
        return rank
    # Past the end by rounding alone: the last candidate that has any weight.
    return int(np.searchsorted(kept.cumulative, kept.cumulative[-1])) if kept.whole else None
