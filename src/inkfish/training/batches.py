"""Batches in an order that depends on a seed alone, so that training can stop at any of them and go on.

The stream of examples is endless: example n of the stream is number n mod N of epoch n div N, and every epoch
has its own permutation of the N examples, drawn by Philox from (seed, epoch). A position in the stream is one
whole number, the cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inkfish.errors import DataError

__all__ = ["IGNORED", "Batch", "Examples", "Source", "Windows", "batches", "order"]

IGNORED = -100
"""The target where there is no loss; torch's own default."""


class Examples(Protocol):
    """What `optimise` needs of a batch, which is a named tuple."""

    @property
    def ids(self) -> Tensor:
        """What the model reads; any shape."""
        ...

    @property
    def targets(self) -> Tensor:
        """One for each term of the loss, IGNORED where there is none; any shape."""
        ...

    @property
    def cursor(self) -> int:
        """How many examples of the stream are used up after this batch."""
        ...

    @property
    def name(self) -> str:
        """Which examples these are, for messages."""
        ...


class Batch(NamedTuple):
    """B examples of T tokens."""

    ids: Tensor
    """(B, T) int64, what the model reads."""
    targets: Tensor
    """(B, T) int64, the token after each; IGNORED where there is no loss."""
    segments: Tensor | None = None
    """(B, T) int64, ids of speakers, or None."""
    cursor: int = 0
    """How many examples of the stream are used up after this batch."""

    @property
    def name(self) -> str:
        """Which examples these are, for messages."""
        return f"examples {self.cursor - len(self.ids):,} to {self.cursor - 1:,}"


class Source(Protocol):
    """A finite set of examples."""

    def __len__(self) -> int:
        """How many examples an epoch has."""
        ...

    def batch(self, examples: NDArray[np.int64], epoch: int) -> Batch:
        """Return these examples (numbers below `len`) as one batch."""
        ...


class Windows:
    """Windows of T + 1 tokens, side by side over a stream of ids; each epoch begins at another offset."""

    def __init__(
        self,
        ids: NDArray[np.unsignedinteger],
        length: int,
        *,
        seed: int = 0,
        learned: Callable[[int, int], NDArray[np.bool_]] | None = None,
        noise: float = 0.0,
        vocab_size: int = 1,
    ) -> None:
        """Cut windows.

        Args:
            ids: the stream (tokens,), as a rule memory-mapped.
            length: T, tokens of a window without its last target.
            seed: for the offsets and the noise.
            learned: (start, stop) → for each token between them whether its loss counts; None counts all.
            noise: probability that the model reads a random token instead of the right one.
            vocab_size: random tokens are below this.

        Raises:
            DataError: fewer than T + 1 tokens.
        """
        if len(ids) <= length:
            raise DataError(
                f"the data has {len(ids):,} tokens, and one window takes {length + 1:,}; "
                "give more text or a shorter sequence"
            )
        self.ids, self.length, self.seed = ids, length, seed
        self.learned, self.noise, self.vocab_size = learned, noise, vocab_size

    def __len__(self) -> int:
        return len(self.ids) // self.length

    def offset(self, epoch: int) -> int:
        """Where the first window of an epoch begins."""
        return int(random(self.seed, epoch, stream=1).integers(0, self.length))

    def batch(self, examples: NDArray[np.int64], epoch: int) -> Batch:
        """Return windows as a batch; after the stream's end comes its beginning."""
        starts = self.offset(epoch) + examples * self.length
        places = starts[:, None] + np.arange(self.length + 1)  # (B, T + 1)
        both = torch.from_numpy(self.ids.take(places, mode="wrap").astype(np.int64))
        read, targets = both[:, :-1], both[:, 1:]
        if self.learned is not None:
            counts = np.stack([self.counts(int(start) % len(self.ids)) for start in starts])
            targets = targets.masked_fill(torch.from_numpy(~counts), IGNORED)
        if self.noise:
            read = torch.stack(
                [self.noisy(row, int(example), epoch) for row, example in zip(read, examples, strict=True)]
            )
        return Batch(read, targets)

    def counts(self, start: int) -> NDArray[np.bool_]:
        """Say for each target of the window at `start` whether its loss counts, (T,)."""
        assert self.learned is not None, "asked only where there is a mask"
        stop = start + self.length + 1
        kept = self.learned(start, min(stop, len(self.ids)))
        if stop > len(self.ids):
            kept = np.concatenate([kept, self.learned(0, stop - len(self.ids))])
        return kept[1:]

    def noisy(self, ids: Tensor, example: int, epoch: int) -> Tensor:
        """Return the ids (T,) with some replaced at random; example and epoch alone say which."""
        draw = random(self.seed, epoch * len(self) + example, stream=2**63)
        replaced = torch.from_numpy(draw.random(len(ids)) < self.noise)
        return torch.where(replaced, torch.from_numpy(draw.integers(0, self.vocab_size, len(ids))), ids)


def random(seed: int, epoch: int, *, stream: int = 0) -> np.random.Generator:
    """Return the generator of one epoch; `stream` keeps different uses apart."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, 2 * epoch + stream], np.uint64)))


def order(count: int, epoch: int, seed: int) -> NDArray[np.int64]:
    """Return the permutation of `count` examples in which an epoch takes them."""
    return random(seed, epoch).permutation(count)


def batches(source: Source, *, size: int, seed: int, cursor: int = 0) -> Iterator[Batch]:
    """Yield batches for ever, starting after `cursor` examples; none crosses the border of two epochs.

    The last batch of an epoch is smaller where `size` does not divide the number of examples.
    """
    count = len(source)
    assert count > 0, "a source without examples"
    while True:
        epoch, start = divmod(cursor, count)
        permutation = order(count, epoch, seed)
        while start < count:
            examples = permutation[start : start + size]
            start += len(examples)
            cursor = epoch * count + start
            yield source.batch(examples, epoch)._replace(cursor=cursor)
