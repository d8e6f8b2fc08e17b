"""All routes of the API."""

from __future__ import annotations

from fastapi import APIRouter

from inkfish.server import chat, completions, status, texts
from inkfish.server.service import Service

__all__ = ["routers"]


def routers(service: Service) -> list[APIRouter]:
    """Return the routers of the API, to be given to `create_app`."""
    return [room.router(service) for room in (completions, chat, texts, status)]
