"""`inkfish serve`: an API that OpenAI's clients speak, and pages for the browser."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import segno
from cyclopts import App, Group, Parameter

from inkfish import weights
from inkfish.cli.options import examples
from inkfish.cli.output import note
from inkfish.errors import SettingError
from inkfish.server import How, Service, Settings, create_app, listen, pages, serve
from inkfish.server.models import named
from inkfish.server.settings import is_loopback, own_addresses
from inkfish.weights import hub

__all__ = ["app"]

WHO = Group("Who may use it", sort_key=1)
HOW = Group("How models are run", sort_key=2)


def variable(name: str, *, show: bool = False) -> Parameter:
    """Return an option that an environment variable can give as well."""
    return Parameter(env_var=f"INKFISH_{name}", show_env_var=show)


app = App(
    name="serve",
    help_epilogue=examples(
        "inkfish serve",
        "inkfish serve gpt2 runs/poems --port 8080",
        "inkfish serve starter --alias gpt-3.5-turbo-instruct",
        "inkfish serve --lan",
        "curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' "
        '-d \'{"model": "starter", "prompt": "Once upon a time"}\'',
        about="Each option can be given by an environment variable too: --port as INKFISH_PORT, and so on; "
        "several values of one stand apart by spaces. Nothing is fetched, nothing is sent anywhere, and what "
        "is asked for is written nowhere.",
    ),
)


@Parameter(name="*", group=WHO)
@dataclass(frozen=True)
class Access:
    """Where the server listens and who may use it."""

    host: Annotated[str, variable("HOST")] = "127.0.0.1"
    """Address to listen on; others than this machine can reach 0.0.0.0, which needs a key."""
    port: Annotated[int, variable("PORT")] = 8000
    """Port to listen on; 0 is any free one."""
    key: Annotated[str | None, variable("KEY", show=True)] = None
    """Key that every request must carry; INKFISH_KEY keeps it out of the list of processes."""
    lan: Annotated[bool, variable("LAN")] = False
    """Let others in this network use it, by an address with a new key, also as a QR code."""
    allow_host: Annotated[tuple[str, ...], variable("ALLOW_HOST")] = ()
    """Further name by which the server is called, such as a reverse proxy's (repeatable)."""
    allow_origin: Annotated[tuple[str, ...], variable("ALLOW_ORIGIN")] = ()
    """Another web site whose pages may use the API, such as https://example.org (repeatable)."""
    drain: Annotated[float, variable("DRAIN")] = 30.0
    """Seconds that running requests may take to end after SIGTERM or Ctrl-C."""

    def settings(self) -> Settings:
        """Return the server's settings."""
        return Settings(
            host="0.0.0.0" if self.lan and is_loopback(self.host) else self.host,
            port=self.port,
            key=self.key or (secrets.token_urlsafe(16) if self.lan else None),
            allowed_hosts=self.allow_host,
            allowed_origins=self.allow_origin,
            drain_seconds=self.drain,
        )


@Parameter(name="*", group=HOW)
@dataclass(frozen=True)
class Running:
    """How the models are run."""

    alias: Annotated[tuple[str, ...], variable("ALIAS")] = ()
    """A further name: NAME for the first model, or NAME=MODEL (repeatable)."""
    runs: Annotated[Path, variable("RUNS")] = Path("runs")
    """Folder of runs: each one in it is a model of its name."""
    labels: Annotated[Path, variable("LABELS")] = Path("labels.sqlite")
    """Label store of the Label page; made where it is missing, once somebody labels."""
    dtype: Annotated[Literal["float32", "bfloat16", "float16", "int8", "int4"] | None, variable("DTYPE")] = (
        None
    )
    """Type that the weights are held in; by default what suits the machine."""
    backend: Annotated[Literal["native", "reference", "torch"] | None, variable("BACKEND")] = None
    """What computes; by default the best there is."""
    threads: Annotated[int | None, variable("THREADS")] = None
    """CPU threads; by default one for each core."""
    slots: Annotated[int | None, variable("SLOTS")] = None
    """Texts that are written at once; by default what 2 GiB hold, up to 64."""
    queue: Annotated[int, variable("QUEUE")] = 64
    """Requests that may wait besides; further ones are told to come again."""
    memory: Annotated[float | None, variable("MEMORY")] = None
    """GiB that all models together may take; by default half of the machine's memory."""

    def how(self) -> How:
        """Return it as the server takes it."""
        if self.queue < 0:
            raise SettingError(f"queue is {self.queue}; it must be 0 or more", param="queue")
        if self.memory is not None and not 0 < self.memory < 2**20:
            raise SettingError(f"memory is {self.memory}; it must be more than 0 GiB", param="memory")
        options = {"dtype": self.dtype, "backend": self.backend, "threads": self.threads}
        return How(
            options={name: value for name, value in options.items() if value is not None},
            slots=self.slots,
            queue=self.queue,
            memory=int((self.memory or 0) * 2**30),
        )


@app.default
def run(
    models: Annotated[tuple[str, ...], variable("MODELS")] = ("starter",),
    /,
    *,
    access: Access = Access(),  # frozen
    running: Running = Running(),  # frozen
) -> int:
    """Serve models: an API that OpenAI's clients speak, and pages for the browser.

    Args:
        models: Names or folders; the first one is loaded at once, the others when asked for.
        access: Where the server listens and who may use it.
        running: How the models are run.
    """
    settings = access.settings()
    sources = named(models, running.alias)
    for source in sources.values():
        weights.read(hub.find(source))  # what is missing or damaged is said now
    ends: list[Callable[[], None]] = []

    def died() -> None:
        for end in ends:
            end()

    service = Service(sources, runs=running.runs, how=running.how(), died=died)
    site = create_app(settings, service=service, pages=pages(service, running.runs, running.labels))
    listener = listen(settings)
    announce(settings, listener.getsockname()[1], lan=access.lan)
    serve(
        site,
        settings,
        listener=listener,
        leaving=lambda: service.leave(settings.drain_seconds),
        started=ends.append,
    )
    return 1 if service.broken else 0


def announce(settings: Settings, port: int, *, lan: bool) -> None:
    """Say where the server is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if not lan:
        note(f"http://{host}:{port} (Ctrl-C ends it)")
        return
    addresses = own_addresses()
    if not addresses:
        raise SettingError("this machine has no network that others could reach it by; leave out --lan")
    address = f"http://{addresses[0]}:{port}/enter?token={settings.key}"
    note(address)
    note("Whoever has this address can use the server, and the network can read along. (Ctrl-C ends it)")
    if sys.stderr is not None and os.isatty(sys.stderr.fileno()):
        segno.make(address, error="l").terminal(out=sys.stderr, compact=True)
