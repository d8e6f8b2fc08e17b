"""Deadlines of a connection, which uvicorn lacks: for slow senders of headers and for readers that stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from inkfish.server.settings import Limits

__all__ = ["make_protocol"]


class Patience(asyncio.Protocol):
    """Passes everything on to uvicorn's protocol and ends a connection that takes too long."""

    def __init__(self, inner: H11Protocol, limits: Limits) -> None:
        self.inner, self.limits = inner, limits
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.write_timer: asyncio.TimerHandle | None = None

    @property
    def answering(self) -> bool:
        """Whether a request's headers are there, and its answer is not yet out."""
        cycle = self.inner.cycle
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        assert isinstance(transport, asyncio.Transport), "uvicorn serves TCP"
        self.transport = transport
        if len(self.inner.connections) >= self.limits.connections:
            transport.abort()
            return
        self.inner.connection_made(transport)
        self.wait()

    def wait(self) -> None:
        """Give the sender time for the headers."""
        self.timer = self.inner.loop.call_later(self.limits.header_seconds, self.late)

    def late(self) -> None:
        """End the connection where no request is there yet."""
        self.timer = None
        if not self.answering and self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass data on; wait for the rest of the headers, or no more."""
        if self.timer is None and not self.answering:
            self.wait()
        self.inner.data_received(data)
        if self.answering and self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def eof_received(self) -> None:
        """Pass on that nothing more comes."""
        self.inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the client has gone."""
        for timer in (self.timer, self.write_timer):
            if timer is not None:
                timer.cancel()
        self.timer = self.write_timer = None
        if self.inner.transport is not None:
            self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for a reader."""
        assert self.transport is not None, "only a connection that was made is written to"
        self.inner.pause_writing()
        self.write_timer = self.inner.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader reads."""
        if self.write_timer is not None:
            self.write_timer.cancel()
            self.write_timer = None
        self.inner.resume_writing()


def make_protocol(limits: Limits) -> Callable[..., asyncio.Protocol]:
    """Return what makes the protocol of a connection, as uvicorn calls it."""

    def protocol(*args: Any, **kwargs: Any) -> asyncio.Protocol:
        return Patience(H11Protocol(*args, **kwargs), limits)

    return protocol
