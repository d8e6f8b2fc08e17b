"""Files and folders written aside and put in their place when they are whole: all or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inkfish.errors import ModelError

__all__ = ["aside", "aside_file", "sync"]


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; when the block ends well, its files become `folder`'s.

    A new folder appears by one rename. In one that exists each file is replaced by a rename, so a process
    that has the old file mapped keeps it (a new inode each time), and files of other names stay. Everything
    is on the disk (fsync) before the first rename. When the block fails, nothing of it is left and `folder`
    is as it was.

    Raises:
        ModelError: the disk is full, or the place is not writable.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise ModelError(f"can't write {folder}: {error.strerror}") from None
    try:
        yield draft
        publish(draft, folder)
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


def publish(draft: Path, folder: Path) -> None:
    """Move the draft's files to `folder`, after they have reached the disk."""
    for path in draft.iterdir():
        sync(path)
    sync(draft)
    if folder.exists():
        for path in sorted(draft.iterdir()):
            path.replace(folder / path.name)
        sync(folder)
    else:
        draft.chmod(0o777 & ~umask())
        draft.rename(folder)
    sync(folder.parent)


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
