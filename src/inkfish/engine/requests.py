"""What an engine is asked for and what it tells: requests, events, and which requests are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from inkfish.config import ModelConfig
from inkfish.errors import ContextError, SettingError
from inkfish.sampling import Sampling

__all__ = [
    "Alternative",
    "Event",
    "Failed",
    "Finish",
    "Request",
    "Reused",
    "Slid",
    "Token",
    "check_ids",
    "check_request",
    "check_whole",
]

MOST_ALTERNATIVES = 100
SEEDS = 2**63


@dataclass(frozen=True)
class Request:
    """One sequence to continue."""

    prompt: Sequence[int]
    """Ids to continue, at least one."""
    max_tokens: int
    """Most tokens to generate; prompt and these must fit the context, unless `slide`."""
    sampling: Sampling = field(default_factory=Sampling)
    """How tokens are chosen."""
    stop_ids: Sequence[int] = ()
    """Ids that end the sequence; the one that did is reported as its last token."""
    seed: int = 0
    """With `sample` and the token's position it decides each draw: -2⁶³ to 2⁶³ - 1."""
    sample: int = 0
    """Which of several samples of one prompt this is."""
    segments: Sequence[int] | None = None
    """For each prompt id a token whose embedding is added (its speaker); generated ones take the last."""
    slide: bool = False
    """Go on past the context: whenever it is full, the last half of it is read again as a new beginning."""
    top: int = 0
    """How many of the likeliest alternatives to report with each token, 0 to 100."""


class Alternative(NamedTuple):
    """A token that could have stood there."""

    id: int
    logprob: float
    """Natural logarithm of its probability under the model's own distribution (temperature 1, no filters)."""


@dataclass(frozen=True)
class Token:
    """The next token of a sequence."""

    id: int
    logprob: float
    """Natural logarithm of its probability under the model's own distribution (temperature 1, no filters)."""
    top: tuple[Alternative, ...] = ()
    """The likeliest tokens, best first."""


@dataclass(frozen=True)
class Reused:
    """The beginning of the prompt was read for another sequence before, and is not read again."""

    length: int
    """How many of its tokens."""


@dataclass(frozen=True)
class Slid:
    """The context was full, or the prompt longer: from now on the model sees the last tokens only."""

    position: int
    """Length of the sequence, prompt included, when it happened."""
    kept: int
    """How many of its last tokens the model still sees."""


@dataclass(frozen=True)
class Finish:
    """The regular end of a sequence."""

    reason: Literal["stop", "length", "cancelled"]
    """A stop id came, max_tokens are there, or `cancel` was called."""


@dataclass(frozen=True)
class Failed:
    """The end of a sequence that went wrong; the others go on."""

    error: Exception
    """What went wrong: a `ModelError` for logits that are not finite, else what the back end raised."""


Event = Token | Reused | Slid | Finish | Failed
"""What happens to a sequence; each ends with exactly one `Finish` or `Failed`."""


def check_ids(ids: Sequence[int], config: ModelConfig, *, param: str) -> None:
    """Refuse what are not token ids of a model.

    Raises:
        SettingError: the first that is not; `param` says where it stands.
    """
    for token in ids:
        if isinstance(token, bool) or not isinstance(token, int | np.integer):
            raise SettingError(f"{param} holds {token!r}; token ids are whole numbers", param=param)
        if not 0 <= token < config.vocab_size:
            raise SettingError(
                f"{param} holds the id {token}; ids go from 0 to {config.vocab_size - 1:,} here", param=param
            )


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Refuse what is no whole number from low to high.

    Raises:
        SettingError: names the setting, its value and its limits.
    """
    if type(value) is not int or value < low or (high is not None and value > high):
        limits = f"{low} or more" if high is None else f"from {low} to {high}"
        raise SettingError(f"{name} is {value!r}; it must be a whole number, {limits}", param=name)


def check_request(request: Request, config: ModelConfig) -> None:
    """Refuse a request that can't be served.

    Raises:
        SettingError: a field outside its limits.
        ContextError: prompt and max_tokens do not fit the context, and it may not slide.
    """
    if len(request.prompt) == 0:
        raise SettingError("the prompt is empty; it needs at least one token", param="prompt")
    check_ids(request.prompt, config, param="prompt")
    check_ids(request.stop_ids, config, param="stop_ids")
    if request.segments is not None:
        check_ids(request.segments, config, param="segments")
        if len(request.segments) != len(request.prompt):
            raise SettingError(
                f"segments has {len(request.segments)} ids and prompt {len(request.prompt)}; one for each",
                param="segments",
            )
    check_whole("max_tokens", request.max_tokens, 1)
    check_whole("seed", request.seed, -SEEDS, SEEDS - 1)
    check_whole("sample", request.sample, 0, SEEDS - 1)
    check_whole("top", request.top, 0, MOST_ALTERNATIVES)
    request.sampling.check_vocabulary(config.vocab_size)
    check_length(request, config.n_positions)


def check_length(request: Request, context: int) -> None:
    """Refuse a minimum above the maximum, and what does not fit the context."""
    length, wanted = len(request.prompt), request.max_tokens
    if request.sampling.min_tokens > wanted:
        raise SettingError(
            f"min_tokens is {request.sampling.min_tokens} and max_tokens {wanted}; it must not be larger",
            param="min_tokens",
        )
    if length + wanted > context and not request.slide:
        raise ContextError(
            f"a prompt of {length:,} tokens and max_tokens {wanted:,} do not fit this model's context of "
            f"{context:,}; shorten one of them, or use slide",
            param="max_tokens" if length < context else "prompt",
        )
