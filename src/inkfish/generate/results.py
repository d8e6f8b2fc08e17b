"""What writing and scoring return: plain values, made to be read, printed and turned into JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "Completion",
    "FinishReason",
    "Piece",
    "Sample",
    "Score",
    "ScoredToken",
    "TextAlternative",
    "TextToken",
    "Timings",
    "Usage",
]

FinishReason = Literal["stop", "length", "cancelled"]
"""Why a text ends: a stop token or string, max_tokens, or somebody did not want more."""


class TextAlternative(NamedTuple):
    """A token that could have stood there."""

    id: int
    text: str
    """Its text by itself; U+FFFD for bytes that are not whole characters."""
    logprob: float
    """Natural logarithm of its probability under the model's own distribution."""


@dataclass(frozen=True)
class TextToken:
    """One generated token."""

    id: int
    text: str
    """The characters that it completed, perhaps none: the texts of all tokens, joined, are the whole text."""
    logprob: float
    """Natural logarithm of its probability under the model's own distribution (temperature 1, no filters)."""
    top: tuple[TextAlternative, ...] = ()
    """The likeliest tokens at its place, best first, as many as were asked for."""


@dataclass(frozen=True)
class Piece:
    """Some characters of a text that is being written; `str(piece)` is the text."""

    text: str
    sample: int = 0
    """Which of the n samples goes on."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Sample:
    """One continuation of a prompt."""

    text: str
    """What follows the prompt, without the stop string."""
    tokens: tuple[TextToken, ...]
    """Its tokens, without a stop token; the last one may reach into a stop string that was cut off."""
    finish_reason: FinishReason
    """Why it ends."""
    slid: tuple[int, ...] = ()
    """At which lengths (in tokens, prompt included) the context was full and its last half was read again."""


@dataclass(frozen=True)
class Usage:
    """How many tokens were read and written."""

    prompt_tokens: int
    """Tokens of the prompt, counted once for all samples."""
    completion_tokens: int
    """Tokens that were drawn for all samples, stop tokens and cut ones included."""
    cached_tokens: int = 0
    """Tokens of the prompt that did not have to be read: kept from an earlier sequence, see `Kept`."""


@dataclass(frozen=True)
class Timings:
    """How long it took, in seconds."""

    first_token: float | None
    """Until the first token; None if there was none."""
    total: float
    """Until the last token."""
    tokens_per_second: float
    """Drawn tokens of all samples over the total time."""


@dataclass(frozen=True)
class Completion:
    """The continuations of one prompt; `str(completion)` is the first one's text."""

    model: str
    """The model's name, as it was loaded."""
    prompt: str
    """The prompt's text, empty where the model wrote without one."""
    seed: int
    """With it the same call gives the same texts."""
    samples: tuple[Sample, ...]
    """As many as were asked for."""
    usage: Usage
    timings: Timings

    @property
    def text(self) -> str:
        """The first sample's text."""
        return self.samples[0].text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ScoredToken:
    """One token of a text that was given."""

    id: int
    text: str
    """The characters that it completes, perhaps none: all tokens' texts, joined, are the whole text."""
    logprob: float | None
    """Natural logarithm of its probability after those before it; None for the first one after nothing."""
    rank: int | None
    """Its place among all tokens by probability, 1 being the likeliest; None where `logprob` is."""
    top: tuple[TextAlternative, ...] = ()
    """The likeliest tokens at its place, best first, as many as were asked for."""


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text. Sums and means are over the tokens that have a log-probability."""

    tokens: tuple[ScoredToken, ...]
    total_logprob: float
    """Natural logarithm of the probability of all scored tokens."""
    perplexity: float | None
    """exp(-mean log-probability of a token); None where no token is scored."""
    bits_per_byte: float | None
    """-log2(probability) over the UTF-8 bytes of the scored tokens; None where no token is scored."""
    bytes: int
    """UTF-8 bytes of the scored tokens."""
    stride: int
    """In a text longer than the context each token sees at least context - stride + 1 tokens before it."""
