"""Take the steps of a training run: resume, validate, sample, save, stop. The order of events is here.

Every recipe that trains a GPT-2 ends in `take_steps`, which asks for settings, a model, a source of batches
and a loss, and knows of no recipe. Under torchrun every process comes here; process 0 leads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from inkfish.config import exact_div
from inkfish.errors import SettingError
from inkfish.generate import LanguageModel, load
from inkfish.heads import ScalarHead, with_heads
from inkfish.model import GPT2
from inkfish.recipes.corpus import Corpus
from inkfish.recipes.display import Display, describe_shape, display
from inkfish.recipes.settings import Settings, Training
from inkfish.recipes.watch import Curve, evaluate, write_samples
from inkfish.training import optimizers, schedule
from inkfish.training.batches import Source, batches
from inkfish.training.files import Disk, kill_at
from inkfish.training.loss import language_loss
from inkfish.training.measure import duration
from inkfish.training.optimise import Count, Gradients, Loss, Step, learned_tokens, optimise
from inkfish.training.optimizers import Optimizer
from inkfish.training.ranks import ALONE, Ranks, Solo
from inkfish.training.run import Run, forget, locked
from inkfish.training.signals import Stop
from inkfish.weights.huggingface import GenerationDefaults

__all__ = ["Result", "divided", "open_run", "run_folder", "take_steps"]

if TYPE_CHECKING:
    from inkfish.training.parallel import Team


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    """The run folder, which `inkfish.load` takes."""
    step: int
    """Steps taken altogether."""
    stopped: int | None
    """Number of the signal that stopped it; None where it was finished."""
    leads: bool = True
    """Whether this process is the one that speaks for the run."""

    def load(self, **settings: Any) -> LanguageModel:
        """Return the model, ready to write; `inkfish.load` explains the settings."""
        return load(self.folder, **settings)

    @classmethod
    def of(cls, here: Run, stop: Stop, ranks: Ranks = ALONE) -> Result:
        """Return how a run has ended."""
        number = int(stop.signal) if stop.signal is not None else None
        return cls(here.folder, here.progress.step, number, ranks.leads)


@contextmanager
def run_folder(config: Training, ranks: Ranks) -> Iterator[Display]:
    """Hold the run folder and yield what shows the run; for all but process 0, one that shows nothing.

    Raises:
        RunError: another process holds it, or it can't be made.
    """
    if not ranks.leads:
        yield Display(quiet=True)
        return
    with locked(config.out), display() as screen:
        if config.fresh:
            forget(config.out)
        yield screen


def divided(config: Settings, ranks: Ranks) -> Settings:
    """Return the settings with batches and threads such that every process has an equal share.

    Raises:
        SettingError: the batch can't be divided so, or the optimizer does not work in parts.
    """
    if ranks.size == 1:
        return config
    batch, size = config.batch, ranks.size
    most = batch // size
    at_once = config.at_once or max((n for n in (1, 2, 3, 4) if most % n == 0), default=1)
    if batch % (at_once * size):
        raise SettingError(
            f"batch is {batch}, and {size} processes compute {at_once} sequences each at once; "
            f"it must be a multiple of {at_once * size}",
            param="batch",
        )
    if config.parallel == "fsdp" and config.optimizer == "adafactor":
        raise SettingError(
            "adafactor does not work in parts; take --optimizer adamw, or --parallel ddp", param="optimizer"
        )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    threads = config.threads or max(1, (os.cpu_count() or 1) // here)
    return replace(config, at_once=at_once, threads=threads)


def open_run(
    config: Training,
    corpus: Corpus,
    screen: Display,
    *,
    generation: GenerationDefaults | None,
    heads: dict[str, ScalarHead] | None = None,
) -> Run:
    """Return the run in the folder `config.out`, which is locked.

    Args:
        config: says where it is and how many checkpoints stay.
        corpus: its tokenizer is saved with each checkpoint.
        screen: is told what happens.
        generation: sampling defaults, saved with each checkpoint.
        heads: trained beside the model.
    """
    return Run(
        config.out,
        disk=Disk(kill_at(os.environ.get("INKFISH_FAILPOINT", ""))),
        say=screen.say,
        keep=config.keep,
        tokenizer=corpus.tokenizer,
        eos=corpus.tokenizer.end,
        generation=generation,
        heads=heads,
    )


def take_steps(
    config: Training,
    model: GPT2,
    source: Source,
    corpus: Corpus,
    here: Run,
    *,
    screen: Display,
    stop: Stop,
    ranks: Ranks = ALONE,
    workers: Executor | None = None,
    loss: Loss = language_loss,
    count: Count = learned_tokens,
    look: Callable[[], bool] | None = None,
    look_first: bool = False,
) -> None:
    """Resume and take the steps that are left.

    Args:
        config: with everything filled in that may be None.
        model: in training mode; what wants no gradient stays.
        source: the examples.
        corpus: tokenizer and held-out text.
        here: the run, begun; its heads are trained too.
        screen: shows it.
        stop: asks for an early end.
        ranks: this process; all but process 0 do as they are told until the end.
        workers: as in `optimise`.
        loss: of a batch.
        count: what the losses of a step are divided by, as in `optimise`.
        look: measures what is to be held against other checkpoints and says whether it is the best so far; by
            default bits a byte of the held-out text.
        look_first: look before the first step too.
    """
    team = resumed(config, model, here, ranks, screen=screen, loss=loss, count=count, stop=stop)
    steps = begin_steps(
        config,
        model,
        source,
        team.optimizer,
        here,
        loss=loss,
        count=count,
        workers=workers,
        gradients=team.gradients,
    )
    if not ranks.leads:
        team.follow(steps)
        return
    look = look or held_out_look(config, model, corpus, here, screen=screen, stop=stop, workers=workers)
    look = team.gathered_before(look)
    picture = Curve(here, f"{config.out.name}: {describe_shape(model.config)}")
    if look_first and not here.progress.step:
        look()
    if unseen(config, here):
        here.save(model, team.saved, best=look())  # a stop had come before this validation
    for step in until_given_up(team.lead(steps), here, screen, config.give_up_after):
        here.took(step)
        screen.step(step, config.steps or 0)
        best = due(step.number, config.evaluate_every, config) and look()
        if due(step.number, config.sample_every, config) and not stop:
            team.gather()
            write_samples(
                model,
                corpus.tokenizer,
                here,
                screen,
                prompts=config.prompts,
                tokens=config.sample_tokens,
                count=config.samples,
                seed=config.seed,
                temperature=config.temperature,
                top_k=config.top_k,
                top_p=config.top_p,
            )
        if best or stop or due(step.number, config.save_every, config):
            team.gather()
            here.save(model, team.saved, best=best)
            picture.draw_sometimes()
        if stop:
            picture.draw()
            screen.say(f"{stop.name}: saved after step {step.number:,}; the same command goes on")
            return
    team.gather()
    here.save(model, team.saved)
    picture.draw()
    done = f"finished: {here.progress.step:,} steps, {here.progress.tokens:,} tokens, "
    screen.say(f"{done}{duration(here.progress.seconds)}; more steps go on from here")


def resumed(
    config: Training,
    model: GPT2,
    here: Run,
    ranks: Ranks,
    *,
    screen: Display,
    loss: Loss,
    count: Count,
    stop: Stop,
) -> Team | Solo:
    """Bring the run to its newest checkpoint, and all processes to where process 0 then is."""
    optimizer = make_optimizer(config, model, here)
    if ranks.leads and here.resume(model, optimizer):
        screen.say(f"going on after step {here.progress.step:,}")
    if ranks.size == 1:
        return Solo(optimizer)
    from inkfish.training.parallel import Team  # here: it takes a second

    here.progress = ranks.share(here.progress)
    return Team(
        ranks,
        model,
        with_heads(model, here.heads) if here.heads else model,
        optimizer,
        make=lambda module: optimizer_of(config, module),
        loss=loss,
        count=count,
        precision=config.precision,
        stop=stop,
        seed=config.seed,
        start=here.progress.step,
        sharded=config.parallel == "fsdp",
    )


def held_out_look(
    config: Training,
    model: GPT2,
    corpus: Corpus,
    here: Run,
    *,
    screen: Display,
    stop: Stop,
    workers: Executor | None,
) -> Callable[[], bool]:
    """Return what measures bits a byte of the held-out text and says whether they are the fewest so far."""
    assert config.sequence is not None, "the length of a sequence is filled in"
    held = corpus.held_out(
        vocab_size=model.config.vocab_size, length=config.sequence, windows=config.evaluate_windows
    )
    return lambda: evaluate(
        model,
        held,
        here,
        screen,
        size=config.sequences_at_once,
        precision=config.precision,
        workers=workers,
        stop=lambda: bool(stop),
    )


def make_optimizer(config: Training, model: GPT2, here: Run) -> Optimizer:
    """Return the optimizer of all that is trained."""
    return optimizer_of(config, with_heads(model, here.heads) if here.heads else model)


def optimizer_of(config: Training, trained: nn.Module) -> Optimizer:
    """Return the optimizer of a module."""
    assert config.lr is not None, "the learning rate is filled in"
    return optimizers.make(config.optimizer, trained, lr=config.lr, weight_decay=config.weight_decay)


def begin_steps(
    config: Training,
    model: GPT2,
    source: Source,
    optimizer: Optimizer,
    here: Run,
    *,
    loss: Loss,
    count: Count,
    workers: Executor | None,
    gradients: Gradients | None,
) -> Iterator[Step]:
    """Return the generator of the steps that are left."""
    assert config.steps is not None, "the number of steps is filled in"
    assert config.lr is not None, "the learning rate is filled in"
    total = config.steps
    return optimise(
        model,
        batches(source, size=config.sequences_at_once, seed=config.seed, cursor=here.progress.cursor),
        optimizer,
        schedule=lambda step: schedule.factor(
            config.schedule, step, steps=total, warmup=config.warmup, decay=config.decay
        ),
        steps=total,
        start=here.progress.step,
        lr=config.lr,
        accumulate=exact_div(config.batch, config.sequences_at_once),
        clip=config.clip,
        precision=config.precision,
        patience=config.patience,
        loss=loss,
        count=count,
        skipped=here.progress.skipped_in_a_row,
        workers=workers,
        gradients=gradients,
    )


def until_given_up(steps: Iterator[Step], here: Run, screen: Display, after: int) -> Iterator[Step]:
    """Yield steps until `after` validations in a row have brought no new best score; 0 never gives up."""
    while not (here.progress.evaluated == here.progress.step and here.given_up(after)):
        step = next(steps, None)
        if step is None:
            return
        yield step
    screen.say(f"{after} validations have brought nothing better; the best checkpoint is kept")


def unseen(config: Training, here: Run) -> bool:
    """Whether the step that a resumed run has come to still waits for its validation."""
    reached = here.progress.step
    return bool(reached and due(reached, config.evaluate_every, config) and here.progress.evaluated < reached)


def due(step: int, every: int, config: Training) -> bool:
    """Whether something that happens every so many steps, and at the end, happens now; 0 is never."""
    return bool(every) and (step % every == 0 or step == config.steps)
