"""Files and folders that are written aside: nothing is half written."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from inkfish.errors import ModelError
from inkfish.weights import files


def test_aside_makes_a_new_folder_with_the_usual_rights(tmp_path: Path) -> None:
    with files.aside(tmp_path / "a" / "b") as draft:
        (draft / "x").write_text("new")
        assert not (tmp_path / "a" / "b").exists()
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "a" / "b" / "x").read_text() == "new"
    assert (tmp_path / "a" / "b").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_aside_replaces_files_by_new_ones_and_leaves_others(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "x").write_text("old")
    (folder / "notes").write_text("mine")
    with (folder / "x").open() as held:
        before = (folder / "x").stat().st_ino
        with files.aside(folder) as draft:
            (draft / "x").write_text("new")
        assert held.read() == "old"
        assert (folder / "x").stat().st_ino != before
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"x": "new", "notes": "mine"}


def write_half(folder: Path, error: Exception) -> None:
    with files.aside(folder) as draft:
        (draft / "x").write_text("half")
        raise error


def test_aside_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "x").write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half(folder, ZeroDivisionError())
    with pytest.raises(ModelError, match=r"can't write .*model: No space left on device; what was there"):
        write_half(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("x", "old")]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_aside_where_nothing_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="file is a file; name a folder"):
        write_half(tmp_path / "file", AssertionError("the block must not run"))
    with pytest.raises(ModelError, match=r"can't write .*: (Not a directory|File exists)"):
        write_half(tmp_path / "file" / "model", AssertionError("the block must not run"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_everything_is_on_the_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order of system calls, as an audit hook and a spy on fsync see them."""
    order: list[str] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        order.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    hook_on = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if hook_on[0] and event == "os.rename":
            order.append(f"rename {Path(arguments[1]).name}")

    sys.addaudithook(hook)
    (tmp_path / "model").mkdir()
    with files.aside(tmp_path / "model") as draft:
        (draft / "a").write_text("1")
        (draft / "b").write_text("2")
    hook_on[0] = False
    assert set(order[:2]) == {"fsync a", "fsync b"}
    assert order[2].endswith(".partial")
    assert order[3:] == ["rename a", "rename b", "fsync model", f"fsync {tmp_path.name}"]
