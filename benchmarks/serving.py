"""Serving next to other servers: tokens a second and time to the first token at 1, 4, 16 and 64 clients.

    python benchmarks/serving.py [--clients 1,4,16,64] [--rounds 3] [--threads 2] [--llama DIR]
                                 [--only NAME,NAME] [--work DIR] [--out DIR] [--page F.md]

All servers run at once and only one is asked at a time, one right after the other in every round, so that a
drifting machine treats them alike; figures are medians over rounds, ratios medians of the ratios within
rounds. All get the same prompts, no two of them alike, and draw the same number of tokens from the 40
likeliest, as streams. The weights are random, of the released model's shape, and as sure of themselves as
trained ones; nobody stops early, and a stream that does not have exactly its tokens, one reason and a text
stops the run. Peers are llama.cpp's llama-server (`peers/llama.py` says where it comes from) and
`transformers serve` of this environment; what is missing is named and left out. The starter is served by the
same process as 124M. Besides, the CPU seconds that a server takes for 1,000 tokens, which a machine that is
busy with other things leaves alone (with one thread: two wait for each other, some by spinning). Results go
to SERVING.json and SERVING.md in --out.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import io
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]

import llama  # noqa: E402  # peers/llama.py
import numpy as np  # noqa: E402
import prepare  # noqa: E402

from inkfish.backends import native  # noqa: E402
from inkfish.config import SIZES  # noqa: E402
from inkfish.tokenizer import Tokenizer  # noqa: E402
from inkfish.weights import huggingface  # noqa: E402
from inkfish.weights.checkpoint import Checkpoint  # noqa: E402

OURS, STARTER = "inkfish int8", "inkfish starter"
LLAMA, TRANSFORMERS = "llama-server q8_0", "transformers serve float32"
SIZE = "gpt2"
PROMPT, WRITTEN, TOP_K = 32, 64, 40
CONTEXT = 256
"""Positions that llama-server reserves for each client: the fewest that it takes."""
AT_ONCE = 64
PATIENCE = 300.0
WORDS = " time year people way day man thing woman life child world school state family student group country"
WORDS += " problem hand part place case week company system program question work government number night"
Streams = Sequence["Stream"]


# ------------------------------------------------------------------------------------------------- weights


def sure(checkpoint: Checkpoint) -> Checkpoint:
    """Random weights whose next token is as uncertain as a trained model's, and seldom the last one again.

    As they come, random weights predict the token that was just read, and all others alike: larger layers
    outweigh its embedding, and a larger last gain spreads the logits (standard deviation 2.5).
    """
    factors = {name: 8.0 for name in checkpoint.tensors if name.endswith(("c_proj.weight", "c_attn.weight"))}
    factors["ln_f.weight"] = 4.5
    tensors = {
        name: tensor * np.float32(factors.get(name, 1.0)) for name, tensor in checkpoint.tensors.items()
    }
    return replace(checkpoint, tensors=tensors)


def model_folder(work: Path) -> Path:
    """The model as a Hugging Face folder; no token ends a text."""

    def make(target: Path) -> None:
        checkpoint = sure(prepare.random_checkpoint(SIZES[SIZE]))
        huggingface.write(target, checkpoint.config, checkpoint.tensors, tokenizer=Tokenizer.gpt2(), eos=None)

    return prepare.once(work / f"{SIZE}-serving", make)


def gguf_file(work: Path, quantiser: str, threads: int) -> Path:
    """The model as llama.cpp's q8_0."""
    from inkfish.weights import read
    from inkfish.weights.export_gguf import to_gguf

    folder = model_folder(work)

    def make(target: Path) -> None:
        exact = target.with_suffix(".f32")
        to_gguf(read(folder), Tokenizer.load(folder), exact, name=SIZE, dtype="float32")
        llama.quantise({"llama-quantize": quantiser}, exact, target, "q8_0", threads)
        exact.unlink()

    return prepare.once(work / f"{SIZE}-serving-q8_0.gguf", make)


# ------------------------------------------------------------------------------------------------- servers


@dataclass
class Server:
    """A server in a process of its own."""

    name: str
    command: Sequence[str]
    """PORT stands for the port."""
    model: str
    """As its requests call it."""
    extra: Mapping[str, Any]
    """Fields of its requests besides prompt, max_tokens and stream: how tokens are drawn."""
    ready: str
    """Address that answers with 200 once requests are served."""
    most: int = 64
    """Clients beyond which it is left out."""
    port: int = field(default_factory=lambda: free_port())
    environment: Mapping[str, str] = field(default_factory=dict)
    process: int = 0
    """Its number, once it runs."""

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and wait until it is ready.

        Raises:
            OSError: it ended, or is not ready in time.
        """
        command = [word.replace("PORT", str(self.port)) for word in self.command]
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
        )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise OSError(f"does not start: {' '.join(command)}")
            time.sleep(0.1)
        return process

    def used(self) -> float:
        """CPU seconds that it has taken so far, on all its threads."""
        after = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(after[11]) + int(after[12])) / os.sysconf("SC_CLK_TCK")

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.ready}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def body(self, prompt: str) -> dict[str, Any]:
        """A request."""
        return {"model": self.model, "prompt": prompt, "max_tokens": WRITTEN, "stream": True, **self.extra}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def servers(work: Path, folder: Path | None, threads: int) -> tuple[list[Server], list[str]]:
    """All servers, and what is missing of them."""
    model, missing = str(model_folder(work)), []
    drawn: dict[str, Any] = {"temperature": 1.0, "top_k": TOP_K, "top_p": 1.0, "ignore_eos": True}
    drawn["stream_options"] = {"include_usage": True}
    command = [sys.executable, "-m", "inkfish", "serve", model, "starter", "--port", "PORT"]
    command += ["--threads", str(threads), "--slots", str(AT_ONCE), "--dtype", "int8"]
    found = [
        Server(OURS, command, Path(model).name, drawn, "/ready"),
        Server(STARTER, command, "starter", drawn, "/ready"),
    ]
    found[1].port = found[0].port
    path = None if folder is None else str(folder)
    programs = [shutil.which(name, path=path) for name in ("llama-server", "llama-quantize")]
    if programs[0] and programs[1]:
        file = str(gguf_file(work, programs[1], threads))
        found.append(llama_server(programs[0], file, threads, drawn))
    else:
        missing.append(f"{LLAMA} (no llama-server: see peers/llama.py)")
    script = shutil.which("transformers", path=str(Path(sys.executable).parent))
    if script is not None:
        found.append(transformers_server(script, model, threads))
    else:
        missing.append(f"{TRANSFORMERS} (not installed: the extra [bench])")
    return found, missing


def llama_server(program: str, file: str, threads: int, drawn: Mapping[str, Any]) -> Server:
    """llama.cpp's server with as many slots as there are clients, and nothing that it would not need."""
    command = [program, "-m", file, "--port", "PORT", "-t", str(threads), "-np", str(AT_ONCE)]
    command += ["-c", str(CONTEXT * AT_ONCE), "--no-ui", "--threads-http", "4", "--cache-ram", "0"]
    extra = {**drawn, "min_p": 0.0, "samplers": ["top_k", "temperature"]}
    return Server(LLAMA, command, SIZE, {**extra, "cache_prompt": False}, "/health")


def transformers_server(script: str, model: str, threads: int) -> Server:
    """The server of transformers, which writes one text after the other: more clients only wait longer."""
    drawn = {"do_sample": True, "top_k": TOP_K, "max_new_tokens": WRITTEN, "pad_token_id": 0}
    environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    extra = {"generation_config": json.dumps(drawn)}
    command = [script, "serve", model, "--port", "PORT", "--host", "127.0.0.1", "--device", "cpu"]
    return Server(TRANSFORMERS, command, model, extra, "/health", environment=environment, most=4)


# ------------------------------------------------------------------------------------------------- clients


class Stream(asyncio.Protocol):
    """One request over a connection of its own; what comes is only kept, and read when all is over."""

    def __init__(self, port: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.request = head.encode() + content
        self.parts: list[bytes] = []
        self.began = self.first = self.ended = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport), "TCP"
        self.began = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Keep what comes, and the time of the first event."""
        if not self.first and b"data:" in data:
            self.first = time.perf_counter()
        self.parts.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.ended = time.perf_counter()
        self.done.set_result(None)

    def check(self) -> None:
        """Count what came.

        Raises:
            ValueError: the stream is not whole.
        """
        answer = http.client.HTTPResponse(Answered(b"".join(self.parts)))  # type: ignore[arg-type]
        answer.begin()
        text = answer.read().decode()
        events = [json.loads(line[5:]) for line in text.splitlines() if line[:6] in ("data: ", "data:{")
                  and "[DONE]" not in line]  # fmt: skip
        choices = [choice for event in events for choice in event.get("choices") or ()]
        written = "".join(choice.get("text") or "" for choice in choices)
        reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
        counts = [event["usage"]["completion_tokens"] for event in events if event.get("usage")]
        if answer.status != 200 or reasons != ["length"] or counts[-1:] != [WRITTEN] or not written:
            raise ValueError(f"status {answer.status}, reasons {reasons}, tokens {counts}: {text[:300]}")


class Answered(io.BytesIO):
    """Bytes as http.client takes them: a socket that has received them."""

    def makefile(self, _mode: str) -> io.BytesIO:
        """Return what is read."""
        return self


class Figures(NamedTuple):
    """What one server did for so many clients in one round."""

    rate: float
    """Tokens a second of all of them, from the first request to the last token."""
    first: float
    """Seconds to the first token, median of the clients."""
    used: float
    """CPU seconds of the server for 1,000 tokens."""


def prompts(round_number: int, clients: int, times: int) -> list[list[str]]:
    """Texts of so many tokens for each client, no two alike."""
    words = WORDS.split()
    chance = random.Random(round_number * 1000 + clients)
    return [["The " + " ".join(chance.choices(words, k=PROMPT - 1)) for _ in range(times)]
            for _ in range(clients)]  # fmt: skip


async def one_client(server: Server, texts: Sequence[str]) -> list[Stream]:
    """Ask one thing after the other."""
    loop, streams = asyncio.get_running_loop(), []
    for text in texts:
        body = server.body(text)
        _, stream = await loop.create_connection(
            lambda body=body: Stream(server.port, body), "127.0.0.1", server.port
        )
        await stream.done
        streams.append(stream)
    return streams


async def clients_at_once(server: Server, texts: Sequence[Sequence[str]]) -> Figures:
    """Let so many clients ask, and check what each of them got."""
    used = server.used()
    everybody = await asyncio.gather(*(one_client(server, each) for each in texts))
    streams = [stream for each in everybody for stream in each]
    for stream in streams:
        stream.check()
    seconds = max(stream.ended for stream in streams) - min(stream.began for stream in streams)
    first = statistics.median(stream.first - stream.began for stream in streams)
    tokens = len(streams) * WRITTEN
    return Figures(tokens / seconds, first, (server.used() - used) / tokens * 1000)


# -------------------------------------------------------------------------------------------------- rounds

Results = dict[int, dict[str, list[Figures]]]
"""Clients → server → figures of the rounds."""


def measure(found: Sequence[Server], clients: Sequence[int], rounds: int) -> Results:
    """Ask all servers round after round, until it is stopped; a first one warms up and does not count."""
    results: Results = {number: {server.name: [] for server in found} for number in clients}
    try:
        for round_number in range(rounds + 1):
            for number in clients if round_number else (1,):
                ask_all([server for server in found if number <= server.most], number, round_number, results)
    except KeyboardInterrupt:
        print("stopped; what was measured counts", file=sys.stderr)
    return results


def ask_all(found: Sequence[Server], number: int, round_number: int, results: Results) -> None:
    """Ask each server the same with so many clients, and note the figures."""
    texts = prompts(round_number, number, max(1, 2 // number))
    for server in found:
        figures = asyncio.run(clients_at_once(server, texts))
        said = (
            f"{figures.rate:8,.0f} tok/s, first after {figures.first * 1000:6,.0f} ms, {figures.used:.2f} s"
        )
        name = f"{number:2} clients, {server.name:28}"
        print(f"round {round_number}, {name} {said}", file=sys.stderr, flush=True)
        if round_number:
            results[number][server.name].append(figures)


def as_cell(rounds: Sequence[Figures]) -> str:
    """Medians over the rounds."""
    if not rounds:
        return "–"
    rate = statistics.median(figures.rate for figures in rounds)
    first = statistics.median(figures.first for figures in rounds)
    used = statistics.median(figures.used for figures in rounds)
    return f"{rate:,.0f} tok/s, {first * 1000:,.0f} ms, {used:.2f} s"


def table(results: Results, threads: int) -> str:
    """The results in Markdown: rows of clients, columns of servers, and our ratios to the best peer."""
    names = list(next(iter(results.values())))
    peers = [name for name in names if name not in (OURS, STARTER)]
    head = [f"clients ({threads} threads)", *names, "ratio to the best of the others", "of CPU seconds"]
    rows = []
    for clients, by_server in results.items():
        theirs = [by_server[peer] for peer in peers if by_server[peer]]
        whole = [*zip(by_server.get(OURS, []), *theirs, strict=False)]  # a last round may be cut off
        rates = [mine.rate / max(other.rate for other in others) for mine, *others in whole if others]
        costs = [min(other.used for other in others) / mine.used for mine, *others in whole if others]
        ratios = [f"{statistics.median(ratio):.2f}" if ratio else "–" for ratio in (rates, costs)]
        rows.append([str(clients), *(as_cell(by_server[name]) for name in names), *ratios])
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def main() -> None:
    """Start servers, ask them, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", default="1,4,16,64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=native.physical_cores())
    parser.add_argument("--llama", type=Path, help="folder of llama.cpp's programs")
    parser.add_argument("--only", help="names of servers, by commas")
    parser.add_argument("--work", type=Path, default=Path("~/.cache/inkfish-bench").expanduser())
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was measured until then is written
    arguments.work.mkdir(parents=True, exist_ok=True)
    found, missing = servers(arguments.work, arguments.llama, arguments.threads)
    if arguments.only:
        missing += [server.name for server in found if server.name not in arguments.only.split(",")]
        found = [server for server in found if server.name in arguments.only.split(",")]
    with ExitStack() as stack:
        running: dict[int, int] = {}
        for server in [*found]:
            if server.port not in running:
                try:
                    process = server.start()
                except OSError as error:
                    found.remove(server)
                    missing.append(f"{server.name} ({error})")
                    continue
                running[server.port] = process.pid
                stack.callback(process.wait)
                stack.callback(process.terminate)
            server.process = running[server.port]
        results = measure(found, [int(number) for number in arguments.clients.split(",")], arguments.rounds)
    text = table(results, arguments.threads)
    text += f"\nMissing: {'; '.join(missing)}.\n" if missing else ""
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = {"threads": arguments.threads, "prompt": PROMPT, "written": WRITTEN, "results": results}
    (arguments.out / "SERVING.json").write_text(json.dumps(facts | {"missing": missing}, indent=1) + "\n")
    (arguments.out / "SERVING.md").write_text(text)


if __name__ == "__main__":
    main()
