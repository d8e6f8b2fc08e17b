"""A tiny real model behind a real server on a socket of this machine, and an engine alone as the oracle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import inkfish
from inkfish.config import ModelConfig
from inkfish.generate import LanguageModel
from inkfish.server import How, Page, Service, Settings, create_app, listen
from inkfish.server.running import Running, make_server
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary
from inkfish.weights import huggingface

CONTEXT = 96
REFERENCE: Mapping[str, Any] = {"backend": "reference"}


@dataclass
class Server:
    """A server that runs."""

    url: str
    port: int
    service: Service | None
    running: Running
    thread: threading.Thread

    def client(self, **settings: Any) -> httpx.Client:
        """A client of its own."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **settings)

    def post(self, path: str, **body: Any) -> httpx.Response:
        """Send JSON."""
        with self.client() as client:
            return client.post(path, json=body)

    def close(self) -> None:
        """End it."""
        self.running.leave()
        self.thread.join(20)
        assert not self.thread.is_alive()


StartServer = Callable[..., Server]


def write_model(folder: Path, *, seed: int = 1) -> None:
    """Write a GPT-2 with random weights: 256 bytes, four merges and an end."""
    ranked = {bytes([byte]): byte + 1 for byte in range(256)}
    ranked |= {word: 257 + i for i, word in enumerate([b" t", b"he", b" the", b"an"])}
    tokenizer = Tokenizer(Vocabulary(ranked, {END: 0}))
    config = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=CONTEXT, vocab_size=tokenizer.vocab_size)
    rng = np.random.default_rng(seed)
    tensors = {
        name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in config.tensor_shapes().items()
    }
    huggingface.write(folder, config, tensors, tokenizer=tokenizer, eos=tokenizer.end)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model."""
    place = tmp_path_factory.mktemp("models") / "tiny"
    write_model(place)
    return place


@pytest.fixture(scope="session")
def alone(folder: Path) -> LanguageModel:
    """The same model without a server: what it writes is right."""
    return inkfish.load(folder, backend="reference")


def start(settings: Settings, *, service: Service | None = None, pages: tuple[Page, ...] = ()) -> Server:
    """Run a server on a free port and wait until it is ready."""
    listener = listen(settings)
    port = listener.getsockname()[1]
    app = create_app(settings, service=service, pages=pages)
    leaving = (lambda: None) if service is None else (lambda: service.leave(settings.drain_seconds))
    running = make_server(app, settings, leaving=leaving)
    thread = threading.Thread(target=lambda: running.run(sockets=[listener]), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not (running.started and (service is None or service.ready)):
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.01)
    return Server(f"http://127.0.0.1:{port}", port, service, running, thread)


@pytest.fixture
def serve(folder: Path) -> Iterator[StartServer]:
    """Start servers that end with the test."""
    servers: list[Server] = []

    def begin(
        *,
        pages: tuple[Page, ...] = (),
        pages_of: tuple[Callable[[Service], Page], ...] = (),
        runs: Path | None = None,
        api: bool = True,
        **settings: Any,
    ) -> Server:
        options = settings.pop("options", REFERENCE)
        how = How(options=options, slots=settings.pop("slots", 4), queue=settings.pop("queue", 64))
        service = Service({"tiny": str(folder)}, runs=runs, how=how) if api else None
        if service is not None:
            pages = (*pages, *(page(service) for page in pages_of))
        servers.append(start(Settings(port=0, **settings), service=service, pages=pages))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """One server for a module's tests."""
    service = Service({"tiny": str(folder)}, how=How(options=REFERENCE, slots=4))
    running = start(Settings(port=0), service=service)
    yield running
    running.close()
