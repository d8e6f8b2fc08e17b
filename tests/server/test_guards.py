"""Who is let in, and how large and slow a request may be."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request

from inkfish.errors import SettingError
from inkfish.server import Limits, Page, Service, Settings, pages
from inkfish.server.guards import is_key, session
from inkfish.server.settings import own_addresses

KEY = "a-key-of-24-characters-x"
SMALL = Limits(
    body=1000, upload=5000, headers=2000, header_count=20, target=500, header_seconds=0.5, body_seconds=0.5
)


def uploads() -> Page:
    router = APIRouter()

    @router.put("/enter/file")
    async def put(request: Request) -> int:
        return len([part async for part in request.stream()])

    @router.post("/enter/broken")
    async def broken() -> None:
        raise RuntimeError("a secret: /home/someone")

    return Page("enter", "Enter", router=router)


@pytest.fixture
def site(serve: Any) -> Any:
    return serve(pages=(uploads(),), limits=SMALL)


def raw(port: int, request: bytes, *, seconds: float = 5) -> bytes:
    """Send bytes and return all that comes until the server closes."""
    parts: list[bytes] = []
    with (
        socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection,
        suppress(ConnectionResetError),
    ):
        connection.sendall(request)
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def assert_error(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["code"], str)
    assert response.headers["x-request-id"].startswith("req-")
    return error


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "0.0.0.0"}, "others can reach, and there is no key"),
        ({"host": "192.168.1.7"}, "others can reach, and there is no key"),
        ({"host": "example.org"}, "others can reach, and there is no key"),
        ({"key": "short"}, "has 5 characters; take at least 16"),
        ({"key": "with spaces in it it is"}, "no plain letter"),
        ({"port": 70000}, "must be from 0 to 65535"),
        ({"drain_seconds": -1}, "must be from 0 to 3600"),
        ({"allowed_origins": ("https://a.org/",)}, "an origin is"),
        ({"allowed_origins": ("*",)}, "an origin is"),
    ],
)
def test_what_is_not_safe_is_refused_at_the_start(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Settings(**settings)


def test_a_public_server_knows_its_own_names() -> None:
    settings = Settings(host="0.0.0.0", key=KEY)
    assert {"localhost", "127.0.0.1", "::1", *own_addresses()} <= settings.hosts


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "LOCALHOST:8000", "[::1]:9"])
def test_this_machine_may_be_called_by_its_names(site: Any, host: str) -> None:
    with site.client() as client:
        assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.org", "127.0.0.1.evil.org", "", "localhost.evil.org:8000"])
def test_other_names_are_refused_so_that_no_name_can_be_rebound(site: Any, host: str) -> None:
    with site.client() as client:
        assert_error(client.get("/health", headers={"host": host}), 421)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.org"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
def test_other_sites_are_refused(site: Any, headers: dict[str, str]) -> None:
    with site.client() as client:
        error = assert_error(client.get("/v1/models", headers=headers), 403)
        assert error["code"] == "foreign_origin"
        preflight = client.options("/v1/models", headers={**headers, "access-control-request-method": "GET"})
        assert preflight.status_code == 403
        assert "access-control-allow-origin" not in preflight.headers


def test_links_from_other_sites_and_the_own_pages_work(site: Any) -> None:
    with site.client() as client:
        follow = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        assert client.get("/", headers=follow).status_code == 200
        assert client.get("/v1/models", headers={"origin": site.url}).status_code == 200


def test_an_allowed_site_may_read(serve: Any) -> None:
    origin = "https://friend.org"
    with serve(allowed_origins=(origin,)).client() as client:
        asked = {"origin": origin, "access-control-request-method": "POST"}
        preflight = client.options("/v1/completions", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == origin
        answer = client.get("/v1/models", headers={"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        assert client.get("/v1/models", headers={"origin": "https://x.org"}).status_code == 403


def routes(client: httpx.Client) -> Iterator[tuple[str, str]]:
    """Every route of the description, every page, and what there is not."""
    right = {"authorization": f"Bearer {KEY}"}
    described = client.get("/openapi.json", headers=right).json()["paths"]
    for path, methods in described.items():
        for method in methods:
            yield method.upper(), path.replace("{name:path}", "tiny").replace("{name}", "tiny")
    linked = re.findall(r'<a href="(/\w+)"', client.get("/", headers=right).text)
    assert len(linked) >= 8, "all pages are in the navigation"
    yield from (("GET", path) for path in (*linked, "/", "/enter2", "/openapi.json", "/docs", "/nothing"))


def test_without_the_key_no_route_answers(serve: Any, tmp_path: Path) -> None:
    def nth(number: int) -> Callable[[Service], Page]:
        return lambda service: pages(service, tmp_path / "runs", tmp_path / "labels.sqlite")[number]

    site = serve(key=KEY, pages_of=tuple(nth(number) for number in range(8)))
    wrong = ["Bearer", f"Bearer {KEY[:-1]}", f"Bearer {KEY.upper()}", f"Basic {KEY}", KEY]
    tried = 0
    with site.client() as client:
        for method, path in routes(client):
            if path in ("/health", "/ready"):
                assert client.request(method, path).status_code == 200
                continue
            for given in wrong:
                answer = client.request(method, path, headers={"authorization": given})
                assert answer.status_code == 401, (method, path)
                tried += 1
            for variant in (path, path + "/", "/" + path, f"/x/..{path}", path.upper()):
                for verb in (method, "GET", "POST", "HEAD", "OPTIONS", "PUT"):
                    url = httpx.URL(site.url).copy_with(raw_path=variant.encode())
                    assert client.request(verb, url).status_code == 401, (verb, variant)
                    tried += 1
        right = {"authorization": f"Bearer {KEY}"}
        assert client.get("/v1/models", headers=right).status_code == 200
    assert tried > 1500


def test_a_browser_enters_by_the_page_or_the_code(serve: Any) -> None:
    site = serve(key=KEY, pages=(uploads(),))
    with site.client() as client:
        page = client.get("/", headers={"accept": "text/html"})
        assert page.status_code == 401
        assert "Enter the key" in page.text
        assert client.get("/static/style.css").status_code == 200
        assert_error(client.post("/enter", json={"key": "wrong"}), 401)
        assert_error(client.get("/enter?token=wrong"), 401)
        assert client.get("/v1/models").status_code == 401
        assert client.post("/enter", json={"key": KEY}).status_code == 200
        assert client.get("/v1/models").status_code == 200
        assert KEY not in str(client.cookies)
    with site.client() as client:
        answer = client.get(f"/enter?token={KEY}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert client.get("/").status_code == 200


def test_nothing_is_asked_for_elsewhere(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    connect = socket.socket.connect

    def noted(self: socket.socket, address: Any) -> None:
        asked.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    url = "http://192.0.2.1/a"
    image = [{"type": "image_url", "image_url": {"url": url}}]
    server = serve()
    for path, body in (
        ("/v1/completions", {"model": "tiny", "prompt": url, "user": url, "stop": url, "max_tokens": 2}),
        ("/v1/completions", {"model": url, "prompt": "a"}),
        ("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": image}]}),
        ("/v1/chat/completions", {"model": "../../etc", "messages": [{"role": "user", "content": url}]}),
        ("/score", {"text": url}),
        ("/tokenize", {"prompt": url}),
    ):
        assert server.post(path, **body).status_code in (200, 400, 404)
    assert asked
    assert {host for host, *_ in asked} == {"127.0.0.1"}


def test_keys_are_compared_whole() -> None:
    assert is_key(KEY, KEY)
    assert not any(is_key(other, KEY) for other in ("", KEY[:-1], KEY + "x", KEY.upper(), "ä" * 24))
    assert session(KEY) != session(KEY + "x")


def test_sizes_are_limited(site: Any) -> None:
    with site.client() as client:
        body = '{"prompt": "' + "x" * 2000 + '"}'
        kind = {"content-type": "application/json"}
        assert_error(client.post("/v1/completions", content=body, headers=kind), 413)
        parts = (body[i : i + 100].encode() for i in range(0, len(body), 100))
        assert_error(client.post("/v1/completions", content=parts, headers=kind), 413)
        assert_error(client.get("/health", headers={"x": "y" * 3000}), 431)
        assert_error(client.get("/health", headers={f"x{i}": "y" for i in range(30)}), 431)
        assert_error(client.get("/health?" + "x" * 600), 414)
        file = {"content-type": "application/octet-stream"}
        assert client.put("/enter/file", content=b"x" * 4000, headers=file).status_code == 200
        assert_error(client.put("/enter/file", content=b"x" * 6000, headers=file), 413)
        chunks = (b"x" * 1000 for _ in range(6))
        assert_error(client.put("/enter/file", content=chunks, headers=file), 413)
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "text/plain"}, b"{}", 415),
        ({}, b"{}", 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, b"{}", 415),
        ({"content-type": "application/json"}, b"{", 400),
        ({"content-type": "application/json"}, b"[NaN]", 400),
        ({"content-type": "application/json"}, b"null", 400),
        ({"content-type": "application/json"}, b"[]", 400),
        ({"content-type": "application/json"}, b"", 400),
        ({"content-type": "application/octet-stream"}, b"{}", 415),
    ],
)
def test_only_json_is_taken(site: Any, headers: dict[str, str], content: bytes, status: int) -> None:
    with site.client() as client:
        assert_error(client.post("/v1/completions", content=content, headers=headers), status)


def test_slow_senders_are_not_waited_for(site: Any) -> None:
    began = time.monotonic()
    assert raw(site.port, b"GET /health HT") == b""
    assert 0.4 < time.monotonic() - began < 2
    assert raw(site.port, b"") == b""
    head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    answer = raw(site.port, head + b"content-length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not come within 0.5 seconds" in answer


def test_a_slow_second_request_of_a_connection_is_not_waited_for_either(site: Any) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=3) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /hea")
        with suppress(ConnectionResetError):
            while connection.recv(65536):
                pass


def test_many_connections_are_bounded(serve: Any) -> None:
    site = serve(limits=Limits(connections=5))
    held = [socket.create_connection(("127.0.0.1", site.port), timeout=5) for _ in range(5)]
    time.sleep(0.2)
    assert raw(site.port, b"") == b""
    for connection in held:
        connection.close()
    time.sleep(0.2)
    with site.client() as client:
        assert client.get("/health").status_code == 200


def test_errors_tell_nothing_that_is_nobodys_business(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    with site.client() as client:
        assert_error(client.get("/nothing"), 404)
        assert_error(client.delete("/v1/models"), 405)
        assert assert_error(client.post("/enter/broken", json={}), 500)["message"] == (
            "the server made a mistake; its log says which"
        )
        assert client.get("/health").status_code == 200
    assert "a secret" in caplog.text


def test_pages_have_a_strict_policy_and_files_come_from_one_folder(site: Any) -> None:
    with site.client() as client:
        page = client.get("/enter")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(
            r"<script(?! type=\"module\" src=\"/static/)|style=| on\w+=|https?://", page.text
        )
        for name in ("../site.py", "..%2fsite.py", "%2e%2e/site.py", "enter.html", "", "style.css/../x"):
            url = httpx.URL(site.url).copy_with(raw_path=f"/static/{name}".encode())
            assert client.get(url).status_code == 404, name
        style = client.get("/static/style.css")
        again = client.get("/static/style.css", headers={"if-none-match": style.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_taken_port_is_said(serve: Any) -> None:
    from inkfish.server import listen

    port = serve().port
    with pytest.raises(SettingError, match=f"can't listen on 127.0.0.1 port {port}"):
        listen(Settings(port=port))
