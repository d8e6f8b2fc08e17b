"""Looking inside: texts to tokens and back, how likely a text is, what could come next, where heads look."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from inkfish.engine import check_ids, check_whole
from inkfish.errors import ContextError, SettingError
from inkfish.generate import LanguageModel, Prompt, ScoredToken
from inkfish.generate.attention import attentions
from inkfish.generate.score import scoring, summary, token_texts
from inkfish.server.answers import ERRORS, as_json
from inkfish.server.logprobs import FLOOR
from inkfish.server.prompts import check_size
from inkfish.server.replies import AttentionReply, Detokenized, Next, ScoreReply, Tokenized
from inkfish.server.schema import (
    AttentionRequest,
    DetokenizeRequest,
    NextRequest,
    ScoreRequest,
    TokenizeRequest,
)
from inkfish.server.service import Service
from inkfish.server.writing import Writing

__all__ = ["router"]

LONGEST_SCORED = 200_000
"""Tokens of a text to be scored."""


def router(service: Service) -> APIRouter:
    """Return the routes."""
    made = APIRouter(tags=["Inside"], responses=ERRORS)

    @made.post("/tokenize", response_model=Tokenized)
    async def tokenize(body: TokenizeRequest) -> Response:
        """Turn a text into token ids."""
        worker = await service.worker(body.model)
        tokenizer = worker.model.tokenizer
        ids = await service.prepared(len(body.prompt), lambda: tokenizer.encode(body.prompt))
        texts = {"token_strs": [tokenizer.decode([i]) for i in ids]} if body.return_token_strs else {}
        context = worker.model.config.n_positions
        return as_json({"count": len(ids), "max_model_len": context, "tokens": ids} | texts)

    @made.post("/detokenize", response_model=Detokenized)
    async def detokenize(body: DetokenizeRequest) -> Response:
        """Turn token ids into a text."""
        worker = await service.worker(body.model)
        check_ids(body.tokens, worker.model.config, param="tokens")
        return as_json({"prompt": worker.model.tokenizer.decode(body.tokens)})

    @made.post("/score", response_model=ScoreReply)
    async def score(body: ScoreRequest, request: Request) -> Response:
        """Say how likely a text is, token by token."""
        worker = await service.worker(body.model)
        model = worker.model
        ids = await service.prepared(len(body.text), lambda: ids_of(body.text, model))
        stride = max(1, model.config.n_positions // 2) if body.stride is None else body.stride
        check_whole("stride", stride, 1, model.config.n_positions)
        start = model.tokenizer.end if body.from_start else None
        work = scoring(model.backend, model.tokenizer, ids, start=start, top=body.top, stride=stride)
        return as_json(scored(await service.do(request, worker, work), model, stride))

    @made.post("/attention", response_model=AttentionReply)
    async def attention(body: AttentionRequest, request: Request) -> Response:
        """Say where the heads of a layer look: for each head and token the weights of the tokens up to it."""
        worker = await service.worker(body.model)
        model = worker.model
        ids = await service.prepared(len(body.text), lambda: ids_of(body.text, model))
        if body.from_start and model.tokenizer.end is not None:
            ids = [model.tokenizer.end, *ids]
        check_whole("layer", body.layer, 0, model.config.n_layer - 1)
        *_, weights = await service.do(request, worker, layers(model, ids, body.layer))
        texts = token_texts(ids, model.tokenizer)
        return as_json(
            {
                "tokens": [{"id": i, "text": text} for i, text in zip(ids, texts, strict=True)],
                "layer": body.layer,
                "layers": model.config.n_layer,
                "weights": [[rows[t, : t + 1].tolist() for t in range(len(ids))] for rows in weights],
            }
        )

    @made.post("/next", response_model=Next)
    async def following(body: NextRequest, request: Request) -> Response:
        """Say which tokens are the likeliest to come next."""
        worker = await service.worker(body.model)
        job = await service.prepared(len(body.prompt), lambda: next_job(body, worker.model))
        writing = Writing(service.mail, worker, [job])
        await service.finish(request, writing)
        (token,) = writing.drafts[0].tokens
        return as_json(
            {"tokens": [one._asdict() | {"logprob": max(one.logprob, FLOOR)} for one in token.top]}
        )

    return made


def layers(model: LanguageModel, ids: list[int], last: int) -> Generator[NDArray[Any] | None]:
    """Yield nothing for each layer before the one wanted, so that others get their turn; then its weights."""
    for number, weights in enumerate(attentions(model, ids)):
        if number == last:
            yield weights.astype(float).round(5)
            return
        yield None


def next_job(body: NextRequest, model: LanguageModel) -> Any:
    """Return the job that draws one token, and lists the likeliest."""
    check_size(body.prompt, model)
    prompt = Prompt(body.prompt) if isinstance(body.prompt, list) else body.prompt
    return model.prepare(prompt, max_tokens=1, seed=0, temperature=0.0, stop_ids=(), top=body.top)


def ids_of(text: str | list[int], model: LanguageModel) -> list[int]:
    """Return a text's ids.

    Raises:
        SettingError: the text is empty, or an id is none of the vocabulary's.
        ContextError: the text is very long.
    """
    ids = model.tokenizer.encode(text) if isinstance(text, str) else text
    if not ids:
        raise SettingError("the text is empty; there is nothing to score", param="text")
    check_ids(ids, model.config, param="text")
    if len(ids) > LONGEST_SCORED:
        raise ContextError(
            f"the text has {len(ids):,} tokens; at most {LONGEST_SCORED:,} are scored at once", param="text"
        )
    return ids


def scored(tokens: list[ScoredToken], model: LanguageModel, stride: int) -> dict[str, Any]:
    """Return a score as it stands in the answer."""
    score = dataclasses.asdict(summary(tokens, model.tokenizer, stride))
    for token in score["tokens"]:
        if token["logprob"] is not None:
            token["logprob"] = max(token["logprob"], FLOOR)
        token["top"] = [
            {"id": each.id, "text": each.text, "logprob": max(each.logprob, FLOOR)} for each in token["top"]
        ]
    score["total_logprob"] = max(score["total_logprob"], FLOOR * len(tokens))
    if score["perplexity"] == float("inf"):
        score["perplexity"] = None
    return score
