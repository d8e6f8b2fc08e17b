from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inkfish.errors import RunError
from inkfish.training.checkpoints import Checkpoints, Progress, fault
from inkfish.training.files import Disk, Watch

MACHINE = {"torch": "1", "threads": 2}


def fill(folder: Path) -> None:
    """Stands for `huggingface.write`: a folder that appears by one rename."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(folder.name.encode() * 50)
    (folder / "config.json").write_text("{}")


def save(run: Path, step: int, *, best: bool = False, watch: Watch | None = None) -> None:
    disk = Disk(watch) if watch is not None else Disk()
    Checkpoints(run, disk).save(
        Progress(step=step, cursor=10 * step, tokens=step),
        write_model=fill,
        tensors={"optimizer": {"x": torch.full((3,), float(step))}},
        machine=MACHINE,
        optimizer="adamw",
        best=best,
    )


def newest(run: Path) -> tuple[int | None, list[str]]:
    said: list[str] = []
    saved = Checkpoints(run, Disk()).newest(said.append)
    return (saved.progress.step if saved else None), said


def leftovers(run: Path) -> list[str]:
    return [str(path) for path in run.rglob("*") if path.name.startswith(".")]


def test_saved_and_found(tmp_path: Path) -> None:
    save(tmp_path, 3)
    saved = Checkpoints(tmp_path, Disk()).newest(print)
    assert saved is not None
    assert saved.progress == Progress(step=3, cursor=30, tokens=3)
    assert saved.machine == MACHINE
    assert saved.optimizer == "adamw"
    assert saved.tensors("optimizer")["x"].tolist() == [3.0, 3.0, 3.0]
    assert (tmp_path / "last").read_text() == "3\n"
    assert not (tmp_path / "best").exists()
    assert not leftovers(tmp_path)


def test_nothing_there_yet(tmp_path: Path) -> None:
    assert newest(tmp_path) == (None, [])


def test_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in range(1, 7):
        save(tmp_path, step, best=step == 2)
    assert Checkpoints(tmp_path, Disk()).steps() == [6, 5, 2]
    assert (tmp_path / "best").read_text() == "2\n"
    save(tmp_path, 7, best=True)
    assert Checkpoints(tmp_path, Disk()).steps() == [7, 6]


def flip(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def truncate(folder: Path) -> None:
    path = folder / "state" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def wrong_hash(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["config.json"]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))


def foreign(folder: Path) -> None:
    """A whole checkpoint, but that of another step."""
    other = folder.parent / "3"
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (flip, "model.safetensors was changed (its SHA-256 differs)"),
    "truncated": (truncate, "state/optimizer.safetensors has 71 bytes instead of 76"),
    "empty": (lambda f: (f / "config.json").write_bytes(b""), "config.json has 0 bytes instead of 2"),
    "missing": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "torn manifest": (
        lambda f: (f / "manifest.json").write_text('{"files": {'),
        "manifest.json is not readable (JSONDecodeError)",
    ),
    "another manifest": (
        lambda f: (f / "manifest.json").write_text("[1]"),
        "manifest.json is not readable (TypeError)",
    ),
    "wrong hash": (wrong_hash, "config.json was changed (its SHA-256 differs)"),
    "foreign": (foreign, "manifest.json is not one of this checkpoint"),
    "empty manifest": (
        lambda f: (f / "manifest.json").write_text('{"files": {}}'),
        "manifest.json is not one of this checkpoint",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    save(tmp_path, 3)
    save(tmp_path, 6)
    damage(tmp_path / "checkpoints" / "6")
    assert newest(tmp_path) == (
        3,
        [f"the checkpoint of step 6 can't be used: {reason}; going back to step 3"],
    )


def test_none_whole_is_no_silent_restart(tmp_path: Path) -> None:
    save(tmp_path, 3)
    save(tmp_path, 6)
    flip(tmp_path / "checkpoints" / "3")
    (tmp_path / "checkpoints" / "6" / "manifest.json").unlink()
    with pytest.raises(
        RunError,
        match=r"checkpoint of step 6 can't be used: manifest.json is missing; the checkpoint of step 3 can't "
        r"be used: model.safetensors was changed .*; start again in another folder, or with --fresh",
    ):
        newest(tmp_path)


def test_a_pointer_to_nothing_is_no_silent_restart(tmp_path: Path) -> None:
    (tmp_path / "last").write_text("6\n")
    with pytest.raises(RunError, match=r"the checkpoint of step 6, which .*/last names, is missing; start"):
        newest(tmp_path)


def test_damaged_ones_are_forgotten_after_going_back(tmp_path: Path) -> None:
    save(tmp_path, 3)
    save(tmp_path, 6, best=True)
    flip(tmp_path / "checkpoints" / "6")
    Checkpoints(tmp_path, Disk()).forget_after(3)
    assert newest(tmp_path) == (3, [])
    assert not (tmp_path / "best").exists()
    save(tmp_path, 6)
    assert newest(tmp_path) == (6, [])


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 3)
    save(tmp_path, 6)
    truncate(tmp_path / "checkpoints" / "6")
    save(tmp_path, 6)
    assert newest(tmp_path) == (6, [])


def points(run: Path, step: int) -> list[tuple[str, str]]:
    """Every point of a save, in order."""
    seen: list[tuple[str, str]] = []
    save(run, step, best=True, watch=lambda point, path: seen.append((point, path.name)))
    return seen


def test_a_save_has_many_named_points(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    seen = points(tmp_path, 3)
    assert len(set(seen)) >= 12
    kinds = {point for point, _ in seen}
    assert {"open", "write", "write done", "sync", "rename", "replace", "remove"} <= kinds


def save_or_error(run: Path, watch: Watch) -> None:
    """Save step 4; if it fails, then with the one line that says so."""
    said = ""
    try:
        save(run, 4, best=True, watch=watch)
    except RunError as error:
        said = str(error)
    not_saved = r".*step 4 was not saved \(No room\); the checkpoint of step [34] is unharmed: put that.*"
    assert re.fullmatch(rf"|{not_saved}|.*can't remove.*", said)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EFBIG])
def test_a_full_disk_at_any_point(tmp_path: Path, number: int) -> None:
    """Whatever operation fails: the old checkpoint or the new one is whole, and nothing else is left."""
    probe, base = tmp_path / "probe", tmp_path / "base"
    base.mkdir()
    for step in (1, 2, 3):
        save(base, step)
    shutil.copytree(base, probe)
    count = len(points(probe, 4))
    assert count > 40
    for failing in range(0, count, 1 if number == errno.ENOSPC else 7):
        run = tmp_path / str(failing)
        shutil.copytree(base, run)
        left = failing

        def fail(point: str, path: Path) -> None:
            nonlocal left
            if left == 0 and not point.endswith("done"):
                raise OSError(number, "No room", str(path))
            left -= 1

        save_or_error(run, fail)
        found, said = newest(run)
        assert found in (3, 4)
        assert said == []
        assert not leftovers(run)
        assert fault(run / "checkpoints" / (run / "last").read_text().strip()) is None


def test_the_first_save_may_fail_too(tmp_path: Path) -> None:
    def fail(point: str, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No room", str(path))

    with pytest.raises(RunError, match=r"step 1 was not saved \(No room\); there is no other yet: put that"):
        save(tmp_path, 1, watch=fail)
    assert newest(tmp_path) == (None, [])


def test_a_model_that_can_not_be_written(tmp_path: Path) -> None:
    save(tmp_path, 1)

    def refuse(folder: Path) -> None:
        raise RunError("wte.weight holds values that are not finite; such weights are not saved")

    with pytest.raises(
        RunError, match=r"step 2 was not saved \(wte.weight holds .*\); the checkpoint of step 1"
    ):
        Checkpoints(tmp_path, Disk()).save(
            Progress(step=2), write_model=refuse, tensors={}, machine={}, optimizer="sgd"
        )
    assert newest(tmp_path) == (1, [])


def test_a_checkpoint_that_can_not_be_removed(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, step)

    def fail(point: str, path: Path) -> None:
        if point == "remove":
            raise OSError(errno.EACCES, "Permission denied", str(path))

    with pytest.raises(
        RunError, match=r"can't remove the old checkpoint .*/1: Permission denied; remove it by hand"
    ):
        save(tmp_path, 3, watch=fail)
    assert newest(tmp_path) == (3, [])
