"""Chromium on the pages of a real server with the starter model: errors of a page fail its test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server runs."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def url(workplace: Path) -> Iterator[str]:
    """Address of `inkfish serve`, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "inkfish", "serve", "--port", str(port), "--alias", "twin=starter"]
    with subprocess.Popen(command, cwd=workplace) as server:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/ready")
        yield address
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


def wait_for(address: str) -> None:
    """Wait until an address answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 60
    while True:
        try:
            with opener.open(address, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.1)


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[Open]:
    """Open a page of the server; whatever it writes to its console as an error fails the test."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def begin(path: str, **settings: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1100, "height": 900}} | settings))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: troubles.append(said.text) if is_trouble(said) else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda asked: troubles.append(asked.url) if foreign(asked.url, url) else None)
        page.goto(url + path)
        return page

    yield begin
    for context in contexts:
        context.close()
    assert not troubles


def is_trouble(said: Any) -> bool:
    """Whether a line of the console tells of a fault of the page, not of a request that was refused."""
    return said.type == "error" and "the server responded with a status of 4" not in said.text


def foreign(asked: str, own: str) -> bool:
    """Whether a page asks somebody else for something."""
    return not asked.startswith((own, "data:", "blob:"))
