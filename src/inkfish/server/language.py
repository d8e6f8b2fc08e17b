"""The Translate and Summarize pages: both tasks for one text, on the model's own thread between two steps."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from inkfish.generate import LanguageModel
from inkfish.server.answers import ERRORS, as_json
from inkfish.server.schema import Name, Seed, Strict
from inkfish.server.service import Service
from inkfish.server.site import Page
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

    @made.get("/languages")
    def languages() -> Response:
        """List languages by their codes."""
        return as_json({"languages": translate.languages()})

    @made.post("/text")
    async def text(body: Translate, request: Request) -> Response:
        """Translate each sentence of a text."""
        worker = await service.worker(body.model)
        done = await service.do(request, worker, translated(worker.model, body))
        return as_json(
            {
                "text": "\n".join(one.text for one in done),
                "sentences": sum(one.sentences for one in done),
                "cut": sum(one.cut for one in done),
            }
        )

    return Page("translate", "Translate", router=made)


def translated(model: LanguageModel, body: Translate) -> Generator[translate.Translated]:
    """Yield the translations of a text's lines one by one, so that others get their turn."""
    examples = translate.bundled(body.source, body.target, body.shots)
    for line in body.text.split("\n"):
        yield from translate.translate(model, [line], examples)


def summarize_page(service: Service) -> Page:
    """Return the page."""
    made = APIRouter(prefix="/summarize", tags=["Tasks"], responses=ERRORS)

    @made.post("/text")
    async def text(body: Summarize, request: Request) -> Response:
        """Say in a few sentences what a text says."""
        worker = await service.worker(body.model)
        (done,) = await service.do(request, worker, summarized(worker.model, body))
        return as_json({"text": done.text, "read": done.fitted.tokens, "of": done.fitted.of})

    return Page("summarize", "Summarize", router=made)


def summarized(model: LanguageModel, body: Summarize) -> Generator[summarize.Summarized]:
    """Yield the summary."""
    yield from summarize.summarize(
        model, [body.text], form=body.form, sentences=body.sentences, seed=body.seed
    )
