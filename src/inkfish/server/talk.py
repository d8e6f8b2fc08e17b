"""The Chat page: what its script asks for besides the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from inkfish.generate import LanguageModel, Prompt
from inkfish.generate.jobs import Job
from inkfish.server.answers import ERRORS, as_json
from inkfish.server.chat import STOPS, dialogue_of
from inkfish.server.page_replies import Personas, Suggestions
from inkfish.server.schema import Message, Name, Seed, Strict
from inkfish.server.service import Service
from inkfish.server.site import Page
from inkfish.server.writing import Writing
from inkfish.tasks.chat import TASK, Dialogue
from inkfish.tasks.conversation import DEFAULTS, LONGEST, Conversation, fit, personas, pieces
from inkfish.tasks.writing import document_ids

__all__ = ["page"]


LIVELIER = 0.2
"""Suggestions are to differ from each other."""


class Suggest(Strict):
    """A conversation in which the user could say something."""

    model: Name
    messages: Annotated[list[Message], Field(max_length=4096)]
    n: Annotated[int, Field(ge=1, le=8)] = 3
    seed: Seed | None = None


def page(service: Service) -> Page:
    """Return the page."""
    made = APIRouter(prefix="/chat", tags=["Chat"], responses=ERRORS)

    @made.get("/personas", response_model=Personas)
    def bundled() -> Response:
        """List personas."""
        return as_json({"personas": personas()})

    @made.post("/suggest", response_model=Suggestions)
    async def suggest(body: Suggest, request: Request) -> Response:
        """Say what the user could say next."""
        worker = await service.worker(body.model)
        job = await service.prepared(100_000, lambda: next_words(body, worker.model))
        writing = Writing(service.mail, worker, [job])
        await service.finish(request, writing)
        texts = [TASK.clean(draft.sample().text) for draft in writing.drafts]
        return as_json({"suggestions": list(dict.fromkeys(text for text in texts if text))})

    return Page("chat", "Chat", router=made)


def next_words(body: Suggest, model: LanguageModel) -> Job:
    """Return the job that speaks for the user."""
    spoken: Dialogue = dialogue_of(body.messages)
    if len(spoken.turns) % 2:  # the user has spoken last: something else instead
        spoken = Dialogue(spoken.turns[:-1], about_bot=spoken.about_bot)
    conversation = fit(model, Conversation(spoken), max_tokens=LONGEST)
    ids = document_ids(model, pieces(conversation.seen))
    return model.prepare(
        Prompt(ids),
        n=body.n,
        max_tokens=LONGEST,
        seed=body.seed,
        stop=STOPS,
        temperature=DEFAULTS["temperature"] + LIVELIER,
        top_p=DEFAULTS["top_p"],
    )
