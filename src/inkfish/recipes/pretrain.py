"""Train a GPT-2 from scratch.

    inkfish pretrain DATA… --out runs/mine
    inkfish pretrain poems.txt --recipe recipes/nano.toml --out runs/poems

Stopped at any moment and started again by the same command, a run goes on where it was, bit for bit.
Left out: starting from a trained model on one's own texts (`inkfish.recipes.finetune`), and several GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import KW_ONLY, asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

import inkfish
from inkfish import weights
from inkfish.config import SIZES, ModelConfig, exact_div
from inkfish.data.documents import Rules
from inkfish.errors import ModelError, SettingError
from inkfish.model import GPT2
from inkfish.recipes.corpus import Corpus, open_corpus
from inkfish.recipes.display import Display, describe_shape, display
from inkfish.recipes.limits import check_choices, check_real, check_whole
from inkfish.recipes.watch import Curve, evaluate, write_samples
from inkfish.training import optimizers, schedule
from inkfish.training.batches import Source, Windows, batches
from inkfish.training.files import Disk, kill_at
from inkfish.training.measure import duration
from inkfish.training.optimise import Step, optimise
from inkfish.training.resources import cores, has_bfloat16, keep_freed_memory, memory_advice
from inkfish.training.run import Run, forget, locked, machine
from inkfish.training.settings import git_version
from inkfish.training.signals import Stop, stop_on_signals
from inkfish.weights import hub
from inkfish.weights.huggingface import GenerationDefaults

__all__ = ["Config", "Result", "run"]

OWN_SIZES = {
    "nano": ModelConfig(n_layer=4, n_head=4, n_embd=128, n_positions=256, vocab_size=2048),
    "starter": ModelConfig(n_layer=8, n_head=4, n_embd=256, n_positions=512, vocab_size=8192),
}
"""Shapes beside the released ones; the vocabulary is that of the data."""
SAMPLING = GenerationDefaults(temperature=0.8, top_p=0.95)
"""How models of this size are sampled unless a user says otherwise."""
Size = Literal["nano", "starter", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]
OptimizerName = Literal["muon", "adamw", "sgd", "adafactor"]
ScheduleName = Literal["constant", "linear", "cosine", "trapezoid"]
Precision = Literal["auto", "bfloat16", "float32"]
Device = Literal["auto", "cpu", "cuda"]
CHOICES = {
    "size": get_args(Size),
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(ScheduleName),
    "precision": get_args(Precision),
    "device": get_args(Device),
}
WHOLE = {
    "steps": (1, 10**9),
    "batch": (1, 65_536),
    "at_once": (1, 65_536),
    "sequence": (1, 1_048_576),
    "warmup": (0, 10**9),
    "threads": (0, 1024),
    "seed": (0, 2**63 - 1),
    "evaluate_every": (1, 10**9),
    "evaluate_windows": (1, 10**6),
    "sample_every": (0, 10**9),
    "sample_tokens": (1, 10**6),
    "save_every": (1, 10**9),
    "keep": (2, 10**6),
    "patience": (1, 10**6),
}
REAL = {"lr": (0, 10), "weight_decay": (0, 10), "decay": (0, 1), "clip": (1e-9, 1e9), "dropout": (0, 0.99)}
"""Smallest and largest value of each number."""
MAY_CHANGE: tuple[str, ...] = (
    "data",
    "out",
    "steps",
    "threads",
    "evaluate_every",
    "evaluate_windows",
    "sample_every",
)
MAY_CHANGE += ("sample_tokens", "prompts", "save_every", "keep", "patience", "program", "machine")
"""What may differ at a resume: the data are compared by their hash, the number of threads by the machine."""


@dataclass(frozen=True)
class Config:
    """Settings of a pretraining run."""

    data: tuple[Path, ...]
    """Text files, folders and patterns; or one folder with token stores and tokenizer.json."""
    _: KW_ONLY
    out: Path = Path("runs/pretrain")
    """Run folder; one that is there is gone on with."""
    size: Size = "nano"
    """Shape of the model; nano has 1 million parameters, starter 8, gpt2 124."""
    n_layer: int | None = None
    """Number of blocks, instead of the size's."""
    n_head: int | None = None
    """Attention heads of each block, instead of the size's."""
    n_embd: int | None = None
    """Channels, instead of the size's."""
    n_positions: int | None = None
    """Context in tokens, instead of the size's."""
    vocabulary: str = "train"
    """For texts: train (a new one on the data), gpt2, or a folder with tokenizer.json."""
    vocab_size: int | None = None
    """Entries of a new vocabulary; by default what suits the amount of text, at most 8,192."""
    start_from: Path | None = None
    """A model of the same shape whose weights the run starts from: its name, or its folder of any layout."""
    encoding: str | None = None
    """Of text files, as Python names it; by default it is detected."""
    field: str = "text"
    """Where the text stands in a row of JSON."""
    validation_share: float = 0.05
    """Part of the texts held out, 0 to below 1."""
    steps: int = 1000
    """Steps of the whole run."""
    batch: int = 16
    """Sequences of a step."""
    at_once: int | None = None
    """Sequences that are computed at once, a divisor of batch: fewer take less memory. By default up to 4."""
    sequence: int | None = None
    """Tokens of a sequence; by default the context."""
    optimizer: OptimizerName = "muon"
    """muon has AdamW for embeddings, biases and gains; adafactor takes the least memory."""
    lr: float = 2.5e-3
    """Peak learning rate."""
    weight_decay: float = 0.1
    """Share of the learning rate by which matrices shrink each step."""
    schedule: ScheduleName = "trapezoid"
    """Of the learning rate, after its rise."""
    warmup: int = 100
    """Steps over which the learning rate rises."""
    decay: float = 0.3
    """Share of the steps over which a trapezoid falls, 0 to 1."""
    clip: float = 1.0
    """A longer gradient is shortened to this length."""
    dropout: float = 0.0
    """Probability of dropping a value, in three places of each block."""
    checkpointing: bool = False
    """Compute each block again on the way back: a third slower, far less memory."""
    precision: Precision = "auto"
    """Of matrix products; auto is bfloat16 where the machine has it."""
    device: Device = "auto"
    """auto is the GPU if there is one."""
    threads: int = 0
    """CPU threads; 0 is one for each core."""
    seed: int = 1
    """Of initial weights, order of the data and dropout."""
    evaluate_every: int = 250
    """Steps between validations."""
    evaluate_windows: int = 64
    """Most held-out sequences of a kind in a validation."""
    sample_every: int = 500
    """Steps between samples; 0 writes none."""
    sample_tokens: int = 80
    """Most tokens of a sample."""
    prompts: tuple[str, ...] = ("",)
    """Beginnings that samples continue."""
    save_every: int = 250
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints that stay, beside the best; at least 2."""
    patience: int = 10
    """Steps in a row without a finite loss after which the run stops."""
    force: bool = False
    """Go on although settings, data or tokenizer have changed."""
    fresh: bool = False
    """Remove the run that is in the folder and begin anew."""

    def __post_init__(self) -> None:
        check_whole(self, WHOLE)
        check_real(self, REAL)
        check_choices(self, CHOICES)
        if not self.data:
            raise SettingError("there are no data; name at least one text file", param="data")
        if self.at_once is not None and self.batch % self.at_once:
            raise SettingError(
                f"batch is {self.batch} and at_once {self.at_once}; batch must be a multiple of at_once",
                param="at_once",
            )

    @property
    def sequences_at_once(self) -> int:
        """Sequences computed at once: at_once, or the largest divisor of batch up to 4."""
        return self.at_once or max(n for n in (1, 2, 3, 4) if self.batch % n == 0)


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    """The run folder, which `inkfish.load` takes."""
    step: int
    """Steps taken altogether."""
    stopped: int | None
    """Number of the signal that stopped it; None where it was finished."""


def run(config: Config) -> Result:
    """Train.

    Raises:
        InkfishError: what the user can put right, in one line; what was saved before stays.
    """
    keep_freed_memory()
    with locked(config.out), display() as screen:
        if config.fresh:
            forget(config.out)
        corpus = open_corpus(
            config.data,
            vocabulary=config.vocabulary,
            vocab_size=config.vocab_size,
            folder=config.out / "data",
            validation_share=config.validation_share,
            rules=Rules(encoding=config.encoding, field=config.field),
            say=screen.say,
        )
        shape = model_shape(config, corpus.train.vocab_size)
        config = resolved(config, shape, corpus)
        here = Run(
            config.out,
            disk=Disk(kill_at(os.environ.get("INKFISH_FAILPOINT", ""))),
            say=screen.say,
            keep=config.keep,
            tokenizer=corpus.tokenizer,
            eos=corpus.tokenizer.end,
            generation=SAMPLING,
        )
        with (
            stop_on_signals() as stop,
            cores(config.threads, side_by_side=side_by_side(config)) as workers,
            memory_advice(
                f"take --at-once {config.sequences_at_once // 2 or 1}, --checkpointing, or a smaller size"
            ),
        ):
            here.begin(settings(config, shape, corpus), may_change=MAY_CHANGE, force=config.force)
            describe(config, shape, corpus, screen)
            train(config, shape, corpus, here, screen, stop, workers)
    return Result(config.out, here.progress.step, int(stop.signal) if stop.signal is not None else None)


def train(
    config: Config,
    shape: ModelConfig,
    corpus: Corpus,
    here: Run,
    screen: Display,
    stop: Stop,
    workers: Executor | None,
) -> None:
    """Make the model and take the steps."""
    torch.manual_seed(config.seed)
    model = make_model(config, shape)
    assert config.sequence is not None, "filled in by `resolved`"
    source = Windows(corpus.train.ids, config.sequence, seed=config.seed)
    take_steps(config, model, source, corpus, here, screen, stop, workers)


def take_steps(
    config: Config,
    model: GPT2,
    source: Source,
    corpus: Corpus,
    here: Run,
    screen: Display,
    stop: Stop,
    workers: Executor | None,
    *,
    give_up_after: int = 0,
) -> None:
    """Resume and take the steps: the order of events is here, for `recipes.finetune` too.

    Args:
        config: what `resolved` returned.
        model: in training mode; what wants no gradient stays.
        source: the examples.
        corpus: tokenizer and held-out text.
        here: the run.
        screen: shows it.
        stop: asks for an early end.
        workers: as in `optimise`.
        give_up_after: validations in a row without a new best score after which the run ends; 0 is never.
    """
    shape = model.config
    optimizer = optimizers.make(config.optimizer, model, lr=config.lr, weight_decay=config.weight_decay)
    if here.resume(model, optimizer):
        screen.say(f"going on after step {here.progress.step:,}")
    assert config.sequence is not None, "filled in by `resolved`"
    held = corpus.held_out(
        vocab_size=shape.vocab_size, length=config.sequence, windows=config.evaluate_windows
    )

    def look() -> bool:
        return evaluate(
            model,
            held,
            here,
            screen,
            size=config.sequences_at_once,
            precision=config.precision,
            workers=workers,
            stop=lambda: bool(stop),
        )

    steps = optimise(
        model,
        batches(source, size=config.sequences_at_once, seed=config.seed, cursor=here.progress.cursor),
        optimizer,
        schedule=lambda step: schedule.factor(
            config.schedule, step, steps=config.steps, warmup=config.warmup, decay=config.decay
        ),
        steps=config.steps,
        start=here.progress.step,
        lr=config.lr,
        accumulate=exact_div(config.batch, config.sequences_at_once),
        clip=config.clip,
        precision=config.precision,
        patience=config.patience,
        skipped=here.progress.skipped_in_a_row,
        workers=workers,
    )
    picture = Curve(here, f"{config.out.name}: {describe_shape(shape)}")
    reached = here.progress.step
    if reached and due(reached, config.evaluate_every, config.steps) and here.progress.evaluated < reached:
        here.save(model, optimizer, best=look())  # a stop had come before this validation
    for step in until_given_up(steps, here, screen, give_up_after):
        here.took(step)
        screen.step(step, config.steps)
        best = due(step.number, config.evaluate_every, config.steps) and look()
        if config.sample_every and due(step.number, config.sample_every, config.steps) and not stop:
            write_samples(
                model,
                corpus.tokenizer,
                here,
                screen,
                prompts=config.prompts,
                tokens=config.sample_tokens,
                seed=config.seed,
            )
        if best or stop or due(step.number, config.save_every, config.steps):
            here.save(model, optimizer, best=best)
            picture.draw_sometimes()
        if stop:
            picture.draw()
            screen.say(f"{stop.name}: saved after step {step.number:,}; the same command goes on")
            return
    here.save(model, optimizer)
    picture.draw()
    done = f"finished: {here.progress.step:,} steps, {here.progress.tokens:,} tokens, "
    screen.say(f"{done}{duration(here.progress.seconds)}; more steps go on from here")


def until_given_up(steps: Iterator[Step], here: Run, screen: Display, after: int) -> Iterator[Step]:
    """Yield steps until `after` validations in a row have brought no new best score; 0 never gives up."""
    while not (here.progress.evaluated == here.progress.step and here.given_up(after)):
        step = next(steps, None)
        if step is None:
            return
        yield step
    screen.say(f"{after} validations have brought nothing better; the best checkpoint is kept")


def side_by_side(config: Config) -> bool:
    """Whether batches are computed at the same time, which dropout's random numbers forbid."""
    return config.device == "cpu" and not config.dropout and config.batch > config.sequences_at_once


def due(step: int, every: int, steps: int) -> bool:
    """Whether something that happens every so many steps, and at the end, happens now."""
    return step % every == 0 or step == steps


def make_model(config: Config, shape: ModelConfig) -> GPT2:
    """Return the model in training mode on its device, with random weights or those of `start_from`.

    Raises:
        ModelError: `start_from` is no model of this shape.
    """
    model = GPT2(shape, dropout=config.dropout, checkpointing=config.checkpointing)
    if config.start_from is not None:
        found = weights.read(hub.find(str(config.start_from)))
        if found.config != shape:
            there, here = describe_shape(found.config), describe_shape(shape)
            raise ModelError(
                f"{config.start_from} has {there}, and this run {here}; they must be equal",
                param="start_from",
            )
        model.load_tensors(found.tensors)
    return model.to(config.device).train()


def model_shape(config: Config, vocab_size: int) -> ModelConfig:
    """Return the size's shape with the fields that were given, and the vocabulary of the data.

    Raises:
        ModelError: a shape that does not exist.
    """
    base = OWN_SIZES.get(config.size) or SIZES[config.size]
    names = ("n_layer", "n_head", "n_embd", "n_positions")
    given = {name: value for name in names if (value := getattr(config, name)) is not None}
    return replace(base, vocab_size=vocab_size, **given)


def resolved(config: Config, shape: ModelConfig, corpus: Corpus) -> Config:
    """Return the settings with what depends on machine, shape and data filled in.

    Raises:
        SettingError: a sequence longer than the context.
    """
    if config.sequence is not None and config.sequence > shape.n_positions:
        raise SettingError(
            f"sequence is {config.sequence:,} and the context {shape.n_positions:,} tokens; "
            "choose a shorter sequence or a larger n_positions",
            param="sequence",
        )
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    return replace(
        config,
        device=device,
        precision=precision,
        at_once=config.sequences_at_once,
        sequence=max(1, min(config.sequence or shape.n_positions, len(corpus.train.ids) - 1)),
    )


def settings(config: Config, shape: ModelConfig, corpus: Corpus) -> dict[str, Any]:
    """Return all that the weights depend on, as it stands in config.toml."""
    chosen = {name: value for name, value in asdict(config).items() if name not in {"force", "fresh"}}
    return chosen | {
        "shape": asdict(shape),
        "hashes": {"data": corpus.train.fingerprint, "tokenizer": corpus.tokenizer.fingerprint},
        "machine": machine(),
        "program": {"version": inkfish.__version__, "git": git_version()},
    }


def describe(config: Config, shape: ModelConfig, corpus: Corpus, screen: Display) -> None:
    """Say what is going to happen."""
    tokens = len(corpus.train.ids)
    passes = config.steps * config.batch * (config.sequence or 1) / tokens
    for note in corpus.notes:
        screen.say(note)
    screen.say(f"{describe_shape(shape)}: {shape.parameters:,} parameters")
    step = f"{config.batch} × {config.sequence} tokens"
    screen.say(f"{tokens:,} tokens; {config.steps:,} steps of {step} read them {passes:.1f} times")
    screen.say(f"{config.optimizer}, {config.precision}; all settings are in {config.out / 'config.toml'}")
    if not corpus.held:
        screen.say("the text is too short to hold any out: no validation")
