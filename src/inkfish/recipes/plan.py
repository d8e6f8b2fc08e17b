"""What a run is going to do, before it does it: texts, steps, measured time, memory, and advice."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace

import torch

from inkfish.heads import ScalarHead, with_heads
from inkfish.model import GPT2
from inkfish.recipes.corpus import Corpus
from inkfish.recipes.display import describe_shape
from inkfish.recipes.settings import Training
from inkfish.training.batches import Source, batches
from inkfish.training.loss import language_loss
from inkfish.training.measure import duration, peak_memory
from inkfish.training.memory import Load, fitting, load_of, remedies
from inkfish.training.optimise import Count, Loss, accumulated_loss, learned_tokens

__all__ = ["Plan", "load_for", "make_plan", "memory_line", "memory_needed", "probe", "timed", "too_much"]

PROBES = 2
"""Batches that are computed before the start to see how long one takes; the first is not counted."""
LITTLE, PLENTY = 100_000, 3_000_000
"""Tokens below which a model soon knows a text by heart, and above which reading it once or twice does."""
GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """What a run is going to do."""

    texts: tuple[str, ...]
    """Files, documents and words, and what was left out, a line each."""
    model: str
    """Its shape."""
    trained: int
    """Numbers that are trained."""
    tokens: int
    """Tokens that an epoch reads."""
    held_out: int
    """Tokens that are held out."""
    steps: int
    """Steps of the run."""
    tokens_a_step: int
    """Tokens that a step reads."""
    seconds_an_epoch: float | None
    """As measured on this machine, one batch at a time; None where the model is not here."""
    memory: int
    """Bytes that this process takes at its fullest moment, on the device that trains."""
    available: int | None
    """Bytes that are there for it; None where that can't be told."""
    advice: tuple[str, ...]
    """What would suit better, a line each."""

    def lines(self) -> list[str]:
        """Return the plan for people."""
        epochs = self.steps * self.tokens_a_step / self.tokens
        found = [
            *self.texts,
            f"{self.model}: {self.trained:,} parameters are trained",
            f"{self.tokens:,} tokens an epoch; {self.steps:,} steps of {self.tokens_a_step:,} tokens "
            f"read them {epochs:.1f} times",
        ]
        if self.seconds_an_epoch is not None:
            whole = duration(self.seconds_an_epoch * epochs)
            each = duration(self.seconds_an_epoch)
            found.append(f"about {each} an epoch, {whole} altogether, measured one batch at a time")
        found.append(memory_needed(self.memory, self.available))
        if not self.held_out:
            found.append("the text is too short to hold any out: no validation")
        return [*found, *self.advice]

    def as_json(self) -> bytes:
        """Return the plan for programs, as `plan.json` in the run folder has it."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def make_plan(config: Training, load: Load, corpus: Corpus, *, available: int | None) -> Plan:
    """Return the plan of a run, before its model is made.

    Args:
        config: with everything filled in.
        load: what the run puts into memory.
        corpus: the texts.
        available: bytes of memory that are there.
    """
    assert config.steps is not None, "the number of steps is filled in"
    assert config.sequence is not None, "the length of a sequence is filled in"
    tokens = len(corpus.train.ids)
    advice = [*advice_on_length(config, tokens), *memory_line(load, available)]
    return Plan(
        texts=corpus.notes,
        model=describe_shape(load.shape),
        trained=load.trained,
        tokens=tokens,
        held_out=sum(len(store.ids) for _, store in corpus.held),
        steps=config.steps,
        tokens_a_step=config.batch * config.sequence,
        seconds_an_epoch=None,
        memory=load.total + (peak_memory() if config.device == "cpu" else 0),
        available=available,
        advice=tuple(advice),
    )


def timed(plan: Plan, config: Training, seconds: float) -> Plan:
    """Return the plan with the time that it takes, where a batch takes so many seconds."""
    assert config.sequence is not None, "the length of a sequence is filled in"
    return replace(plan, seconds_an_epoch=seconds * plan.tokens / config.sequence / config.sequences_at_once)


def advice_on_length(config: Training, tokens: int) -> list[str]:
    """Return a line where the texts are read much more often than does them good."""
    assert config.steps is not None, "the number of steps is filled in"
    assert config.sequence is not None, "the length of a sequence is filled in"
    epochs = config.steps * config.batch * config.sequence / tokens
    good = 10 if tokens < LITTLE else 6 if tokens < PLENTY else 2
    if epochs < good + 0.5:
        return []
    steps = max(1, round(good * tokens / config.batch / config.sequence))
    return [
        f"so often, and a model copies: of so much text {good} times are enough, which is --steps {steps}"
    ]


def load_for(config: Training, model: GPT2, *, rank: int = 0) -> Load:
    """Return what a run puts into memory.

    Args:
        config: with everything filled in.
        model: what is trained wants a gradient; it may be a sketch without numbers.
        rank: of LoRA's updates.
    """
    assert config.sequence is not None, "the length of a sequence is filled in"
    load = Load(
        model.config,
        config.sequence,
        config.sequences_at_once,
        groups=config.batch // config.sequences_at_once,
        workers=(config.threads or torch.get_num_threads()) if config.side_by_side else 1,
        optimizer=config.optimizer,
        bfloat16=config.precision == "bfloat16",
        checkpointing=config.checkpointing,
        dropout=config.dropout > 0,
        device=config.device,
        rank=rank,
    )
    return load_of(model, load)


def memory_needed(memory: int, available: int | None) -> str:
    """Return a line about the bytes that training takes, and those that are there."""
    there = "" if available is None else f"; {available / GIB:.1f} GiB are free"
    return f"memory about {memory / GIB:.1f} GiB{there}"


def memory_line(load: Load, available: int | None) -> list[str]:
    """Return a line where there is not enough memory."""
    return [too_much(load, available)] if available is not None and load.total > available else []


def too_much(load: Load, available: int | None) -> str:
    """Return a line about a run that needs more memory than there is, with settings that would do.

    Args:
        load: what the run puts into memory.
        available: bytes that are there; None where that can't be told.
    """
    need, limit = f"about {load.total / GIB:.2f} GiB are needed", load.total - 1
    if available is not None:
        need, limit = f"{need} and {available / GIB:.2f} GiB are free", min(limit, available)
    found = fitting(load, limit)
    if found is not None:
        return f"{need}; {found.options} takes about {found.load.total / GIB:.2f} GiB"
    least = remedies(load)[-1]
    least_need = f"{least.options} takes about {least.load.total / GIB:.2f} GiB"
    return f"{need}; even {least_need}: take a smaller model or a larger machine"


def probe(
    model: GPT2,
    source: Source,
    config: Training,
    *,
    heads: Mapping[str, ScalarHead] | None = None,
    loss: Loss = language_loss,
    count: Count = learned_tokens,
    workers: Executor | None = None,
) -> float:
    """Return the seconds that a batch takes there and back; nothing is changed, random numbers included.

    Where training is done by workers, one of them does this too: its thread then has the memory already.
    """
    if workers is not None:
        return workers.submit(probe, model, source, config, heads=heads, loss=loss, count=count).result()
    everything = with_heads(model, heads or {})
    parameters = [p for p in everything.parameters() if p.requires_grad]
    stream = batches(source, size=config.sequences_at_once, seed=config.seed)
    devices = [torch.cuda.current_device()] if config.device == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for _ in range(PROBES):
            began = time.perf_counter()
            accumulated_loss(
                model, [next(stream)], parameters, loss=loss, count=count, precision=config.precision
            )
            seconds = time.perf_counter() - began
    for parameter in parameters:
        parameter.grad = None
    return seconds
