"""Files and folders written aside and put in their place when they are whole: all or nothing."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from inkfish.errors import InkfishError, ModelError

__all__ = ["aside", "aside_file", "publish", "unreplaced"]

T = TypeVar("T")
PAUSES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Seconds between attempts to read a folder that is being replaced, which takes milliseconds."""


@contextmanager
def aside(folder: Path, *, seal: str | None = None, stale: re.Pattern[str] | None = None) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; when the block ends well, its files become `folder`'s.

    A new folder appears by one rename. In one that exists each file is replaced by a rename, so a process
    that has the old file mapped keeps it (a new inode each time), and files of other names stay. Everything
    is on the disk (fsync) before the first rename. When the block fails, nothing of it is left and `folder`
    is as it was.

    Args:
        folder: where the files go.
        seal: the file without which the folder is none of its kind: it goes first and comes back last, so
            that whoever opens it finds all the others old, or all new, and one who opened it before can see
            that it was replaced (`unreplaced`).
        stale: names of files that are removed where the new ones have none of that name.

    Raises:
        ModelError: the disk is full, or the place is not writable.
    """
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file; name a folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise ModelError(f"can't write {folder}: {error.strerror}") from None
    try:
        yield draft
        publish(draft, folder, seal, stale)
    except OSError as error:
        raise ModelError(f"can't write {folder}: {error.strerror}; what was there is unharmed") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def aside_file(path: Path) -> Iterator[Path]:
    """Yield the path of a file to write; when the block ends well, it becomes `path`, in one rename.

    Raises:
        ModelError: the disk is full, or the place is not writable or a folder.
    """
    if path.is_dir():
        raise ModelError(f"{path} is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", suffix=".partial", dir=path.parent
        ) as draft:
            yield Path(draft) / path.name
            sync(Path(draft) / path.name)
            (Path(draft) / path.name).replace(path)
        sync(path.parent)
    except OSError as error:
        raise ModelError(f"can't write {path}: {error.strerror}") from None


def publish(draft: Path, folder: Path, seal: str | None, stale: re.Pattern[str] | None) -> None:
    """Move the draft's files to `folder`, after they have reached the disk; see `aside`."""
    for path in draft.iterdir():
        sync(path)
    sync(draft)
    if folder.exists():
        replace_files(draft, folder, seal, stale)
    else:
        draft.chmod(0o777 & ~umask())
        draft.rename(folder)
    sync(folder.parent)


def replace_files(draft: Path, folder: Path, seal: str | None, stale: re.Pattern[str] | None) -> None:
    """Replace files of a folder by those of the draft, the seal removed first and put back last."""
    names = sorted((path.name for path in draft.iterdir()), key=lambda name: (name == seal, name))
    if blocked := [name for name in names if (folder / name).is_dir()]:
        raise IsADirectoryError(errno.EISDIR, f"{blocked[0]} is a folder there")
    if seal is not None:
        (folder / seal).unlink(missing_ok=True)  # journals keep the order of this and the renames
    files = [path for path in folder.iterdir() if not path.is_dir()]
    old = [path for path in files if stale is not None and stale.fullmatch(path.name)]
    try:
        for path in old:
            if path.name not in names:
                path.unlink()
        for name in names:
            (draft / name).replace(folder / name)
        sync(folder)
    except OSError as error:
        raise ModelError(f"{folder} is half replaced ({error.strerror}); write it again") from None


def unreplaced(path: Path, read: Callable[[], T]) -> T:
    """Return what `read` makes of a folder whose seal was the same file before and after.

    Where somebody replaces the folder meanwhile, it is read again: what comes back is whole, old or new.
    """
    for pause in PAUSES:
        before = stamp(path)
        try:
            value = read()
        except InkfishError:
            if before == stamp(path) and not (before is None and is_being_replaced(path.parent)):
                raise
        else:
            if before == stamp(path):
                return value
        time.sleep(pause)
    return read()


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from one that takes its place, None where there is none."""
    try:
        said = path.stat()
    except OSError:
        return None
    return said.st_ino, said.st_mtime_ns, said.st_ctime_ns


def is_being_replaced(folder: Path) -> bool:
    """Whether the draft of a new edition lies beside a folder."""
    names = (path.name for path in folder.parent.iterdir()) if folder.parent.is_dir() else ()
    return any(name.startswith(f".{folder.name}.") and name.endswith(".partial") for name in names)


def umask() -> int:
    """Return the process's file mode mask: mkdtemp ignores it, a model folder should not."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
