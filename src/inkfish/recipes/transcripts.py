"""Conversations among texts: the chat task's plain transcript, of which B's turns are learned."""

from __future__ import annotations

from inkfish.data.dialogues.talk import Talk
from inkfish.data.rules import Span
from inkfish.tasks import plain
from inkfish.tasks.chat import Dialogue, render

__all__ = ["transcript"]


def transcript(talk: Talk) -> tuple[Span, ...]:
    """Return a conversation as `inkfish chat` shows it to a model: the user is A, the assistant is B.

    What the system says stands before it, as what is known about B. Where the assistant speaks first, A has
    said nothing. The end token is the store's affair.

    Args:
        talk: of two, with the turns of one of them as replies.
    """
    assert talk.replies, "a conversation that was checked has replies"
    bot = talk.replies[0] % 2
    turns = talk.turns if bot else ("", *talk.turns)
    pieces = render(Dialogue(turns, talk.personas[1 - bot], talk.personas[bot], talk.topic))[:-1]
    return tuple(Span(plain([piece]), learned=piece.trainable) for piece in pieces)
