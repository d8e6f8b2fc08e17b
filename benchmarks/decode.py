"""Writing on a CPU next to other engines: decoding, prompts, batches, start-up, in one interleaved run.

    python benchmarks/decode.py [--sizes gpt2,gpt2-medium] [--threads 2] [--rounds 9] [--quick]
                                [--llama DIR] [--work DIR] [--out DIR] [--page F.md …] [--alone]

Every round measures the engines of a row one right after the other, so that a drifting machine treats them
alike; a figure is the median over rounds, a ratio the median of the ratios within rounds. Weights are random,
of a released model's shape, the same for all; contexts are equal. The bandwidth is read meanwhile over the
very weights. Peers are the extra [bench] and llama.cpp's programs (`peers/llama.py` says where they come
from); what is missing is named and left out. --alone measures inkfish only. Results go to DECODE.json,
DECODE.md and DECODE.svg in --out.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]

import llama  # noqa: E402  # peers/llama.py
import numpy as np  # noqa: E402
import prepare  # noqa: E402
import report  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from prepare import random_checkpoint  # noqa: E402
from report import PROMPT  # noqa: E402

from inkfish import load  # noqa: E402
from inkfish.backends import native  # noqa: E402
from inkfish.backends.native import convert  # noqa: E402
from inkfish.weights import read  # noqa: E402

__all__ = ["main", "random_checkpoint"]

STEPS = 32
BATCH_STEPS = {1: STEPS, 16: 12, 64: 6}
PASSES = 5
"""Times that the weights are read through to see how fast memory is."""
Measure = Callable[[], float]


# ------------------------------------------------------------------------------------------------ inkfish


class Ours:
    """Our back end in one type, called as the engine calls it."""

    def __init__(self, name: Path | str, dtype: str | None, threads: int) -> None:
        self.model = load(name, dtype=dtype, threads=threads)
        assert isinstance(self.model.backend, native.NativeBackend), "the native library was not built"
        self.model.speculate = False
        self.backend = self.model.backend
        self.slots = [self.backend.allocate() for _ in range(64)]
        self.prompt_ids = (
            np.random.default_rng(1).integers(0, self.backend.config.vocab_size, PROMPT).tolist()
        )

    def decode(self, batch: int) -> float:
        """Tokens per second of a batch, from contexts of one token."""
        slots, steps = self.slots[:batch], BATCH_STEPS[batch]
        for slot in slots:
            self.backend.truncate(slot, 0)
            self.backend.prefill(slot, [5])
        start = time.perf_counter()
        for _ in range(steps):
            self.backend.decode_top(slots, [5] * batch, k=1)
        return batch * steps / (time.perf_counter() - start)

    def prompt(self) -> float:
        """Prompt tokens per second."""
        self.backend.truncate(self.slots[0], 0)
        start = time.perf_counter()
        self.backend.prefill(self.slots[0], self.prompt_ids)
        return PROMPT / (time.perf_counter() - start)

    def generate(self) -> float:
        """Tokens per second of a whole text, drawn and turned into characters.

        At this temperature random weights are as sure of themselves as trained ones. Nothing is guessed.
        """
        start = time.perf_counter()
        self.model.generate([5], max_tokens=STEPS, stop_ids=(), seed=1, temperature=0.06, top_p=0.95)
        return STEPS / (time.perf_counter() - start)


@functools.cache
def reader(work: Path) -> Any:
    """The C function that reads memory as fast as it can; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = work / "read_memory.so"
    source = HERE / "peers" / "read_memory.c"
    options = ["-O3", "-march=native", "-shared", "-fPIC", "-o", library]
    subprocess.run([compiler, *options, source], check=True)
    function = ctypes.CDLL(str(library)).read_memory
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_uint64
    return function


def bandwidth(data: NDArray[np.uint8], threads: int, work: Path) -> float:
    """Bytes per second that the threads together read of the weights, at best: the first pass wakes them."""
    function = reader(work)
    parts = np.array_split(data, threads)

    def read(part: NDArray[np.uint8]) -> None:
        if function is None:
            convert.checksum(part)
        else:
            function(part.ctypes.data, part.size)

    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(PASSES):
            start = time.perf_counter()
            list(pool.map(read, parts))
            seconds.append(time.perf_counter() - start)
    return data.size / min(seconds)


def ours(folder: Path, threads: int, work: Path) -> dict[str, dict[str, Measure]]:
    """What is measured of inkfish: subject → row → how."""
    found: dict[str, dict[str, Measure]] = {}
    for dtype in (*native.DTYPES, None):
        one = Ours(folder, dtype, threads)
        found[f"inkfish {dtype or 'default'}"] = {
            **{f"decode, {kind}": functools.partial(one.decode, 1) for kind in native.DTYPES},
            "batch of 16": functools.partial(one.decode, 16),
            "batch of 64": functools.partial(one.decode, 64),
            f"prompt of {PROMPT}": one.prompt,
            "generate, default": one.generate,
            "generate, float32": one.generate,
            "bandwidth": functools.partial(bandwidth, one.backend.packed.data, threads, work),
        }
    return found


# -------------------------------------------------------------------------------------------------- peers


@dataclass
class Worker:
    """An engine in a process of its own (`peers/engines.py`)."""

    engine: str
    path: Path
    kind: str
    threads: int
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, HERE / "peers" / "engines.py", self.engine, self.path, self.kind]
        self.process = subprocess.Popen(
            [*map(str, command), str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(self.threads), "HF_HUB_OFFLINE": "1"},
        )
        if not self.answer():
            raise ImportError(f"{self.engine} {self.kind} does not start")

    def answer(self) -> dict[str, Any]:
        """The next answer; nothing where the process has ended."""
        assert self.process.stdout is not None, "it was opened as a pipe"
        line = self.process.stdout.readline()
        return json.loads(line) if line else {}

    def ask(self, what: str, batch: int) -> float:
        """One measurement."""
        assert self.process.stdin is not None, "it was opened as a pipe"
        request = {"what": what, "batch": batch, "steps": BATCH_STEPS[batch]}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return float(self.answer()["rate"])


def python_peer(engine: str, path: Path, kind: str, threads: int) -> dict[str, Measure]:
    """What is measured of an engine with a Python interface."""
    worker = Worker(engine, path, kind, threads)
    ask = functools.partial
    return {
        **{f"decode, {one}": ask(worker.ask, "decode", 1) for one in native.DTYPES},
        "batch of 16": ask(worker.ask, "decode", 16),
        "batch of 64": ask(worker.ask, "decode", 64),
        f"prompt of {PROMPT}": ask(worker.ask, "prompt", 1),
        "generate, default": ask(worker.ask, "decode", 1),
        "generate, float32": ask(worker.ask, "decode", 1),
    }


def llama_peer(programs: dict[str, str], model: Path, threads: int) -> dict[str, Measure]:
    """What is measured of llama.cpp in one type."""
    again = functools.partial
    return {
        **{f"decode, {one}": again(llama.decode, programs, model, threads, STEPS) for one in native.DTYPES},
        "batch of 16": again(llama.batched, programs, model, threads, 16, BATCH_STEPS[16]),
        "batch of 64": again(llama.batched, programs, model, threads, 64, BATCH_STEPS[64]),
        f"prompt of {PROMPT}": again(llama.prompt, programs, model, threads, PROMPT),
    }


def peers(
    size: str, work: Path, threads: int, programs: dict[str, str] | None
) -> tuple[dict[str, dict[str, Measure]], list[str]]:
    """What is measured of every peer that is here, and the names of those that are not."""
    found: dict[str, dict[str, Measure]] = {}
    missing: list[str] = []

    def attempt(name: str, make: Callable[[], dict[str, Measure]]) -> None:
        try:
            found[name] = make()
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            missing.append(f"{name} ({str(error).splitlines()[0][:80]})")

    for kind in ("f32", "bf16", "q8_0", "q4_0"):
        if programs is None:
            missing.append(f"llama.cpp {kind} (no programs: see peers/llama.py)")
            continue
        here = functools.partial(llama.quantise, programs, kind=kind, threads=threads)
        path = functools.partial(
            prepare.gguf_file, work, size, kind, lambda a, b, quantise=here: quantise(a, b)
        )
        attempt(f"llama.cpp {kind}", lambda path=path: llama_peer(programs, path(), threads))
    for kind in ("float32", "int8"):
        attempt(
            f"onnxruntime {kind}",
            lambda kind=kind: python_peer("onnxruntime", prepare.onnx_file(work, size, kind), kind, threads),
        )
        attempt(
            f"ctranslate2 {kind}",
            lambda kind=kind: python_peer(
                "ctranslate2", prepare.ctranslate2_folder(work, size), kind, threads
            ),
        )
    for kind in ("float32", "bfloat16"):
        folder = prepare.model_folder(work, size)
        attempt(
            f"transformers {kind}",
            lambda kind=kind, folder=folder: python_peer("transformers", folder, kind, threads),
        )
    return found, missing


# --------------------------------------------------------------------------------------------- first token


def first_token(command: Sequence[str]) -> tuple[float, float]:
    """Seconds that a program takes to start, load, write one token and end; and its peak memory in bytes."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    watcher = [sys.executable, "-S", str(HERE / "peers" / "first_token.py"), *command]
    done = subprocess.run(watcher, check=True, capture_output=True, text=True, env=environment)
    seconds, memory = json.loads(done.stdout)
    return seconds, memory


def starts(size: str, work: Path, threads: int, programs: dict[str, str] | None) -> dict[str, list[str]]:
    """The commands whose start is measured."""
    write = [sys.executable, "-c", "import sys; from inkfish.cli import main; sys.exit(main())", "write"]
    options = ["Once upon a time", "--max-tokens", "1", "--seed", "1", "--threads", str(threads)]
    found = {"inkfish": [*write, *options, "--model", str(prepare.model_folder(work, size))]}
    if size == "gpt2":
        found["inkfish, starter"] = [*write, *options]
    if programs is not None:
        found["llama.cpp q8_0"] = llama.completion(programs, work / f"{size}-q8_0.gguf", threads)
    return found


# --------------------------------------------------------------------------------------------------- rounds


def measure(
    size: str, work: Path, threads: int, rounds: int, programs: dict[str, str] | None, *, alone: bool
) -> dict[str, Any]:
    """Measure one size and return the results, as they are written to JSON."""
    folder = prepare.model_folder(work, size)
    mine = ours(folder, threads, work)
    if size == "gpt2":
        one = Ours("starter", None, threads)
        mine["inkfish starter"] = {
            "generate, default": one.generate,
            "decode, int8": functools.partial(one.decode, 1),
        }
    theirs, missing = ({}, ["all peers (--alone)"]) if alone else peers(size, work, threads, programs)
    subjects = {**mine, **theirs}
    begun = starts(size, work, threads, None if alone else programs)
    rates, start = repeat(size, rounds, subjects, begun, missing)
    sizes = {dtype: load(folder, dtype=dtype, threads=1).backend.packed.data.size for dtype in native.DTYPES}
    return {
        "size": size,
        "parameters": read(folder).config.parameters,
        "rates": rates,
        "starts": {name: [pair[0] for pair in pairs] for name, pairs in start.items()},
        "memory": {name: [pair[1] for pair in pairs] for name, pairs in start.items()},
        "bytes": sizes,
        "missing": missing,
    }


def repeat(
    size: str,
    rounds: int,
    subjects: dict[str, dict[str, Measure]],
    begun: dict[str, list[str]],
    missing: list[str],
) -> tuple[dict[str, dict[str, list[float]]], dict[str, list[tuple[float, float]]]]:
    """Return the rates by row and subject, and the starts; if it is stopped, of the rounds until then."""
    rates: dict[str, dict[str, list[float]]] = {}
    start: dict[str, list[tuple[float, float]]] = {name: [] for name in begun}
    try:
        for number in range(rounds + 1):
            print(f"{size}: round {number} of {rounds}", file=sys.stderr, flush=True)
            found = once_through(subjects, missing)
            times = {name: first_token(command) for name, command in begun.items()}
            if number > 0:  # the first round fills caches
                for row, values in found.items():
                    for name, value in values.items():
                        rates.setdefault(row, {}).setdefault(name, []).append(value)
                for name, pair in times.items():
                    start[name].append(pair)
    except KeyboardInterrupt:
        if number < 2:
            raise
        missing.append(f"the rounds from {number} on (stopped)")
    return rates, start


def once_through(subjects: dict[str, dict[str, Measure]], missing: list[str]) -> dict[str, dict[str, float]]:
    """One round: row → subject → tokens per second. A peer that fails is left out from then on."""
    found: dict[str, dict[str, float]] = {}
    for row in report.ROWS:
        values = found.setdefault(row.name, {})
        for name in (row.ours, *row.peers):
            if name not in subjects or row.name not in subjects[name]:
                continue
            try:
                values[name] = subjects[name][row.name]()
            except (subprocess.CalledProcessError, OSError, ValueError, KeyError):
                del subjects[name]
                missing.append(f"{name} (failed at {row.name})")
        if row.name.startswith("decode"):
            values["bandwidth"] = subjects[row.ours]["bandwidth"]()
    share = found["generate, default"]
    share["raw"] = subjects["inkfish default"]["decode, int8"]()
    if "inkfish starter" in subjects:
        one = subjects["inkfish starter"]
        found["starter"] = {"generate": one["generate, default"](), "raw": one["decode, int8"]()}
    return found


def main() -> None:
    """Measure, print tables, write files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="gpt2,gpt2-medium")
    parser.add_argument("--threads", type=int, default=native.physical_cores())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="gpt2 alone, three rounds")
    parser.add_argument("--alone", action="store_true", help="leave the peers out")
    parser.add_argument("--llama", type=Path, help="folder of llama.cpp's programs")
    parser.add_argument("--work", type=Path, default=Path("~/.cache/inkfish-bench").expanduser())
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--page", type=Path, action="append", default=[], help="put the tables into a page")
    arguments = parser.parse_args()
    if not native.available():
        sys.exit("the native library was not built")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was measured until then is written
    if arguments.quick:
        arguments.sizes, arguments.rounds = "gpt2", 3
    arguments.work.mkdir(parents=True, exist_ok=True)
    programs = llama.find(arguments.llama)
    results, tables = [], {}
    for size in arguments.sizes.split(","):
        result = measure(
            size, arguments.work, arguments.threads, arguments.rounds, programs, alone=arguments.alone
        )
        results.append(result)
        machine = f"{size}, {arguments.threads} threads"
        table = report.as_table(report.lines(result), machine)
        missing = f"\nMissing: {'; '.join(result['missing'])}.\n" if result["missing"] else ""
        tables[size] = f"{table.rstrip()}\n{missing.rstrip()}".rstrip()
        print(f"{tables[size]}\n", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "isa": native.supported()[-1],
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "machine": platform.processor() or platform.machine(),
        "results": results,
    }
    (arguments.out / "DECODE.json").write_text(json.dumps(facts, indent=1) + "\n")
    (arguments.out / "DECODE.md").write_text("\n\n".join(tables.values()) + "\n")
    for page in arguments.page:
        report.put(page, tables)
    report.plot(results, arguments.out / "DECODE.svg")


if __name__ == "__main__":
    main()
