"""Labels as examples to learn from: rows of tokens, and how probable each candidate is the best."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from inkfish.errors import DataError
from inkfish.labels.records import Item, Label
from inkfish.labels.store import Store
from inkfish.labels.tokens import tokens
from inkfish.labels.votes import JUDGED, by_item, first_answers, majorities
from inkfish.preferences.selftest import choice_targets
from inkfish.preferences.sequences import Sequences, join
from inkfish.recipes.prefer.queries import Query
from inkfish.tokenizer import Tokenizer
from inkfish.training.batches import order

__all__ = ["Comparison", "Comparisons", "batch_of", "batches_of", "read_comparisons", "split"]


@dataclass(frozen=True)
class Comparison:
    """One label of one item, as tokens."""

    query: Query
    responses: tuple[tuple[int, ...], ...]
    """Of each candidate, as its reader saw it."""
    targets: tuple[float, ...]
    """For each candidate the probability that it is the best; or the rating of a single one."""
    item: str
    """Key of the item."""
    labeller: str
    """Who said it; "majority" where several labellers count as one."""
    best: tuple[int, ...] = ()
    """Numbers of the candidates that the label names: what it said, whatever is made of it in `targets`."""
    rating: float | None = None
    """Likewise the rating of a single one."""


class Comparisons(NamedTuple):
    """B comparisons of N candidates each; the batch that `inkfish.training.optimise` takes."""

    ids: Tensor
    """(B · N, T)."""
    mask: Tensor
    """(B · N, T) bool."""
    targets: Tensor
    """(B, N) float."""
    length: int
    """L, of the longest response."""
    cursor: int = 0
    """Comparisons of the stream that are used up."""

    @property
    def name(self) -> str:
        """Which these are, for messages."""
        return f"labels {self.cursor - len(self.targets):,} to {self.cursor - 1:,}"

    @property
    def sequences(self) -> Sequences:
        """Queries and responses, (B · N, T)."""
        return Sequences(self.ids, self.mask, self.length, self.targets.shape[1])


def read_comparisons(
    store: Store,
    tokenizer: Tokenizer,
    *,
    ratings: bool,
    limit: int | None,
    majority: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[Comparison]:
    """Return what a store's labels say, in the order in which they were given.

    Skipped items, and those of which no candidate is good, say nothing here; nor does a labeller's second
    answer to the same item.

    Args:
        store: the label store.
        tokenizer: for texts without ids, or with those of another vocabulary.
        ratings: take ratings instead of choices.
        limit: most labels.
        majority: each item counts once, as more than half of its labellers say.
        say: told how many items have no majority.

    Raises:
        DataError: there is none, or items have unequal numbers of candidates.
    """
    items = {item.key: item for item in store.items()}
    labels = (majority_labels(store, say) if majority else wanted_labels(store, ratings=ratings))[:limit]
    if not labels:
        raise DataError(
            f"{store.path} holds no {'ratings' if ratings else 'choices'}; inkfish prefer label or simulate "
            "makes them",
            param="store",
        )
    found = [comparison(items[label.item], label, tokenizer) for label in labels]
    widths = {len(one.responses) for one in found}
    if len(widths) > 1:
        raise DataError(
            f"items have from {min(widths)} to {max(widths)} candidates; learn from stores of equal ones",
            param="store",
        )
    return found


def wanted_labels(store: Store, *, ratings: bool) -> list[Label]:
    """Return the labels that say something, the first of each labeller of an item."""
    wanted = ("rating",) if ratings else ("best", "tie")
    return first_answers(label for label in store.labels() if label.verdict in wanted)


def majority_labels(store: Store, say: Callable[[str], None]) -> list[Label]:
    """Return one label for each item that has a majority, and say how many have none."""
    votes = first_answers(label for label in store.labels() if label.verdict in JUDGED)
    found, items = majorities(votes), len(by_item(votes))
    say(f"{len(found):,} of {items:,} items count, once each; the others have no majority for a choice")
    return found


def comparison(item: Item, label: Label, tokenizer: Tokenizer) -> Comparison:
    """Return one label as tokens."""
    query = tokens(tokenizer, item.query_ids, item.query)
    responses = tuple(tokens(tokenizer, candidate.ids, candidate.text) for candidate in item.candidates)
    if label.rating is not None:
        targets = [label.rating]
    else:
        targets = choice_targets(None, len(responses), tied=label.best)
    # how the model was asked is known in ids alone: in another vocabulary it is for the settings to say
    asked = tuple(item.meta.get("asked", ()))
    if query != item.query_ids or max(asked, default=0) >= tokenizer.vocab_size:
        asked = ()
    return Comparison(
        Query(query, item.query, asked),
        responses,
        tuple(targets),
        item.key,
        label.labeller,
        label.best,
        label.rating,
    )


def split(found: Sequence[Comparison], share: float, seed: int) -> tuple[list[Comparison], list[Comparison]]:
    """Return comparisons to learn from, and held-out ones: all labels of an item are on one side."""

    def held(one: Comparison) -> bool:
        digest = hashlib.sha256(f"{seed}:{one.item}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    return [one for one in found if not held(one)], [one for one in found if held(one)]


def batch_of(part: Sequence[Comparison], cursor: int = 0, *, asked: bool = False) -> Comparisons:
    """Return comparisons as a batch.

    Args:
        part: the comparisons.
        cursor: comparisons of the stream that are used up.
        asked: take the queries as the writer reads them, not as the reward does.
    """
    length = max(len(response) for one in part for response in one.responses)
    queries = [one.query.prompt if asked else one.query.ids for one in part for _ in one.responses]
    responses = [response for one in part for response in one.responses]
    sequences = join(queries, responses, length=max(1, length))
    targets = torch.tensor([one.targets for one in part])
    return Comparisons(sequences.ids, sequences.mask, targets, sequences.length, cursor)


def batches_of(
    found: Sequence[Comparison], *, size: int, seed: int, cursor: int = 0, asked: bool = False
) -> Iterator[Comparisons]:
    """Yield batches for ever, each epoch in another order; the cursor says where to go on."""
    while True:
        epoch, start = divmod(cursor, len(found))
        permutation = order(len(found), epoch, seed)
        while start < len(found):
            part = [found[i] for i in permutation[start : start + size]]
            start += len(part)
            cursor = epoch * len(found) + start
            yield batch_of(part, cursor, asked=asked)
