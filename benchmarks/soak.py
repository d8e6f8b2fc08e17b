"""Mixed load on `inkfish serve`: texts, streams, clients that go away, nonsense; memory must stay flat.

python benchmarks/soak.py --minutes 30

Prints memory (the least of each half minute, for what is in flight comes and goes), open files and threads
of the server, and at the end what was answered. Fails if anything was a 5xx, or if memory grew by more than
1 MiB in 10 minutes once the server was warm: in the first third it fills what it keeps on purpose, such as
caches of 32 sequences and pools for as many as run at once. A machine that has less and less time for the
server makes more run at once, and memory grow.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from statistics import median

import httpx

CLIENTS = 24
WARM = 1 / 3
"""Share of the time after which memory must be flat."""
ALLOWED = 1 << 20
TEN_MINUTES = 600.0


def memory_of(process: int) -> tuple[int, int, int]:
    """Return resident bytes, open files and threads of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    found = {
        name: int(re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)[1]) for name in ("VmRSS", "Threads")
    }
    return found["VmRSS"] * 1024, len(list(Path(f"/proc/{process}/fd").iterdir())), found["Threads"]


async def client(url: str, until: float, chance: random.Random, answers: Counter[str]) -> None:
    """Ask one thing after the other, some of them to the end."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        while time.monotonic() < until:
            prompt = f"Once {chance.random()}"
            body = {"model": "starter", "prompt": prompt, "max_tokens": chance.randint(1, 80)}
            kind = chance.choice(["whole", "stream", "leave", "leave early", "nonsense", "score", "chat"])
            match kind:
                case "whole":
                    answer = await http.post("/v1/completions", json=body | {"n": chance.randint(1, 3)})
                case "nonsense":
                    answer = await http.post("/v1/completions", json=body | {"temperature": "hot"})
                case "score":
                    answer = await http.post("/score", json={"text": prompt * 20, "top": 3})
                case "chat":
                    talk = {"model": "starter", "messages": [{"role": "user", "content": prompt}]}
                    answer = await http.post("/v1/chat/completions", json=talk)
                case _:
                    answers[await streamed(http, body, kind, chance)] += 1
                    continue
            answers[f"{kind} {answer.status_code}"] += 1


async def streamed(http: httpx.AsyncClient, body: dict[str, object], kind: str, chance: random.Random) -> str:
    """Read a stream to its end, or leave on the way."""
    if kind == "leave early":
        with suppress(httpx.TimeoutException):
            await http.post("/v1/completions", json=body | {"max_tokens": 400}, timeout=chance.random() / 5)
        return kind
    async with http.stream("POST", "/v1/completions", json=body | {"stream": True}) as stream:
        lines = 0
        async for _ in stream.aiter_lines():
            lines += 1
            if kind == "leave" and lines > 5:
                break
    return f"{kind} {stream.status_code}"


async def load(url: str, process: int, seconds: float) -> tuple[Counter[str], list[tuple[float, int]]]:
    """Load the server; return what was answered, and its memory over time."""
    answers: Counter[str] = Counter()
    sizes: list[tuple[float, int]] = []
    began = time.monotonic()

    async def watch() -> None:
        while True:
            found = []
            for _ in range(30):
                found.append(memory_of(process))
                await asyncio.sleep(1)
            size, files, threads = min(found)
            sizes.append((time.monotonic() - began, size))
            seen = f"{size / 2**20:7.1f} MiB  {files} files  {threads} threads"
            print(f"{sizes[-1][0]:6.0f} s  {seen}  {answers.total()} answers", flush=True)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(client(url, began + seconds, random.Random(i), answers) for i in range(CLIENTS)))
    watcher.cancel()
    return answers, sizes


def growth(sizes: list[tuple[float, int]]) -> float:
    """Return by how many bytes memory grows in ten minutes once the server is warm.

    The median of the slopes between all pairs of measurements (Sen 1968), which a single step up or down, as
    when the allocator takes or gives back a page of caches, does not move.
    """
    warm = [(t, size) for t, size in sizes if t >= sizes[-1][0] * WARM]
    slopes = [(b - a) / (u - t) for (t, a), (u, b) in combinations(warm, 2)]
    return TEN_MINUTES * median(slopes) if slopes else 0.0


def main() -> int:
    """Start a server, load it, say what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args().minutes
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "inkfish", "serve", "--port", str(port)]
    with subprocess.Popen(command) as server:
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=url, trust_env=False) as http:
                for _ in range(600):
                    with suppress(httpx.TransportError):
                        if http.get("/ready").status_code == 200:
                            break
                    time.sleep(0.1)
            answers, sizes = asyncio.run(load(url, server.pid, minutes * 60))
        finally:
            server.terminate()
        ended = server.wait(60)
    for kind, count in sorted(answers.items()):
        print(f"{count:8,} {kind}")
    faults = sum(count for kind, count in answers.items() if kind.split()[-1].startswith("5"))
    slope = growth(sizes)
    print(f"{faults} of 5xx; {slope / 2**20:+.2f} MiB in ten minutes; exit code {ended}")
    return int(faults > 0 or ended != 0 or slope > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
