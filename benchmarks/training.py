"""Training speed and memory beside a loop in nanoGPT's style and Hugging Face's Trainer, as ratios.

    python benchmarks/training.py [--shape starter|gpt2] [--rounds 5] [--steps 2] [--out FILE.json]

All train one shape from random weights on the same random ids in bfloat16 with AdamW and clipping at 1, equal
sequences a step. Each round runs every engine in turn, so that a drift of the machine meets all alike, in a
process of its own that ends before the next begins, so that memory serves one: a step to warm up, then the
timed ones. Ratios are medians of the rounds' ratios. "As users run
it" is Trainer with its defaults: GPT-2's dropout of 0.1, and the system's allocator as it is. "Equal" has our
settings of the allocator, and once 0.1 dropout for both, once none. The peak is that of the fastest of some
bfloat16 matrix products, read in every round. Start-up and logging are outside the timed steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import inkfish.model
from inkfish.config import SIZES, ModelConfig
from inkfish.model import GPT2
from inkfish.recipes.pretrain import OWN_SIZES
from inkfish.training import optimizers
from inkfish.training.batches import Windows, batches
from inkfish.training.measure import peak_memory
from inkfish.training.optimise import optimise
from inkfish.training.resources import cores, keep_freed_memory

Engine = Iterator[None]
"""Takes one step each time it is asked."""
THREADS = os.cpu_count() or 1


def random_ids(config: ModelConfig) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return a stream of ids long enough for every engine."""
    return np.random.default_rng(0).integers(0, config.vocab_size, 400_000).astype(np.uint16)


def ours(config: ModelConfig, batch: int, length: int, *, dropout: float, optimizer: str = "adamw") -> Engine:
    """Our loop as the recipes set it up: without dropout batches side by side, one core each."""
    keep_freed_memory()
    model = GPT2(config, dropout=dropout).train()
    at_once = max(n for n in (1, 2, 4) if n == 1 or (batch % n == 0 and (dropout or batch // n >= THREADS)))
    with cores(THREADS, side_by_side=not dropout and batch > at_once) as workers:
        for _ in optimise(
            model,
            batches(Windows(random_ids(config), length), size=at_once, seed=0),
            optimizers.make(optimizer, model, lr=1e-3, weight_decay=0.1),
            schedule=lambda step: 1.0,
            steps=10**9,
            accumulate=batch // at_once,
            precision="bfloat16",
            workers=workers,
        ):
            yield


def plain_loop(config: ModelConfig, batch: int, length: int) -> Engine:
    """A loop as nanoGPT's train.py has it: threads inside each operation, fused attention, no dropout."""
    keep_freed_memory()
    inkfish.model.trains_in_bfloat16_on_cpu = lambda x: False  # torch's fused attention, as nanoGPT has it
    torch.set_num_threads(THREADS)
    model = GPT2(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    data = random_ids(config)
    while True:
        starts = np.random.default_rng().integers(0, len(data) - length - 1, batch)
        rows = torch.from_numpy(np.stack([data[i : i + length + 1] for i in starts]).astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(rows[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield


def trainer(config: ModelConfig, batch: int, length: int, *, dropout: float, calm: bool) -> Engine:
    """Hugging Face's Trainer with transformers' GPT-2, in a thread of its own that waits before each step."""
    from queue import Queue
    from threading import Thread

    import transformers

    if calm:
        keep_freed_memory()
    go: Queue[None] = Queue()
    done: Queue[None] = Queue()

    class Pause(transformers.TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            go.get()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            done.put(None)

    shape = transformers.GPT2Config(
        **{
            name: getattr(config, name)
            for name in ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")
        },
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        resid_pdrop=dropout,
        bos_token_id=0,
        eos_token_id=0,
    )
    ids = random_ids(config).astype(np.int64)
    rows = [torch.from_numpy(ids[i : i + length]) for i in range(0, 390_000 - length, length)]
    arguments = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(dir=os.environ["BENCHMARK_FOLDER"]),
        per_device_train_batch_size=batch,
        num_train_epochs=10**6,
        max_steps=10**6,
        learning_rate=1e-3,
        bf16=True,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )

    def work() -> None:
        torch.set_num_threads(THREADS)
        transformers.Trainer(
            model=transformers.GPT2LMHeadModel(shape),
            args=arguments,
            train_dataset=[{"input_ids": row, "labels": row} for row in rows],
            callbacks=[Pause()],
        ).train()

    Thread(target=work, daemon=True).start()
    while True:
        go.put(None)
        done.get()
        yield


ENGINES: dict[str, Callable[[ModelConfig, int, int], Engine]] = {
    "inkfish": lambda *shape: ours(*shape, dropout=0.0),
    "inkfish, Muon": lambda *shape: ours(*shape, dropout=0.0, optimizer="muon"),
    "inkfish, dropout": lambda *shape: ours(*shape, dropout=0.1),
    "nanoGPT-style loop": plain_loop,
    "Trainer, equal": lambda *shape: trainer(*shape, dropout=0.0, calm=True),
    "Trainer, equal, dropout": lambda *shape: trainer(*shape, dropout=0.1, calm=True),
    "Trainer, as users run it": lambda *shape: trainer(*shape, dropout=0.1, calm=False),
}
RATIOS = [
    ("inkfish, dropout", "Trainer, as users run it"),
    ("inkfish", "Trainer, as users run it"),
    ("inkfish", "Trainer, equal"),
    ("inkfish, dropout", "Trainer, equal, dropout"),
    ("inkfish", "nanoGPT-style loop"),
]
"""Each first one's tokens a second over the second one's."""


def matrix_peak() -> float:
    """Return the most operations a second of some bfloat16 matrix products, on all cores."""
    torch.set_num_threads(THREADS)
    best = 0.0
    for rows, inner, columns in ((2048, 2048, 2048), (4096, 768, 3072), (4096, 3072, 768)):
        a, b = torch.randn(rows, inner).bfloat16(), torch.randn(inner, columns).bfloat16()
        for _ in range(6):
            began = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2 * rows * inner * columns / (time.perf_counter() - began))
    return best


def operations_a_token(config: ModelConfig, length: int) -> float:
    """Return the operations of forward and backward: 6 a matrix entry, 12·L·C·T for attention (PaLM, B)."""
    embeddings = config.n_positions * config.n_embd
    return 6 * (config.parameters - embeddings) + 12 * config.n_layer * config.n_embd * length


def serve(name: str, config: ModelConfig, batch: int, length: int) -> None:
    """Be one engine's process: for each line "STEPS" answer with seconds and the peak of memory."""
    if name == "peak":
        for _ in sys.stdin:
            print(json.dumps(matrix_peak()), flush=True)
        return
    engine = ENGINES[name](config, batch, length)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            next(engine)
        print(json.dumps([time.perf_counter() - began, peak_memory()]), flush=True)


class Process:
    """One engine in a process of its own."""

    def __init__(self, name: str, options: argparse.Namespace, folder: str) -> None:
        words = ["--serve", name, "--shape", options.shape, "--batch", str(options.batch)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "BENCHMARK_FOLDER": folder},
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *failure: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, steps: int) -> Any:
        """Let it take steps; return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(steps, file=self.process.stdin, flush=True)
        while not (line := self.process.stdout.readline()).startswith(("[", *"0123456789")):
            assert line, "an engine has ended"
        return json.loads(line)


def measure(options: argparse.Namespace, tokens: int, folder: str) -> dict[str, Any]:
    """Return tokens a second of each engine round by round, peaks of memory, and the matrix peak."""
    speeds: dict[str, list[float]] = {name: [] for name in ENGINES}
    memory, peaks = dict.fromkeys(ENGINES, 0), []
    for turn in range(options.rounds):
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)
        for name in ENGINES:
            with Process(name, options, folder) as process:
                process.ask(1)
                seconds, memory[name] = process.ask(options.steps)
                speeds[name].append(options.steps * tokens / seconds)
        with Process("peak", options, folder) as process:
            peaks.append(process.ask(1))
    return {"speeds": speeds, "memory": memory, "matrix_peaks": peaks}


def report(found: dict[str, Any], config: ModelConfig, length: int) -> dict[str, Any]:
    """Print the tables; return everything as one value."""
    speeds, memory = found["speeds"], found["memory"]
    for name, values in speeds.items():
        print(f"{name:26} {statistics.median(values):9,.0f} tokens/s  {memory[name] / 2**30:5.2f} GiB")
    ratios = {
        f"{one} / {other}": statistics.median(a / b for a, b in zip(speeds[one], speeds[other], strict=True))
        for one, other in RATIOS
    }
    for name, ratio in ratios.items():
        print(f"{ratio:5.2f} × {name}")
    peak = statistics.median(found["matrix_peaks"])
    share = statistics.median(speeds["inkfish"]) * operations_a_token(config, length) / peak
    print(f"{share:.0%} of the bfloat16 matrix peak of {peak / 1e12:.2f} Tflop/s, without dropout")
    return found | {"ratios": ratios, "share_of_peak": share}


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=["nano", "starter", "gpt2"], default="starter")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=0, help="sequences a step; 0 is 16, for gpt2 4")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", choices=[*ENGINES, "peak"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    config = OWN_SIZES.get(options.shape) or SIZES[options.shape]
    options.batch = options.batch or (4 if options.shape == "gpt2" else 16)
    length = min(512, config.n_positions)
    if options.serve:
        serve(options.serve, config, options.batch, length)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, options.batch * length, folder)
    print(f"{options.shape}: {options.batch} × {length} tokens a step, {THREADS} threads")
    shape = {"shape": options.shape, "batch": options.batch, "length": length, "threads": THREADS}
    whole = shape | report(found, config, length)
    if options.out:
        options.out.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
