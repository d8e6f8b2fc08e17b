"""The door: who has the key gets a cookie, so that a browser can use the pages."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from inkfish.server.guards import COOKIE, is_key, session
from inkfish.server.problems import RequestError
from inkfish.server.site import entrance

__all__ = ["router"]

WEEK = 7 * 24 * 3600


class Entry(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(strict=True, extra="forbid")
    key: str


def router(key: str | None) -> APIRouter:
    """Return the addresses below /enter."""
    made = APIRouter(include_in_schema=False)

    def let_in(given: str, response: Response) -> Response:
        if key is None:
            return response
        if not is_key(given, key):
            raise RequestError(401, "this key is wrong")
        response.set_cookie(COOKIE, session(key), max_age=WEEK, httponly=True, samesite="lax")
        return response

    @made.get("/enter")
    def enter(token: str | None = None) -> Response:
        """The page; or, from a QR code, straight in."""
        return entrance() if token is None else let_in(token, RedirectResponse("/", 303))

    @made.post("/enter")
    def entered(entry: Entry) -> Response:
        return let_in(entry.key, JSONResponse({"entered": True}))

    return made
