"""Nonsense of all kinds: never a 5xx, always the four keys, and the server goes on serving."""

from __future__ import annotations

import json
import random
import socket
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inkfish.server import Limits

FIELDS = ["prompt", "max_tokens", "temperature", "top_p", "n", "best_of", "echo", "logprobs", "stop", "seed"]
FIELDS += [
    "logit_bias",
    "stream",
    "stream_options",
    "top_k",
    "min_p",
    "repetition_penalty",
    "choices",
    "slide",
]
FIELDS += [
    "messages",
    "tools",
    "suffix",
    "user",
    "truncation",
    "text",
    "tokens",
    "top",
    "stride",
    "layer",
    "model",
]
PATHS = [
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
    "/score",
    "/next",
    "/attention",
]
ODD: list[Any] = [
    0,
    -1,
    1,
    2,
    5,
    16,
    129,
    2**31,
    2**63,
    -(2**63),
    1e308,
    -0.0,
    0.5,
    1e-9,
    True,
    False,
    None,
    "",
    "a",
]
ODD += ["tiny", "the \x00 cat", "<|endoftext|>", "é🐙", "x" * 2000, [], [[]], [1], [1, "a"], [[1], [2]]]
ODD += [{}]
ODD += [{"1": 2}, {"a": 1}, {"include_usage": True}, [{"role": "user", "content": "hi"}], [None], "auto"]
VALUES = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), VALUES, max_size=6)
SMALL = {"max_tokens": 3, "model": "tiny"}


def check(answer: httpx.Response) -> None:
    """What every answer must be."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert isinstance(error["message"], str)
        assert isinstance(error["code"], str)
    elif not answer.headers["content-type"].startswith("text/event-stream"):
        json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def fuzz(server: Any, examples: int) -> None:
    """Send so many bodies to each of the addresses in turn."""
    with server.client() as client:

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(PATHS), BODIES, st.booleans())
        def send(path: str, body: dict[str, Any], sound: bool) -> None:
            start = SMALL if sound and path.startswith("/v1") else {}
            check(client.post(path, json={**body, **start} if sound else body))

        send()
        answer = client.post("/v1/completions", json={"model": "tiny", "prompt": "the", "max_tokens": 2})
        assert answer.status_code == 200


def test_bodies_of_all_kinds(server: Any) -> None:
    fuzz(server, 300)


@pytest.mark.long
def test_ten_thousand_bodies(server: Any) -> None:
    fuzz(server, 10_000)


def mutated(request: bytes, chance: random.Random) -> bytes:
    """Break a request in a few places."""
    broken = bytearray(request)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(broken))
        match chance.randrange(4):
            case 0:
                broken[place] = chance.randrange(256)
            case 1:
                del broken[place : place + chance.randint(1, 20)]
            case 2:
                broken[place:place] = chance.randbytes(chance.randint(1, 20))
            case 3:
                broken[place:place] = broken[place : place + chance.randint(1, 50)]
        if not broken:
            return b"\r\n"
    return bytes(broken)


def send_raw(port: int, content: bytes) -> bytes:
    """Send bytes and return what comes until the server closes, or waits for more."""
    parts = []
    with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
        try:
            connection.sendall(content)
            while part := connection.recv(65536):
                parts.append(part)
        except (ConnectionError, TimeoutError):
            pass
    return b"".join(parts)


@pytest.mark.parametrize("requests", [60, pytest.param(10_000, marks=pytest.mark.long)])
def test_broken_requests(serve: Any, requests: int) -> None:
    server = serve(limits=Limits(header_seconds=0.1, body_seconds=0.1))
    chance = random.Random(1)
    content = json.dumps({"model": "tiny", "prompt": "the", "max_tokens": 2}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
    sound = head.encode() + b"content-type: application/json\r\nconnection: close\r\n\r\n" + content
    for _ in range(requests):
        request = mutated(sound, chance)
        answer = send_raw(server.port, request)
        assert not answer.startswith(b"HTTP/1.1 5"), request
    assert send_raw(server.port, sound).startswith(b"HTTP/1.1 200 ")
