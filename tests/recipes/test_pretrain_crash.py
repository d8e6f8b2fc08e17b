"""A real training process is killed, starved of disk, stopped, resumed: the outcome is a quiet run's."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inkfish.training.checkpoints import Checkpoints, fault
from inkfish.training.files import Disk
from inkfish.training.run import locked

TEXT = "".join(f"The {n}th fox met {n * 7 % 13} hens and {n % 5} dogs. " for n in range(400))
TINY: dict[str, Any] = {
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "n_positions": 16,
    "vocab_size": 270,
    "steps": 12,
    "batch": 4,
    "at_once": 2,
    "warmup": 2,
    "evaluate_every": 6,
    "evaluate_windows": 4,
    "save_every": 3,
    "sample_every": 0,
    "threads": 1,
    "precision": "float32",
}


@dataclass
class Outcome:
    """How one training process ended."""

    code: int
    """Exit code, or minus the signal."""
    text: str
    """What it printed."""
    seconds: float


class Trainer:
    """Starts training processes, one at a time, through `trainer.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("trainer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == "ready"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def begin(self, out: Path, *, failpoint: str = "", largest_file: int = 0, **settings: Any) -> int:
        """Start a run and return its process id."""
        log = out.with_suffix(".log")
        log.write_text("")  # a run may be killed before it opens it
        request = {
            "settings": {"data": str(self.folder / "text.txt"), "out": str(out), **TINY, **settings},
            "failpoint": failpoint,
            "largest_file": largest_file,
            "log": str(log),
        }
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        self.log, self.began = log, time.monotonic()
        return int(self.read().removeprefix("pid "))

    def end(self) -> Outcome:
        """Wait for the run."""
        code = int(self.read().removeprefix("status "))
        return Outcome(code, self.log.read_text(), time.monotonic() - self.began)

    def run(self, out: Path, **settings: Any) -> Outcome:
        self.begin(out, **settings)
        return self.end()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    memory = Path("/dev/shm")  # a killed process does not need a slow disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        (Path(folder) / "text.txt").write_text(TEXT)
        found = Trainer(Path(folder))
        yield found
        found.close()


def outcome_of(run: Path) -> tuple[dict[str, bytes], list[tuple[Any, ...]]]:
    """The last checkpoint's tensors as bytes, and the log without times."""
    step = (run / "last").read_text().strip()
    folder = run / "checkpoints" / step
    names = ("model.safetensors", "state/optimizer.safetensors", "state/random.safetensors")
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    columns = ("step", "loss", "lr", "grad_norm", "tokens", "cursor", "validation")
    rows = [tuple(record.get(column) for column in columns) for record in records]
    return {name: (folder / name).read_bytes() for name in names}, rows


@pytest.fixture(scope="module")
def quiet(trainer: Trainer) -> Path:
    """A run that nobody disturbed."""
    out = trainer.folder / "quiet"
    assert trainer.run(out).code == 0
    return out


def prepared(trainer: Trainer, quiet: Path, name: str) -> Path:
    """A run folder with nothing but the prepared data."""
    out = trainer.folder / name
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(quiet / "data", out / "data")
    return out


def check(run: Path, quiet: Path) -> None:
    found, expected = outcome_of(run), outcome_of(quiet)
    assert found[1] == expected[1]
    assert found[0] == expected[0]
    assert [row[0] for row in found[1] if row[1] is not None] == list(range(1, 13))
    assert not [path for path in run.rglob("*") if ".partial" in path.name or ".doomed" in path.name]


def kill_and_resume(trainer: Trainer, quiet: Path, rng: random.Random, **settings: Any) -> int:
    """Kill a run at random moments until it gets to its end; return how often it was killed."""
    out, kills = prepared(trainer, quiet, "killed"), 0
    longest = 0.3
    while True:
        pid = trainer.begin(out, **settings)
        timer = threading.Timer(rng.uniform(0.0, longest), kill, (pid,))
        timer.start()
        done = trainer.end()
        timer.cancel()
        timer.join()
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done.text
        kills += 1
        longest *= 1.3  # a slow machine gets to the end too
    check(out, quiet)
    return kills


def test_killed_at_random_moments(trainer: Trainer, quiet: Path) -> None:
    rng, kills = random.Random(0), 0
    while kills < 3:  # on a fast machine a run may get to its end before its moment comes
        kills += kill_and_resume(trainer, quiet, rng)


def test_killed_between_the_last_checkpoint_and_its_pointer(trainer: Trainer, quiet: Path) -> None:
    out = prepared(trainer, quiet, "unnamed")
    trainer.begin(out, failpoint="rename done 12")
    assert trainer.end().code == -signal.SIGKILL
    assert (out / "last").read_text() != "12\n"
    assert trainer.run(out).code == 0
    check(out, quiet)
    assert [(out / name).read_text() for name in ("last", "best")] == ["12\n", (quiet / "best").read_text()]


def kill(pid: int) -> None:
    """Kill a process, if it has not ended by itself meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_killed_thirty_times_and_more(trainer: Trainer, quiet: Path) -> None:
    rng, kills = random.Random(1), 0
    while kills < 30:
        kills += kill_and_resume(trainer, quiet, rng)


@pytest.mark.slow
def test_killed_with_dropout(trainer: Trainer, quiet: Path) -> None:
    other = trainer.folder / "dropout"
    assert trainer.run(other, dropout=0.2).code == 0
    assert outcome_of(other)[0] != outcome_of(quiet)[0]
    rng, kills = random.Random(2), 0
    while kills < 10:
        kills += kill_and_resume(trainer, other, rng, dropout=0.2)


def named_points(step: int = 6) -> list[str]:
    """Every point that the save of a step passes in the runs here, by its name."""
    model = (
        "sync config.json",
        "sync model.safetensors",
        "sync tokenizer.json",
        "sync done model.safetensors",
    )
    state = [
        f"{point} {name}"
        for name in ("optimizer.safetensors", "random.safetensors", "progress.json", "manifest.json")
        for point in ("open", "write done", "sync", "sync done")
    ]
    return [
        *("append metrics.jsonl", "append done metrics.jsonl", "sync metrics.jsonl"),
        *(f"model .{step}.partial", f"model done .{step}.partial"),
        *state,
        *("write progress.json", "write manifest.json"),
        *model,
        *("sync state", "sync done state", f"sync .{step}.partial", f"sync done .{step}.partial"),
        *(f"rename {step}", f"rename done {step}", "sync checkpoints", "sync done checkpoints"),
        *(
            "open .last.partial",
            "write .last.partial",
            "sync .last.partial",
            "replace last",
            "replace done last",
        ),
        *("open .best.partial", "replace best", "replace done best", "remove 3", "remove done 3"),
    ]


FEW = ("write done optimizer.safetensors", "rename 6", "replace last", "replace done last", "remove 3")


def killed_at(trainer: Trainer, quiet: Path, point: str) -> None:
    """Kill at a point of the third save at the latest; then the run resumes to the same end."""
    out = prepared(trainer, quiet, "point")
    times = {"append metrics.jsonl": 5, "append done metrics.jsonl": 5}
    wanted = f"{point}#{times.get(point, 1 if point.split()[-1].strip('.').split('.')[0].isdecimal() else 2)}"
    done = trainer.run(out, failpoint=wanted)
    assert done.code == -signal.SIGKILL, f"{wanted} was never passed: {done.text}"
    checkpoints = Checkpoints(out, Disk())
    newest = checkpoints.newest(print)
    assert newest is not None
    assert newest.progress.step >= 3
    pointed = checkpoints.pointed("last")
    assert fault(out / "checkpoints" / str(pointed)) is None
    assert trainer.run(out).code == 0
    check(out, quiet)


@pytest.mark.parametrize("point", FEW)
def test_killed_at_a_point(trainer: Trainer, quiet: Path, point: str) -> None:
    killed_at(trainer, quiet, point)


@pytest.mark.slow
@pytest.mark.parametrize("point", sorted(set(named_points()) - set(FEW)))
def test_killed_at_every_point(trainer: Trainer, quiet: Path, point: str) -> None:
    killed_at(trainer, quiet, point)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal(trainer: Trainer, quiet: Path, number: signal.Signals) -> None:
    """The step is finished and saved, wherever the signal came; a second run goes on to the same end."""
    out = prepared(trainer, quiet, "stopped")
    pid = trainer.begin(out)
    while not (out / "metrics.jsonl").is_file() or not (out / "metrics.jsonl").read_text():
        time.sleep(0.005)
    os.kill(pid, number)
    done = trainer.end()
    if done.code:  # else it had come to its end
        assert done.code == 128 + number, done.text
        last = (out / "last").read_text().strip()
        assert f"{number.name}: saved after step {last}; the same command goes on" in done.text
        again = trainer.run(out)
        assert again.code == 0
        assert f"going on after step {last}" in again.text
    check(out, quiet)


def test_a_file_size_limit_leaves_the_earlier_checkpoint(trainer: Trainer, quiet: Path) -> None:
    out = prepared(trainer, quiet, "full")
    done = trainer.run(out, failpoint="open progress.json#2")
    assert done.code == -signal.SIGKILL
    done = trainer.run(out, largest_file=3_000)
    assert done.code == 2
    line = done.text.strip().splitlines()[-1]
    assert line.startswith(f"error: {out}: the checkpoint of step 6 was not saved (")
    assert line.endswith("; the checkpoint of step 3 is unharmed: put that right and start again")
    assert not [path for path in out.rglob("*") if ".partial" in path.name]
    assert trainer.run(out).code == 0
    check(out, quiet)


def test_a_second_trainer_is_sent_away(trainer: Trainer, quiet: Path) -> None:
    """That the lock of a killed process is free at once, all tests above show."""
    out = prepared(trainer, quiet, "shared")
    with locked(out):
        done = trainer.run(out)
        assert done.code == 2
        assert done.seconds < 2
        holder = f"process {os.getpid()} on {os.uname().nodename}"
        assert f"error: {out} is being trained in by {holder}; stop that first, or choose" in done.text
        assert not (out / "metrics.jsonl").exists()
    assert trainer.run(out).code == 0
