"""What a GPU gives: decoding next to transformers' generate and to the memory's bandwidth, and training.

    python benchmarks/gpu.py [--parts decode,batch,bandwidth,training] [--device cuda] [--minutes 9]
                             [--out F.json]

Needs torch and numpy; transformers is measured where it is installed. Weights are random, of released shapes.
What has been measured is printed and written at once, so a run that is cut short is not lost; a part that
fails says so and the others go on; no part is begun after --minutes. With --device cpu --size tiny all of it
runs anywhere, as a check of the benchmark itself.

    decode      batch 1: the back end's steps, the engine greedy and sampled, transformers' generate
    batch       the same with 256 sequences
    bandwidth   1558M, batch 1: bytes of weights a second as a share of what the memory gives; as is, compiled
    training    124M, sequences of 1,024 tokens, bfloat16: tokens a second, operations as a share of the peak

Each figure is the median of rounds that take turns with their peer's. Operations of training are 6 for each
parameter and token and 12 · layers · channels · length for attention (Chowdhery et al. 2022, appendix B).
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inkfish.backends.torch import TorchBackend
from inkfish.backends.torch import load as load_torch
from inkfish.config import SIZES, ModelConfig
from inkfish.engine import Engine, Request
from inkfish.model import GPT2
from inkfish.sampling import Sampling
from inkfish.training import optimizers
from inkfish.training.batches import Windows, batches
from inkfish.training.optimise import optimise

TINY = ModelConfig(n_layer=2, n_head=2, n_embd=64, n_positions=256, vocab_size=300)
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "4090": 165e12}
"""Dense bfloat16 operations a second that the makers name."""
PROMPT = 32
Row = dict[str, Any]


@functools.cache
def weights(config: ModelConfig) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Weights as a model has them before training."""
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
        + np.float32(name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")))
        for name, shape in config.tensor_shapes().items()
    }


def wait() -> None:
    """Let the GPU finish."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(run: Callable[[], object]) -> float:
    """Return how long a call takes."""
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def turns(runs: dict[str, Callable[[], object]], tokens: int, rounds: int) -> dict[str, float]:
    """Return tokens per second of each, taking turns; a first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            value = tokens / seconds(run)
            if number:
                found[name].append(value)
    return {name: float(np.median(values)) for name, values in found.items()}


def prompts(config: ModelConfig, count: int) -> list[list[int]]:
    """Random ids."""
    return np.random.default_rng(1).integers(0, config.vocab_size, (count, PROMPT)).tolist()


def steps(backend: TorchBackend, given: Sequence[Sequence[int]], tokens: int) -> None:
    """Decode without choosing: what the back end alone takes."""
    slots = [backend.allocate() for _ in given]
    for slot, ids in zip(slots, given, strict=True):
        backend.prefill(slot, ids)
    for _ in range(tokens):
        backend.decode_top(slots, [5] * len(slots), k=min(128, backend.config.vocab_size))
    for slot in slots:
        backend.free(slot)


def write(backend: TorchBackend, given: Sequence[Sequence[int]], tokens: int, sampling: Sampling) -> None:
    """Write texts through the engine."""
    engine = Engine(backend, slots=len(given), chunk=PROMPT * len(given))
    for _ in engine.run(Request(ids, tokens, sampling, seed=n) for n, ids in enumerate(given)):
        pass


def peer(config: ModelConfig, tensors: dict[str, Any], device: str, dtype: torch.dtype) -> Any:
    """Return transformers' model with the same weights; None where it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        return None
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = {
        name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")
    }
    model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=None, pad_token_id=0))
    model.transformer.load_state_dict(
        {name: torch.from_numpy(t) for name, t in tensors.items()}, strict=False
    )
    return model.to(device=device, dtype=dtype).eval()


def generate(model: Any, given: Sequence[Sequence[int]], tokens: int, device: str, **settings: Any) -> None:
    """Write texts with transformers."""
    ids = torch.tensor(given, device=device)
    with torch.inference_mode():
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            pad_token_id=0,
            **settings,
        )


def decoding(config: ModelConfig, device: str, batch: int, tokens: int, rounds: int) -> Row:
    """Ours and transformers' tokens per second, with the ratios to theirs."""
    tensors, given = weights(config), prompts(config, batch)
    backend = load_torch(config, tensors, dtype="bfloat16", device=device)
    theirs = peer(config, tensors, device, torch.bfloat16)
    sampled = Sampling(temperature=0.8, top_p=0.95)
    runs: dict[str, Callable[[], object]] = {
        "steps": lambda: steps(backend, given, tokens),
        "engine greedy": lambda: write(backend, given, tokens, Sampling(temperature=0)),
        "engine sampled": lambda: write(backend, given, tokens, sampled),
    }
    if theirs is not None:
        runs["transformers greedy"] = lambda: generate(theirs, given, tokens, device, do_sample=False)
        runs["transformers sampled"] = lambda: generate(
            theirs, given, tokens, device, do_sample=True, temperature=0.8, top_p=0.95, top_k=0
        )
    row: Row = dict(turns(runs, batch * tokens, rounds))
    for kind in ("greedy", "sampled"):
        if f"transformers {kind}" in row:
            row[f"ratio {kind}"] = row[f"engine {kind}"] / row[f"transformers {kind}"]
    return row


def memory_bandwidth(device: str) -> float:
    """Bytes per second that a sum over a large buffer reads."""
    size = 1 << (31 if device == "cuda" else 26)
    data = torch.ones(size // 2, dtype=torch.bfloat16, device=device)
    data.sum()
    return size / float(np.median([seconds(lambda: data.sum()) for _ in range(9)]))


def bandwidth(config: ModelConfig, device: str, tokens: int, rounds: int, *, compiled: bool) -> Row:
    """Bytes of weights that decoding reads in a second, next to what the memory gives."""
    backend = load_torch(config, weights(config), dtype="bfloat16", device=device, compiled=compiled)
    size = sum(p.numel() * p.element_size() for p in backend.model.parameters())
    size -= config.n_positions * config.n_embd * 2  # of these one row is read
    given = prompts(config, 1)
    speed = turns({"steps": lambda: steps(backend, given, tokens)}, tokens, rounds)["steps"]
    rate = memory_bandwidth(device)
    return {"tokens per second": speed, "memory bytes per second": rate, "share": speed * size / rate}


def training(config: ModelConfig, device: str, batch: int, length: int, count: int, *, compiled: bool) -> Row:
    """Tokens per second of the training loop, and their share of the peak."""
    model = GPT2(config).to(device).train()
    optimizer = optimizers.make("adamw", model, lr=1e-4, weight_decay=0.1)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, 40 * batch * length).astype(np.uint16)
    if compiled:
        model.hidden = torch.compile(model.hidden)  # type: ignore[method-assign]
    run: Iterator[Any] = optimise(
        model,
        batches(Windows(ids, length), size=batch, seed=0),
        optimizer,
        schedule=lambda step: 1.0,
        steps=10**9,
        precision="bfloat16",
    )
    for _ in range(3):
        next(run)
    speed = batch * length / float(np.median([seconds(lambda: next(run)) for _ in range(count)]))
    flops = 6 * sum(p.numel() for p in model.parameters()) + 12 * config.n_layer * config.n_embd * length
    row: Row = {"tokens per second": speed, "operations per second": speed * flops}
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    return row if peak is None else {**row, "share of peak": speed * flops / peak}


def plan(parts: Sequence[str], device: str, *, tiny: bool) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The measurements in the order of their worth."""
    small, large = (TINY, TINY) if tiny else (SIZES["gpt2"], SIZES["gpt2-xl"])
    tokens, many, batch, length = (8, 5, 2, 64) if tiny else (128, 256, 16, 1024)
    if "decode" in parts:
        yield "124M, batch 1", lambda: decoding(small, device, 1, tokens, 3)
    if "batch" in parts:
        yield f"124M, batch {many}", lambda: decoding(small, device, many, tokens // 2, 2)
    if "bandwidth" in parts:
        yield "1558M, batch 1", lambda: bandwidth(large, device, tokens // 2, 3, compiled=False)
    if "training" in parts:
        yield "training 124M", lambda: training(small, device, batch, length, 9, compiled=False)
        yield "training 124M, compiled", lambda: training(small, device, batch, length, 9, compiled=True)
    if "bandwidth" in parts:
        yield "1558M, batch 1, compiled", lambda: bandwidth(large, device, tokens // 2, 3, compiled=True)


def show(name: str, row: Row) -> None:
    """Print a row."""
    print(name)
    for key, value in row.items():
        print(f"    {key:28}" + (f"{value:16,.3f}" if isinstance(value, float) else f"  {value}"), flush=True)


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="decode,batch,bandwidth,training")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=["released", "tiny"], default="released")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    result: Row = {"device": name, "torch": torch.__version__, "rows": {}}
    print(name, torch.__version__)
    start = time.perf_counter()
    for title, run in plan(arguments.parts.split(","), arguments.device, tiny=arguments.size == "tiny"):
        if time.perf_counter() - start > 60 * arguments.minutes:
            row: Row = {"left out": "no time"}
        else:
            try:
                row = run()
            except Exception:  # the others are worth having
                row = {"failed": traceback.format_exc(limit=4)}
            if arguments.device == "cuda":
                torch.cuda.empty_cache()
        result["rows"][title] = row
        show(title, row)
        if arguments.out:
            arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
