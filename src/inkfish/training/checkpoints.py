"""Checkpoints of a run: `STEP/` is a Hugging Face folder with `state/` and a manifest, all or nothing.

A checkpoint is written aside, synced, renamed, only then named by the text file `last` (and `best`), and only
then are older ones removed. A power cut at any moment leaves one that can be loaded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from inkfish.errors import InkfishError, RunError
from inkfish.training.files import Disk

__all__ = ["Checkpoints", "Progress", "Saved", "fault"]

MANIFEST = "manifest.json"
PROGRESS = Path("state", "progress.json")


@dataclass(frozen=True)
class Progress:
    """How far a run has come: what is needed to go on and is no tensor."""

    step: int = 0
    """Steps taken."""
    cursor: int = 0
    """Examples of the stream used up."""
    tokens: int = 0
    """Tokens read."""
    skipped: int = 0
    """Steps skipped because of a loss or gradient that was not finite."""
    skipped_in_a_row: int = 0
    """Those of them without an update since."""
    best: float | None = None
    """Lowest validation score so far, bits a byte."""
    evaluated: int = 0
    """Step of the last complete validation."""
    seconds: float = 0.0
    """Time spent in steps."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was found whole."""

    folder: Path
    """The Hugging Face folder."""
    progress: Progress
    """How far it had come."""
    machine: Mapping[str, Any]
    """What it was trained on."""
    optimizer: str
    """Name of the optimizer whose state it holds."""

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read state/NAME.safetensors."""
        return load_file(self.folder / "state" / f"{name}.safetensors")


class Checkpoints:
    """The folder `checkpoints` of a run and the two pointers beside it."""

    def __init__(self, run: Path, disk: Disk, *, keep: int = 2) -> None:
        """Open the checkpoints of a run.

        Args:
            run: the run folder.
            disk: for all writing.
            keep: how many of the newest checkpoints stay, at least 2; the best one stays besides.
        """
        self.run, self.folder, self.disk, self.keep = run, run / "checkpoints", disk, max(2, keep)

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, whole or not, the newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((int(p.name) for p in self.folder.iterdir() if p.name.isdecimal()), reverse=True)

    def pointed(self, pointer: str) -> int | None:
        """Return the step that `last` or `best` names."""
        path = self.run / pointer
        text = path.read_text(errors="replace").strip() if path.is_file() else ""
        return int(text) if text.isdecimal() else None

    def newest(self, say: Callable[[str], None]) -> Saved | None:
        """Return the newest whole checkpoint, or None where there never was one.

        Args:
            say: is told why a newer one can't be used.

        Raises:
            RunError: there are checkpoints, and none is whole.
        """
        faults: list[str] = []
        for step in self.steps():
            folder = self.folder / str(step)
            reason = fault(folder)
            if reason is None:
                for line in faults:
                    say(f"{line}; going back to step {step}")
                return read_state(folder)
            faults.append(f"the checkpoint of step {step} can't be used: {reason}")
        last = self.pointed("last")
        if not faults and last is not None:
            faults = [f"the checkpoint of step {last}, which {self.run / 'last'} names, is missing"]
        if faults:
            raise RunError(f"{self.run}: {'; '.join(faults)}; start again in another folder, or with --fresh")
        return None

    def save(
        self,
        progress: Progress,
        *,
        write_model: Callable[[Path], None],
        tensors: Mapping[str, Mapping[str, Tensor]],
        machine: Mapping[str, Any],
        optimizer: str,
        best: bool = False,
    ) -> None:
        """Write a checkpoint, then point to it, then remove what is older.

        Args:
            progress: names the step.
            write_model: writes a Hugging Face folder.
            tensors: further tensors by the name of their file in `state/`.
            machine: what the training ran on.
            optimizer: name of the optimizer.
            best: whether this is the best one so far.

        Raises:
            RunError: the disk is full or not writable; what was there before is unharmed.
        """
        draft = self.folder / f".{progress.step}.partial"
        try:
            self.folder.mkdir(exist_ok=True)
            shutil.rmtree(draft, ignore_errors=True)
            self.disk.watch("model", draft)
            write_model(draft)
            self.disk.watch("model done", draft)
            (draft / "state").mkdir()
            for name, group in tensors.items():
                self.disk.write_tensors(draft / "state" / f"{name}.safetensors", group)
            state = {"progress": asdict(progress), "machine": dict(machine), "optimizer": optimizer}
            self.disk.write_json(draft / PROGRESS, state)
            self.disk.write_json(draft / MANIFEST, manifest(draft))
            self.publish(draft, progress.step, best=best)
        except (OSError, InkfishError) as error:
            kept = self.pointed("last")
            left = (
                f"the checkpoint of step {kept} is unharmed" if kept is not None else "there is no other yet"
            )
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RunError(
                f"{self.run}: the checkpoint of step {progress.step} was not saved ({reason}); {left}: "
                "put that right and start again"
            ) from None
        finally:
            self.sweep()
        self.prune()

    def publish(self, draft: Path, step: int, *, best: bool) -> None:
        """Make a finished draft the checkpoint of its step."""
        self.disk.sync_tree(draft)
        target = self.folder / str(step)
        if target.exists():
            self.disk.remove(target)
        self.disk.rename(draft, target)
        self.point("last", step)
        if best:
            self.point("best", step)

    def point(self, pointer: str, step: int) -> None:
        """Make `last` or `best` name a checkpoint."""
        self.disk.replace(self.run / pointer, f"{step}\n".encode())

    def mend(self, saved: Saved) -> None:
        """Let the pointers name what they would, had the process not ended between a checkpoint and them."""
        step, best = saved.progress.step, saved.progress.best
        if self.pointed("last") != step:
            self.point("last", step)
        if best is None or saved.progress.evaluated != step:
            return
        named = self.pointed("best")
        before = None if named is None else self.folder / str(named)
        if before is None or fault(before) or read_state(before).progress.best != best:
            self.point("best", step)

    def prune(self) -> None:
        """Remove all checkpoints but the newest `keep` and the best.

        Raises:
            RunError: one can't be removed.
        """
        kept = {*self.steps()[: self.keep], self.pointed("best"), self.pointed("last")}
        for step in self.steps():
            if step not in kept:
                self.remove(step)

    def remove(self, step: int) -> None:
        """Remove one checkpoint."""
        try:
            self.disk.remove(self.folder / str(step))
        except OSError as error:
            raise RunError(
                f"can't remove the old checkpoint {self.folder / str(step)}: {error.strerror}; "
                "remove it by hand"
            ) from None

    def forget_after(self, step: int) -> None:
        """Put checkpoints newer than `step` out of the way; they were found damaged, so nothing is lost."""
        for newer in self.steps():
            if newer > step:
                self.remove(newer)
        best = self.pointed("best")
        if best is not None and best > step:
            (self.run / "best").unlink()

    def sweep(self) -> None:
        """Remove what an interrupted save or removal has left."""
        for path in self.run.glob(".*.partial"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            for path in self.folder.glob(".*"):
                shutil.rmtree(path, ignore_errors=True)


def read_state(folder: Path) -> Saved:
    """Read what a checkpoint holds beside tensors."""
    state = json.loads((folder / PROGRESS).read_text())
    return Saved(folder, Progress(**state["progress"]), state["machine"], state["optimizer"])


def digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder: every file with its size and hash."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format": 1,
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest(path)}
            for path in paths
        },
    }


def fault(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, None where it is whole."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        for name, expected in files.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            size = path.stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size:,} bytes instead of {expected['bytes']:,}"
            if digest(path) != expected["sha256"]:
                return f"{name} was changed (its SHA-256 differs)"
        if "model.safetensors" not in files or str(read_state(folder).progress.step) != folder.name:
            return f"{MANIFEST} is not one of this checkpoint"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} is not readable ({type(error).__name__})"
    return None
