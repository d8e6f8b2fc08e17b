"""A conversation as a value: who speaks, what was said, and what of it the model sees.

    conversation = Conversation(Dialogue((), about_bot=("I like cats.",)), seed=1).heard("hi")
    turn = Turn(model, fit(model, conversation))  # inkfish.tasks.speaking
    for piece in turn:
        print(piece, end="")
    conversation = conversation.heard(turn.text)

When the context is full, the oldest turns are dropped in blocks: half of the room is then free again, and
until it is full the beginning stays, so that a kept cache (`inkfish.engine.Kept`) serves many turns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from inkfish.errors import ContextError, DataError, SettingError
from inkfish.generate import LanguageModel
from inkfish.tasks import Piece, inline
from inkfish.tasks.chat import BOT, USER, Dialogue
from inkfish.tasks.examples import table
from inkfish.tasks.forms import TRANSCRIPT, Form, transcript

__all__ = [
    "DEFAULTS",
    "LONGEST",
    "Conversation",
    "check_line",
    "fit",
    "personas",
    "pieces",
]

LONGEST = 40
"""Most tokens of a turn, unless the caller says otherwise."""
DEFAULTS = {"temperature": 0.7, "top_p": 0.9, "no_repeat_ngram": 7}
"""How tokens are chosen: as Wolf et al. 2019 released it. Three tokens of the n-gram can begin a line:
so two turns of a speaker may begin with the same three words, and a persona is not copied at length."""
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""Control characters that are no white space."""


@dataclass(frozen=True)
class Conversation:
    """What was said and how it goes on; every change makes a new one."""

    dialogue: Dialogue = field(default_factory=lambda: Dialogue(()))
    """Personas, topic and all turns, also those that the model no longer sees."""
    seed: int = 0
    """Same seed, same messages: same replies."""
    dropped: int = 0
    """How many of the oldest turns the model no longer sees; even, so that the user stays A."""
    retries: int = 0
    """How often the bot was asked for the same turn again: each time another one is drawn."""

    @property
    def speaker(self) -> str:
        """Who speaks next."""
        return (USER, BOT)[len(self.dialogue.turns) % 2]

    @property
    def seen(self) -> Dialogue:
        """The dialogue as far as the model sees it."""
        return replace(self.dialogue, turns=self.dialogue.turns[self.dropped :])

    def heard(self, text: str) -> Conversation:
        """Return the conversation after the next speaker has said `text`."""
        retries = 0 if self.speaker == USER else self.retries
        return replace(self.with_turns((*self.dialogue.turns, text)), retries=retries)

    def without(self, count: int) -> Conversation:
        """Return the conversation without its last turns."""
        assert 0 <= count <= len(self.dialogue.turns), f"there are no {count} turns to take back"
        return self.with_turns(self.dialogue.turns[: len(self.dialogue.turns) - count])

    def with_turns(self, turns: tuple[str, ...]) -> Conversation:
        """Return the conversation with other turns; at least the last exchange is seen."""
        dropped = min(self.dropped, max(0, (len(turns) - 1) // 2 * 2))
        return replace(self, dialogue=replace(self.dialogue, turns=turns), dropped=dropped)


def check_line(text: str, name: str) -> str:
    """Return what a person said, as one line; nothing in it is taken for a special token or another turn.

    Raises:
        SettingError: it is empty.
        DataError: it holds a control character, or is not valid Unicode.
    """
    bad = CONTROL.search(text)
    if bad:
        code = f"U+{ord(bad[0]):04X}"
        raise DataError(f"{name} has the control character {code} at character {bad.start() + 1}; remove it")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"{name} holds a lone surrogate, which is not valid Unicode; remove it")
    line = inline(text)
    if not line:
        raise SettingError(f"{name} is empty; write something")
    return line


def personas() -> tuple[tuple[str, ...], ...]:
    """Return the bundled personas, each some sentences of our own writing."""
    return tuple(tuple(row.values()) for row in table("personas"))


def pieces(dialogue: Dialogue) -> list[Piece]:
    """What the model reads of a transcript before the next turn, whoever speaks it."""
    return transcript(dialogue)


def fit(
    model: LanguageModel,
    conversation: Conversation,
    *,
    max_tokens: int = LONGEST,
    form: Form = TRANSCRIPT,
    history: int | None = None,
) -> Conversation:
    """Return the conversation with so many of its oldest turns dropped that a next turn has room.

    Args:
        model: will speak.
        conversation: so far.
        max_tokens: most tokens of the next turn.
        form: of what the model reads.
        history: exchanges that the model sees at most, beside that of the next turn; None is what fits.

    Raises:
        ContextError: the personas or the last turn alone are too long.
    """
    conversation = recent(conversation, history)
    turns, context = conversation.dialogue.turns, model.config.n_positions

    def size(dialogue: Dialogue) -> int:
        return len(form.encode(model, dialogue).ids)

    most = context - max_tokens
    # TransferTransfo's form has the next speaker's persona only; before the first turn both are looked at.
    heard: tuple[tuple[str, ...], ...] = (("",), ()) if not turns else (("",),) if len(turns) % 2 else ((),)
    nothing = heard if form.special else ((),)
    opening = max(size(replace(conversation.dialogue, turns=each)) for each in nothing)
    if opening > most:
        raise ContextError(
            f"the personas have {opening:,} tokens; with a reply of {max_tokens:,} they must fit the model's "
            f"context of {context:,}: shorten them, or lower --max-tokens"
        )
    if size(conversation.seen) <= most:
        return conversation
    for dropped in range(conversation.dropped + 2, len(turns) + 1, 2):
        conversation = replace(conversation, dropped=dropped)
        if size(conversation.seen) <= opening + (most - opening) // 2:
            return conversation
    length = size(conversation.seen)
    if length > most:
        raise ContextError(
            f"the message has {length - opening:,} tokens; beside the personas ({opening:,}) and a reply "
            f"({max_tokens:,}) the model's context has room for {most - opening:,}: shorten it"
        )
    return conversation


def recent(conversation: Conversation, history: int | None) -> Conversation:
    """Return the conversation with old turns dropped, down to half, where more are seen than wanted."""
    seen = len(conversation.seen.turns)
    if history is None or seen <= 2 * history + 1:
        return conversation
    dropped = (seen - (history + 1)) // 2 * 2
    return replace(conversation, dropped=conversation.dropped + dropped)
