"""New work for labellers: a served model goes on with openings, several times each, into the label store."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

import inkfish
from inkfish.generate import LanguageModel
from inkfish.generate.jobs import Job
from inkfish.labels.records import Candidate, Item
from inkfish.labels.store import Store
from inkfish.server.answers import as_json
from inkfish.server.page_replies import Added
from inkfish.server.schema import Name, Seed, Strict
from inkfish.server.service import Service
from inkfish.server.writing import Writing

__all__ = ["add_writing"]


Opening = Annotated[str, Field(min_length=1, max_length=2000)]


class Openings(Strict):
    """What candidates are to be written for."""

    model: Name
    openings: Annotated[list[Opening], Field(min_length=1, max_length=64)]
    n: Annotated[int, Field(ge=2, le=9)] = 4
    """Candidates of each; the same for all of a store, or no reward model can learn from it."""
    max_tokens: Annotated[int, Field(ge=1, le=500)] = 48
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """As `inkfish prefer sample` has it; nothing else changes the model's distribution."""
    seed: Seed | None = None


def add_writing(made: APIRouter, path: Path, service: Service) -> None:
    """Add what writes candidates into the label store, which is made where it is missing."""

    @made.post("/write", response_model=Added)
    async def write(body: Openings, request: Request) -> Response:
        """Write candidates for some openings, for people to choose from."""
        worker = await service.worker(body.model)
        seed = secrets.randbelow(2**32) if body.seed is None else body.seed
        jobs = [job(worker.model, body, opening, seed) for opening in body.openings]
        writing = Writing(service.mail, worker, jobs)
        await service.finish(request, writing)
        texts = [draft.sample().text for draft in writing.drafts]
        added = await asyncio.to_thread(store, path, items(body, texts, seed))
        return as_json({"added": added, "seed": seed})


def job(model: LanguageModel, body: Openings, opening: str, seed: int) -> Job:
    """Return the job that writes the candidates of an opening."""
    return model.prepare(
        opening,
        n=body.n,
        max_tokens=body.max_tokens,
        seed=seed,
        temperature=body.temperature,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        repetition_penalty=1.0,
    )


def items(body: Openings, texts: Sequence[str], seed: int) -> list[Item]:
    """Return openings with what was written for each."""
    origin: dict[str, Any] = {
        "model": body.model,
        "seed": seed,
        "temperature": body.temperature,
        "tokens": body.max_tokens,
        "inkfish": inkfish.__version__,
    }
    return [
        Item(
            "best" if body.n > 2 else "pair",
            opening,
            tuple(
                Candidate(text, origin=origin | {"sample": sample})
                for sample, text in enumerate(texts[number * body.n : (number + 1) * body.n])
            ),
        )
        for number, opening in enumerate(body.openings)
    ]


def store(path: Path, new: Sequence[Item]) -> int:
    """Put items into the store; return how many were new."""
    with Store(path, create=True) as opened:
        return opened.add(new)[0]
