"""Who may ask, and how large and slow a question may be: what stands before every route.

One ASGI layer around the whole app, so that nothing can be mounted past it: sizes, Host (against DNS
rebinding), Origin (against other web sites), the key, then the body, read whole and as strict JSON. A POST's
body is JSON, a PUT's is a file (application/octet-stream), passed on as it comes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from fastapi.responses import Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inkfish.server import strict_json
from inkfish.server.problems import RequestError, problem_response
from inkfish.server.settings import Limits, Settings
from inkfish.server.site import entrance

__all__ = ["COOKIE", "OPEN", "Guard", "is_key", "session"]

LOG = logging.getLogger("inkfish.server")
OPEN = frozenset({"/health", "/ready", "/enter"})
"""Addresses that need no key; neither do the pages' own scripts and styles below /static/."""
COOKIE = "inkfish_session"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
BODIED = frozenset({"POST", "PUT"})


class Guard:
    """The layer. A request that it lets through has an id in `scope["state"]["request_id"]`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings, self.limits = app, settings, settings.limits
        self.hosts = settings.hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # websockets: there are none
            await send({"type": "websocket.close", "code": 1008})
            return
        identifier = f"req-{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = identifier
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        answer = self.signed(send, identifier, self.shared_origin(headers))
        try:
            self.check(scope, headers)
            if self.is_preflight(scope, headers):
                await preflight(headers)(scope, receive, answer)
                return
            checked = await self.checked_body(scope, headers, receive)
        except RequestError as problem:
            await refusal(problem, headers)(scope, receive, answer)
            return
        if checked is not None:
            await self.serve(scope, checked, answer)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer; its mistakes go to the log, and end the connection only in mid-answer."""
        complete = False

        async def note(message: Message) -> None:
            nonlocal complete
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self.app(scope, receive, note)
        except Exception:
            if not complete:
                raise
            LOG.exception("a request was answered by 500")

    def check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuse what is wrong before any of the body is read.

        Raises:
            RequestError: says what.
        """
        check_size(scope, self.limits)
        if host_name(headers.get("host", "")) not in self.hosts:
            raise RequestError(
                421, "this server is not called that; if it should be, start it with --allow-host"
            )
        self.check_origin(scope, headers)
        path = scope["path"]
        if path in OPEN or path.startswith("/static/") or self.is_preflight(scope, headers):
            return
        if self.settings.key is not None and not knows_key(headers, self.settings.key):
            raise RequestError(
                401,
                "the key is missing or wrong; send it as Authorization: Bearer KEY",
                headers={"www-authenticate": "Bearer"},
            )

    def check_origin(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuse what another web site's page asks for.

        Raises:
            RequestError: the site is not allowed.
        """
        origin = headers.get("origin")
        if origin is not None:
            own = f"{scope['scheme']}://{headers.get('host', '')}".lower()
            if origin.lower() not in (own, *self.settings.allowed_origins):
                raise RequestError(403, "another web site may not use this server", code="foreign_origin")
        elif headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] in ("GET", "HEAD")
            if not navigates:
                raise RequestError(403, "another web site may not use this server", code="foreign_origin")

    def shared_origin(self, headers: Mapping[str, str]) -> str | None:
        """Return the origin that may read the answer though it is another site."""
        origin = headers.get("origin")
        return origin if origin in self.settings.allowed_origins else None

    def is_preflight(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """Whether an allowed site asks what it may send."""
        asks = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        return asks and self.shared_origin(headers) is not None

    async def checked_body(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive
    ) -> Receive | None:
        """Return what the app receives from, or None where the client has gone.

        Raises:
            RequestError: the body is too large, too slow, of the wrong type, or not JSON.
        """
        if scope["method"] not in BODIED:
            return receive
        if headers.get("content-encoding", "identity") != "identity":
            raise RequestError(415, "the body is compressed; send it as it is")
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if scope["method"] == "PUT" and kind == "application/octet-stream":
            check_length(headers, self.limits.upload)
            return counted(receive, self.limits)
        if kind != "application/json":
            raise RequestError(415, "the body must be JSON, with Content-Type: application/json")
        check_length(headers, self.limits.body)
        content = await read_body(receive, self.limits)
        if content is None:
            return None
        try:
            strict_json.loads(content)
        except strict_json.JSONError as error:
            raise RequestError(400, str(error), code="invalid_json") from None
        return replayed(content, receive)

    def signed(self, send: Send, identifier: str, origin: str | None) -> Send:
        """Return a `send` that puts the headers of every answer on."""

        async def sign(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = identifier
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if origin is not None:
                    headers["access-control-allow-origin"] = origin
                    headers["cross-origin-resource-policy"] = "cross-origin"
                    headers["vary"] = "origin"
            await send(message)

        return sign


def check_size(scope: Scope, limits: Limits) -> None:
    """Refuse too much address or header.

    Raises:
        RequestError: says what is too large, and the limit.
    """
    if len(scope["raw_path"]) + len(scope["query_string"]) > limits.target:
        raise RequestError(414, f"the address is longer than {limits.target:,} bytes")
    if len(scope["headers"]) > limits.header_count:
        raise RequestError(431, f"there are more than {limits.header_count} headers")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > limits.headers:
        raise RequestError(431, f"the headers are larger than {limits.headers:,} bytes")


def check_length(headers: Mapping[str, str], limit: int) -> None:
    """Refuse a body that says itself that it is too large.

    Raises:
        RequestError: says the limit.
    """
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        raise too_large(limit)


def too_large(limit: int) -> RequestError:
    """Return what to say to a body that is too large."""
    return RequestError(413, f"the body is larger than {limit:,} bytes", headers={"connection": "close"})


async def read_body(receive: Receive, limits: Limits) -> bytes | None:
    """Return the whole body, counted as it comes; None where the client goes before its end.

    Raises:
        RequestError: it is too large, or too slow.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limits.body:
                    raise too_large(limits.body)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise slow(limits) from None


def slow(limits: Limits) -> RequestError:
    """Return what to say to a body that is too slow."""
    return RequestError(
        408,
        f"the body did not come within {limits.body_seconds:g} seconds",
        headers={"connection": "close"},
    )


def counted(receive: Receive, limits: Limits) -> Receive:
    """Return a `receive` that ends an upload that is too large or too slow, by a `RequestError`."""
    size = 0

    async def count() -> Message:
        nonlocal size
        try:
            async with asyncio.timeout(limits.body_seconds):
                message = await receive()
        except TimeoutError:
            raise slow(limits) from None
        size += len(message.get("body", b""))
        if size > limits.upload:
            raise too_large(limits.upload)
        return message

    return count


def replayed(content: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already, then whatever else happens."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return again


def host_name(host: str) -> str:
    """Return a Host header without its port, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def is_key(given: str, key: str) -> bool:
    """Whether a key is the right one; takes as long for a wrong one, whatever it shares with it."""
    digests = [hashlib.sha256(text.encode()).digest() for text in (given, key)]
    return hmac.compare_digest(*digests)


def session(key: str) -> str:
    """Return what a browser's cookie holds in place of the key."""
    return hmac.new(key.encode(), b"inkfish session", hashlib.sha256).hexdigest()


def knows_key(headers: Mapping[str, str], key: str) -> bool:
    """Whether a request carries the key, or the cookie of a browser that has entered it."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    right = is_key(given.strip(), key) and scheme.lower() == "bearer"
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        morsel = None
    return right | is_key("" if morsel is None else morsel.value, session(key))


def preflight(headers: Mapping[str, str]) -> ASGIApp:
    """Return the answer to an allowed site that asks what it may send."""
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": "authorization, content-type",
            "access-control-max-age": "600",
        },
    )


def refusal(problem: RequestError, headers: Mapping[str, str]) -> ASGIApp:
    """Return the answer to what is refused; to a browser without the key, the page that asks for it."""
    if problem.status == 401 and "text/html" in headers.get("accept", ""):
        return entrance(401)
    return problem_response(problem)
