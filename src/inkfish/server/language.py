"""The Translate and Summarize pages: one text, whose sentences are written among all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from inkfish.generate import Sample
from inkfish.generate.jobs import Job
from inkfish.server.answers import ERRORS, as_json
from inkfish.server.page_replies import Languages, SummarizeReply, TranslateReply
from inkfish.server.schema import Name, Seed, Strict
from inkfish.server.service import Service
from inkfish.server.site import Page
from inkfish.server.worker import Worker
from inkfish.server.writing import Writing
from inkfish.tasks import summarize, translate

__all__ = ["summarize_page", "translate_page"]

LONGEST = 20_000
"""Characters of a text."""
Text = Annotated[str, Field(min_length=1, max_length=LONGEST)]
Code = Annotated[str, Field(min_length=2, max_length=8)]


class Translate(Strict):
    """A text to translate."""

    model: Name
    text: Text
    source: Code = "en"
    target: Code = "fr"
    shots: Annotated[int, Field(ge=0, le=64)] = 8
    """Example pairs that stand before each sentence; a model that was trained on pairs needs none."""


class Summarize(Strict):
    """A text to shorten."""

    model: Name
    text: Text
    form: Literal["tldr", "moral"] = "tldr"
    sentences: Annotated[int, Field(ge=1, le=20)] = 3
    seed: Seed = 0


def translate_page(service: Service) -> Page:
    """Return the page."""
    made = APIRouter(prefix="/translate", tags=["Tasks"], responses=ERRORS)

    @made.get("/languages", response_model=Languages)
    def languages() -> Response:
        """List languages by their codes."""
        return as_json({"languages": translate.languages()})

    @made.post("/text", response_model=TranslateReply)
    async def text(body: Translate, request: Request) -> Response:
        """Translate each sentence of a text."""
        worker = await service.worker(body.model)
        examples = translate.bundled(body.source, body.target, body.shots)
        asked = await service.prepared(LONGEST, lambda: translate.ask(worker.model, [body.text], examples))
        samples = await written(service, request, worker, asked.jobs)
        found = iter([(sample.text, sample.finish_reason == "stop") for sample in samples])
        return as_json(translate.gather(asked.texts[0], found)._asdict())

    return Page("translate", "Translate", router=made)


def summarize_page(service: Service) -> Page:
    """Return the page."""
    made = APIRouter(prefix="/summarize", tags=["Tasks"], responses=ERRORS)

    @made.post("/text", response_model=SummarizeReply)
    async def text(body: Summarize, request: Request) -> Response:
        """Say in a few sentences what a text says."""
        worker = await service.worker(body.model)
        asked = await service.prepared(
            LONGEST, lambda: summarize.ask(worker.model, [body.text], form=body.form, seed=body.seed)
        )
        (sample,) = await written(service, request, worker, asked.jobs)
        (read,) = asked.fitted
        said = summarize.shortened(sample.text, body.sentences)
        return as_json({"text": said, "read": read.tokens, "of": read.of})

    return Page("summarize", "Summarize", router=made)


async def written(service: Service, request: Request, worker: Worker, jobs: Sequence[Job]) -> list[Sample]:
    """Return what a model writes for jobs, some at a time, so that others find free slots meanwhile."""
    samples: list[Sample] = []
    portion = max(1, worker.engine.slots // 2)
    for start in range(0, len(jobs), portion):
        writing = Writing(service.mail, worker, jobs[start : start + portion])
        await service.finish(request, writing)
        samples += [draft.sample() for draft in writing.drafts]
    return samples
