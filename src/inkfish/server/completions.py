"""POST /v1/completions: a text goes on."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from inkfish.engine import Finish
from inkfish.generate import Draft, LanguageModel, Prompt, ScoredToken
from inkfish.generate.jobs import Job
from inkfish.generate.score import scoring
from inkfish.server.answers import (
    ERRORS,
    as_json,
    fingerprint,
    sampling,
    seed_of,
    streamed,
    usage,
    used,
)
from inkfish.server.choosing import chosen
from inkfish.server.logprobs import Listed, listing
from inkfish.server.problems import RequestError
from inkfish.server.prompts import check_size, fits_alone, split_prompts
from inkfish.server.replies import Completion, CompletionChunk, stream_of
from inkfish.server.schema import CompletionRequest
from inkfish.server.service import Service
from inkfish.server.worker import Worker
from inkfish.server.writing import Writing

__all__ = ["router"]

MAX_TOKENS = 16
"""OpenAI's default."""
MOST_SEQUENCES = 2048


@dataclass(frozen=True)
class Asked:
    """A request, understood."""

    body: CompletionRequest
    jobs: tuple[Job, ...]
    """One for each prompt; each with as many samples as are written (best_of)."""
    n: int
    """How many of them are returned."""
    seed: int
    """In use."""

    @property
    def writes(self) -> bool:
        """Whether anything is written; for max_tokens 0 the prompt is only scored."""
        return self.body.max_tokens != 0

    @property
    def top(self) -> int | None:
        """How many alternatives to list; None lists no log-probabilities."""
        return self.body.logprobs


def router(service: Service) -> APIRouter:
    """Return the route."""
    made = APIRouter(tags=["OpenAI"])

    @made.post("/v1/completions", response_model=Completion, responses=ERRORS | stream_of(CompletionChunk))
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue a prompt, or several; as a stream if asked for."""
        worker = await service.worker(body.model)
        length = len(body.prompt or "") if isinstance(body.prompt, str) else 10_000
        if body.choices is not None:
            check_fields(body)
            identity = frame(body, worker, seed=0)
            return as_json(identity | await chosen(service, request, worker, body))
        asked = await service.prepared(length, lambda: understood(body, worker.model))
        prompts: list[list[ScoredToken]] = []
        if body.echo and (body.logprobs is not None or not asked.writes):
            for job in asked.jobs:
                prompts.append(await service.do(request, worker, prompt_scores(worker, job, asked.top)))
        if not asked.writes:
            counts = usage(sum(len(job.request.prompt) for job in asked.jobs), 0)
            return as_json(answer(asked, worker, silent(asked, worker), prompts) | {"usage": counts})
        writing = Writing(service.mail, worker, asked.jobs)
        if body.stream:
            return streamed(service, writing, chunks(asked, worker, writing, prompts))
        await service.finish(request, writing)
        return as_json(answer(asked, worker, writing.drafts, prompts) | {"usage": used(writing)})

    return made


def understood(body: CompletionRequest, model: LanguageModel) -> Asked:
    """Return a request with its prompts as jobs.

    Raises:
        RequestError: fields that exclude each other, or too many sequences.
        SettingError: a value outside its limits.
        ContextError: a prompt that does not fit.
    """
    check_fields(body)
    n = body.n or 1
    best_of = body.best_of or n
    prompts = split_prompts(body.prompt)
    if len(prompts) * best_of > MOST_SEQUENCES:
        raise RequestError(
            400,
            f"{len(prompts)} prompts with {best_of} samples each are more than {MOST_SEQUENCES} texts",
            param="prompt",
            code="invalid_value",
        )
    seed = seed_of(body)
    jobs = tuple(job_of(body, prompt, model, best_of, seed) for prompt in prompts)
    return Asked(body, jobs, n, seed)


def check_fields(body: CompletionRequest) -> None:
    """Refuse fields that exclude each other.

    Raises:
        RequestError: names one of them.
    """
    streams, n = bool(body.stream), body.n or 1
    best_of = body.best_of or n
    refusals = [
        (best_of < n, "best_of", "best_of must be at least n"),
        (streams and best_of > n, "best_of", "a stream can't have best_of above n"),
        (body.max_tokens == 0 and not body.echo, "max_tokens", "max_tokens may be 0 only with echo"),
        (body.max_tokens == 0 and streams, "stream", "there is nothing to stream with max_tokens 0"),
        (body.stream_options is not None and not streams, "stream_options", "this needs stream"),
        (body.choices is not None and streams, "stream", "choices are not streamed"),
    ]
    for wrong, param, message in refusals:
        if wrong:
            raise RequestError(400, message, param=param, code="invalid_value")


def job_of(
    body: CompletionRequest, prompt: str | list[int], model: LanguageModel, best_of: int, seed: int
) -> Job:
    """Return a prompt as a job."""
    if not body.slide:
        check_size(prompt, model)
    ids = model.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    if body.max_tokens == 0:
        fits_alone(ids, model)
    default = max(1, min(MAX_TOKENS, model.config.n_positions - len(ids)))
    job = model.prepare(
        Prompt(ids) if ids else "",
        n=best_of,
        max_tokens=default if body.max_tokens is None else max(1, body.max_tokens),
        seed=seed,
        stop=body.stop or (),
        stop_ids=() if body.ignore_eos else None,
        end_at_sentence=False if body.ignore_eos else None,
        slide=bool(body.slide) or body.max_tokens == 0,
        top=body.logprobs or 0,
        **sampling(body),
    )
    return replace(job, prompt=prompt if isinstance(prompt, str) else job.prompt)


def prompt_scores(worker: Worker, job: Job, top: int | None) -> Generator[ScoredToken]:
    """Yield a prompt's tokens with their log-probabilities; none where there is no prompt."""
    model = worker.model
    if job.prompt:
        stride = max(1, model.config.n_positions // 2)
        ids = job.request.prompt
        yield from scoring(model.backend, model.tokenizer, ids, start=None, top=top or 0, stride=stride)


def silent(asked: Asked, worker: Worker) -> list[Draft]:
    """Return drafts in which nothing is written."""
    drafts = [Draft(worker.model.tokenizer) for job in asked.jobs for _ in range(job.n)]
    for draft in drafts:
        draft.take(Finish("length"))
    return drafts


def answer(
    asked: Asked, worker: Worker, drafts: Sequence[Draft], prompts: Sequence[list[ScoredToken]]
) -> dict[str, Any]:
    """Return the whole answer but for the usage."""
    choices: list[dict[str, Any]] = []
    for number, job in enumerate(asked.jobs):
        mine = drafts[number * job.n : (number + 1) * job.n]
        for draft in sorted(mine, key=mean_logprob, reverse=True)[: asked.n] if asked.n < job.n else mine:
            sample = draft.sample()
            before = job.prompt if asked.body.echo else ""
            scored = prompts[number] if prompts else []
            logprobs = None
            if asked.top is not None:
                logprobs = listing([*scored, *sample.tokens], asked.top, worker.model)
            choices.append(
                {
                    "index": len(choices),
                    "text": before + sample.text,
                    "logprobs": logprobs,
                    "finish_reason": sample.finish_reason,
                }
            )
    return frame(asked.body, worker, seed=asked.seed) | {"choices": choices}


def mean_logprob(draft: Draft) -> float:
    """Return the mean log-probability of a text's tokens, by which best_of chooses."""
    tokens = draft.sample().tokens
    return sum(token.logprob for token in tokens) / len(tokens) if tokens else float("-inf")


def frame(body: CompletionRequest, worker: Worker, *, seed: int) -> dict[str, Any]:
    """Return what every answer and every chunk begins with."""
    return {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": fingerprint(worker),
        "seed": seed,
    }


class Follower:
    """What of a draft was sent already."""

    def __init__(self, draft: Draft, *, before: str = "", scored: Sequence[ScoredToken] = ()) -> None:
        self.draft, self.before, self.scored = draft, before, list(scored)
        self.pieces = self.tokens = self.length = 0

    def text(self) -> str:
        """Return the text since the last time."""
        text, self.before = self.before + "".join(self.draft.pieces[self.pieces :]), ""
        self.pieces = len(self.draft.pieces)
        return text

    def listing(self, top: int, model: LanguageModel) -> dict[str, Any]:
        """Return the tokens since the last time."""
        done = self.draft.sample().tokens
        tokens: list[Listed] = [*self.scored, *done[self.tokens :]]
        listed = listing(tokens, top, model, self.length)
        self.length += sum(len(token.text) for token in tokens)
        self.scored, self.tokens = [], len(done)
        return listed


async def chunks(
    asked: Asked, worker: Worker, writing: Writing, prompts: Sequence[list[ScoredToken]]
) -> AsyncIterator[dict[str, Any]]:
    """Yield the chunks of a stream."""
    followers = [
        Follower(draft, before=job.prompt * bool(asked.body.echo), scored=prompts[number] if prompts else ())
        for number, job in enumerate(asked.jobs)
        for draft in writing.drafts[number * job.n : (number + 1) * job.n]
    ]
    head = frame(asked.body, worker, seed=asked.seed)
    counted = asked.body.stream_options is not None and asked.body.stream_options.include_usage
    extra = {"usage": None} if counted else {}
    async for changed in writing.changes():
        for index in changed:
            for choice in news_of(index, followers[index], asked, worker):
                yield head | {"choices": [choice]} | extra
    if counted:
        yield head | {"choices": [], "usage": used(writing)}


def news_of(index: int, follower: Follower, asked: Asked, worker: Worker) -> Iterator[dict[str, Any]]:
    """Yield what there is to say about a text, if there is anything."""
    text, reason = follower.text(), follower.draft.finish_reason
    if text or reason:
        logprobs = None if asked.top is None else follower.listing(asked.top, worker.model)
        yield {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
