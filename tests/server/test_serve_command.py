"""`inkfish serve` as a process: what it says, which settings it takes, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from inkfish.cli import main


def serving(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "inkfish", "serve", *words, "--port", "0"]
    settings: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | environment, **settings)


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    if found is None:
        raise AssertionError(line)
    return found[0]


@pytest.fixture
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    process = serving(str(folder), "--drain", "20", INKFISH_ALIAS="other", INKFISH_BACKEND="reference")
    with httpx.Client(base_url=address_of(process), trust_env=False, timeout=30) as client:
        deadline = time.monotonic() + 30
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, client
    process.kill()
    process.communicate()


def test_a_process_serves_drains_and_ends_with_0(running: tuple[subprocess.Popen[str], httpx.Client]) -> None:
    process, client = running
    names = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert names == ["tiny", "other"]
    body = {"model": "other", "prompt": "the", "max_tokens": 80, "logit_bias": {"0": -100}}
    answers: list[int] = []

    def ask(number: int) -> None:
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as own:
            answer = own.post("/v1/completions", json=body | {"seed": number})
            answers.append(answer.json()["usage"]["completion_tokens"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    while 'inkfish_requests_held{model="tiny"} 10.0' not in client.get("/metrics").text and not answers:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(30)
    assert answers == [80] * 10
    assert process.wait(20) == 0
    with pytest.raises(httpx.TransportError):
        client.get("/health")


def test_a_second_signal_waits_for_nobody(running: tuple[subprocess.Popen[str], httpx.Client]) -> None:
    process, client = running
    body = {"model": "tiny", "prompt": "the", "max_tokens": 10**6, "slide": True, "logit_bias": {"0": -100}}

    def ask() -> None:
        with suppress(httpx.TransportError), httpx.Client(base_url=client.base_url, trust_env=False) as own:
            own.post("/v1/completions", json=body)

    thread = threading.Thread(target=ask)
    thread.start()
    while 'inkfish_requests_held{model="tiny"} 1.0' not in client.get("/metrics").text:
        time.sleep(0.001)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None, "the request may end within 20 seconds"
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert time.monotonic() - began < 8
    thread.join(10)


def test_a_dead_model_ends_the_process_with_1(folder: Path, tmp_path: Path) -> None:
    """A model that is damaged behind its header is found when it is loaded: the process does not linger."""
    import shutil

    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "tokenizer.json").write_text(json.dumps({"model": {}}))
    process = serving(str(broken), INKFISH_BACKEND="reference")
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert "can't be loaded" in process.stderr.read()
    process.stderr.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "--host is 0.0.0.0, which others can reach, and there is no key"),
        (["--key", "short"], "the key has 5 characters"),
        (["--queue", "-1"], "--queue is -1; it must be 0 or more"),
        (["--memory", "0"], "--memory is 0.0; it must be more than 0 GiB"),
        (["--alias", "=a"], "--alias is '=a'; it is NAME=MODEL"),
        (["nothing"], "there is no model 'nothing' here"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_an_environment_variable_is_an_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INKFISH_HOST", "0.0.0.0")
    assert main(["serve"]) == 2
    assert "there is no key" in capsys.readouterr().err
    monkeypatch.setenv("INKFISH_PORT", "99999")
    assert main(["serve", "--host", "127.0.0.1"]) == 2
    assert "--port is 99999" in capsys.readouterr().err
