"""The one app: guards, errors, pages, and whatever routers it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

import inkfish
from inkfish.server import enter, site
from inkfish.server.guards import Guard
from inkfish.server.problems import handle_errors
from inkfish.server.settings import Settings
from inkfish.server.site import Page

__all__ = ["create_app"]


def create_app(
    settings: Settings, *, pages: Sequence[Page] = (), routers: Sequence[APIRouter] = ()
) -> ASGIApp:
    """Return an app behind its guards.

    Args:
        settings: where it listens and who may talk to it.
        pages: served with their routers; the first one is also /.
        routers: further addresses, such as those of the API.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        for page in pages:
            if page.close is not None:
                page.close()

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
    for router in [*routers, *(page.router for page in pages if page.router is not None)]:
        app.include_router(router)
    return Guard(app, settings)
