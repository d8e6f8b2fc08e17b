"""What a server is asked for: where it listens, who may talk to it, how much it takes."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from inkfish.errors import SettingError

__all__ = ["Limits", "Settings", "own_addresses"]

SHORTEST_KEY = 16
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SOMEWHERE = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737): nothing is sent there, a route to it tells the own address."""


@dataclass(frozen=True)
class Limits:
    """How large and how slow a request may be."""

    body: int = 2 << 20
    """Bytes of a JSON body."""
    upload: int = 64 << 20
    """Bytes of an uploaded file."""
    headers: int = 32 << 10
    """Bytes of all headers."""
    header_count: int = 100
    """Headers."""
    target: int = 8 << 10
    """Bytes of path and query."""
    connections: int = 1024
    """Connections at once; a further one is closed."""
    header_seconds: float = 10.0
    """From a connection's or a request's first moment to the end of its headers."""
    body_seconds: float = 30.0
    """For a JSON body, or for the next part of an upload."""
    write_seconds: float = 30.0
    """For a reader that does not read."""


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Raises:
        SettingError: a public address without a key, or a value outside its limits.
    """

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 or :: is all of this machine."""
    port: int = 8000
    """TCP port; 0 takes a free one."""
    key: str | None = None
    """What every request must carry; needed where others than this machine can connect."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names that this server is called by, such as that of a reverse proxy."""
    allowed_origins: tuple[str, ...] = ()
    """Other web sites that may use the API from a browser, such as https://example.org."""
    drain_seconds: float = 30.0
    """How long requests may take to end after SIGTERM."""
    limits: Limits = field(default_factory=Limits)
    """How large and how slow a request may be."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SettingError(f"port is {self.port}; it must be from 0 to 65535", param="port")
        if not 0 <= self.drain_seconds <= 3600:
            raise SettingError(
                f"drain_seconds is {self.drain_seconds}; it must be from 0 to 3600", param="drain_seconds"
            )
        check_key(self.key)
        for origin in self.allowed_origins:
            if "://" not in origin or origin.endswith("/") or "*" in origin:
                raise SettingError(
                    f'allowed_origins holds {origin!r}; an origin is "https://NAME" or "http://NAME:PORT"',
                    param="allowed_origins",
                )
        if self.key is None and not is_loopback(self.host):
            raise SettingError(
                f"host is {self.host}, which others can reach, and there is no key; give one by --key, "
                "or --lan, or stay on 127.0.0.1",
                param="host",
            )

    @property
    def hosts(self) -> frozenset[str]:
        """Names that a request's Host header may have, without ports, in small letters."""
        names = {*LOOPBACK_NAMES, self.host, *self.allowed_hosts}
        if not is_loopback(self.host):
            names |= {*own_addresses(), socket.gethostname(), f"{socket.gethostname()}.local"}
        return frozenset(name.lower().strip("[]") for name in names)


def check_key(key: str | None) -> None:
    """Refuse a key that no header can carry, or that could be guessed.

    Raises:
        SettingError: says what a key is.
    """
    if key is None:
        return
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingError("the key has a character that is no plain letter, digit or sign", param="key")
    if len(key) < SHORTEST_KEY:
        raise SettingError(
            f"the key has {len(key)} characters; take at least {SHORTEST_KEY}, so that nobody can guess it",
            param="key",
        )


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def own_addresses() -> list[str]:
    """Return this machine's addresses in the network, the likeliest first; nothing is sent to find them."""
    found: dict[str, None] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(SOMEWHERE)
        found[probe.getsockname()[0]] = None
    with suppress(OSError):
        found.update(dict.fromkeys(socket.gethostbyname_ex(socket.gethostname())[2]))
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]
