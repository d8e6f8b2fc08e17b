"""New special tokens for a model: entries in its vocabulary, and rows in its embedding to be trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from inkfish.tokenizer import Tokenizer
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["Extended", "add_specials", "draw_rows"]

SPREAD = 0.25
"""Standard deviation of a drawn row around the mean row, in those of the embedding."""


class Extended(NamedTuple):
    """A model and its tokenizer."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer


def add_specials(
    checkpoint: Checkpoint, tokenizer: Tokenizer, names: Sequence[str], *, seed: int = 0
) -> Extended:
    """Return a model that knows these special tokens; what it has already stays as it is.

    New ones get the ids after the largest and rows of `draw_rows`; everything else keeps its ids and weights,
    so texts without the new tokens get the same logits as before for all old ones.

    Args:
        checkpoint: the model.
        tokenizer: the model's.
        names: such as "<|speaker1|>".
        seed: of the new rows.

    Raises:
        TokenizerError: a name that text turns into.
    """
    vocabulary = tokenizer.vocabulary.with_specials(names)
    new = [i for name, i in vocabulary.specials.items() if name not in tokenizer.specials]
    rows = max([checkpoint.config.vocab_size, *(i + 1 for i in new)])
    old = np.asarray(checkpoint.tensors["wte.weight"], np.float32)
    grown = np.zeros((rows, old.shape[1]), np.float32)
    grown[: len(old)] = old
    config = dataclasses.replace(checkpoint.config, vocab_size=rows)
    wider = dataclasses.replace(
        checkpoint, config=config, tensors={**checkpoint.tensors, "wte.weight": grown}
    )
    return Extended(draw_rows(wider, new, seed=seed), Tokenizer(vocabulary, vocab_size=rows))


def draw_rows(checkpoint: Checkpoint, ids: Collection[int], *, seed: int = 0) -> Checkpoint:
    """Return a model whose embedding has new rows at `ids`: the mean of all others, and a little noise.

    A row of mere noise would at first be likelier than any word: the logits of a trained model are far from 0
    (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models").
    """
    wte = np.array(checkpoint.tensors["wte.weight"], np.float32)
    chosen = sorted(ids)
    if not chosen:
        return checkpoint
    others = np.delete(wte, chosen, axis=0)
    noise = np.random.Generator(np.random.Philox(seed)).standard_normal((len(chosen), wte.shape[1]))
    wte[chosen] = others.mean(0) + SPREAD * others.std() * noise
    return dataclasses.replace(checkpoint, tensors={**checkpoint.tensors, "wte.weight": wte})
