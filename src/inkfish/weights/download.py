"""Models from the Hugging Face hub: what would be fetched is said first, then fetched, resumed and checked.

The transfer is ours, because since its version 1 `huggingface_hub` begins a file anew after an interruption
and does not check sums. Only safetensors, JSON and the vocabulary and card are fetched.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inkfish.config import ModelConfig
from inkfish.errors import InkfishError, ModelError, NetworkError
from inkfish.untrusted import JSON_LIMIT, parse_object, shown
from inkfish.weights import huggingface
from inkfish.weights.checkpoint import check_finite
from inkfish.weights.config_json import parse_config
from inkfish.weights.files import publish
from inkfish.weights.hub import default_store, forget_partial, place, repository
from inkfish.weights.wire import WAITS, PassingError, model_info, patiently, received, remote_metadata

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

__all__ = ["Offer", "Progress", "RemoteFile", "fetch", "offer"]

WANTED = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|vocab\.json|merges\.txt"
    r"|model\.safetensors|model\.safetensors\.index\.json|model-\d{5}-of-\d{5}\.safetensors|README\.md|LICENSE"
)
"""The files of a repository that are fetched. No pickles, no other frameworks' files, no folders."""

PIECE = 1 << 20
"""Bytes that are summed at a time."""
SOURCE = "source.json"
"""A file beside a fetched model that says where it is from."""


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
    trouble: str = ""
    """Why the transfer waits before another attempt, "" where it does not."""


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
    repo = repository(name)
    if "/" not in repo:
        raise ModelError(
            f"{shown(repr(name))} is not on the hub; give gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2 "
            "or a repository as OWNER/NAME"
        )
    place(name, default_store())
    info = patiently(lambda: model_info(repo, revision, endpoint))
    commit = str(info.sha)
    if not re.fullmatch(r"[0-9a-f]{12,64}", commit):
        raise NetworkError(
            f"the hub gives {repo} the revision {shown(repr(commit))}, which is no commit; try again"
        )
    files = tuple(known(file, repo, commit, endpoint) for file in chosen(info.siblings or [], repo))
    return Offer(name, repo, commit, files, remote_config(repo, commit, files, endpoint))


def chosen(siblings: list[RepoSibling], repo: str) -> list[RepoSibling]:
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
    return [
        file
        for file in siblings
        if WANTED.fullmatch(file.rfilename)
        and not (whole and re.match(r"model[-.].*(index|-of-)", file.rfilename))
    ]


def known(file: RepoSibling, repo: str, revision: str, endpoint: str | None) -> RemoteFile:
    """Return a file with its size and sum; a server that lists names only is asked for each."""
    size, blob = file.size, file.blob_id
    sha256 = file.lfs.sha256 if file.lfs else None
    if type(size) is not int or size < 0:
        found = patiently(lambda: remote_metadata(repo, revision, file.rfilename, endpoint))
        size, etag = found.size, found.etag or ""
        sha256 = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None
        blob = etag if re.fullmatch(r"[0-9a-f]{40}", etag) else None
    if type(size) is not int or size < 0:
        raise NetworkError(f"{repo}: the hub does not say how large {file.rfilename} is; try again later")
    return RemoteFile(file.rfilename, size, sha256, blob)


def remote_config(
    repo: str, revision: str, files: tuple[RemoteFile, ...], endpoint: str | None
) -> ModelConfig:
    """Fetch and read config.json, before anything large is fetched."""
    size = next(file.size for file in files if file.name == "config.json")
    if size > JSON_LIMIT:
        raise ModelError(f"{repo}: config.json has {size:,} bytes, the limit is {JSON_LIMIT:,}")

    def fetched() -> bytes:
        pieces = received(repo, revision, "config.json", start=0, limit=JSON_LIMIT, endpoint=endpoint)
        return b"".join(pieces)

    text = patiently(fetched)
    return parse_config(parse_object(text, f"{repo}/config.json"), f"{repo}/config.json").config


def fetch(
    wanted: Offer, *, store: Path | None = None, endpoint: str | None = None
) -> Generator[Progress, None, None]:
    """Fetch a model into the store, yielding signs of progress; `find` knows it at the end.

    What an interrupted call fetched is kept, and the next one goes on from there. A model appears in the
    store only when it is whole: sums checked, shapes checked, all weights finite. A lost connection and a
    busy server are tried again a few times, from where the transfer was.

    Raises:
        ModelError: the disk is too small, or what was fetched is not a sound GPT-2 of the announced shape, or
            another process is fetching it.
        NetworkError: no network, or what arrived is not what the hub announced.
    """
    target = place(wanted.name, store or default_store())
    edition = hashlib.sha256(wanted.revision.encode()).hexdigest()[:12]
    draft = target.parent / f".{target.name}.{edition}.partial"
    try:
        draft.mkdir(parents=True, exist_ok=True)
        with alone(draft, wanted.name):
            check_space(wanted, draft)
            for file in wanted.files:
                yield from fetch_file(file, draft / file.name, wanted, endpoint)
            check_model(draft, wanted)
            finish(draft, target, wanted)
    except OSError as error:
        raise ModelError(f"can't write {draft}: {error.strerror}; what was fetched is kept") from None


@contextmanager
def alone(draft: Path, name: str) -> Iterator[None]:
    """Keep others from fetching the same model meanwhile; the kernel frees the lock of a dead process."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(f"another process is fetching {name}; wait until it is done") from None
        yield
    finally:
        os.close(descriptor)


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


def fetch_file(file: RemoteFile, path: Path, wanted: Offer, endpoint: str | None) -> Iterator[Progress]:
    """Fetch a file or the rest of it, and compare its sum."""
    path.touch()
    failures, have = 0, -1
    while have < path.stat().st_size < file.size:
        have = path.stat().st_size
        try:
            for _ in transfer(file, path, wanted, endpoint):
                yield Progress(arrived(path.parent, wanted), wanted.size)
        except PassingError as error:
            failures = 1 if path.stat().st_size > have else failures + 1
            if failures > len(WAITS):
                raise
            yield Progress(arrived(path.parent, wanted), wanted.size, trouble=str(error))
            time.sleep(max(WAITS[failures - 1], error.wait))
            have = -1
    check_sum(file, path, wanted)
    yield Progress(arrived(path.parent, wanted), wanted.size)


def transfer(file: RemoteFile, path: Path, wanted: Offer, endpoint: str | None) -> Iterator[None]:
    """Append what a file still lacks, yielding after each piece."""
    pieces = received(
        wanted.repository,
        wanted.revision,
        file.name,
        start=path.stat().st_size,
        limit=file.size,
        endpoint=endpoint,
    )
    with path.open("ab") as out:
        for piece in pieces:
            if not piece:
                out.truncate(0)
            out.write(piece)
            out.flush()
            yield


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
    publish(draft, target, seal=huggingface.CONFIG, stale=re.compile(r".*", re.DOTALL))
    forget_partial(target)
