"""The one app: guards, errors, the API, and pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

import inkfish
from inkfish.server import enter, site
from inkfish.server.api import routers
from inkfish.server.guards import Guard
from inkfish.server.problems import handle_errors
from inkfish.server.replies import chunk_schemas
from inkfish.server.service import Service
from inkfish.server.settings import Settings
from inkfish.server.site import Page

__all__ = ["create_app"]


def create_app(settings: Settings, *, pages: Sequence[Page] = (), service: Service | None = None) -> ASGIApp:
    """Return an app behind its guards.

    Args:
        settings: where it listens and who may talk to it.
        pages: served with their routers; the first one is also /.
        service: the models behind the API; None has no API.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        opening = None if service is None else asyncio.create_task(service.open())
        yield
        for page in pages:
            if page.close is not None:
                page.close()
        if service is not None and opening is not None:
            await asyncio.gather(opening, return_exceptions=True)
            await service.close()

    app = FastAPI(
        title="inkfish",
        version=inkfish.__version__,
        summary="GPT-2 behind the OpenAI API",
        docs_url=None,  # both would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    handle_errors(app)
    app.include_router(enter.router(settings.key))
    app.include_router(site.routes(pages))
    if service is not None:
        add_api(app, service)
    for page in pages:
        if page.router is not None:
            app.include_router(page.router)
    return Guard(app, settings)


def add_api(app: FastAPI, service: Service) -> None:
    """Add the routes of the API, and to their description what the events of streams are."""
    for router in routers(service):
        app.include_router(router)
    described = app.openapi

    def openapi() -> dict[str, Any]:
        found = described()
        found["components"]["schemas"] |= chunk_schemas()
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's way to extend it
