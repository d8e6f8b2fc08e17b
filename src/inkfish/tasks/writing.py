"""From a task's pieces to a model's answers: prompts begin a document, stop rules end the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack

from inkfish.errors import ContextError
from inkfish.generate import LanguageModel, Sample
from inkfish.generate.jobs import Job, SamplingSettings
from inkfish.tasks import Piece, Stop, encode

__all__ = ["answers", "document_ids", "prepare"]


def document_ids(model: LanguageModel, pieces: Sequence[Piece]) -> list[int]:
    """Return a prompt's ids after the end token, which stands before every document in training.

    Raises:
        TokenizerError: a special token that the vocabulary lacks.
    """
    start = [] if model.tokenizer.end is None else [model.tokenizer.end]
    return start + encode(pieces, model.tokenizer).ids


def prepare(
    model: LanguageModel,
    pieces: Sequence[Piece],
    stop: Stop,
    *,
    max_tokens: int | None = None,
    seed: int = 0,
    **sampling: Unpack[SamplingSettings],
) -> Job:
    """Return a task's prompt as a job that ends by the task's stop rule, or when the context is full.

    Args:
        model: will write the answer.
        pieces: the prompt.
        stop: the task's stop rule.
        max_tokens: most tokens of the answer, in place of the rule's.
        seed: as in `LanguageModel.prepare`.
        **sampling: as there.

    Raises:
        ContextError: the prompt alone fills the context.
    """
    ids = document_ids(model, pieces)
    room = model.config.n_positions - len(ids)
    if room < 1:
        raise ContextError(
            f"the prompt has {len(ids):,} tokens, the model's context {model.config.n_positions:,}; "
            "shorten the text, or give fewer examples by --shots"
        )
    return model.prepare(
        ids,
        max_tokens=min(max_tokens or stop.max_tokens, room),
        seed=seed,
        stop=stop.strings,
        stop_ids=None if stop.end else (),
        end_at_sentence=False,
        **sampling,
    )


def answers(model: LanguageModel, jobs: Sequence[Job]) -> Iterator[Sample]:
    """Yield the first sample of each job in order; as many are written at once as the engine has slots."""
    return (completion.samples[0] for completion in model.complete(jobs))
