"""Go on training a GPT-2 on one's own texts.

    inkfish finetune novel.docx --out runs/novel
    inkfish finetune bios.csv --template "{race} {class} named {name}: {story}" --model gpt2 --out runs/bios
    inkfish finetune personachat_self_original.json --task chat --model gpt2 --out runs/chat

    torchrun --nproc-per-node 8 -m inkfish finetune novels/ --model gpt2-xl --parallel fsdp --out runs/novels

Stopped at any moment and started again by the same command, a run goes on where it was, bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from inkfish import weights
from inkfish.config import SIZES, ModelConfig
from inkfish.data.documents import Rules
from inkfish.data.rules import Form
from inkfish.data.store import TokenStore
from inkfish.errors import InkfishError, SettingError
from inkfish.model import GPT2
from inkfish.recipes import settings as training_settings
from inkfish.recipes.afterwards import conclude
from inkfish.recipes.corpus import Corpus, open_corpus
from inkfish.recipes.display import Display, display
from inkfish.recipes.limits import check_choices, check_real, check_whole
from inkfish.recipes.plan import load_for, make_plan, probe, timed, too_much
from inkfish.recipes.settings import OptimizerName, ScheduleName, Training, kept, on_this_machine
from inkfish.recipes.steps import Result, divided, open_run, run_folder, take_steps
from inkfish.recipes.transcripts import transcript
from inkfish.tokenizer import Tokenizer
from inkfish.training import lora
from inkfish.training.batches import Windows
from inkfish.training.memory import Load
from inkfish.training.ranks import Ranks, joined
from inkfish.training.resources import (
    available_memory,
    cores,
    keep_freed_memory,
    memory_advice,
    return_freed_memory,
)
from inkfish.training.signals import stop_on_signals
from inkfish.weights import hub
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["Config", "Result", "run"]

Train = Literal["all", "transformer", "lora"]
Goal = Literal["text", "chat"]
WHOLE = {"last": (1, 1000), "lora_rank": (1, 4096), "candidates": (2, 100), "history": (0, 1000)}
WHOLE |= {"permutations": (1, 100)}
REAL = {"epochs": (1e-3, 1e6), "noise": (0, 0.9), "lora_alpha": (1e-3, 1e6), "lora_dropout": (0, 0.99)}
REAL |= {"lm_coef": (0, 1e3), "mc_coef": (0, 1e3)}
CHOICES = {"train": get_args(Train), "form": get_args(Form), "task": get_args(Goal)}
MAY_CHANGE = (*training_settings.MAY_CHANGE, "model", "epochs")


@dataclass(frozen=True, kw_only=True)
class Config(Training):
    """Settings of a fine-tuning run."""

    out: Path = Path("runs/finetune")
    model: str = "starter"
    """What to start from: a model's name, its folder, or a run."""
    task: Goal = "text"
    """What is learned: texts, or to talk with a persona (chat): then data are dialogues, see docs/chat.md."""
    form: Form = "documents"
    """Of plain text: a file is a document, or each line is (lines), or each line is "this = that" (pairs)."""
    template: str | None = None
    """A document from a row's fields, such as "{name}: {story}"; with a completion the prompt before it."""
    completion: str | None = None
    """What is learned of a row, as a template."""
    prefix: str | None = None
    """Put before each document, such as "{file}|"; fields of the row, or file and folder."""
    line_prefix: str | None = None
    """Put before each line that is not empty."""
    no_header: bool = False
    """A table's first row is no header; columns are called 1, 2, 3."""
    keep_duplicates: bool = False
    """Keep texts that say nearly the same as another, and equal rows with a completion."""
    equalise: bool = False
    """Each file, folder or pattern that is named counts equally: the smaller ones are repeated."""
    train: Train = "all"
    """What is trained: all, transformer (blocks, without embeddings), or lora (updates of low rank)."""
    last: int | None = None
    """Train only so many blocks, from the top, and the last layer norm."""
    lora_rank: int = 8
    """Rank of the updates."""
    lora_alpha: float = 16.0
    """The updates are scaled by this over the rank."""
    lora_dropout: float = 0.0
    """Probability of dropping an input of an update."""
    lora_layers: tuple[str, ...] = lora.LAYERS
    """Linear layers with updates."""
    epochs: float = 4.0
    """How often the texts are read, where steps is not given."""
    steps: int | None = None
    batch: int = 8
    optimizer: OptimizerName = "adamw"
    lr: float | None = None
    """Peak learning rate; by default 3e-4, for lora 1e-3, for chat 6.25e-5."""
    weight_decay: float = 0.01
    schedule: ScheduleName = "linear"
    warmup: int = 10
    """Steps over which the learning rate rises, at most a quarter of all."""
    noise: float = 0.0
    """Probability that the model reads a random token instead of the right one."""
    candidates: int = 2
    """For chat: replies to choose among in each example, the right one included."""
    history: int = 2
    """For chat: exchanges kept before that of the reply; 2 are five turns."""
    permutations: int = 1
    """For chat: times each example comes in an epoch, with the persona's sentences in another order."""
    lm_coef: float = 1.0
    """For chat: weight of the loss of the right reply's tokens."""
    mc_coef: float = 1.0
    """For chat: weight of the loss of the choice among the candidates."""
    original_segments: bool = False
    """For chat: segments counted as TransferTransfo's code does, wrong for even histories."""
    evaluate_every: int = 50
    give_up_after: int = 5
    sample_every: int = 100
    save_every: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, WHOLE)
        check_real(self, REAL)
        check_choices(self, CHOICES)
        unknown = [name for name in self.lora_layers if name not in lora.LAYERS]
        if unknown or not self.lora_layers:
            given = unknown[0] if unknown else "empty"
            raise SettingError(
                f"lora_layers is {given}; choose of {', '.join(lora.LAYERS)}", param="lora_layers"
            )
        if self.last is not None and self.train == "lora":
            raise SettingError("last and train lora exclude each other; leave one out", param="last")

    @property
    def side_by_side(self) -> bool:
        """Whether batches are computed at the same time, which the dropout of updates forbids too."""
        return super().side_by_side and not (self.train == "lora" and self.lora_dropout)

    @property
    def rules(self) -> Rules:
        """How the files become documents."""
        return Rules(
            encoding=self.encoding,
            field=self.field,
            form=self.form,
            template=self.template,
            completion=self.completion,
            prefix=self.prefix,
            line_prefix=self.line_prefix,
            header=not self.no_header,
            keep_duplicates=self.keep_duplicates,
            equalise=self.equalise,
            render=transcript,
        )


def run(config: Config) -> Result:
    """Fine-tune.

    Raises:
        InkfishError: what the user can put right, in one line; what was saved before stays.
    """
    if config.plan and config.task == "text" and config.model in SIZES:
        return plan_only(config)
    keep_freed_memory()
    with joined(os.environ) as ranks:
        if config.task == "chat":
            return ranks.after_the_first(lambda: chat_alone(config, ranks))
        return tune(config, ranks)
    return Result(config.out, 0, None, leads=False)


def chat_alone(config: Config, ranks: Ranks) -> Result:
    """Fine-tune for chat.

    Raises:
        SettingError: there are several processes.
    """
    from inkfish.recipes import chat  # here: that recipe is made of parts of this one

    if ranks.size > 1:
        raise SettingError("task chat trains in one process; leave torchrun out", param="task")
    return chat.run(config)


def tune(config: Config, ranks: Ranks) -> Result:
    """Fine-tune as one of the processes of a run."""
    with run_folder(config, ranks) as screen:
        config = ranks.after_the_first(lambda: divided(config, ranks))
        folder = ranks.after_the_first(lambda: hub.find(config.model))
        base = weights.read(folder)
        corpus = ranks.after_the_first(lambda: read_corpus(config, folder, base, screen))
        warmup = config.warmup
        config = ranks.after_the_first(lambda: settled(config, base.config, corpus))
        here = open_run(config, corpus, screen, generation=base.generation)
        load = ranks.after_the_first(lambda: sketched(config, base.config))
        available = available_memory(config.device)
        with (
            stop_on_signals() as stop,
            cores(config.threads, side_by_side=config.side_by_side and ranks.size == 1) as workers,
            memory_advice(too_much(load, available)),
        ):
            if ranks.leads and not config.plan:
                may_change = MAY_CHANGE if ranks.size == 1 else (*MAY_CHANGE, "at_once")
                as_given = replace(config, warmup=warmup)  # which more steps would change
                here.begin(settings(as_given, base, corpus), may_change=may_change, force=config.force)
            torch.manual_seed(config.seed)
            found = make_plan(config, load, corpus, available=available)
            model = ranks.after_the_first(lambda: make_model(config, base)).to(config.device).train()
            source = windows(config, base.config, corpus.train)
            if ranks.leads:
                found = timed(found, config, probe(model, source, config, workers=workers))
                screen.say("\n".join(found.lines()))
                here.write("plan.json", found.as_json())
            if config.plan:
                return Result(config.out, here.progress.step, None, leads=False)
            take_steps(
                config,
                model,
                source,
                corpus,
                here,
                screen=screen,
                stop=stop,
                ranks=ranks,
                workers=workers,
                look_first=True,
            )
            del model  # what comes now has models of its own
            if ranks.leads and not stop:
                conclude_or_say(screen, lambda: conclude(config, config.model, corpus, here))
    return Result.of(here, stop, ranks)


def conclude_or_say(screen: Display, written: Callable[[], list[str]]) -> None:
    """Write card and page; where that fails, say so: the run itself is finished and saved."""
    return_freed_memory()
    try:
        screen.say("\n".join(written()))
    except InkfishError as error:
        screen.say(f"README.md and before-after.html were not written: {error}")


def plan_only(config: Config) -> Result:
    """Say what would happen with a released model that need not be here, and stop."""
    shape = SIZES[config.model]
    with tempfile.TemporaryDirectory() as place, display() as screen:
        corpus = open_corpus(
            config.data,
            vocabulary="gpt2",
            vocab_size=None,
            folder=Path(place),
            validation_share=config.validation_share,
            rules=config.rules,
            say=screen.say,
        )
        config = settled(config, shape, corpus)
        found = make_plan(config, sketched(config, shape), corpus, available=available_memory(config.device))
        screen.say("\n".join(found.lines()))
    return Result(config.out, 0, None, leads=False)


def sketched(config: Config, shape: ModelConfig) -> Load:
    """Return what a run puts into memory, from a model without numbers."""
    with torch.device("meta"):
        model = GPT2(shape)
        choose(config, model)
    return load_for(config, model, rank=config.lora_rank if config.train == "lora" else 0)


def read_corpus(config: Config, folder: Path, base: Checkpoint, screen: Display) -> Corpus:
    """Return the texts as ids of the base model's vocabulary."""
    place = config.out / "data"
    vocabulary = place / "vocabulary"
    tokenizer = Tokenizer.load(folder, vocab_size=base.config.vocab_size)
    there = (vocabulary / "tokenizer.json").is_file()
    if not there or Tokenizer.load(vocabulary).fingerprint != tokenizer.fingerprint:
        tokenizer.save(vocabulary)
    return open_corpus(
        config.data,
        vocabulary=str(vocabulary),
        vocab_size=None,
        folder=place,
        validation_share=config.validation_share,
        rules=config.rules,
        say=screen.say,
    )


def settled(config: Config, shape: ModelConfig, corpus: Corpus) -> Config:
    """Return the settings with what depends on machine, model and data filled in.

    Raises:
        SettingError: a sequence longer than the context.
    """
    config = on_this_machine(config, shape, corpus)
    assert config.sequence is not None, "filled in by `on_this_machine`"
    steps = math.ceil(config.epochs * len(corpus.train.ids) / (config.batch * config.sequence))
    steps = config.steps or max(1, steps)
    lr = config.lr if config.lr is not None else 1e-3 if config.train == "lora" else 3e-4
    return replace(config, steps=steps, warmup=min(config.warmup, steps // 4), lr=lr)


def make_model(config: Config, base: Checkpoint) -> GPT2:
    """Return the base model, of which only what is to be trained wants a gradient."""
    model = GPT2(base.config, dropout=config.dropout, checkpointing=config.checkpointing)
    model.load_tensors(base.tensors)
    choose(config, model)
    return model


def choose(config: Config, model: GPT2) -> None:
    """Let only what is to be trained want a gradient.

    Raises:
        SettingError: more last blocks than the model has.
    """
    shape = model.config
    if config.train == "lora":
        lora.adapt(
            model,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            layers=config.lora_layers,
        )
        return
    if config.last is not None and config.last > shape.n_layer:
        raise SettingError(
            f"last is {config.last} and the model has {shape.n_layer} blocks; choose fewer",
            param="last",
        )
    if config.train == "transformer" or config.last is not None:
        model.requires_grad_(False)
        for block in list(model.h)[-(config.last or shape.n_layer) :]:
            block.requires_grad_(True)
        model.ln_f.requires_grad_(config.last is not None)


def windows(config: Config, shape: ModelConfig, store: TokenStore) -> Windows:
    """Return the examples, with noise and without the loss of prompts."""
    assert config.sequence is not None, "filled in by `settled`"
    return Windows(
        store.ids,
        config.sequence,
        seed=config.seed,
        learned=store.trainable if store.mask is not None else None,
        noise=config.noise,
        vocab_size=shape.vocab_size,
    )


def settings(config: Config, base: Checkpoint, corpus: Corpus) -> dict[str, Any]:
    """Return all that the weights depend on, as it stands in config.toml."""
    return kept(
        config,
        base.config,
        data=corpus.train.fingerprint,
        tokenizer=corpus.tokenizer.fingerprint,
        model=fingerprint(base),
    )


def fingerprint(base: Checkpoint) -> str:
    """Return the SHA-256 of a model's weights, whatever folder they come from."""
    digest = hashlib.sha256()
    for name in base.config.tensor_shapes():
        digest.update(name.encode())
        digest.update(base.tensors[name].tobytes())
    return digest.hexdigest()
