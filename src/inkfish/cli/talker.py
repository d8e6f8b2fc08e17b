"""What speaks in `inkfish chat`: the model with its settings and its cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from cyclopts import Group, Parameter

from inkfish.cli import chats
from inkfish.cli.output import note
from inkfish.engine import check_whole
from inkfish.errors import SettingError
from inkfish.generate import Kept, LanguageModel
from inkfish.sampling import Sampling
from inkfish.tasks import Piece, Special, plain
from inkfish.tasks.chat import USER
from inkfish.tasks.choosing import Candidate, Judge
from inkfish.tasks.conversation import LONGEST, Conversation, fit
from inkfish.tasks.forms import FORMS
from inkfish.tasks.speaking import Chosen, Turn, talk

__all__ = ["NOBODY", "ReplyOptions", "Talker", "candidate_line", "ended", "told", "with_about"]

NOBODY = "nobody in particular"
"""A bot without a persona."""


MOST_CANDIDATES = 100


@Parameter(name="*", group=Group("Replies", sort_key=1))
@dataclass(frozen=True)
class ReplyOptions:
    """How replies come about."""

    candidates: int = 1
    """Draw so many replies and say the best: by the model's choice head, or by what the dialogue adds."""
    beams: int = 0
    """Search with so many beams instead of drawing, without repeating persona or history; 0 draws."""
    history: int | None = None
    """Exchanges that the model sees before the last one; by default as many as fit its context."""
    form: str | None = None
    """What the model reads: transcript or transfertransfo; by default what it was trained on."""

    def check(self) -> None:
        """Refuse what is outside its limits.

        Raises:
            SettingError: which one.
        """
        check_whole("candidates", self.candidates, 1, MOST_CANDIDATES)
        check_whole("beams", self.beams, 0, 64)
        if self.history is not None:
            check_whole("history", self.history, 0)
        if self.form not in {None, *FORMS}:
            raise SettingError(f"form is {self.form!r}; choose one of {', '.join(FORMS)}", param="form")


class Talker:
    """Speaks for the bot, and for the user when asked for a suggestion."""

    def __init__(
        self, model: LanguageModel, settings: Mapping[str, Any], replies: ReplyOptions = ReplyOptions()
    ) -> None:
        """Take a model, keyword arguments of `Turn`, and how replies come about.

        Raises:
            SettingError: one outside its limits.
            ModelError: a choice head that does not fit the model.
        """
        replies.check()
        self.model, self.replies = model, replies
        self.judge = Judge.of(model, FORMS[replies.form] if replies.form else None)
        self.settings = {"max_tokens": LONGEST, **settings}
        self.longest: int = self.settings["max_tokens"]
        check_whole("max_tokens", self.longest, 1)
        Sampling(**{name: value for name, value in settings.items() if name != "max_tokens"})
        self.cache = Kept(model.backend)

    def fit(self, conversation: Conversation) -> Conversation:
        """Make room for a turn, and say it when that costs the oldest ones.

        Raises:
            ContextError: personas or message are too long.
        """
        form, history = self.judge.form, self.replies.history
        fitted = fit(self.model, conversation, max_tokens=self.longest, form=form, history=history)
        if fitted.dropped > conversation.dropped and history is None:
            note(f"the context is full: the model no longer sees the first {fitted.dropped} lines")
        return fitted

    def turn(self, conversation: Conversation) -> Turn | Chosen:
        """Return the next turn of a fitted conversation, to be spoken."""
        if self.replies.candidates == 1 and not self.replies.beams:
            form = self.judge.form
            return Turn(self.model, conversation, kept=self.cache, form=form, **self.settings)
        return Chosen(
            self.judge,
            conversation,
            candidates=self.replies.candidates,
            beams=self.replies.beams,
            kept=self.cache,
            **self.settings,
        )

    def talk(self, conversation: Conversation, turns: int) -> Conversation:
        """Return the conversation after so many more turns, all of them the model's."""
        form, history = self.judge.form, self.replies.history
        return talk(self.model, conversation, turns, form=form, history=history, **self.settings)

    def suggest(self, conversation: Conversation) -> str:
        """Return a line that the user could say next."""
        return "".join(self.turn(self.fit(conversation)))

    def input(self, conversation: Conversation) -> str:
        """Return what the model reads before the next turn, with its segments, and how long it is."""
        form = self.judge.form
        shown = form.pieces(conversation.seen)
        length = len(form.encode(self.model, conversation.seen).ids)
        rest = f" · {conversation.dropped} older lines are not seen" if conversation.dropped else ""
        text = with_segments(shown) if form.special else plain(shown)
        return f"{text}\n({length:,} of {self.model.config.n_positions:,} tokens{rest})"

    def judged(self, conversation: Conversation, text: str) -> tuple[Candidate, ...]:
        """Return the score of a turn that was said alone; none where it is empty or there is no room."""
        length = len(self.judge.form.encode(self.model, conversation.seen).ids)
        if not text or length >= self.model.config.n_positions:
            return ()
        return tuple(self.judge.scores(conversation.seen, [text], kept=self.cache))

    def keep(self, conversation: Conversation, path: Path | None) -> Path | None:
        """Keep a conversation in its file, and return the file; None, said once, where that can't be."""
        if path is None:
            return None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            chats.save(path, conversation, self.model.name)
        except OSError as error:
            note(f"this conversation is not kept: {path}: {error.strerror}")
            return None
        return path


def with_segments(pieces: Sequence[Piece]) -> str:
    """Return pieces with the segment before each stretch that is one speaker's."""
    lines = []
    for speaker, stretch in groupby(pieces, key=lambda piece: piece.speaker or Special("")):
        lines.append(f"{speaker.name.strip('<|>'):>8} │ {plain(list(stretch))}")
    return "\n".join(lines)


def candidate_line(candidate: Candidate) -> str:
    """Return a candidate with its scores."""
    other = f"gain {candidate.gain:.2f}" if candidate.gain is not None else ""
    other = f"choice {candidate.choice:.2f}" if candidate.choice is not None else other
    return f"{candidate.score:8.2f}  (a token {candidate.likelihood:.2f}, {other})  {candidate.text}"


def told(turn: Turn | Chosen, longest: int) -> None:
    """Say what was odd about a turn."""
    if turn.repeated:
        note("every try was empty or a repetition; /retry, or a higher --temperature, may help")
    elif turn.finish_reason == "length":
        note(f"cut at {longest} tokens; --max-tokens allows more")


def ended(conversation: Conversation) -> Conversation:
    """Return a conversation that the user goes on with: a last line without a reply is left out, and said."""
    if conversation.speaker == USER:
        return conversation
    note(f"the last line has no reply and is left out: {conversation.dialogue.turns[-1]}")
    return conversation.without(1)


def with_about(conversation: Conversation, *, bot: bool, sentences: tuple[str, ...]) -> Conversation:
    """Return the conversation with other sentences about the bot, or about the user."""
    before = conversation.dialogue
    after = replace(before, about_bot=sentences) if bot else replace(before, about_user=sentences)
    return replace(conversation, dialogue=after)
