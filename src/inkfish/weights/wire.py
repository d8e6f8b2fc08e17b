"""The hub's HTTP: what a model's page says, a file's bytes from a place on, every failure in one line.

`huggingface_hub` builds addresses, signs in and speaks HTTP. It reads its own environment (HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE, proxies); the token is not sent on to another host that the hub refers us to.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from inkfish.errors import InkfishError, ModelError, NetworkError
from inkfish.untrusted import shown

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata, ModelInfo

__all__ = ["WAITS", "PassingError", "model_info", "patiently", "received", "remote_metadata"]

T = TypeVar("T")
TIMEOUT = 20.0
"""Seconds without an answer after which a transfer is given up; what has arrived is kept."""
BUSY = {408, 425, 429, 500, 502, 503, 504}
"""Answers of a server that may be another one a little later."""
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt; the count begins anew when something arrived."""
LONGEST_WAIT = 60.0
"""Seconds that a server may ask us to wait."""
ALTERNATIVES = "use starter, or give the folder of a model on this machine"


class PassingError(NetworkError):
    """A failure that may pass by itself: a busy server, a lost connection."""

    def __init__(self, message: str, *, answered: bool, wait: float) -> None:
        super().__init__(message)
        self.answered = answered
        """Whether a server answered at all."""
        self.wait = wait
        """Seconds that it asked us to wait."""


@contextmanager
def network(what: str) -> Iterator[None]:
    """Turn the failures of the library and of HTTP into one line.

    Raises:
        NetworkError: no network, or it is switched off; PassingError where another attempt may do.
        ModelError: the hub has no such repository or revision, or does not give it to us.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise NetworkError(f"HF_HUB_OFFLINE is set, so {what} is not fetched; {ALTERNATIVES}") from None
    except errors.GatedRepoError:
        raise ModelError(f"{what} asks for consent; give it on its page and sign in: hf auth login") from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"{what} has no such revision; leave it out for the newest") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(f"the hub has no {what}, or it is private (hf auth login); {ALTERNATIVES}") from None
    except errors.HfHubHTTPError as error:
        raise refusal(what, error.response.status_code, error.response.headers, first_line(error)) from None
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # of the library's HTTP client, whichever
        message = f"can't fetch {what} ({first_line(error)}); try again, {ALTERNATIVES}"
        raise PassingError(message, answered=False, wait=0.0) from None


def first_line(error: Exception) -> str:
    """Return the first line of an error that says something."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shown(lines[0].strip()) if lines else type(error).__name__


def refusal(what: str, status: int, headers: Mapping[str, str], reason: str) -> InkfishError:
    """Return the error for an answer that is none of those that the library has a name for."""
    if status == 401:
        return ModelError(
            f"the hub wants you to sign in for {what}, or does not take your token (hf auth login); "
            f"{ALTERNATIVES}"
        )
    if status == 403:
        return ModelError(f"the hub does not let you read {what} ({reason}); use a token that may")
    message = f"can't fetch {what} ({reason}); try again, {ALTERNATIVES}"
    if status not in BUSY:
        return NetworkError(message)
    asked = headers.get("Retry-After", "")
    wait = min(float(asked), LONGEST_WAIT) if re.fullmatch(r"\d{1,9}", asked) else 0.0
    return PassingError(message, answered=True, wait=wait)


def patiently(attempt: Callable[[], T]) -> T:
    """Return what an attempt returns, tried again where a server answered that it is busy."""
    for wait in WAITS:
        try:
            return attempt()
        except PassingError as error:
            if not error.answered:
                raise
            time.sleep(max(wait, error.wait))
    return attempt()


def address(repo: str, revision: str, name: str, endpoint: str | None) -> str:
    """Return where a file is on the hub."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repo, name, revision=revision, endpoint=endpoint)


def model_info(repo: str, revision: str | None, endpoint: str | None) -> ModelInfo:
    """Return what the hub says about a repository and its files.

    Raises:
        NetworkError, ModelError: see `network`.
    """
    from huggingface_hub import HfApi

    try:
        with network(repo):
            return HfApi(endpoint=endpoint).model_info(
                repo, revision=revision, files_metadata=True, timeout=TIMEOUT
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NetworkError(
            f"what answers for {repo} is no hub ({type(error).__name__} in its answer); "
            "is HF_ENDPOINT right, and the network not one that asks to sign in first?"
        ) from None


def remote_metadata(repo: str, revision: str, name: str, endpoint: str | None) -> HfFileMetadata:
    """Return the size and the sum of a file, where the repository's description lacks them.

    Raises:
        NetworkError, ModelError: see `network`.
    """
    from huggingface_hub import get_hf_file_metadata

    with network(repo):
        return get_hf_file_metadata(address(repo, revision, name, endpoint), timeout=TIMEOUT)


def received(
    repo: str, revision: str, name: str, *, start: int, limit: int, endpoint: str | None
) -> Iterator[bytes]:
    """Yield a file's bytes from `start` on, at most up to `limit`; b"" first where the server begins anew.

    Raises:
        NetworkError, ModelError: see `network`.
    """
    from huggingface_hub import get_session
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not in __all__
        build_hf_headers,
        hf_raise_for_status,
    )

    url = address(repo, revision, name, endpoint)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with network(repo), get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            start = 0
            yield b""
        for piece in filter(None, response.iter_bytes()):  # as it arrives: a lost connection loses none
            start += len(piece)
            if start > limit:
                raise NetworkError(f"{repo}: the server sends more than the {limit:,} bytes it announced")
            yield piece
