"""The Write page: what its script asks for besides the API."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from inkfish.server.answers import ERRORS
from inkfish.server.documents import docx
from inkfish.server.schema import Strict
from inkfish.server.site import Page

__all__ = ["page"]

KIND = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


class Text(Strict):
    """A text to be kept."""

    text: str


def page() -> Page:
    """Return the page."""
    made = APIRouter(prefix="/write", tags=["Write"], responses=ERRORS)

    @made.post("/docx", response_class=Response, responses={200: {"content": {KIND: {}}}})
    def document(body: Text) -> Response:
        """Make a Word document of a text."""
        return Response(docx(body.text), media_type=KIND)

    return Page("write", "Write", router=made)
