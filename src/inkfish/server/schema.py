"""What may be asked: OpenAI's fields that mean something for GPT-2, with OpenAI's bounds, and a few more.

Everything is strict: no unknown field, no "0.5" for a number. Fields of OpenAI's that GPT-2 can't serve may
be null, as some clients send them. This is the only module with pydantic's models of the API.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AttentionRequest",
    "ChatRequest",
    "CompletionRequest",
    "DetokenizeRequest",
    "ErrorAnswer",
    "Message",
    "Name",
    "NextRequest",
    "ScoreRequest",
    "Seed",
    "StreamOptions",
    "Strict",
    "TextPart",
    "TokenizeRequest",
]

Id = Annotated[int, Field(ge=0, le=2**31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
StopString = Annotated[str, Field(min_length=1, max_length=10_000)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Strict(BaseModel):
    """A body in which everything must be as it is said here."""

    model_config = ConfigDict(strict=True, extra="forbid")


class StreamOptions(Strict):
    """What a stream tells besides."""

    include_usage: bool = False
    """A last chunk with the usage."""


class Sampled(Strict):
    """What completions and chat have in common. null is the default everywhere."""

    model: Name
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Fraction | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    """Taken, and not used."""
    top_k: Count | None = None
    """Further setting: draw from the k likeliest tokens; 0 is all."""
    min_p: Fraction | None = None
    """Further setting: drop tokens less likely than this share of the likeliest."""
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    """Further setting: makes tokens that stand in the text already less likely (1 does nothing)."""
    no_repeat_ngram: Count | None = None
    """Further setting: never write the same run of this many tokens twice."""
    min_tokens: Count | None = None
    """Further setting: fewest tokens before the text may end."""


class CompletionRequest(Sampled):
    """POST /v1/completions."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=2048)]
        | Annotated[list[Id], Field(min_length=1)]
        | Annotated[list[Annotated[list[Id], Field(min_length=1)]], Field(min_length=1, max_length=2048)]
        | None
    ) = None
    max_tokens: Count | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    suffix: None = None
    slide: bool | None = None
    """Further setting: write on past the context, whose last half is read again each time it is full."""
    ignore_eos: bool | None = None
    """Further setting: neither the end token nor the end of a sentence ends the text before max_tokens."""
    choices: Annotated[list[StopString], Field(min_length=2, max_length=128)] | None = None
    """Further setting: write nothing; return these continuations with their log-probabilities."""


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """A turn of a chat; those of system and developer are the persona."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None


class ResponseFormat(Strict):
    """Text is the only one."""

    type: Literal["text"]


class ChatRequest(Sampled):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    truncation: Literal["disabled", "auto"] | None = None
    """Further setting: auto leaves out the oldest turns where the context is too small for all."""
    tools: None = None
    tool_choice: None = None
    parallel_tool_calls: None = None
    functions: None = None
    function_call: None = None
    modalities: None = None
    audio: None = None
    prediction: None = None
    reasoning_effort: None = None
    verbosity: None = None
    web_search_options: None = None
    metadata: None = None
    store: None = None
    service_tier: None = None


class TokenizeRequest(Strict):
    """POST /tokenize."""

    model: Name | None = None
    prompt: str
    return_token_strs: bool = False


class DetokenizeRequest(Strict):
    """POST /detokenize."""

    model: Name | None = None
    tokens: list[Id]


class ScoreRequest(Strict):
    """POST /score."""

    model: Name | None = None
    text: str | Annotated[list[Id], Field(min_length=1)]
    from_start: bool = False
    """Score the first token too, after the end token."""
    top: Annotated[int, Field(ge=0, le=100)] = 0
    """Likeliest tokens to list at each place."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """How far the window moves in a text longer than the context; by default half of it."""


class AttentionRequest(Strict):
    """POST /attention."""

    model: Name | None = None
    text: str | Annotated[list[Id], Field(min_length=1)]
    from_start: bool = False
    """Put the end token before the text, as a text begins."""
    layer: Count = 0
    """Which layer, from 0."""


class NextRequest(Strict):
    """POST /next."""

    model: Name | None = None
    prompt: str | Annotated[list[Id], Field(min_length=1)] = ""
    top: Annotated[int, Field(ge=1, le=100)] = 10
    """How many of the likeliest next tokens."""


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every error's body."""

    error: ErrorDetail
