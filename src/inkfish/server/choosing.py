"""Completions with `choices`: how likely given continuations are."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from inkfish.generate.score import scoring
from inkfish.server.answers import usage
from inkfish.server.logprobs import FLOOR, listing
from inkfish.server.problems import RequestError
from inkfish.server.prompts import fits_alone, split_prompts
from inkfish.server.schema import CompletionRequest
from inkfish.server.service import Service
from inkfish.server.worker import Worker

__all__ = ["chosen"]


async def chosen(
    service: Service, request: Request, worker: Worker, body: CompletionRequest
) -> dict[str, Any]:
    """Return the given continuations with their log-probabilities, and the usage.

    Raises:
        RequestError: several prompts.
        ContextError: prompt and continuation do not fit.
    """
    assert body.choices is not None, "asked for"
    prompts = split_prompts(body.prompt)
    if len(prompts) > 1:
        raise RequestError(400, "choices go with one prompt", param="prompt", code="invalid_value")
    model, prompt = worker.model, prompts[0]
    given = model.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    start = [] if given else [model.tokenizer.end or 0]
    choices = []
    for index, text in enumerate(body.choices):
        ids = [*start, *given, *model.tokenizer.encode(text)]
        fits_alone(ids, model)
        stride = model.config.n_positions
        scored = await service.do(
            request,
            worker,
            scoring(model.backend, model.tokenizer, ids, start=None, top=body.logprobs or 0, stride=stride),
        )
        mine = scored[len(start) + len(given) :]
        choices.append(
            {
                "index": index,
                "text": text,
                "logprobs": listing(mine, body.logprobs or 0, model),
                "logprob": sum(max(token.logprob, FLOOR) for token in mine),
                "finish_reason": "stop",
            }
        )
    tokens = len(start) + len(given)
    written = sum(len(choice["logprobs"]["tokens"]) for choice in choices)
    return {"choices": choices, "usage": usage(tokens, written)}
