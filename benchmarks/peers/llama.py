r"""llama.cpp by its own programs: llama-bench and others for writing, llama-server for `serving.py`.

They come from llama.cpp's source, such as the one inside llama-cpp-python's sdist:

    pip download --no-deps --no-binary :all: llama-cpp-python && tar xf llama_cpp_python-*.tar.gz
    cmake -S llama_cpp_python-*/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
        -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DBUILD_SHARED_LIBS=OFF -DLLAMA_USE_PREBUILT_UI=OFF
    cmake --build build -j2 --target llama-bench llama-batched-bench llama-completion llama-quantize
    cmake --build build -j2 --target llama-server

GCC 12 drops the stores before `_tile_loadconfig(&tc)` in ggml-cpu/amx/mmq.cpp, and quantised models then
crash on processors with AMX: put `__asm__ volatile("" :: "r"(&tc) : "memory");` before that line.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

__all__ = ["TYPES", "batched", "completion", "decode", "find", "prompt", "quantise"]

TYPES = {"f32": "F32", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
PROGRAMS = ("llama-bench", "llama-batched-bench", "llama-completion", "llama-quantize")


def find(folder: Path | None) -> dict[str, str] | None:
    """Return where the programs are, in the folder or on the path; None where one is missing."""
    places = {name: shutil.which(name, path=str(folder) if folder else None) for name in PROGRAMS}
    found = {name: place for name, place in places.items() if place}
    return found if len(found) == len(PROGRAMS) else None


def quantise(programs: dict[str, str], source: Path, target: Path, kind: str, threads: int) -> None:
    """Write a GGUF file of another type."""
    command = [programs["llama-quantize"], source, target, TYPES[kind], str(threads)]
    subprocess.run(command, check=True, capture_output=True)


def bench(programs: dict[str, str], model: Path, threads: int, *options: str) -> float:
    """One run of llama-bench after its warm-up: tokens per second."""
    command = [programs["llama-bench"], "-m", model, "-t", str(threads), "-r", "1", "-o", "json", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (row,) = json.loads(done.stdout)
    return float(row["avg_ts"])


def decode(programs: dict[str, str], model: Path, threads: int, steps: int) -> float:
    """Tokens per second of one sequence from an empty context."""
    return bench(programs, model, threads, "-p", "0", "-n", str(steps))


def prompt(programs: dict[str, str], model: Path, threads: int, length: int) -> float:
    """Prompt tokens per second."""
    return bench(programs, model, threads, "-p", str(length), "-n", "0")


def batched(programs: dict[str, str], model: Path, threads: int, batch: int, steps: int) -> float:
    """Tokens per second of a batch, each sequence after one token."""
    room = str(max(512, batch * (steps + 2)))
    command = [programs["llama-batched-bench"], "-m", model, "-t", str(threads), "-c", room, "-npp", "1"]
    command += ["-ntg", str(steps), "-npl", str(batch), "--output-format", "jsonl"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return float(row["speed_tg"])


def completion(programs: dict[str, str], model: Path, threads: int) -> list[str]:
    """The command that loads a model and writes one token."""
    command = [programs["llama-completion"], "-m", str(model), "-t", str(threads), "-n", "1"]
    return [*command, "-p", "Once upon a time", "--no-conversation", "-c", "1024", "--no-warmup"]
