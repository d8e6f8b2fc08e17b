"""Files from elsewhere: found without leaving their folder, read within a limit, JSON taken strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inkfish.errors import InkfishError, ModelError

__all__ = ["JSON_LIMIT", "decoded", "member", "parse_object", "read_bytes", "read_object", "shown"]

JSON_LIMIT = 1 << 20
"""Bytes of the longest JSON file that is read: a GPT-2's have a few kB; parsing takes up to 30 times more."""

ENTRIES = 1 << 19
"""The most entries of objects, and half the most lists and objects: GPT-2's vocabulary has 50,257. A million
take a second to parse."""


def shown(name: object) -> str:
    """Return a name out of a foreign file such that it stays on one line of sensible length."""
    text = str(name)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 100 else f"{text[:97]}..."


def member(folder: Path, name: str, *, error: type[InkfishError] = ModelError) -> Path | None:
    """Return the path of a regular file in `folder`, None where there is none.

    Links may point inside the folder, or from a snapshot of the Hugging Face cache to the cache's own blobs.

    Raises:
        InkfishError: of the kind `error`; the name is not a plain file name, or what it names is outside the
            folder, no file, or can't be looked at.
    """
    if not name or name in {".", ".."} or len(name) > 255 or set(name) & set("/\\\0"):
        raise error(f"{folder} names the file {shown(repr(name))}; it must be a plain name in the folder")
    path = folder / name
    try:
        return checked(path, folder, error)
    except OSError as problem:
        raise error(f"{path} can't be opened: {problem.strerror}; check its rights") from None


def checked(path: Path, folder: Path, error: type[InkfishError]) -> Path | None:
    """Return the path of a file after it was found to be one and in its folder, None where there is none."""
    if not path.exists():
        if path.is_symlink():
            raise error(f"{path} is a link to a file that does not exist; fetch or copy the model again")
        return None
    if not path.is_file():
        raise error(f"{path} is not a regular file; it must be one")
    real, root = path.resolve(), folder.resolve()
    allowed = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    if real.parent not in allowed:
        raise error(f"{path} is a link to {real}, outside the folder; copy the file into the folder")
    return path


def read_bytes(path: Path, *, limit: int, error: type[InkfishError] = ModelError) -> bytes:
    """Return the contents of a file.

    Raises:
        InkfishError: of the kind `error`; the file is longer than `limit` bytes, or can't be read.
    """
    try:
        with path.open("rb") as file:
            contents = file.read(limit + 1)
            size = file.seek(0, 2)
    except OSError as problem:
        raise error(f"{path} can't be read: {problem.strerror}; copy the file again") from None
    if len(contents) > limit:
        raise error(f"{path} has {size:,} bytes; the limit is {limit:,}: is it the right file?")
    return contents


def read_object(
    path: Path, *, limit: int = JSON_LIMIT, error: type[InkfishError] = ModelError
) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        InkfishError: of the kind `error`; the file is longer than `limit` bytes, can't be read, or is not
            strict JSON with one object and no key twice.
    """
    return parse_object(read_bytes(path, limit=limit, error=error), str(path), error=error)


def parse_object(text: bytes, source: str, *, error: type[InkfishError] = ModelError) -> dict[str, Any]:
    """Return the object in `text`, which is strict JSON: UTF-8, no NaN, no key twice.

    Raises:
        InkfishError: of the kind `error`; it is not, or has more than ENTRIES. The line begins with `source`.
    """
    if text.count(b":") > ENTRIES or text.count(b"[") + text.count(b"{") > 2 * ENTRIES:
        raise error(f"{source} has more than {ENTRIES:,} entries; is it the right file?")
    try:
        value = json.loads(
            decoded(text, source, error=error),
            object_pairs_hook=without_duplicates,
            parse_constant=refuse_constant,
        )
    except (ValueError, RecursionError) as problem:
        reason = "nested too deeply" if isinstance(problem, RecursionError) else shown(problem)
        raise error(f"{source} is not JSON ({reason}); copy the file again") from None
    if not isinstance(value, dict):
        raise error(f"{source} holds a JSON {type(value).__name__}; it must be an object")
    return value


def decoded(text: bytes, source: str, *, error: type[InkfishError] = ModelError) -> str:
    """Return a file's contents as text.

    Raises:
        InkfishError: of the kind `error`; they are not UTF-8. The line begins with `source`.
    """
    try:
        return text.decode()
    except UnicodeDecodeError as problem:
        raise error(f"{source} is not UTF-8 at byte {problem.start:,}; copy the file again") from None


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of a JSON object's pairs, refusing a key that stands there twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands there twice")
    return value


def refuse_constant(name: str) -> float:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{name} is no JSON number")
