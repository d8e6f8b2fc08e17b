"""A store's token ids in a given vocabulary: taken where they are of it, else made from the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Vocabulary", "are_of", "tokens"]


class Vocabulary(Protocol):
    """What turns ids into text and back: a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Every id is below this."""
        ...

    def decode(self, ids: Sequence[int], /) -> str:
        """Ids → text."""
        ...

    def encode(self, text: str, /) -> list[int]:
        """Text → ids."""
        ...


def are_of(vocabulary: Vocabulary, ids: Sequence[int] | None, text: str) -> bool:
    """Whether ids are a text's in a vocabulary; a store does not say in which one they were written."""
    if ids is None or not all(0 <= i < vocabulary.vocab_size for i in ids):
        return False
    return vocabulary.decode(ids) == text


def tokens(vocabulary: Vocabulary, ids: Sequence[int] | None, text: str) -> tuple[int, ...]:
    """Return a text's ids: those that are known of it where they are the vocabulary's, else new ones."""
    return tuple(ids) if ids is not None and are_of(vocabulary, ids, text) else tuple(vocabulary.encode(text))
