"""The pages: hand-written HTML, CSS and ES modules in `pages/`, read once, served from memory.

A page is a value. `Page("label", "Label", router=...)` is served at /label: `pages/label.html` (what stands
inside <main>) in the frame of `pages/layout.html`, with `pages/label.css` and `pages/label.js` (an ES module)
where there are such files. All pages share `style.css`. What a page asks the server for is its router, whose
addresses begin with /label/. A page's script and style come from files alone (the content security policy
forbids inline ones), and shows texts by `textContent`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from inkfish.server.problems import RequestError

__all__ = ["Page", "entrance", "framed", "routes"]

FOLDER = Path(__file__).with_name("pages")
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Page:
    """A page of the site."""

    name: str
    """Its address without the slash, and the name of its files."""
    title: str
    """As the navigation shows it."""
    router: APIRouter | None = None
    """What its script asks for; the addresses begin with /NAME/."""
    close: Callable[[], None] | None = None
    """Called when the server ends."""


def framed(name: str, title: str, pages: Sequence[Page]) -> str:
    """Return the whole HTML of a page."""
    links = "\n".join(
        f'<a href="/{page.name}"{" aria-current=page" * (page.name == name)}>{escape(page.title)}</a>'
        for page in pages
    )
    style = f'<link rel="stylesheet" href="/static/{name}.css">' * (FOLDER / f"{name}.css").is_file()
    script = f'<script type="module" src="/static/{name}.js"></script>' * (FOLDER / f"{name}.js").is_file()
    layout = Template((FOLDER / "layout.html").read_text(encoding="utf-8"))
    main = (FOLDER / f"{name}.html").read_text(encoding="utf-8")
    return layout.substitute(title=escape(title), name=name, links=links, head=style + script, main=main)


def entrance(status: int = 200) -> Response:
    """Return the page that asks for the key."""
    return HTMLResponse(framed("enter", "Enter", ()), status)


def routes(pages: Sequence[Page]) -> APIRouter:
    """Return the addresses of all pages and of their files; / is the first page."""
    router = APIRouter(include_in_schema=False)
    for page in pages:
        router.add_api_route(f"/{page.name}", page_route(framed(page.name, page.title, pages)))
    if pages:
        router.add_api_route("/", page_route(framed(pages[0].name, pages[0].title, pages)))
    files = {
        path.name: (path.read_bytes(), TYPES[path.suffix])
        for path in FOLDER.iterdir()
        if path.suffix in TYPES
    }

    @router.get("/static/{name}")
    def static(name: str, request: Request) -> Response:
        if name not in files:
            raise RequestError(404, "there is no such file")
        content, kind = files[name]
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return router


def page_route(html: str) -> Callable[[], Response]:
    """Return what answers with a page."""

    def page() -> Response:
        return HTMLResponse(html)

    return page
