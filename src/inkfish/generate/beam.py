"""Beam search: the likeliest text that a narrow search finds, instead of a drawn one.

Each step extends every one of the `beams` likeliest texts by every token and keeps the likeliest of all. A
text that ends is put aside; texts are compared by log-probability / length^penalty (Wu et al. 2016, section
7, in the form of Hugging Face). The search ends, as theirs, when no text that goes on is better at its
present length than those put aside. Left out: sampling settings, and texts longer than the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Backend
from inkfish.engine import log_sum_exp
from inkfish.errors import ContextError, SettingError
from inkfish.generate.draft import check_stop
from inkfish.generate.jobs import Prompt
from inkfish.generate.language_model import LanguageModel
from inkfish.sampling import repeating

__all__ = ["Found", "beam_search"]

MOST_BEAMS = 64


class Found(NamedTuple):
    """One text that the search has found."""

    text: str
    """What follows the prompt, without the stop string."""
    logprob: float
    """Natural logarithm of its probability, the token that ended it included."""
    tokens: int
    """How many tokens it has, that one included."""
    complete: bool
    """Whether it ended by itself and not at the most tokens."""


@dataclass
class Beam:
    """A text that goes on, in a slot of its own."""

    slot: int
    ids: list[int]
    logprob: float
    logits: NDArray[np.float32]


class Step(NamedTuple):
    """One way on: which beam, which token, and the log-probability then."""

    beam: Beam
    token: int
    logprob: float


def beam_search(
    model: LanguageModel,
    prompt: Sequence[int] | Prompt,
    *,
    beams: int = 4,
    max_tokens: int = 64,
    stop: Sequence[str] = (),
    stop_ids: Sequence[int] | None = None,
    penalty: float = 1.0,
    no_repeat_ngram: int = 0,
    min_tokens: int = 0,
) -> list[Found]:
    """Return up to `beams` texts after a prompt, best first.

    Args:
        model: gives the probabilities.
        prompt: ids to continue, at least one; with segments where it has speakers.
        beams: how many texts are followed at once, 1 to 64; 1 is greedy.
        max_tokens: most tokens of a text.
        stop: a text ends before the first of these strings, and at the stop tokens.
        stop_ids: tokens that end a text; None is the model's own.
        penalty: exponent of the length; 0 compares plain probabilities, above 0 favours longer texts.
        no_repeat_ngram: forbids tokens that would repeat an n-gram of this length in prompt and text (Paulus
            et al. 2018, section 2.5; over the prompt as in TransferTransfo's filter); 0 is off.
        min_tokens: forbids stop tokens until the text has so many tokens.

    Raises:
        SettingError: beams outside its limits.
        ContextError: prompt and max_tokens do not fit the context.
    """
    if not 1 <= beams <= MOST_BEAMS:
        raise SettingError(f"beams is {beams}; it must be from 1 to {MOST_BEAMS}", param="beams")
    context = model.config.n_positions
    asked = prompt if isinstance(prompt, Prompt) else Prompt(prompt)
    if len(asked.ids) + max_tokens > context:
        raise ContextError(
            f"prompt and text have {len(asked.ids):,} + {max_tokens:,} tokens, the model's context "
            f"{context:,}; shorten the prompt or lower max_tokens",
            param="max_tokens",
        )
    search = Search(model, check_stop(stop), beams, max_tokens, penalty)
    search.stop_ids = search.stop_ids if stop_ids is None else tuple(stop_ids)
    search.no_repeat_ngram, search.min_tokens = no_repeat_ngram, min_tokens
    return search.run(asked)


class Search:
    """The state of one search."""

    def __init__(
        self, model: LanguageModel, stop: Sequence[str], beams: int, max_tokens: int, penalty: float
    ) -> None:
        self.model, self.stop, self.width = model, tuple(stop), beams
        self.max_tokens, self.penalty = max_tokens, penalty
        self.stop_ids: Sequence[int] = model.stop_ids
        self.no_repeat_ngram = self.min_tokens = 0
        self.prompt = Prompt(())
        self.done: list[Found] = []

    def run(self, prompt: Prompt) -> list[Found]:
        """Search until nothing better can come, free all slots, and return what was found."""
        backend, self.prompt = self.model.backend, prompt
        slot = backend.allocate()
        live = [Beam(slot, [], 0.0, backend.prefill(slot, list(prompt.ids), prompt.segments))]
        try:
            while live and not self.settled(live):
                live = self.advance(backend, live)
        finally:
            for beam in live:
                backend.free(beam.slot)
        return sorted(self.done, key=self.value, reverse=True)[: self.width]

    def value(self, found: Found) -> float:
        """Return what texts are compared by."""
        return float(found.logprob / found.tokens**self.penalty)

    def settled(self, live: Sequence[Beam]) -> bool:
        """Say whether no beam is among the best as it stands; what goes on seldom gets better."""
        if len(self.done) < self.width:
            return False
        worst = sorted((self.value(found) for found in self.done), reverse=True)[self.width - 1]
        return all(beam.logprob / len(beam.ids) ** self.penalty <= worst for beam in live)

    def advance(self, backend: Backend, live: Sequence[Beam]) -> list[Beam]:
        """Take one step: put aside what ends, give the best of the rest slots of their own, decode them.

        As in transformers a text that ends is put aside only if it is among the `width` best of all steps.
        """
        chosen: list[Step] = []
        for rank, step in enumerate(self.steps(live)):
            if len(chosen) == self.width:
                break
            found = self.ended(step)
            if found is None:
                chosen.append(step)
            elif rank < self.width:
                self.done.append(found)
        if len(live[0].ids) + 1 == self.max_tokens:
            self.done += [self.found([*step.beam.ids, step.token], step.logprob) for step in chosen]
            chosen = []
        beams = self.decode(backend, chosen) if chosen else []
        for beam in live:
            backend.free(beam.slot)
        return beams

    def decode(self, backend: Backend, chosen: Sequence[Step]) -> list[Beam]:
        """Return beams that have taken their steps, in slots of their own; none is left where that fails."""
        slots = [backend.allocate() for _ in chosen]
        try:
            for step, slot in zip(chosen, slots, strict=True):
                backend.copy(step.beam.slot, slot, backend.length(step.beam.slot))
            spoken = self.prompt.segments
            segments = None if spoken is None else [spoken[-1]] * len(chosen)
            logits = backend.decode(slots, [step.token for step in chosen], segments)
        except BaseException:  # Ctrl-C too
            for slot in slots:
                backend.free(slot)
            raise
        return [
            Beam(slot, [*step.beam.ids, step.token], step.logprob, row)
            for step, slot, row in zip(chosen, slots, logits, strict=True)
        ]

    def steps(self, live: Sequence[Beam]) -> list[Step]:
        """Return the ways on that may matter, best first; of equal ones the earlier beam and the lower id."""
        found = []
        enough = self.width + len(self.stop_ids) + 8 * len(self.stop)
        for beam in live:
            logprobs = beam.logits.astype(np.float64) - log_sum_exp(beam.logits)
            logprobs[self.forbidden(beam.ids)] = -np.inf
            best = np.argpartition(-logprobs, min(self.width + enough, len(logprobs) - 1))[
                : self.width + enough
            ]
            best = best[np.lexsort((best, -logprobs[best]))]
            allowed = best[np.isfinite(logprobs[best])]
            found += [Step(beam, int(token), beam.logprob + float(logprobs[token])) for token in allowed]
        return sorted(found, key=lambda step: -step.logprob)

    def forbidden(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens that may not follow a text."""
        n = self.no_repeat_ngram
        repeated = repeating([*self.prompt.ids, *ids], n) if n else set()
        return [*repeated, *(self.stop_ids if len(ids) < self.min_tokens else ())]

    def ended(self, step: Step) -> Found | None:
        """Return the text if this step ends it, by a stop token or a stop string."""
        ids = [*step.beam.ids, step.token]
        if step.token in self.stop_ids:
            text = self.found(step.beam.ids, step.logprob).text
            return Found(text, step.logprob, len(ids), True)
        found = self.found(ids, step.logprob)
        return found if found.complete else None

    def found(self, ids: Sequence[int], logprob: float) -> Found:
        """Return a text, cut before the first stop string."""
        text = self.model.tokenizer.decode(ids)
        cuts = [text.find(string) for string in self.stop if string in text]
        return Found(text[: min(cuts, default=len(text))], logprob, len(ids), bool(cuts))
