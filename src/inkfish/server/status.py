"""What there is and how it is: models, health, readiness, counters."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from inkfish.server.answers import ERRORS, as_json
from inkfish.server.problems import RequestError
from inkfish.server.replies import Health, ModelCard, ModelList, Readiness
from inkfish.server.service import Service

__all__ = ["router"]

METRICS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def router(service: Service) -> APIRouter:
    """Return the routes."""
    made = APIRouter(tags=["Server"], responses=ERRORS)

    @made.get("/v1/models", response_model=ModelList)
    async def models() -> Response:
        """List the models that requests may name."""
        return as_json({"object": "list", "data": [card(service, name) for name in service.models.names()]})

    @made.get("/v1/models/{name:path}", response_model=ModelCard)
    async def model(name: str) -> Response:
        """Show one of them."""
        return as_json(card(service, name))

    @made.get("/health", response_model=Health)
    async def health() -> Response:
        """Say whether the program works."""
        if service.broken:
            raise RequestError(503, "a model's thread has ended; start the server again")
        return as_json({"status": "ok"})

    @made.get("/ready", response_model=Readiness)
    async def ready() -> Response:
        """Say whether requests are served now."""
        if not service.ready or service.broken:
            raise RequestError(503, "not ready", headers={"retry-after": "2"})
        return as_json({"status": "ready"})

    @made.get("/metrics", response_class=Response, responses=METRICS)
    async def metrics() -> Response:
        """Give counters to Prometheus."""
        return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    return made


def card(service: Service, name: str) -> dict[str, Any]:
    """Return what there is to say about a model.

    Raises:
        RequestError: there is none of this name.
    """
    entry = service.models.entry(name)
    worker = service.models.workers.get(entry.source)
    context = {"max_model_len": worker.model.config.n_positions} if worker is not None else {}
    facts = {"id": name, "object": "model", "created": entry.created, "owned_by": "inkfish"}
    return facts | {"loaded": worker is not None} | context
