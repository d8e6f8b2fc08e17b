"""The next turn of a conversation as it is spoken: streamed, or chosen among several; nothing is said twice.

Decoding is nucleus 0.9 at temperature 0.7 (Wolf et al. 2019 as released). A speaker does not say a whole turn
twice: what could still become a repetition is held back while it is written, and drawn anew if it does.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Unpack

from inkfish.generate import Kept, LanguageModel
from inkfish.generate.jobs import SamplingSettings
from inkfish.generate.results import FinishReason
from inkfish.tasks.chat import clean
from inkfish.tasks.choosing import BEAM_NGRAM, Candidate, Judge, drawn, searched
from inkfish.tasks.conversation import DEFAULTS, LONGEST, Conversation, fit
from inkfish.tasks.forms import TRANSCRIPT, Form

__all__ = ["Chosen", "Turn", "talk"]

TRIES = 8
"""How often a turn is drawn anew before a repetition is let through."""


class Turn:
    """The next turn as it is spoken: an iterator over pieces of text, which joined are `text`."""

    def __init__(
        self,
        model: LanguageModel,
        conversation: Conversation,
        *,
        kept: Kept | None = None,
        max_tokens: int = LONGEST,
        form: Form = TRANSCRIPT,
        **sampling: Unpack[SamplingSettings],
    ) -> None:
        """Prepare the turn; it is spoken by iterating.

        Args:
            model: speaks.
            conversation: so far, as `fit` returned it.
            kept: the conversation's cache.
            max_tokens: most tokens of the turn.
            form: of what the model reads.
            **sampling: fields of `inkfish.sampling.Sampling` in place of the defaults for chat.

        Raises:
            SettingError: a value outside its limits.
        """
        given = {name: value for name, value in sampling.items() if value is not None}
        self._model, self._kept, self._conversation = model, kept, conversation
        self._settings: dict[str, Any] = {**DEFAULTS, **given, "max_tokens": max_tokens}
        self._settings |= {"stop": (*form.stop.strings, "\r"), "stop_ids": form.stop_ids(model)}
        self._prompt = form.prompt(model, conversation.seen)
        self._said = said_before(conversation)
        self._pieces: list[str] = []
        self._stream = self._speak()
        self.finish_reason: FinishReason = "cancelled"
        """Why it ended."""
        self.tokens = 0
        """How many tokens were drawn for the text that was taken."""
        self.tries = 0
        """How many texts were drawn."""
        self.repeated = False
        """Whether every try was empty or something said before, and the last one had to do."""
        model.prepare(self._prompt, seed=conversation.seed, **self._settings)  # refuses before any text

    def __iter__(self) -> Iterator[str]:
        return self._stream

    @property
    def text(self) -> str:
        """What was said so far."""
        return "".join(self._pieces)

    def close(self) -> None:
        """Stop speaking; what was said stays."""
        self._stream.close()

    def _speak(self) -> Generator[str]:
        """Draw texts until one is new, and yield it as soon as that is certain."""
        last = 1 if self._settings["temperature"] == 0 else TRIES  # greedy texts do not differ
        for self.tries in range(1, last + 1):
            for piece in self._draw(final=self.tries == last):
                self._pieces.append(piece)
                yield piece
            if self._pieces or self.repeated:
                return

    def _draw(self, *, final: bool) -> Iterator[str]:
        """Draw one text; yield it from where it is neither empty nor a repetition, or anyway if final."""
        seed = seed_of(self._conversation, self.tries)
        stream = self._model.stream(self._prompt, seed=seed, kept=self._kept, **self._settings)
        held, free = "", False
        with closing(stream):
            for piece in stream:
                held += piece.text if free or held else piece.text.lstrip()
                free = free or not self._may_repeat(held)
                ready = held.rstrip() if free else ""
                held = held[len(ready) :]
                if ready:
                    yield ready
        sample = stream.completion.samples[0]
        self.finish_reason, self.tokens = sample.finish_reason, stream.completion.usage.completion_tokens
        if not free:
            text = clean(held)
            self.repeated = final and (not text or fold(text) in self._said)
            if text and (final or fold(text) not in self._said):
                yield text

    def _may_repeat(self, text: str) -> bool:
        """Say whether a text could, with more to come, still be empty or what the speaker said before."""
        if not re.search(r"\w", text):
            return not text or bool(self._said)
        return any(said.startswith(fold(text)) for said in self._said)


class Chosen:
    """The next turn as the best of several, with the face of `Turn`; it comes in one piece."""

    def __init__(
        self,
        judge: Judge,
        conversation: Conversation,
        *,
        candidates: int = 4,
        beams: int = 0,
        kept: Kept | None = None,
        max_tokens: int = LONGEST,
        **sampling: Unpack[SamplingSettings],
    ) -> None:
        """Prepare the turn; it is thought of and chosen by iterating.

        Args:
            judge: speaks and chooses.
            conversation: so far, as `fit` returned it.
            candidates: how many replies are drawn.
            beams: texts followed at once by a beam search in place of drawing; 0 draws.
            kept: the conversation's cache.
            max_tokens: most tokens of the turn.
            **sampling: as for `Turn`.

        Raises:
            SettingError: a value outside its limits.
        """
        given = {name: value for name, value in sampling.items() if value is not None}
        defaults = DEFAULTS | ({"no_repeat_ngram": BEAM_NGRAM} if beams else {})
        self._settings: dict[str, Any] = {**defaults, **given, "max_tokens": max_tokens}
        self._judge, self._conversation, self._kept = judge, conversation, kept
        self._count, self._beams = candidates, beams
        self._last = 1 if beams or self._settings["temperature"] == 0 else TRIES
        self.text = ""
        """What is said."""
        self.candidates: tuple[Candidate, ...] = ()
        """What was thought of, best first."""
        self.finish_reason: FinishReason = "stop"
        """Why it ended."""
        self.tokens = 0
        """How many tokens the turn has, its end included."""
        self.tries = 0
        """How often replies were drawn."""
        self.repeated = False
        """Whether all of them were empty or said before."""
        prompt = judge.form.prompt(judge.model, conversation.seen)
        judge.model.prepare(prompt, seed=conversation.seed, n=max(1, candidates), **self._settings)

    def __iter__(self) -> Iterator[str]:
        texts = self._new()
        if texts:
            found = self._judge.scores(self._conversation.seen, texts, kept=self._kept)
            self.candidates = tuple(sorted(found, key=lambda candidate: -candidate.score))
            self.text = self.candidates[0].text
            self.tokens = len(self._judge.form.turn(self._judge.model, self.text))
            yield self.text

    def _new(self) -> list[str]:
        """Return replies that the speaker has not said before, or any where no try brings a new one."""
        said, texts = said_before(self._conversation), list[str]()
        while self.tries < self._last:
            self.tries += 1
            texts = self._think()
            new = [text for text in texts if fold(text) not in said]
            if new:
                return new
        self.repeated = True
        return texts

    def _think(self) -> list[str]:
        """Return replies, drawn or searched."""
        seen, settings = self._conversation.seen, self._settings
        if self._beams:
            return searched(self._judge, seen, self._beams, settings)
        seed = seed_of(self._conversation, self.tries)
        return drawn(self._judge, seen, self._count, {**settings, "seed": seed}, kept=self._kept)

    def close(self) -> None:
        """Do nothing: a turn that was not taken is not said."""


def said_before(conversation: Conversation) -> frozenset[str]:
    """Return what the next speaker has said, folded."""
    turns = conversation.dialogue.turns
    return frozenset(fold(turn) for turn in turns[len(turns) % 2 :: 2])


def seed_of(conversation: Conversation, tries: int) -> int:
    """Return the seed of one try: tries and retries each have theirs, within the range of a request."""
    seed = conversation.seed + TRIES * conversation.retries + tries - 1
    return (seed + 2**63) % 2**64 - 2**63


def fold(text: str) -> str:
    """Return what two turns share that say the same: words without case and punctuation, or signs alone."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def talk(
    model: LanguageModel,
    conversation: Conversation,
    turns: int,
    *,
    max_tokens: int = LONGEST,
    form: Form = TRANSCRIPT,
    history: int | None = None,
    **sampling: Unpack[SamplingSettings],
) -> Conversation:
    """Return the conversation after so many more turns, in which the model speaks for both.

    Raises:
        ContextError: the personas are too long.
    """
    kept = Kept(model.backend)
    try:
        for _ in range(turns):
            conversation = fit(model, conversation, max_tokens=max_tokens, form=form, history=history)
            turn = Turn(model, conversation, kept=kept, max_tokens=max_tokens, form=form, **sampling)
            conversation = conversation.heard("".join(turn))
    finally:
        kept.close()
    return conversation
