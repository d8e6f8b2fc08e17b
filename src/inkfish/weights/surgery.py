"""Another vocabulary for a trained model: rows of its token embedding are kept, moved, and averaged.

The transformer and the positions stay as they are. As the head is the embedding itself, a row decides both
what a token means and how likely it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkfish.tokenizer.vocabulary import Vocabulary
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["Transplant", "transplanted"]

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Transplant:
    """A model with a new vocabulary, and where its rows came from."""

    checkpoint: Checkpoint
    kept: int
    """Entries that keep their rows."""
    made: int
    """Entries whose rows are means."""
    parts: float
    """Old tokens behind a mean, on average; 0 where there is none."""


def transplanted(checkpoint: Checkpoint, old: Vocabulary, new: Vocabulary, *, eos: int | None) -> Transplant:
    """Return a model for a new vocabulary: shared entries keep their rows, the others get means.

    An entry that is new has the mean of the rows of the old tokens into which the old vocabulary cuts its
    bytes (Gee et al. 2022, "Fast vocabulary transfer"; de Vries and Nissim 2021, "As good as new", keep the
    layers likewise while the vocabulary changes its language). A new special token has the mean of all rows.

    Args:
        checkpoint: the model.
        old: its vocabulary.
        new: the one that it gets.
        eos: id of the end token in the new one.
    """
    source = np.asarray(checkpoint.tensors["wte.weight"], np.float32)
    known = sorted(i for i in old.entries() if i < len(source))
    marks = {**old.specials, **old.words}
    rows = np.empty((max(new.entries()) + 1, source.shape[1]), np.float32)
    rows[:] = source[known].mean(axis=0, dtype=np.float64)
    kept, parts = 0, []
    for text, i in {**new.specials, **new.words}.items():
        if text in marks:
            rows[i], kept = source[marks[text]], kept + 1
    for i, ids in zip(new.ranked.values(), old.cuts(new.ranked), strict=True):
        rows[i] = source[ids].mean(axis=0, dtype=np.float64)
        kept += len(ids) == 1
        parts += [len(ids)] if len(ids) > 1 else []
    return Transplant(
        with_rows(checkpoint, rows, eos=eos),
        kept=kept,
        made=len(new.entries()) - kept,
        parts=sum(parts) / len(parts) if parts else 0.0,
    )


def with_rows(checkpoint: Checkpoint, rows: Rows, *, eos: int | None) -> Checkpoint:
    """Return the model with another token embedding; ids of tokens in its sampling defaults are dropped."""
    tensors: Mapping[str, NDArray[Any]] = {**checkpoint.tensors, "wte.weight": rows}
    config = replace(checkpoint.config, vocab_size=len(rows))
    other = {name: x for name, x in checkpoint.generation.other.items() if not name.endswith("_token_id")}
    generation = replace(checkpoint.generation, eos_token_ids=(), other=other)
    return replace(checkpoint, config=config, tensors=tensors, eos=eos, generation=generation)
