"""Learning from a reward: RLOO beside TRL's RLOOTrainer as a ratio, and PPO with the share of each phase.

    python benchmarks/preferences.py --trl PYTHON [--shape gpt2] [--batch 32] [--epochs 1] [--rounds 3]

PYTHON has TRL installed (`pip install -c constraints.txt trl` into an environment of its own); without it
that row is left out. Both learn in float32 from the same random weights and the same prompts of 64 tokens:
four responses of 24 tokens to each, the log-probabilities of policy and reference, a step on all responses
for each epoch. Dropout and checkpointing are off, the reward costs nothing. Each is a process that waits
while the other one works; a round is one batch of each in turn, after one to warm up, and the ratio is the
median of the rounds' ratios; the one by CPU seconds holds on a busy machine too. PPO's reward is a reward
model of the same shape, its prompts all differ, and it reads its responses four times (Ziegler et al. 2019);
its phases are writing, scoring (policy, reference, reward) and learning, by its own log. Starting, saving and
the first batch are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from inkfish.config import SIZES, ModelConfig
from inkfish.recipes.prefer import learning, optimize
from inkfish.recipes.pretrain import OWN_SIZES
from inkfish.tokenizer import Tokenizer
from inkfish.training.metrics import read_metrics
from inkfish.weights import heads, huggingface

TRL = Path(__file__).parent / "peers" / "rloo_trl.py"
PROMPT, RESPONSE, SAMPLES = 64, 24, 4
PROMPTS = 256
THREADS = os.cpu_count() or 1
PPO_EPOCHS = 4
began = (0.0, 0.0)


def gate(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Tell how long the last batch took, wait to be asked for more, and return a letter's number."""
    global began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([time.perf_counter() - began[0], time.process_time() - began[1], peak]), flush=True)
    if not sys.stdin.readline():
        sys.exit()
    began = time.perf_counter(), time.process_time()
    return [float(text.count("e")) for text in responses]


def prepare(folder: Path, config: ModelConfig) -> None:
    """Write a model of random weights, a reward model of the same shape, and prompts."""
    from peers.prepare import random_checkpoint

    tokenizer = Tokenizer.gpt2()
    tensors = random_checkpoint(config).tensors
    for place in (folder, folder / "reward"):
        huggingface.write(place, config, tensors, tokenizer=tokenizer, eos=tokenizer.end)
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(config.n_embd, np.float32)
    heads.write(folder / "reward", {"reward": {"weight": weight, "bias": np.zeros(1, np.float32)}})
    (folder / "reward" / "reward.json").write_text("{}\n")
    words = [word for i in range(config.vocab_size - 1) if (word := tokenizer.decode([i])).isalpha()]
    words = [f" {word}" for word in words if len(tokenizer.encode(f" {word}")) == 1]
    texts = ["".join(rng.choice(words, PROMPT)) for _ in range(PROMPTS)]
    assert {len(tokenizer.encode(text)) for text in texts} == {PROMPT}, "a prompt has its length"
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def settings(folder: Path, options: argparse.Namespace, **changes: Any) -> learning.Config:
    """Return the settings of a run of ours."""
    batch = options.batch
    given: dict[str, Any] = {
        "model": str(folder),
        "whole": True,
        "query_tokens": PROMPT,
        "tokens": RESPONSE,
        "batch": batch,
        "minibatch": batch,
        "at_once": max(SAMPLES, batch // THREADS),
        "samples": SAMPLES,
        "optimizer": "adam",
        "kl": 0.05,
        "kl_target": 0.0,
        "save_every": 10**6,
        "sample_every": 0,
        "threads": THREADS,
    }
    return learning.Config((folder / "prompts.jsonl",), **(given | changes))


def serve(folder: Path, options: argparse.Namespace) -> None:
    """Learn by RLOO until nobody asks for more."""
    optimize.run(
        settings(
            folder,
            options,
            algorithm="rloo",
            reward="python:__main__:gate",
            episodes=10**6 * options.batch,
            epochs=options.epochs,
            out=folder / "rloo",
        )
    )


class Process:
    """One engine, which waits in its first batch's reward."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE"},
        )
        self.log = log
        self.answer()

    def answer(self) -> list[float]:
        """Return what it says when it waits: seconds by the clock and of CPU, bytes."""
        assert self.process.stdout is not None, "a pipe"
        for line in self.process.stdout:
            if line.startswith("["):
                found: list[float] = json.loads(line)
                return found
        raise SystemExit(f"an engine has ended: {' '.join(self.log.read_text().splitlines()[-1:])}")

    def ask(self) -> list[float]:
        """Let it learn from a batch and write the next; return seconds by the clock and of CPU, bytes."""
        assert self.process.stdin is not None, "a pipe"
        print(file=self.process.stdin, flush=True)
        return self.answer()

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def has_trl(python: str | None) -> bool:
    """Whether there is a TRL; says so where there is none."""
    if python is None:
        print("TRL is left out: name a Python that has it with --trl")
        return False
    wanted = "import trl, datasets; print(trl.__version__)"
    try:
        found = subprocess.run([python, "-c", wanted], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        print(f"TRL is left out: {python} has none")
        return False
    print(f"TRL {found.stdout.strip()}")
    return True


def race(folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Return episodes a second of each engine, round by round, and each one's peak of memory."""
    shape = ["--shape", options.shape, "--batch", str(options.batch), "--epochs", str(options.epochs)]
    commands = {"inkfish": [sys.executable, __file__, "--serve", str(folder), *shape]}
    if has_trl(options.trl):
        numbers = [options.batch, SAMPLES, options.epochs, RESPONSE, THREADS]
        commands["TRL"] = [options.trl, str(TRL), str(folder), *map(str, numbers)]
    engines: dict[str, Process] = {}
    found: dict[str, list[float]] = {}
    try:
        for name, command in commands.items():
            engines[name] = Process(command, folder / f"{name}.log")
            engines[name].ask()
        for turn in range(options.rounds):
            for name, engine in engines.items():
                seconds, cpu, peak = engine.ask()
                found.setdefault(name, []).append(options.batch / seconds)
                found.setdefault(f"{name}, CPU", []).append(options.batch / cpu)
                found[f"{name}, bytes"] = [peak]
                said = f"{options.batch / seconds:.2f} episodes/s, {cpu:.1f} s of CPU"
                print(f"round {turn + 1}: {name} {said}", file=sys.stderr)
    finally:
        for engine in engines.values():
            engine.end()
    return found


def ppo(folder: Path, options: argparse.Namespace) -> list[dict[str, float]]:
    """Return the seconds of each phase of each update of PPO but the first."""
    config = settings(
        folder,
        options,
        algorithm="ppo",
        reward=str(folder / "reward"),
        episodes=(options.rounds + 1) * options.batch,
        epochs=PPO_EPOCHS,
        lr=1e-7,
        out=folder / "ppo",
    )
    if optimize.run(config).stopped is not None:
        raise SystemExit("stopped")
    records = read_metrics(config.out / "metrics.jsonl")[1:]
    return [{name: r[f"seconds/{name}"] for name in ("write", "score", "learn")} for r in records]


def report_rloo(speeds: dict[str, list[float]]) -> None:
    """Print what the race gave."""
    for name in ("inkfish", "TRL"):
        if name in speeds:
            memory = speeds[f"{name}, bytes"][0] / 2**30
            print(f"RLOO, {name}: {median(speeds[name]):.2f} episodes/s, {memory:.1f} GiB at most")
    if "TRL" not in speeds:
        return
    for unit in ("", ", CPU"):
        both = zip(speeds[f"inkfish{unit}"], speeds[f"TRL{unit}"], strict=True)
        ratios = [a / b for a, b in both]
        name = "by the seconds of CPU" if unit else "goal 2"
        print(f"{median(ratios):.2f} × TRL ({min(ratios):.2f} to {max(ratios):.2f}); {name}", flush=True)


def report_ppo(updates: Sequence[dict[str, float]], batch: int) -> None:
    """Print speed and shares of PPO's phases."""
    whole = [sum(phases.values()) for phases in updates]
    shares = {
        name: median(p[name] / total for p, total in zip(updates, whole, strict=True)) for name in updates[0]
    }
    said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    print(f"PPO: {batch / median(whole):.2f} episodes/s ({said})")


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl", metavar="PYTHON", help="a Python that has TRL")
    parser.add_argument("--shape", choices=["gpt2", "starter"], default="gpt2")
    parser.add_argument("--batch", type=int, default=32, help="episodes")
    parser.add_argument("--epochs", type=int, default=1, help="RLOO's passes over a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    if options.serve:
        serve(options.serve, options)
        return
    size = SIZES.get(options.shape) or OWN_SIZES[options.shape]
    config = ModelConfig(n_layer=size.n_layer, n_head=size.n_head, n_embd=size.n_embd)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, config)
        print(f"{options.shape}, batch {options.batch}, {options.epochs} epochs of RLOO, {THREADS} threads")
        speeds = race(folder, options)
        report_rloo(speeds)
        updates = ppo(folder, options)
        report_ppo(updates, options.batch)
    found = {"shape": options.shape, "batch": options.batch, "epochs": options.epochs, "threads": THREADS}
    found |= {"rloo": speeds, "ppo": updates}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
