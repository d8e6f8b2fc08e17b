"""Fine-tune a GPT-2 to talk with a persona, as TransferTransfo (Wolf et al. 2019): two heads, five specials.

    inkfish finetune personachat_self_original.json --task chat --model gpt2 --out runs/chat
    inkfish finetune dialogues.jsonl --task chat --lr 5e-4 --history 4 --out runs/chat
    inkfish chat --model runs/chat

`inkfish.recipes.finetune` holds the settings, and what this shares with learning from texts. A model without
the form's special tokens gets them; one that was not trained in the form has their embeddings drawn anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.data.dialogues import read
from inkfish.data.rules import BadRows
from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.recipes.corpus import Corpus
from inkfish.recipes.dialogues import Dialogues, Form, measure, split, store
from inkfish.recipes.display import Display, describe_shape, display
from inkfish.recipes.finetune import MAY_CHANGE, Config, conclude_or_say, fingerprint, make_model
from inkfish.recipes.plan import probe
from inkfish.recipes.replies import conclude, show_replies
from inkfish.recipes.settings import kept, on_this_machine
from inkfish.recipes.steps import Result, open_run, take_steps
from inkfish.tasks.transfertransfo import SPECIALS
from inkfish.tokenizer import Tokenizer
from inkfish.training.batches import Source
from inkfish.training.double_heads import dialogues as dialogues_in
from inkfish.training.double_heads import double_loss
from inkfish.training.measure import duration
from inkfish.training.resources import cores, keep_freed_memory, memory_advice
from inkfish.training.run import Run, forget, locked
from inkfish.training.signals import stop_on_signals
from inkfish.weights import heads as head_files
from inkfish.weights import hub
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.specials import add_specials, draw_rows

__all__ = ["CHOICE", "run"]

CHOICE = "choice"
"""Name of the head that chooses; a model that has it was trained in this form."""
LEARNING_RATE = 6.25e-5
"""Of the released code, for 117 million parameters."""


@dataclass(frozen=True)
class Work:
    """What there is to learn, and for whom."""

    base: Checkpoint
    """The model that is started from, with the special tokens."""
    corpus: Corpus
    """Its tokenizer, and the words of the dialogues."""
    source: Dialogues
    """Examples."""
    held: Dialogues | None
    """Held-out ones; None where there are too few dialogues."""
    head: ScalarHead
    """Chooses."""


def run(config: Config) -> Result:
    """Fine-tune.

    Raises:
        InkfishError: what the user can put right, in one line; what was saved before stays.
    """
    keep_freed_memory()
    folder = hub.find(config.model)
    with locked(config.out), display() as screen:
        if config.fresh:
            forget(config.out)
        work, warmup = prepare(config, folder, screen), config.warmup
        config = settled(config, work)
        heads = {CHOICE: work.head}
        generation = work.base.generation
        here = open_run(config, work.corpus, screen, generation=generation, heads=heads)
        with (
            stop_on_signals() as stop,
            cores(config.threads, side_by_side=config.side_by_side) as workers,
            memory_advice("take --train lora, --checkpointing, fewer --candidates or a smaller --at-once"),
        ):
            if not config.plan:
                as_given = replace(config, warmup=warmup)  # which more steps would change
                here.begin(settings(as_given, work), may_change=MAY_CHANGE, force=config.force)
            torch.manual_seed(config.seed)
            model = make_model(config, work.base).to(config.device).train()
            work.head.to(config.device)
            plan(model, work, config, screen, workers)
            if config.plan:
                return Result(config.out, here.progress.step, None, leads=False)
            take_steps(
                config,
                model,
                cast("Source", work.source),  # batches of another kind, which this loss takes
                work.corpus,
                here,
                screen=screen,
                stop=stop,
                workers=workers,
                loss=double_loss(work.head, lm_coef=config.lm_coef, mc_coef=config.mc_coef),
                count=dialogues_in,
                look=look(config, model, work, here, screen, lambda: bool(stop)),
                look_first=True,
            )
            del model  # what comes now has models of its own
            if not stop:
                source = work.held or work.source
                conclude_or_say(screen, lambda: conclude(config, source, work.corpus, config.model, here))
    return Result.of(here, stop)


def prepare(config: Config, folder: Path, screen: Display) -> Work:
    """Read model and dialogues.

    Raises:
        InkfishError: one of them can't be used.
    """
    base = weights.read(folder)
    tokenizer = Tokenizer.load(folder, vocab_size=base.config.vocab_size)
    head, found = new_head(config.seed, base.config), head_files.read(folder)
    base, tokenizer = add_specials(base, tokenizer, SPECIALS, seed=config.seed)
    if CHOICE in found:
        head.load_tensors(found[CHOICE])
    else:
        base = draw_rows(base, [tokenizer.specials[name] for name in SPECIALS], seed=config.seed)
    screen.say("reading the dialogues")
    bad = BadRows()
    talks = read(config.data, bad, encoding=config.encoding)
    train, held = split(talks, config.validation_share)
    replies = sum(len(talk.replies) for talk in talks)
    notes = (f"{len(talks):,} dialogues with {replies:,} replies, {len(held):,} held out", *bad.messages())
    corpus = Corpus(store(train, tokenizer), tokenizer, (), notes)
    length = min(config.sequence or base.config.n_positions, base.config.n_positions)
    form = Form(config.candidates, config.history, config.permutations, config.original_segments)
    examples = Dialogues(train, tokenizer, form, length=length, seed=config.seed)
    once = replace(form, permutations=1)
    kept_out = Dialogues(held, tokenizer, once, length=length, others=examples.pool) if held else None
    return Work(base, corpus, examples, kept_out, head)


def new_head(seed: int, shape: ModelConfig) -> ScalarHead:
    """Return the choice head of a model that has none, without a change of torch's generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ScalarHead(shape.n_embd)


def settled(config: Config, work: Work) -> Config:
    """Return the settings with what depends on machine, model and data filled in.

    Raises:
        SettingError: a sequence longer than the context.
    """
    sequence = config.sequence or work.base.config.n_positions
    config = replace(on_this_machine(config, work.base.config, work.corpus), sequence=sequence)
    steps = config.steps or max(1, math.ceil(config.epochs * len(work.source) / config.batch))
    lr = config.lr if config.lr is not None else LEARNING_RATE
    return replace(config, steps=steps, warmup=min(config.warmup, steps // 4), lr=lr, sample_every=0)


def settings(config: Config, work: Work) -> dict[str, Any]:
    """Return all that the weights depend on, as it stands in config.toml."""
    return kept(
        config,
        work.base.config,
        data=work.corpus.train.fingerprint,
        tokenizer=work.corpus.tokenizer.fingerprint,
        model=fingerprint(work.base),
    )


def plan(model: GPT2, work: Work, config: Config, screen: Display, workers: Executor | None) -> None:
    """Say what is going to happen: dialogues, examples, measured time."""
    for note in work.corpus.notes:
        screen.say(note)
    source = work.source
    if source.left_out:
        screen.say(f"{source.left_out:,} replies left out: too long for {source.length:,} tokens")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    screen.say(f"{describe_shape(model.config)}: {trained:,} parameters are trained, and the choice head's")
    assert config.steps is not None, "filled in by `settled`"
    screen.say(
        f"{len(source):,} examples an epoch, {config.candidates} candidates each; {config.steps:,} steps of "
        f"{config.batch:,} examples, {config.precision}"
    )
    loss = double_loss(work.head, lm_coef=config.lm_coef, mc_coef=config.mc_coef)
    heads = {CHOICE: work.head}
    batches = cast("Source", source)
    seconds = probe(model, batches, config, heads=heads, loss=loss, count=dialogues_in, workers=workers)
    whole = seconds * config.steps * config.batch / config.sequences_at_once
    screen.say(f"about {duration(whole)} altogether, measured one batch at a time")
    if work.held is None:
        screen.say("too few dialogues to hold any out: no validation")


def look(
    config: Config, model: GPT2, work: Work, here: Run, screen: Display, stop: Callable[[], bool]
) -> Callable[[], bool]:
    """Return what measures the held-out replies, shows some, and says whether they are known best so far."""
    held = work.held

    def measured() -> bool:
        if held is None:
            return False
        size = config.sequences_at_once
        most = size * config.evaluate_windows
        found = measure(model, work.head, held, most=most, size=size, precision=config.precision, stop=stop)
        if found is None:
            return False
        best = here.evaluated(
            {"replies": found.bits_per_byte},
            found.bits_per_byte,
            perplexity=found.perplexity,
            hits=found.hits,
        )
        screen.validation = found.bits_per_byte
        screen.say(
            f"step {here.progress.step:,}: replies {found.bits_per_byte:.4f} bits a byte, perplexity "
            f"{found.perplexity:.2f}, right among {config.candidates} {found.hits:.1%}"
            f"{', the best so far' if best else ''}"
        )
        show_replies(model, work.corpus.tokenizer, held, here, screen, seed=config.seed)
        return best

    return measured
