"""One web app: the API that OpenAI's clients speak, and the pages; every page mounts on it.

`serve(create_app(settings, pages=[Page("label", "Label", router=router)]), settings)` is a whole server with
one page; `inkfish.server.site` says what a page is.
"""

from __future__ import annotations

from inkfish.server.app import create_app
from inkfish.server.contents import pages
from inkfish.server.models import How
from inkfish.server.problems import RequestError
from inkfish.server.running import listen, serve
from inkfish.server.service import Service
from inkfish.server.settings import Limits, Settings
from inkfish.server.site import Page

__all__ = [
    "How",
    "Limits",
    "Page",
    "RequestError",
    "Service",
    "Settings",
    "create_app",
    "listen",
    "pages",
    "serve",
]
