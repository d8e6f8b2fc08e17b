"""What a run that learns to talk replies: while it trains, and beside its base model once it is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inkfish.backends.torch import TorchBackend
from inkfish.errors import ContextError
from inkfish.generate import LanguageModel, load
from inkfish.generate.jobs import Prompt
from inkfish.model import GPT2
from inkfish.recipes.afterwards import OPENINGS, Account, Comparison, leave, marks
from inkfish.recipes.corpus import Corpus
from inkfish.recipes.dialogues import Dialogues
from inkfish.recipes.display import Display
from inkfish.recipes.settings import Training
from inkfish.tasks import encode, plain
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.choosing import Judge
from inkfish.tasks.conversation import LONGEST, Conversation, fit
from inkfish.tasks.forms import TRANSCRIPT
from inkfish.tasks.speaking import Turn
from inkfish.tasks.transfertransfo import TASK, prompt
from inkfish.tokenizer import Tokenizer
from inkfish.training.metrics import read_metrics
from inkfish.training.run import Run

__all__ = ["conclude", "show_replies"]

SHOWN = 2
"""Held-out dialogues that are replied to, for people to see, at each validation."""


def conclude(config: Training, source: Dialogues, corpus: Corpus, model: str, here: Run) -> list[str]:
    """Write the card and the page of a finished run; return lines about how well it went.

    Args:
        config: with everything filled in.
        source: dialogues to reply to, held-out ones where there are any.
        corpus: the words of those trained on, and the tokenizer.
        model: name or folder of the base model.
        here: the run.
    """
    talks = openings_of(source)
    before, after = (replies(load(name), talks, seed=config.seed) for name in (model, str(config.out)))
    found = [
        Comparison(shown(talk), f" {old}", marks(corpus.tokenizer, f" {new}", corpus.train))
        for talk, old, new in zip(talks, before, after, strict=True)
        if old is not None and new is not None
    ]
    account = Account(
        shown="Dialogues (bold), their next turn spoken",
        steps=f"{here.progress.step:,} steps of {config.batch} replies of up to {config.sequence} tokens",
        measured=measured(here, source.form.candidates),
        command=f"inkfish chat --model {config.out.name}",
    )
    return leave(config, model, here, found, account)


def openings_of(source: Dialogues) -> list[Dialogue]:
    """Return some dialogues, evenly spread, up to where a reply is learned."""
    places = np.linspace(0, len(source.replies) - 1, min(OPENINGS, len(source.replies))).astype(int)
    found = {}
    for place in dict.fromkeys(places.tolist()):
        example = source.fitted(source.exchange(source.replies[place]))
        history, about = example.history, example.persona
        bot = len(history) % 2 == 1  # who speaks next, where the first turn seen is A's
        found[history] = Dialogue(history, about_user=() if bot else about, about_bot=about if bot else ())
    return list(found.values())


def replies(model: LanguageModel, talks: Sequence[Dialogue], *, seed: int) -> list[str | None]:
    """Return a model's reply to each dialogue, in the form in which it talks; None where there is no room."""
    form, found = Judge.of(model).form, list[str | None]()
    most = min(LONGEST, model.config.n_positions // 4)
    for talk in talks:
        try:
            conversation = fit(model, Conversation(talk, seed), max_tokens=most, form=form)
        except ContextError:
            found.append(None)
            continue
        found.append("".join(Turn(model, conversation, max_tokens=most, form=form)))
    return found


def shown(talk: Dialogue) -> str:
    """Return a dialogue for people, up to the name of who speaks next."""
    return plain(TRANSCRIPT.pieces(talk))


def measured(here: Run, candidates: int) -> str | None:
    """Return a line about held-out replies before training and at their best, if they were measured."""
    records = [record for record in read_metrics(here.metrics.path) if "hits" in record]
    later = [record for record in records if record["step"] > 0]
    if len(records) == len(later) or not later:
        return None
    old, new = records[0], min(later, key=lambda record: record["validation"])
    return (
        f"perplexity of held-out replies: {old['perplexity']:,.1f} before, {new['perplexity']:,.1f} after; "
        f"right among {candidates}: {old['hits']:.0%} before, {new['hits']:.0%} after"
    )


def show_replies(
    model: GPT2, tokenizer: Tokenizer, held: Dialogues, here: Run, screen: Display, *, seed: int
) -> None:
    """Reply to some held-out dialogues, on the screen and in `samples/STEP.txt`."""
    training = model.training
    writer = LanguageModel(TorchBackend(model.eval(), "float32"), tokenizer)
    lines: Sequence[str] = [one_reply(writer, held, number, seed) for number in range(SHOWN)]
    model.train(training)
    screen.say("\n".join(lines))
    here.write(f"samples/{here.progress.step}.txt", ("\n".join(lines) + "\n").encode())


def one_reply(writer: LanguageModel, held: Dialogues, number: int, seed: int) -> str:
    """Return what was said last in a held-out dialogue, and the model's reply."""
    place = number * (len(held.replies) // SHOWN)
    exchange = replace(held.fitted(held.exchange(held.replies[place])), reply="")
    encoded = encode(prompt(exchange), writer.tokenizer)
    room = writer.config.n_positions - len(encoded.ids)
    if room < 1:
        return f"{exchange.history[-1]} → (too long to reply)"
    said = writer.generate(
        Prompt(encoded.ids, encoded.segments),
        max_tokens=min(TASK.stop.max_tokens, room),
        temperature=0.7,
        top_p=0.9,
        seed=seed,
        stop_ids=tuple(writer.tokenizer.specials.values()),
        min_tokens=1,
    )
    return f"{exchange.history[-1] if exchange.history else '…'} → {TASK.clean(said.samples[0].text)}"
