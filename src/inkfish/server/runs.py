"""Training runs of the Train page: folders of uploaded texts, and `inkfish finetune` as a child process.

    RUNS/NAME/texts/     the uploaded files
    RUNS/NAME/page.json  the command's words, and how it ended the last time
    RUNS/NAME/output.log what it printed

and beside them what the recipe makes there. This process imports no torch; it reads the run folder's files.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inkfish.server.problems import RequestError

__all__ = ["MOST_FILES", "SUFFIXES", "TABLES", "Runs", "State", "file_name"]

State = Literal["new", "training", "pausing", "paused", "finished", "failed", "elsewhere"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
TEXTS = (".txt", ".text", ".md", ".docx", ".odt", ".epub", ".pdf", ".html", ".htm")
TABLES = (".csv", ".tsv", ".xlsx", ".jsonl", ".ndjson", ".parquet")
SUFFIXES = (*TEXTS, *TABLES)
"""Kinds of files that are taken, also with .gz behind them."""
MOST_FILES = 200
MOST_BYTES = 512 << 20
LOG_BYTES = 64 << 10
"""So much of the end of what was printed is read."""
PATIENCE = 20.0
"""Seconds that children may take to save when the server ends."""


def file_name(name: str) -> str:
    """Return the name under which an uploaded file is kept: no folders, no leading dot, plain characters.

    Raises:
        RequestError: it is no name of a text or table that can be read.
    """
    plain = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    kept = re.sub(r"[^\w .()+-]", "_", plain).strip(" .")
    stem, dot, suffix = kept.rpartition(".")
    kind = f".{suffix}".lower()
    if kind == ".gz":
        kind = Path(stem.lower()).suffix
    if not dot or not stem or kind not in SUFFIXES:
        raise RequestError(400, f"a file must be one of {', '.join(SUFFIXES)}; this one is not", param="file")
    return f"{stem[:80]}.{suffix}"


@dataclass
class Child:
    """A training process of ours."""

    process: subprocess.Popen[bytes]
    pausing: bool = False


class Runs:
    """The runs in one folder. Threads may share it; methods may block for a short time."""

    def __init__(self, folder: Path, *, command: Sequence[str] | None = None) -> None:
        """Know the runs of a folder, which need not exist.

        Args:
            folder: of the runs.
            command: what trains, before its options; None is this Python's inkfish finetune.
        """
        self.folder = folder
        self.command = tuple(command or (sys.executable, "-m", "inkfish", "finetune"))
        self.children: dict[str, Child] = {}
        self.starting = threading.Lock()
        self.measuring: dict[str, subprocess.Popen[str]] = {}

    def place(self, name: str) -> Path:
        """Return the folder of a run, which need not exist.

        Raises:
            RequestError: the name can't be that of a run.
        """
        if not NAME.fullmatch(name):
            raise RequestError(
                400, "a run's name is up to 64 letters, digits, dashes and underscores", param="name"
            )
        return self.folder / name

    def names(self) -> list[str]:
        """Return the runs that there are, the last changed first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if NAME.fullmatch(path.name) and is_run(path)]
        return [path.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]

    def existing(self, name: str) -> Path:
        """Return the folder of a run that there is.

        Raises:
            RequestError: there is none.
        """
        place = self.place(name)
        if not is_run(place):
            raise RequestError(404, "there is no run of this name", param="name")
        return place

    def files(self, name: str) -> list[Path]:
        """Return a run's uploaded files."""
        texts = self.place(name) / "texts"
        return sorted(path for path in texts.iterdir() if path.name[0] != ".") if texts.is_dir() else []

    def room_for(self, name: str, file: str) -> Path:
        """Return where an upload is to be written, aside at first.

        Raises:
            RequestError: the run has begun, or has too many files.
        """
        place = self.place(name)
        if (place / "page.json").exists() or (place / "config.toml").exists():
            raise RequestError(400, "this run has begun with its texts; choose another name", param="name")
        files = self.files(name)
        if len(files) >= MOST_FILES and file not in {path.name for path in files}:
            raise RequestError(400, f"a run has at most {MOST_FILES} files", param="file")
        if sum(path.stat().st_size for path in files) > MOST_BYTES:
            raise RequestError(413, f"all files together may have {MOST_BYTES:,} bytes", param="file")
        (place / "texts").mkdir(parents=True, exist_ok=True)
        return place / "texts" / f".{os.urandom(8).hex()}.upload"

    def remove_file(self, name: str, file: str) -> None:
        """Remove an uploaded file.

        Raises:
            RequestError: the run has begun.
        """
        self.room_for(name, file)
        with suppress(FileNotFoundError):
            (self.place(name) / "texts" / file_name(file)).unlink()

    def words(self, name: str, options: Sequence[str]) -> list[str]:
        """Return the words behind the command for a run that has not begun.

        Raises:
            RequestError: it has begun, or has no texts.
        """
        place = self.place(name)
        if (place / "page.json").exists() or (place / "config.toml").exists():
            raise RequestError(
                400, "this run has begun already; go on with it, or choose another name", param="name"
            )
        texts = self.files(name)
        if not texts:
            raise RequestError(400, "there are no texts yet; add a file", param="name")
        return [*map(str, texts), "--out", str(place), *options]

    def start(self, name: str, options: Sequence[str]) -> None:
        """Begin a run.

        Raises:
            RequestError: it has begun, has no texts, or another one trains.
        """
        words = self.words(name, options)
        with self.starting:
            self.refuse_two()
            self.end_measuring()
            self.launch(name, words)

    def measure(self, name: str, options: Sequence[str]) -> dict[str, Any]:
        """Return the trainer's plan of a run: time on this machine, memory, advice. Nothing begins.

        A later measurement, or a run that starts, puts an end to this one.

        Raises:
            RequestError: the run has begun, has no texts, or can't be planned, in the trainer's words.
        """
        place, words = self.place(name), self.words(name, options)
        with self.starting:
            self.end_measuring()
            (place / "plan.json").unlink(missing_ok=True)
            process = self.measuring[name] = subprocess.Popen(
                [*self.command, *words, "--plan"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        said = process.communicate()[0].splitlines()
        with self.starting:
            if self.measuring.get(name) is process:
                del self.measuring[name]
        plan = read_json(place / "plan.json")
        if process.returncode or not plan:
            why = next((line for line in reversed(said) if line.startswith("inkfish: ")), "it was given up")
            why = why.removeprefix("inkfish: ").replace(f"{place}/", "")
            raise RequestError(400, why, param="name", code="not_measured")
        return plan

    def end_measuring(self) -> None:
        """End a measurement that is going on."""
        while self.measuring:
            _, process = self.measuring.popitem()
            process.kill()
            process.wait()

    def resume(self, name: str) -> None:
        """Go on with a run that was begun here.

        Raises:
            RequestError: it was begun elsewhere, or one trains already.
        """
        place = self.existing(name)
        words = read_json(place / "page.json").get("words")
        if words is None:
            raise RequestError(
                400, "this run was not begun on this page; go on where it was begun", param="name"
            )
        with self.starting:
            self.refuse_two()
            self.launch(name, words)

    def refuse_two(self) -> None:
        """Refuse to train two models at once.

        Raises:
            RequestError: one is being trained.
        """
        for name in list(self.children):
            if self.state(name) in ("training", "pausing"):
                raise RequestError(400, f"{name} is being trained; pause it first", param="name")

    def launch(self, name: str, words: Sequence[str]) -> None:
        """Start the process."""
        place = self.place(name)
        write_json(place / "page.json", {"words": list(words), "ended": None, "began": time.time()})
        with (place / "output.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.command, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the server's terminal is the server's alone
            )
        self.children[name] = Child(process)

    def pause(self, name: str) -> None:
        """Have a run save and end.

        Raises:
            RequestError: it does not train here.
        """
        child = self.children.get(name)
        if child is None or child.process.poll() is not None:
            raise RequestError(400, "this run is not being trained here", param="name")
        if not child.pausing:
            child.pausing = True
            child.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Have all children save, and wait for them."""
        self.end_measuring()
        for name, child in list(self.children.items()):
            if child.process.poll() is None and not child.pausing:
                self.pause(name)
        deadline = time.monotonic() + PATIENCE
        for name, child in list(self.children.items()):
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            self.state(name)

    def state(self, name: str) -> State:
        """Return what a run is doing."""
        place = self.place(name)
        child = self.children.get(name)
        if child is not None:
            code = child.process.poll()
            if code is None:
                return "pausing" if child.pausing else "training"
            del self.children[name]
            # asked while Python was still starting, before the trainer listens: nothing is lost
            if child.pausing and last_lines(place / "output.log")[-1:] == ["KeyboardInterrupt"]:
                code = 128 + signal.SIGINT
            write_json(place / "page.json", read_json(place / "page.json") | {"ended": code})
        if name not in self.measuring and held_by_another(place):
            return "elsewhere"
        page = read_json(place / "page.json")
        match page.get("ended"):
            case 0:
                return "finished"
            case int(code) if 0 < code < 128:
                return "failed"
        if "words" not in page and not (place / "config.toml").exists():
            return "new"
        return "finished" if self.done(place) else "paused"

    def done(self, place: Path) -> bool:
        """Whether a run has taken all its steps."""
        steps, records = planned_steps(place), records_of(place)
        return steps is not None and bool(records) and records[-1]["step"] >= steps

    def progress(self, name: str, after: int) -> dict[str, Any]:
        """Return how a run goes: its log from a record on, samples, what it printed, the time to go.

        Raises:
            RequestError: there is no such run.
        """
        place = self.existing(name)
        records, steps, state = records_of(place), planned_steps(place), self.state(name)
        lines = last_lines(place / "output.log")
        return {
            "name": name,
            "state": state,
            "began": read_json(place / "page.json").get("began"),
            "files": [{"name": path.name, "bytes": path.stat().st_size} for path in self.files(name)],
            "steps": steps,
            "total": len(records),
            "records": records[after:],
            "seconds_to_go": seconds_to_go(records, steps) if state == "training" else None,
            "samples": samples_of(place),
            "lines": [line for line in lines if " writes: " not in line][-40:],
            "error": next((line for line in reversed(lines) if line.startswith("inkfish: ")), None)
            if state == "failed"
            else None,
            "writes": any((place / pointer).is_file() for pointer in ("best", "last")),
        }


def is_run(place: Path) -> bool:
    """Whether a folder is a run, or the beginning of one."""
    return any((place / name).exists() for name in ("config.toml", "page.json", "texts"))


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file of ours says; nothing where it is missing or damaged."""
    with suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    return {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file of ours, whole or not at all."""
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(value), encoding="utf-8")
    aside.replace(path)


def held_by_another(place: Path) -> bool:
    """Whether a living process holds a run's lock; it is asked for only where one could."""
    try:
        with (place / "lock").open("rb") as file:
            said = re.match(rb"process (\d+) on ", file.read(200))
            if said is None:
                return False
            os.kill(int(said[1]), 0)
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def records_of(place: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a run's log."""
    return list(parsed(place / "metrics.jsonl"))


def parsed(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a log; a torn one at its end is left out."""
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("step"), int):
                    yield record


def planned_steps(place: Path) -> int | None:
    """Return how many steps a run is to take."""
    with suppress(OSError, tomllib.TOMLDecodeError):
        steps = tomllib.loads((place / "config.toml").read_text(encoding="utf-8")).get("steps")
        return steps if isinstance(steps, int) else None
    return None


def seconds_to_go(records: Sequence[Mapping[str, Any]], steps: int | None) -> float | None:
    """Return about how long a run still takes, by its last steps."""
    timed = [record for record in records if "seconds" in record][-20:]
    if steps is None or len(timed) < 2:
        return None
    first, last = timed[0], timed[-1]
    pace = (last["seconds"] - first["seconds"]) / max(1, last["step"] - first["step"])
    return float(pace * (steps - last["step"]))


def samples_of(place: Path) -> list[dict[str, Any]]:
    """Return the newest samples, the newest first."""
    numbered = [path for path in (place / "samples").glob("*.txt") if path.stem.isdigit()]
    newest = sorted(numbered, key=lambda path: -int(path.stem))[:12]
    return [
        {"step": int(path.stem), "text": path.read_text(encoding="utf-8", errors="replace").strip()}
        for path in newest
    ]


def last_lines(path: Path) -> list[str]:
    """Return the last lines that were printed."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return file.read().decode(errors="replace").splitlines()
    return []
