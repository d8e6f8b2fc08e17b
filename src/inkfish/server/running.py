"""Runs an app until a signal: a first one lets requests end, a second one does not."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from inkfish.errors import SettingError
from inkfish.server.protocol import make_protocol
from inkfish.server.settings import Settings

__all__ = ["Running", "listen", "serve"]

LARGEST_EVENT = 128 << 10
"""Bytes of headers that uvicorn takes before it closes the connection; the guards refuse less, in words."""


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens at the address.

    Raises:
        SettingError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol said, asyncio switches Nagle's algorithm off; without, answers wait 40 ms for it.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise SettingError(
            f"can't listen on {settings.host} port {settings.port}: {error.strerror}; choose another --port",
            param="port",
        ) from None
    return listener


class Running(uvicorn.Server):
    """uvicorn's server, but signals are told first to the app and end the process with its own exit code."""

    def __init__(self, config: uvicorn.Config, *, leaving: Callable[[], None]) -> None:
        super().__init__(config)
        self.leaving = leaving

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave; at the second time at once."""
        if self.should_exit:
            self.force_exit = True
        self.leave()

    def leave(self) -> None:
        """Take no more requests and end when all are done."""
        if not self.should_exit:
            self.should_exit = True
            self.leaving()


def make_server(app: ASGIApp, settings: Settings, *, leaving: Callable[[], None] = lambda: None) -> Running:
    """Return a server for an app, not yet running; `leaving` is called when it begins to end."""
    config = uvicorn.Config(
        app,
        http=make_protocol(settings.limits),  # type: ignore[arg-type]  # it is called, not inherited from
        ws="none",
        access_log=False,  # addresses may hold a token
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=LARGEST_EVENT,
        timeout_graceful_shutdown=int(settings.drain_seconds) + 1,
        lifespan="on",
    )
    return Running(config, leaving=leaving)


def serve(
    app: ASGIApp,
    settings: Settings,
    *,
    listener: socket.socket | None = None,
    leaving: Callable[[], None] = lambda: None,
    started: Callable[[Callable[[], None]], None] = lambda end: None,
) -> None:
    """Serve an app until SIGINT or SIGTERM.

    Args:
        app: as `create_app` made it.
        settings: its.
        listener: what `listen` returned; None listens now.
        leaving: called when the server begins to end.
        started: is given a function that ends the server, to be called from any thread.

    Raises:
        SettingError: it can't listen there.
    """
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of clients that go away in mid-answer
    server = make_server(app, settings, leaving=leaving)
    started(server.leave)
    server.run(sockets=[listener or listen(settings)])
