"""What is answered: the shape of every answer of the API, for its description and for the tests.

Routes build their answers as plain objects; nothing is checked a second time while it is served. The tests
read real answers through these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

__all__ = [
    "AttentionReply",
    "ChatChunk",
    "ChatCompletion",
    "Completion",
    "CompletionChunk",
    "Detokenized",
    "Health",
    "ModelCard",
    "ModelList",
    "Next",
    "Readiness",
    "Reply",
    "ScoreReply",
    "Tokenized",
    "chunk_schemas",
    "stream_of",
]

Logprob = Annotated[float, Field(ge=-9999, le=1e-3)]
"""Natural logarithm of a probability; -9999 stands for that of 0. Rounding may take it a little above 0."""
Amount = Annotated[int, Field(ge=0)]
FinishReason = Literal["stop", "length"]


class Reply(BaseModel):
    """An answer, or a part of one: these fields and no others."""

    model_config = ConfigDict(strict=True, extra="forbid")


class PromptTokens(Reply):
    """About the prompt's tokens."""

    cached_tokens: Amount
    """Those that did not have to be read again."""


class Usage(Reply):
    """How many tokens were read and written."""

    prompt_tokens: Amount
    completion_tokens: Amount
    total_tokens: Amount
    prompt_tokens_details: PromptTokens


class Logprobs(Reply):
    """Tokens with their log-probabilities: lists of one length."""

    tokens: list[str]
    token_logprobs: list[Logprob | None]
    """None for a first token that follows nothing."""
    top_logprobs: list[dict[str, Logprob] | None]
    text_offset: list[Amount]
    """Where each token begins, in characters."""


class Choice(Reply):
    """One of the texts."""

    index: Amount
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason
    logprob: float | None = None
    """With `choices`: the log-probability of this continuation."""


class Frame(Reply):
    """What answers and chunks of both kinds begin with."""

    id: str
    created: Amount
    """Seconds since 1970."""
    model: str
    system_fingerprint: str
    seed: int
    """With it the same request gives the same texts."""


class Completion(Frame):
    """The answer of POST /v1/completions."""

    object: Literal["text_completion"]
    choices: list[Choice]
    usage: Usage


class Part(Reply):
    """What has been added to one of the texts."""

    index: Amount
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class CompletionChunk(Frame):
    """One event of its stream."""

    object: Literal["text_completion"]
    choices: list[Part]
    usage: Usage | None = None
    """In the last chunk, with stream_options.include_usage."""


class Alternative(Reply):
    """A token as OpenAI's chat lists it."""

    token: str
    logprob: Logprob
    bytes: list[Annotated[int, Field(ge=0, le=255)]]


class ChatToken(Alternative):
    """A token that was written, and what could have stood there."""

    top_logprobs: list[Alternative]


class ChatLogprobs(Reply):
    """The tokens of a reply."""

    content: list[ChatToken]
    refusal: None


class ChatMessage(Reply):
    """A reply."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Reply):
    """One of the replies."""

    index: Amount
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Frame):
    """The answer of POST /v1/chat/completions."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class Delta(Reply):
    """What has been added to a reply."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None


class ChatPart(Reply):
    """What has been added to one of the replies."""

    index: Amount
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(Frame):
    """One event of its stream."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatPart]
    usage: Usage | None = None
    """In the last chunk, with stream_options.include_usage."""


class ModelCard(Reply):
    """A model that can be asked for."""

    id: str
    object: Literal["model"]
    created: Amount
    owned_by: Literal["inkfish"]
    loaded: bool
    max_model_len: Amount | None = None
    """Its context in tokens, once it is loaded."""


class ModelList(Reply):
    """All of them."""

    object: Literal["list"]
    data: list[ModelCard]


class Health(Reply):
    """The program works."""

    status: Literal["ok"]


class Readiness(Reply):
    """Requests are served."""

    status: Literal["ready"]


class Tokenized(Reply):
    """A text as tokens."""

    count: Amount
    max_model_len: Amount
    tokens: list[Amount]
    token_strs: list[str] | None = None
    """With return_token_strs."""


class Detokenized(Reply):
    """Tokens as a text."""

    prompt: str


class NextToken(Reply):
    """A token that could come next."""

    id: Amount
    text: str
    logprob: Logprob


class Next(Reply):
    """The likeliest of them, best first."""

    tokens: list[NextToken]


class ScoredToken(Reply):
    """A token of a text."""

    id: Amount
    text: str
    logprob: Logprob | None
    rank: Annotated[int, Field(ge=1)] | None
    top: list[NextToken]


class ScoreReply(Reply):
    """How likely a text is."""

    tokens: list[ScoredToken]
    total_logprob: float
    perplexity: float | None
    bits_per_byte: float | None
    bytes: Amount
    stride: Amount


class TokenText(Reply):
    """A token and what it completes."""

    id: Amount
    text: str


class AttentionReply(Reply):
    """Where the heads of a layer look."""

    tokens: list[TokenText]
    layer: Amount
    layers: Amount
    weights: list[list[list[Annotated[float, Field(ge=0, le=1)]]]]
    """For each head and token the weights of the tokens up to it."""


def stream_of(chunk: type[Reply]) -> dict[int | str, dict[str, Any]]:
    """Return what describes an answer that can also be a stream of chunks, for FastAPI's `responses`."""
    schema = {
        "type": "string",
        "description": f"Events `data: {chunk.__name__}`, after the last one `data: [DONE]`",
        "x-event": {"$ref": f"#/components/schemas/{chunk.__name__}"},
    }
    return {200: {"content": {"text/event-stream": {"schema": schema}}}}


def chunk_schemas() -> dict[str, Any]:
    """Return the schemas that `stream_of` refers to, with those that they refer to."""
    chunks: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (chunk, "serialization") for chunk in (CompletionChunk, ChatChunk)
    ]
    _, found = models_json_schema(chunks, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = found["$defs"]
    return schemas
