"""Many clients at once, clients that go away, a server that ends: over real connections."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from inkfish.backends import native
from inkfish.generate import LanguageModel

ENDLESS = {
    "model": "tiny",
    "prompt": "the",
    "max_tokens": 1_000_000,
    "slide": True,
    "logit_bias": {"0": -100},
}


def until(condition: Callable[[], bool], *, seconds: float = 10) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen"
        time.sleep(0.002)
    return time.monotonic() - began


def settled(server: Any) -> bool:
    (worker,) = server.service.models.workers.values()
    return worker.load == 0 and worker.sequences == (0, 0)


def request_bytes(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"content-type: application/json\r\n\r\n" + content


async def one_client(client: httpx.AsyncClient, number: int) -> tuple[str, int]:
    """Ask once, as a stream or not; return the text and how many tokens it says it took."""
    body = {"model": "tiny", "prompt": f"the {number}", "seed": number, "max_tokens": 10 + number % 20}
    if number % 2:
        answer = (await client.post("/v1/completions", json=body)).json()
        return answer["choices"][0]["text"], answer["usage"]["completion_tokens"]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    text, ids, reasons, tokens, done = "", set(), [], 0, 0
    async with client.stream("POST", "/v1/completions", json=body | options) as stream:
        async for line in stream.aiter_lines():
            if not line:
                continue
            assert not done, "nothing comes after [DONE]"
            if line == "data: [DONE]":
                done += 1
            else:
                event = json.loads(line.removeprefix("data: "))
                ids.add(event["id"])
                for choice in event["choices"]:
                    text += choice["text"]
                    reasons.append(choice["finish_reason"])
                tokens = (event["usage"] or {}).get("completion_tokens", tokens)
    assert (len(ids), len([reason for reason in reasons if reason]), done) == (1, 1, 1)
    return text, tokens


@pytest.mark.parametrize("clients", [1, 8, 64])
def test_each_of_many_clients_gets_its_own_text(serve: Any, alone: LanguageModel, clients: int) -> None:
    server = serve()

    async def all_of_them() -> list[tuple[str, int]]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(
            base_url=server.url, timeout=60, trust_env=False, limits=limits
        ) as client:
            return await asyncio.gather(*(one_client(client, number) for number in range(clients)))

    answers = asyncio.run(all_of_them())
    for number, (text, _) in enumerate(answers):
        expected = alone.generate(f"the {number}", seed=number, max_tokens=10 + number % 20)
        assert text == expected.text, number
    with server.client() as client:
        page = client.get("/metrics").text
    assert f"inkfish_completion_tokens_total {float(sum(tokens for _, tokens in answers))}\n" in page
    assert f"inkfish_texts_total {float(clients)}\n" in page
    until(lambda: settled(server))


def test_clients_that_vanish_leave_nothing_behind(serve: Any, alone: LanguageModel) -> None:
    server = serve(slots=4, queue=300)
    connections = []
    for number in range(200):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(request_bytes(ENDLESS | {"stream": number % 2 == 0, "seed": number}))
        connections.append(connection)
    (worker,) = server.service.models.workers.values()
    until(lambda: worker.load == 200)
    until(lambda: worker.sequences == (4, 196))
    for connection in connections:
        connection.close()
    assert until(lambda: settled(server), seconds=5) < 2
    before = worker.steps
    time.sleep(0.2)
    assert worker.steps == before
    answer = server.post("/v1/completions", model="tiny", prompt="the", seed=1, max_tokens=9)
    assert answer.json()["choices"][0]["text"] == alone.generate("the", seed=1, max_tokens=9).text


def test_overload_is_refused_at_once_and_the_official_client_comes_again(serve: Any) -> None:
    server = serve(slots=2, queue=3)
    held = []
    for number in range(5):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(request_bytes(ENDLESS | {"seed": number}))
        held.append(connection)
    (worker,) = server.service.models.workers.values()
    until(lambda: worker.load == 5)
    with server.client() as client:
        for _ in range(10):
            answer = client.post("/v1/completions", json=ENDLESS)
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["type"] == "rate_limit_error"
    import openai

    def let_go() -> None:
        for connection in held:
            connection.close()

    threading.Timer(0.5, let_go).start()
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=5) as official:
        assert official.completions.create(model="tiny", prompt="the", max_tokens=2).choices


def test_of_too_many_at_once_exactly_those_are_taken_for_whom_there_is_room(serve: Any) -> None:
    server = serve(slots=3, queue=5)
    connections = []
    for number in range(3 + 5 + 50):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(request_bytes(ENDLESS | {"stream": True, "seed": number}))
        connections.append(connection)
    (worker,) = server.service.models.workers.values()
    starts = [connection.recv(12) for connection in connections]
    assert sorted(starts) == [b"HTTP/1.1 200"] * 8 + [b"HTTP/1.1 429"] * 50
    assert worker.load == 8
    for connection in connections:
        connection.close()
    until(lambda: settled(server))


def test_one_failing_stream_ends_with_an_error_and_the_others_as_if_alone(
    serve: Any, alone: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(slots=4)
    (worker,) = server.service.models.workers.values()
    decode = worker.engine.backend.decode
    bad = {f"the {number}": number == 2 for number in range(4)}
    ids = alone.tokenizer.encode("the 2")

    def failing(slots: Any, tokens: Any, *rest: Any) -> Any:
        rows = {row.slot: row for row in worker.engine.rows.values()}
        if any(rows[slot].ids[: len(ids)] == ids for slot in slots):
            raise RuntimeError("a fault in one of them")
        return decode(slots, tokens, *rest)

    monkeypatch.setattr(worker.engine.backend, "decode", failing)

    async def streams() -> list[str]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
            bodies = [
                {"model": "tiny", "prompt": prompt, "seed": 1, "max_tokens": 30, "stream": True}
                for prompt in bad
            ]
            found = await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))
            return [answer.text for answer in found]

    for (prompt, fails), text in zip(bad.items(), asyncio.run(streams()), strict=True):
        frames = [frame.removeprefix("data: ") for frame in text.split("\n\n") if frame]
        assert frames.pop() == "[DONE]"
        events = [json.loads(frame) for frame in frames]
        if fails:
            assert events[-1]["error"]["code"] == "server_error"
            assert "fault" not in text
        else:
            written = "".join(event["choices"][0]["text"] for event in events)
            assert written == alone.generate(prompt, seed=1, max_tokens=30).text
    until(lambda: settled(server))


@pytest.mark.skipif(not native.available(), reason="the native library was not built")
def test_what_was_read_before_is_not_read_again(serve: Any) -> None:
    server = serve(options={"backend": "native", "dtype": "float32"})
    body = {"model": "tiny", "prompt": "the cat and the hat ", "max_tokens": 8, "seed": 1}
    first = server.post("/v1/completions", **body).json()
    again = server.post("/v1/completions", **body).json()
    longer = server.post("/v1/completions", **body | {"prompt": f"{body['prompt']}sat"}).json()
    tokens = first["usage"]["prompt_tokens"]
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in (first, again, longer)]
    assert cached == [0, tokens - 1, tokens]
    assert again["choices"] == first["choices"]


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_dropped_and_holds_nobody_up(serve: Any) -> None:
    from inkfish.server import Limits

    server = serve(slots=2, limits=Limits(write_seconds=0.5))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request_bytes(ENDLESS | {"stream": True, "logprobs": 5}))
        until(lambda: not settled(server))
        for _ in range(3):
            assert server.post("/v1/completions", model="tiny", prompt="the", max_tokens=5).status_code == 200
        until(lambda: settled(server), seconds=30)


def test_what_runs_ends_before_the_server_does(serve: Any, alone: LanguageModel) -> None:
    server = serve(drain_seconds=20)
    answers: list[str] = []

    def ask(number: int) -> None:
        body = {"model": "tiny", "prompt": "the", "seed": number, "max_tokens": 80}
        answers.append(server.post("/v1/completions", **body).json()["choices"][0]["text"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    (worker,) = server.service.models.workers.values()
    until(lambda: worker.load + len(answers) == 10)
    server.running.leave()
    for thread in threads:
        thread.join(20)
    expected = [alone.generate("the", seed=number, max_tokens=80).text for number in range(10)]
    assert sorted(answers) == sorted(expected)
    with server.client() as client, pytest.raises(httpx.ConnectError):
        client.get("/health")


def test_what_does_not_end_in_time_is_told_so(serve: Any) -> None:
    server = serve(drain_seconds=0.3)
    statuses: list[Any] = []

    def whole() -> None:
        statuses.append(server.post("/v1/completions", **ENDLESS).status_code)

    def streamed() -> None:
        with (
            server.client() as client,
            client.stream("POST", "/v1/completions", json=ENDLESS | {"stream": True}) as s,
        ):
            lines = [line for line in s.iter_lines() if line]
        statuses.append(json.loads(lines[-2].removeprefix("data: "))["error"]["code"])
        assert lines[-1] == "data: [DONE]"

    threads = [threading.Thread(target=target) for target in (whole, streamed)]
    for thread in threads:
        thread.start()
    (worker,) = server.service.models.workers.values()
    until(lambda: worker.sequences == (2, 0))
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 3
    for thread in threads:
        thread.join(5)
    assert sorted(map(str, statuses)) == ["503", "unavailable"]


def test_memory_and_threads_do_not_grow(serve: Any) -> None:
    server = serve()
    with server.client() as client:
        for _ in range(20):
            client.post("/v1/completions", json={"model": "tiny", "prompt": "a", "max_tokens": 2})
        threads, boxes = threading.active_count(), len(server.service.mail.boxes)
        for _ in range(200):
            client.post("/v1/completions", json={"model": "tiny", "prompt": "a", "max_tokens": 2})
    (worker,) = server.service.models.workers.values()
    assert threading.active_count() <= threads
    assert (boxes, len(server.service.mail.boxes), len(worker.owners), len(worker.outstanding)) == (
        0,
        0,
        0,
        0,
    )
