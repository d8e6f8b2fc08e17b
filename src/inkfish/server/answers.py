"""What the answers of completions and chat have in common: settings, usage, streams."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event

import inkfish
from inkfish.generate.jobs import SamplingSettings
from inkfish.server import strict_json
from inkfish.server.problems import RequestError, error_object, of_exception
from inkfish.server.schema import ErrorAnswer, Sampled
from inkfish.server.service import Service
from inkfish.server.worker import Worker
from inkfish.server.writing import Writing

__all__ = ["ERRORS", "as_json", "fingerprint", "sampling", "seed_of", "streamed", "usage", "used"]

ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorAnswer, "description": "What is wrong, in OpenAI's shape"}
}
"""For the description of a route: what every error looks like."""


def as_json(value: Any) -> Response:
    """Return an answer in strict JSON."""
    return Response(strict_json.dumps(value), media_type="application/json")


def fingerprint(worker: Worker) -> str:
    """Return what a text depends on besides request and seed."""
    return f"inkfish-{inkfish.__version__}-{worker.model.backend.dtype}"


def seed_of(body: Sampled) -> int:
    """Return the request's seed, or a new one."""
    return secrets.randbelow(2**32) if body.seed is None else body.seed


def sampling(body: Sampled) -> SamplingSettings:
    """Return how tokens are chosen; what is left out is the model's default.

    Raises:
        RequestError: a bias on what is no token id.
    """
    return {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "min_p": body.min_p,
        "repetition_penalty": body.repetition_penalty,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
        "no_repeat_ngram": body.no_repeat_ngram,
        "min_tokens": body.min_tokens,
        "logit_bias": None if body.logit_bias is None else parse_bias(body.logit_bias),
    }


def parse_bias(bias: dict[str, float]) -> dict[int, float]:
    """Return biases by token id.

    Raises:
        RequestError: a name that is no id.
    """
    for name in bias:
        if not (name.isascii() and name.isdigit() and len(name) < 10):
            raise RequestError(
                400,
                "logit_bias has a name that is no token id; use POST /tokenize to find ids",
                param="logit_bias",
                code="invalid_value",
            )
    return {int(name): value for name, value in bias.items()}


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> dict[str, Any]:
    """Return how many tokens were read and written."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def used(writing: Writing) -> dict[str, Any]:
    """Return the usage of texts that were written."""
    return usage(writing.prompt_tokens, writing.completion_tokens, writing.cached_tokens)


def streamed(service: Service, writing: Writing, chunks: AsyncIterator[dict[str, Any]]) -> Response:
    """Return a stream of chunks that ends what is written as soon as the client goes away."""

    async def frames() -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield format_sse_event(data_str=strict_json.dumps(chunk))
            service.metrics.count(writing)
        except Exception as error:
            body = error_object(of_exception(error))
            yield format_sse_event(data_str=strict_json.dumps(body))
        finally:
            writing.close()
        yield format_sse_event(data_str="[DONE]")

    return StreamingResponse(frames(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})
