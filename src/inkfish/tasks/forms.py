"""The two forms of talk behind one face: a plain transcript, and TransferTransfo's with speakers' tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inkfish.generate import LanguageModel
from inkfish.generate.jobs import Prompt
from inkfish.tasks import Encoded, Piece, Stop, chat, encode, inline, transfertransfo
from inkfish.tasks.chat import USER, Dialogue

__all__ = ["FORMS", "PERSONA", "TRANSCRIPT", "Form"]


@dataclass(frozen=True)
class Form:
    """How a dialogue becomes what a model reads, and how a turn ends."""

    name: str
    """As commands call it."""
    pieces: Callable[[Dialogue], list[Piece]]
    """What is read before the next turn, whoever speaks it."""
    name_alone: tuple[Piece, ...]
    """What is read before a turn to nothing, by nobody in particular."""
    ending: Piece
    """What ends a turn."""
    stop: Stop
    """When a turn is complete."""
    special: bool
    """Whether it has special tokens of its own, every one of which ends a turn."""

    def encode(self, model: LanguageModel, dialogue: Dialogue) -> Encoded:
        """Return what is read before the next turn, as ids.

        Raises:
            TokenizerError: the vocabulary lacks the form's special tokens.
        """
        return self.begun(model, self.pieces(dialogue))

    def begun(self, model: LanguageModel, pieces: Sequence[Piece]) -> Encoded:
        """Return pieces as ids: a transcript is a document, which an end token precedes in training."""
        found = encode(pieces, model.tokenizer)
        if self.special or model.tokenizer.end is None:
            return found
        assert found.segments is None, "a transcript has no segments"
        return Encoded([model.tokenizer.end, *found.ids], None, [False, *found.trainable])

    def prompt(self, model: LanguageModel, dialogue: Dialogue) -> Prompt:
        """Return what is read before the next turn, as `LanguageModel.prepare` takes it."""
        found = self.encode(model, dialogue)
        return Prompt(found.ids, found.segments)

    def alone(self, model: LanguageModel) -> Prompt:
        """Return the prompt for a turn to nothing."""
        found = self.begun(model, self.name_alone)
        return Prompt(found.ids, found.segments)

    def turn(self, model: LanguageModel, text: str) -> list[int]:
        """Return a whole turn after the prompt, with what ends it, as ids."""
        return encode([Piece(f" {inline(text)}"), self.ending], model.tokenizer).ids

    def stop_ids(self, model: LanguageModel) -> tuple[int, ...] | None:
        """Return the tokens that end a turn; None is the model's own."""
        return tuple(model.tokenizer.specials.values()) if self.special else None


def transcript(dialogue: Dialogue) -> list[Piece]:
    """Return a transcript up to the name of who speaks next."""
    if len(dialogue.turns) % 2:
        return chat.prompt(dialogue)
    return [*chat.render(dialogue)[:-1], Piece(f"{USER}:", trainable=False)]


def exchange(dialogue: Dialogue) -> list[Piece]:
    """Return TransferTransfo's prompt for who speaks next."""
    return transfertransfo.prompt(transfertransfo.exchange(dialogue))


TRANSCRIPT = Form(
    "transcript", transcript, (Piece(f"{chat.BOT}:"),), Piece("\n"), chat.TASK.stop, special=False
)
"""For any GPT-2; the starter is trained on it."""
PERSONA = Form(
    "transfertransfo",
    exchange,
    tuple(transfertransfo.prompt(transfertransfo.Exchange(()))),
    Piece(transfertransfo.EOS),
    transfertransfo.TASK.stop,
    special=True,
)
"""For models that were fine-tuned to talk (`inkfish.recipes.chat`)."""
FORMS = {form.name: form for form in (TRANSCRIPT, PERSONA)}
"""By name."""
