"""POST /v1/chat/completions: the chat task behind OpenAI's messages; system messages are the persona."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from inkfish.errors import ContextError
from inkfish.generate import Draft, LanguageModel, Prompt
from inkfish.generate.jobs import Job
from inkfish.server.answers import ERRORS, as_json, fingerprint, sampling, seed_of, streamed, used
from inkfish.server.logprobs import chat_listing
from inkfish.server.problems import RequestError
from inkfish.server.replies import ChatChunk, ChatCompletion, stream_of
from inkfish.server.schema import ChatRequest, Message
from inkfish.server.service import Service
from inkfish.server.worker import Worker
from inkfish.server.writing import Writing
from inkfish.tasks.chat import TASK, Dialogue
from inkfish.tasks.conversation import DEFAULTS, Conversation, check_line, fit, pieces
from inkfish.tasks.writing import document_ids

__all__ = ["STOPS", "dialogue_of", "router"]

STOPS = (*TASK.stop.strings, "\r")
"""A turn ends before these."""


@dataclass(frozen=True)
class Asked:
    """A request, understood."""

    body: ChatRequest
    job: Job
    seed: int


def router(service: Service) -> APIRouter:
    """Return the route."""
    made = APIRouter(tags=["OpenAI"])

    @made.post("/v1/chat/completions", response_model=ChatCompletion, responses=ERRORS | stream_of(ChatChunk))
    async def chat(body: ChatRequest, request: Request) -> Response:
        """Reply to the last message; as a stream if asked for."""
        worker = await service.worker(body.model)
        length = sum(len(text_of(message)) for message in body.messages)
        asked = await service.prepared(length, lambda: understood(body, worker.model))
        writing = Writing(service.mail, worker, [asked.job])
        if body.stream:
            return streamed(service, writing, chunks(asked, worker, writing))
        await service.finish(request, writing)
        return as_json(answer(asked, worker, writing))

    return made


def understood(body: ChatRequest, model: LanguageModel) -> Asked:
    """Return a request with its prompt as a job.

    Raises:
        RequestError: fields that exclude each other, or messages that are no conversation.
        InkfishError: a value outside its limits, or too long a conversation.
    """
    check_fields(body)
    seed = seed_of(body)
    conversation = Conversation(dialogue(body.messages), seed)
    wanted = body.max_completion_tokens or body.max_tokens
    if body.truncation == "auto":
        conversation = fit(model, conversation, max_tokens=wanted or TASK.stop.max_tokens)
    ids = document_ids(model, pieces(conversation.seen))
    room = model.config.n_positions - len(ids)
    if room < 1:
        raise ContextError(
            f"the conversation has {len(ids):,} tokens, this model's context {model.config.n_positions:,}; "
            'shorten it, or say "truncation": "auto" to leave out its oldest turns',
            param="messages",
        )
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    given = {name: value for name, value in sampling(body).items() if value is not None}
    settings: dict[str, Any] = DEFAULTS | given
    job = model.prepare(
        Prompt(ids),
        n=body.n or 1,
        max_tokens=wanted or min(room, TASK.stop.max_tokens),
        seed=seed,
        stop=(*STOPS, *stop),
        top=body.top_logprobs or 0,
        **settings,
    )
    return Asked(body, job, seed)


def check_fields(body: ChatRequest) -> None:
    """Refuse fields that exclude each other.

    Raises:
        RequestError: names one of them.
    """
    both = None not in (body.max_tokens, body.max_completion_tokens)
    differ = both and body.max_tokens != body.max_completion_tokens
    refusals = [
        (differ, "max_tokens", "max_tokens and max_completion_tokens differ"),
        (body.top_logprobs is not None and not body.logprobs, "top_logprobs", "this needs logprobs"),
        (body.stream_options is not None and not body.stream, "stream_options", "this needs stream"),
    ]
    for wrong, param, message in refusals:
        if wrong:
            raise RequestError(400, message, param=param, code="invalid_value")


def text_of(message: Message) -> str:
    """Return what a message says."""
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)


def dialogue(messages: Sequence[Message]) -> Dialogue:
    """Return messages as the chat task has them, for the bot to speak; with a persona alone it begins.

    Raises:
        RequestError: the user does not speak last.
        InkfishError: as `dialogue_of`.
    """
    spoken = dialogue_of(messages)
    if not spoken.turns:
        return replace(spoken, turns=("",))
    if len(spoken.turns) % 2 == 0:
        raise RequestError(400, "the last message must be the user's", param="messages", code="invalid_value")
    return spoken


def dialogue_of(messages: Sequence[Message]) -> Dialogue:
    """Return messages as the chat task has them: what is known about the bot, and turns in alternation.

    Messages of one speaker in a row are one turn; where the assistant speaks first, the user said nothing.

    Raises:
        InkfishError: a message is empty or holds control characters.
    """
    persona: list[str] = []
    turns: list[str] = []
    for number, message in enumerate(messages):
        text = check_line(text_of(message), f"messages.{number}")
        if message.role in ("system", "developer"):
            persona.append(text)
            continue
        place = 0 if message.role == "user" else 1
        if not turns and place == 1:
            turns.append("")
        if len(turns) % 2 == place:
            turns.append(text)
        else:
            turns[-1] = f"{turns[-1]} {text}"
    return Dialogue(tuple(turns), about_bot=tuple(persona))


def frame(asked: Asked, worker: Worker, kind: str) -> dict[str, Any]:
    """Return what an answer and every chunk begins with."""
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": asked.body.model,
        "system_fingerprint": fingerprint(worker),
        "seed": asked.seed,
    }


def answer(asked: Asked, worker: Worker, writing: Writing) -> dict[str, Any]:
    """Return the whole answer."""
    choices = []
    for index, draft in enumerate(writing.drafts):
        sample = draft.sample()
        logprobs = chat_listing(sample.tokens, worker.model) if asked.body.logprobs else None
        choices.append(
            {
                "index": index,
                "message": {"role": "assistant", "content": TASK.clean(sample.text), "refusal": None},
                "logprobs": logprobs,
                "finish_reason": sample.finish_reason,
            }
        )
    return frame(asked, worker, "chat.completion") | {"choices": choices, "usage": used(writing)}


class Speech:
    """What of a reply was sent already; like `TASK.clean` it drops the spaces at both ends."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.pieces = self.tokens = 0
        self.held = ""
        self.begun = False

    def text(self) -> str:
        """Return the text since the last time."""
        self.held += "".join(self.draft.pieces[self.pieces :])
        self.pieces = len(self.draft.pieces)
        if not self.begun:
            self.held = self.held.lstrip()
        ready = self.held.rstrip()
        self.begun = self.begun or bool(ready)
        self.held = self.held[len(ready) :]
        return ready

    def listing(self, model: LanguageModel) -> dict[str, Any]:
        """Return the tokens since the last time."""
        done = self.draft.sample().tokens
        listed = chat_listing(done[self.tokens :], model)
        self.tokens = len(done)
        return listed


async def chunks(asked: Asked, worker: Worker, writing: Writing) -> AsyncIterator[dict[str, Any]]:
    """Yield the chunks of a stream: first the speaker, then the words, then why it ends."""
    head = frame(asked, worker, "chat.completion.chunk")
    counted = asked.body.stream_options is not None and asked.body.stream_options.include_usage
    extra: dict[str, Any] = {"usage": None} if counted else {}
    speeches = [Speech(draft) for draft in writing.drafts]

    def chunk(index: int, delta: dict[str, Any], logprobs: Any = None, reason: Any = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return head | {"choices": [choice]} | extra

    for index in range(len(speeches)):
        yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
    async for changed in writing.changes():
        for index in changed:
            speech = speeches[index]
            text = speech.text()
            if text:
                logprobs = speech.listing(worker.model) if asked.body.logprobs else None
                yield chunk(index, {"content": text}, logprobs)
            if speech.draft.finish_reason is not None:
                yield chunk(index, {}, reason=speech.draft.finish_reason)
    if counted:
        yield head | {"choices": [], "usage": used(writing)}
