"""One web app: the API that OpenAI's clients speak, and the pages; every page mounts on it.

app = create_app(Settings(), pages=[Page("label", "Label", router=router)])
serve(app, Settings())
"""

from __future__ import annotations

from inkfish.server.app import create_app
from inkfish.server.models import How
from inkfish.server.problems import RequestError
from inkfish.server.running import listen, serve
from inkfish.server.service import Service
from inkfish.server.settings import Limits, Settings
from inkfish.server.site import Page

__all__ = ["How", "Limits", "Page", "RequestError", "Service", "Settings", "create_app", "listen", "serve"]
