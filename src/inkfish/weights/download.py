"""Models from the Hugging Face hub: what would be fetched is said first, then fetched, resumed and checked.

`huggingface_hub` finds the repository and its files, signs in, and speaks HTTP; it reads its own environment
(HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE). The transfer is ours, because since its version 1 the library begins
a file anew after an interruption and does not check sums. Only safetensors, JSON and the vocabulary and card
are fetched.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkfish.config import ModelConfig
from inkfish.errors import InkfishError, ModelError, NetworkError
from inkfish.untrusted import JSON_LIMIT, parse_object, shown
from inkfish.weights.config_json import parse_config
from inkfish.weights.files import sync
from inkfish.weights.hub import default_store, forget_partial, place, repository

__all__ = ["Offer", "Progress", "RemoteFile", "fetch", "offer"]

WANTED = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|vocab\.json|merges\.txt"
    r"|model\.safetensors|model\.safetensors\.index\.json|model-\d{5}-of-\d{5}\.safetensors|README\.md|LICENSE"
)
"""The files of a repository that are fetched. No pickles, no other frameworks' files, no folders."""

SOURCE = "source.json"
"""A file beside a fetched model that says where it is from."""
PIECE = 1 << 20
"""Bytes between two signs of progress."""
TIMEOUT = 20.0
"""Seconds without an answer after which a transfer is given up; what has arrived is kept."""
ALTERNATIVES = "use starter, or give the folder of a model on this machine"


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub."""

    name: str
    """Its name in the repository."""
    size: int
    """Its length in bytes."""
    sha256: str | None
    """Its checksum, which the hub has for large files."""
    blob: str | None
    """Its checksum as git computes it, which the hub has for small files."""


@dataclass(frozen=True)
class Offer:
    """What fetching a model would bring."""

    name: str
    """What it will be called here."""
    repository: str
    """Where it is on the hub."""
    revision: str
    """The commit."""
    files: tuple[RemoteFile, ...]
    """What is fetched."""
    config: ModelConfig
    """The model's shape."""

    @property
    def size(self) -> int:
        """Bytes to fetch in all."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Progress:
    """A sign of progress."""

    done: int
    """Bytes that are here."""
    total: int
    """Bytes in all."""


@contextmanager
def network(what: str) -> Iterator[None]:
    """Turn the failures of the library and of HTTP into one line.

    Raises:
        NetworkError: no network, or it is switched off.
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
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # of the library's HTTP client, whichever
        reason = shown(str(error).partition("\n")[0] or type(error).__name__)
        raise NetworkError(f"can't fetch {what} ({reason}); try again, {ALTERNATIVES}") from None


def offer(name: str, *, revision: str | None = None, endpoint: str | None = None) -> Offer:
    """Ask the hub what fetching a model would bring; its config.json is read and checked.

    Args:
        name: "gpt2" or another short name, or a repository OWNER/WORD whose model is a GPT-2.
        revision: a branch, tag or commit; None is the newest.
        endpoint: the hub's address; None is what `huggingface_hub` says.

    Raises:
        ModelError: no such repository or revision, not a GPT-2, or it has pickles only.
        NetworkError: no network, or HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import HfApi

    repo = repository(name)
    if "/" not in repo:
        raise ModelError(
            f"{shown(repr(name))} is not on the hub; give gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2 "
            "or a repository as OWNER/NAME"
        )
    place(name, default_store())
    with network(repo):
        info = HfApi(endpoint=endpoint).model_info(
            repo, revision=revision, files_metadata=True, timeout=TIMEOUT
        )
    files = chosen(info.siblings or [], repo)
    return Offer(name, repo, str(info.sha), files, remote_config(repo, str(info.sha), files, endpoint))


def chosen(siblings: list[Any], repo: str) -> tuple[RemoteFile, ...]:
    """Return the files to fetch: one way to hold the weights, and what belongs to it."""
    names = {file.rfilename for file in siblings}
    if not names & {"model.safetensors", "model.safetensors.index.json"}:
        raise ModelError(
            f"{repo} has no model.safetensors (pickles are not fetched, they can run code); ask its authors "
            "to convert it, or convert it with transformers: save_pretrained(out, safe_serialization=True)"
        )
    if "config.json" not in names:
        raise ModelError(f"{repo} has no config.json; it is not a model that can be read")
    whole = "model.safetensors" in names
    return tuple(
        RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None, file.blob_id)
        for file in siblings
        if WANTED.fullmatch(file.rfilename)
        and not (whole and re.match(r"model[-.].*(index|-of-)", file.rfilename))
    )


def remote_config(
    repo: str, revision: str, files: tuple[RemoteFile, ...], endpoint: str | None
) -> ModelConfig:
    """Fetch and read config.json, before anything large is fetched."""
    size = next(file.size for file in files if file.name == "config.json")
    if size > JSON_LIMIT:
        raise ModelError(f"{repo}: config.json has {size:,} bytes, the limit is {JSON_LIMIT:,}")
    text = b"".join(received(address(repo, revision, "config.json", endpoint), 0, JSON_LIMIT, repo))
    return parse_config(parse_object(text, f"{repo}/config.json"), f"{repo}/config.json").config


def address(repo: str, revision: str, name: str, endpoint: str | None) -> str:
    """Return where a file is on the hub."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repo, name, revision=revision, endpoint=endpoint)


def received(url: str, start: int, limit: int, what: str) -> Iterator[bytes]:
    """Yield a file's bytes from `start` on, at most up to `limit`; b"" first where the server begins anew."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not in __all__
        build_hf_headers,
        hf_raise_for_status,
    )

    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with network(what), get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            start = 0
            yield b""
        for piece in response.iter_bytes(PIECE):
            start += len(piece)
            if start > limit:
                raise NetworkError(f"{what}: the server sends more than the {limit:,} bytes it announced")
            yield piece


def fetch(wanted: Offer, *, store: Path | None = None, endpoint: str | None = None) -> Iterator[Progress]:
    """Fetch a model into the store, yielding signs of progress; `find` knows it at the end.

    What an interrupted call fetched is kept, and the next one goes on from there. A model appears in the
    store only when it is whole: sums checked, shapes checked, all weights finite.

    Raises:
        ModelError: the disk is too small, or what was fetched is not a sound GPT-2 of the announced shape.
        NetworkError: no network, or what arrived is not what the hub announced.
    """
    target = place(wanted.name, store or default_store())
    draft = target.parent / f".{target.name}.{wanted.revision[:12]}.partial"
    try:
        draft.mkdir(parents=True, exist_ok=True)
        check_space(wanted, draft)
        for file in wanted.files:
            for done in fetch_file(file, draft / file.name, wanted, endpoint):
                yield Progress(done, wanted.size)
        check_model(draft, wanted)
        finish(draft, target, wanted)
    except OSError as error:
        raise ModelError(f"can't write {draft}: {error.strerror}; what was fetched is kept") from None


def check_space(wanted: Offer, draft: Path) -> None:
    """Refuse to fetch more than the disk has room for."""
    missing = wanted.size - arrived(draft, wanted)
    free = shutil.disk_usage(draft).free
    if missing > free:
        raise ModelError(
            f"{wanted.name} needs {missing:,} bytes on the disk of {draft.parent}, {free:,} are free"
        )


def arrived(draft: Path, wanted: Offer) -> int:
    """Return how many bytes of an offer are here."""
    paths = [draft / file.name for file in wanted.files]
    return sum(path.stat().st_size for path in paths if path.exists())


def fetch_file(file: RemoteFile, path: Path, wanted: Offer, endpoint: str | None) -> Iterator[int]:
    """Fetch a file or the rest of it, yielding how many bytes of the offer are here."""
    have = path.stat().st_size if path.exists() else 0
    url = address(wanted.repository, wanted.revision, file.name, endpoint)
    with path.open("ab") as out:
        if have < file.size:
            for piece in received(url, have, file.size, wanted.repository):
                if not piece:
                    out.truncate(0)
                out.write(piece)
                out.flush()
                yield arrived(path.parent, wanted)
    check_sum(file, path, wanted)
    yield arrived(path.parent, wanted)


def check_sum(file: RemoteFile, path: Path, wanted: Offer) -> None:
    """Compare a file with the sum that the hub has; a wrong one is removed, and the next call fetches it."""
    size = path.stat().st_size
    if size < file.size:
        raise NetworkError(
            f"{wanted.repository}: {file.name} ends after {size:,} of {file.size:,} bytes; pull again"
        )
    expected = file.sha256 or file.blob
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as data:
        while piece := data.read(PIECE):
            digest.update(piece)
    if expected is not None and digest.hexdigest() != expected:
        path.unlink()
        raise NetworkError(
            f"{wanted.repository}: {file.name} has the checksum {digest.hexdigest()[:12]}…, the hub says "
            f"{expected[:12]}…; pull again"
        )


def check_model(draft: Path, wanted: Offer) -> None:
    """Read what was fetched as a model; where that fails, it is removed."""
    from inkfish.weights import huggingface
    from inkfish.weights.checkpoint import check_finite

    try:
        check_finite(huggingface.read(draft))
    except InkfishError as error:
        shutil.rmtree(draft)
        reason = str(error).replace(str(draft), wanted.repository)
        raise ModelError(f"{wanted.repository} as the hub has it can't be used: {reason}") from None


def finish(draft: Path, target: Path, wanted: Offer) -> None:
    """Note where the model is from and give it its name; an older revision of it makes way."""
    sums = {file.name: file.sha256 for file in wanted.files if file.sha256}
    note = {"repository": wanted.repository, "revision": wanted.revision, "sha256": sums}
    (draft / SOURCE).write_text(json.dumps(note, indent=2) + "\n")
    for path in draft.iterdir():
        sync(path)
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    draft.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    forget_partial(target)
