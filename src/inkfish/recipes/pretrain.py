"""Train a GPT-2 from scratch.

    inkfish pretrain DATA… --out runs/mine
    inkfish pretrain poems.txt --recipe recipes/nano.toml --out runs/poems
    torchrun --nproc-per-node 8 -m inkfish pretrain DATA… --size gpt2 --out runs/mine

Stopped at any moment and started again by the same command, a run goes on where it was, bit for bit.
Left out: starting from a trained model on one's own texts (`inkfish.recipes.finetune`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch

from inkfish import weights
from inkfish.config import SIZES, ModelConfig
from inkfish.data.documents import Rules
from inkfish.errors import ModelError
from inkfish.model import GPT2
from inkfish.recipes.corpus import Corpus, open_corpus
from inkfish.recipes.display import Display, describe_shape
from inkfish.recipes.limits import check_choices
from inkfish.recipes.plan import load_for, memory_line, memory_needed, too_much
from inkfish.recipes.settings import (
    MAY_CHANGE,
    OptimizerName,
    ScheduleName,
    Training,
    kept,
    on_this_machine,
)
from inkfish.recipes.steps import Result, divided, open_run, run_folder, take_steps
from inkfish.training.batches import Windows
from inkfish.training.measure import peak_memory
from inkfish.training.ranks import Ranks, joined
from inkfish.training.resources import available_memory, cores, keep_freed_memory, memory_advice
from inkfish.training.signals import stop_on_signals
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


@dataclass(frozen=True, kw_only=True)
class Config(Training):
    """Settings of a pretraining run. `data` may also be one folder with token stores and tokenizer.json."""

    out: Path = Path("runs/pretrain")
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
    steps: int = 1000
    batch: int = 16
    optimizer: OptimizerName = "muon"
    lr: float = 2.5e-3
    weight_decay: float = 0.1
    schedule: ScheduleName = "trapezoid"
    warmup: int = 100
    evaluate_every: int = 250
    sample_every: int = 500
    save_every: int = 250

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"size": get_args(Size)})


def run(config: Config) -> Result:
    """Train.

    Raises:
        InkfishError: what the user can put right, in one line; what was saved before stays.
    """
    keep_freed_memory()
    with joined(os.environ) as ranks:
        return train(config, ranks)
    return Result(config.out, 0, None, leads=False)


def train(config: Config, ranks: Ranks) -> Result:
    """Train as one of the processes of a run."""
    with run_folder(config, ranks) as screen:
        config = ranks.after_the_first(lambda: divided(config, ranks))
        corpus = ranks.after_the_first(lambda: read_corpus(config, screen))
        shape = ranks.after_the_first(lambda: model_shape(config, corpus.train.vocab_size))
        config = ranks.after_the_first(lambda: on_this_machine(config, shape, corpus))
        here = open_run(config, corpus, screen, generation=SAMPLING)
        load, available = load_for(config, sketch(shape)), available_memory(config.device)
        with (
            stop_on_signals() as stop,
            cores(config.threads, side_by_side=config.side_by_side and ranks.size == 1) as workers,
            memory_advice(too_much(load, available)),
        ):
            if ranks.leads and not config.plan:
                hashes = {"data": corpus.train.fingerprint, "tokenizer": corpus.tokenizer.fingerprint}
                may_change = MAY_CHANGE if ranks.size == 1 else (*MAY_CHANGE, "at_once")
                here.begin(kept(config, shape, **hashes), may_change=may_change, force=config.force)
            describe(config, shape, corpus, screen)
            screen.say(
                "\n".join(
                    [memory_needed(load.total + peak_memory(), available), *memory_line(load, available)]
                )
            )
            if config.plan:
                return Result(config.out, 0, None, leads=False)
            torch.manual_seed(config.seed)
            model = ranks.after_the_first(lambda: make_model(config, shape))
            assert config.sequence is not None, "filled in by `on_this_machine`"
            source = Windows(corpus.train.ids, config.sequence, seed=config.seed)
            take_steps(
                config, model, source, corpus, here, screen=screen, stop=stop, ranks=ranks, workers=workers
            )
    return Result.of(here, stop, ranks)


def read_corpus(config: Config, screen: Display) -> Corpus:
    """Return the texts as ids."""
    return open_corpus(
        config.data,
        vocabulary=config.vocabulary,
        vocab_size=config.vocab_size,
        folder=config.out / "data",
        validation_share=config.validation_share,
        rules=Rules(encoding=config.encoding, field=config.field),
        say=screen.say,
    )


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


def sketch(shape: ModelConfig) -> GPT2:
    """Return a model without numbers."""
    with torch.device("meta"):
        return GPT2(shape)


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
