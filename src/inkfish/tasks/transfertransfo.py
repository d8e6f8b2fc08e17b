r"""Talk with a persona in the form of TransferTransfo (Wolf et al. 2019): speakers are special tokens.

    <|bos|> I like cats. I bake. <|speaker2|> hi <|speaker1|> hello <|speaker2|> what ? <|speaker1|>
    <------ speaker1 ----------> <-speaker2-----> <--speaker1-----> <---speaker2------> <-speaker1->

Persona, history, and the speaker's token, after which the model writes the reply and <|eos|>. The second line
are the segments: token ids whose embeddings are added. Whoever replies is speaker1, so the form asks for the
user's next line as well, with the user's persona. Texts begin with a space, as words within a text do.

The released code counts the speakers' tokens from the reply backwards and the segments from the persona
forwards, so that the two disagree where the history is even. Here a turn's segment is its own speaker, and
the original's counting is an option of `Exchange`. For an odd history, and all of PERSONA-CHAT's are, both
give the same. Left out: a topic, for which the form has no place.
"""

from __future__ import annotations

from dataclasses import dataclass

from inkfish.tasks import Piece, Special, Stop, Task, inline
from inkfish.tasks.chat import Dialogue, clean

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "SPECIALS",
    "TASK",
    "Exchange",
    "exchange",
    "prompt",
    "render",
]

BOS, EOS, PAD = Special("<|bos|>"), Special("<|eos|>"), Special("<|pad|>")
SELF, OTHER = Special("<|speaker1|>"), Special("<|speaker2|>")
SPECIALS = tuple(special.name for special in (BOS, EOS, SELF, OTHER, PAD))
"""The form's special tokens in the order of the released code, which adds them to a vocabulary."""


@dataclass(frozen=True)
class Exchange:
    """One reply and what comes before it."""

    history: tuple[str, ...]
    """What was said, oldest first; whoever replies did not say the last of it."""
    persona: tuple[str, ...] = ()
    """Sentences about who replies."""
    reply: str = ""
    """The reply, in examples."""
    original: bool = False
    """Whether segments are counted from the persona forwards, as in the released code."""


def prompt(example: Exchange) -> list[Piece]:
    """Persona, history and the token of who replies."""
    history, count = example.history, len(example.history)
    opening = inline(" ".join(example.persona))
    pieces = [Piece(BOS, SELF, trainable=False)]
    if opening:
        pieces.append(Piece(f" {opening}", SELF, trainable=False))
    for number, turn in enumerate(history):
        speaker = OTHER if (count - number) % 2 else SELF
        segment = _segment(example, number)
        pieces += [Piece(speaker, segment, trainable=False)]
        pieces += [Piece(f" {inline(turn)}", segment, trainable=False)] if turn.strip() else []
    return [*pieces, Piece(SELF, _segment(example, count), trainable=False)]


def render(example: Exchange) -> list[Piece]:
    """Prompt, reply and <|eos|>; the last two are trainable."""
    segment = _segment(example, len(example.history))
    return [*prompt(example), Piece(f" {inline(example.reply)}", segment), Piece(EOS, segment)]


def exchange(dialogue: Dialogue) -> Exchange:
    """Return the exchange in which the next turn of a dialogue is the reply, whoever speaks it."""
    persona = dialogue.about_bot if len(dialogue.turns) % 2 else dialogue.about_user
    return Exchange(dialogue.turns, persona)


def _segment(example: Exchange, number: int) -> Special:
    """Return the segment of turn `number` of the history; the reply's comes after the last."""
    place = number + 1 if example.original else len(example.history) - number
    return OTHER if place % 2 else SELF


TASK = Task("transfertransfo", prompt, render, Stop(strings=("\n",), max_tokens=40), clean)
"""The second form of talk; `inkfish.tasks.chat` is the first."""
