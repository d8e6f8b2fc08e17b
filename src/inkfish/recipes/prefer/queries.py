"""Prompts for preference learning: stretches of texts from one sentence's beginning to another one's end."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish.data.documents import BadRows, Part, Rules, read
from inkfish.data.files import find
from inkfish.errors import DataError
from inkfish.tokenizer import Tokenizer

__all__ = ["HELD_OUT", "Query", "Split", "fingerprint", "held_out", "read_queries", "sentence_ends"]
__all__ += ["stretches"]

Split = Literal["all", "train", "held-out"]
HELD_OUT = 0.2
"""Share of the texts that "held-out" takes and "train" leaves."""

END = re.compile(r"[.!?][\"'”’)]*\s*$")
"""How the last token of a sentence ends."""


class Query(NamedTuple):
    """A prompt."""

    ids: tuple[int, ...]
    text: str


def sentence_ends(tokenizer: Tokenizer, vocab_size: int) -> NDArray[np.bool_]:
    """Say of each token whether a sentence may end with it, (V,)."""
    return np.array([bool(END.search(tokenizer.decode([i]))) for i in range(vocab_size)])


def stretches(
    ids: Sequence[int], ends: NDArray[np.bool_], *, length: int, gap: int
) -> Iterator[tuple[int, ...]]:
    """Yield stretches of half to all of `length` tokens, from after one sentence's end to another one's end.

    As in Ziegler et al. 2019 (released code): what is before the first end is left out.

    Args:
        ids: of a text.
        ends: as `sentence_ends` gives them.
        length: most tokens of a stretch.
        gap: tokens left out after each stretch, where a continuation would stand.
    """
    borders = [place + 1 for place, token in enumerate(ids) if ends[token]]
    free = 0
    for start in borders:
        if start < free:
            continue
        stop = borders[bisect_right(borders, start + length) - 1]
        if stop > start and stop - start >= length // 2:
            yield tuple(ids[start:stop])
            free = stop + gap


def read_queries(
    data: Sequence[Path],
    tokenizer: Tokenizer,
    *,
    vocab_size: int,
    length: int,
    gap: int,
    per_document: int,
    whole: bool,
    rules: Rules,
    split: Split,
    seed: int,
    say: Callable[[str], None],
) -> list[Query]:
    """Return prompts from texts, each once, in an order of the seed.

    Which texts are held out depends on them alone, not on the seed or on what stands beside them.

    Args:
        data: files, folders, patterns.
        tokenizer: the model's.
        vocab_size: the model's.
        length: most tokens of a prompt.
        gap: tokens left out after each.
        per_document: most prompts of one document.
        whole: take each document as a prompt, as it is; longer ones are left out and counted.
        rules: how files become documents.
        split: which texts to take; a prompt of both kinds of texts is not held out.
        seed: of the order.
        say: told what was left out.

    Raises:
        DataError: nothing to read, or no prompt in it.
    """
    bad = BadRows()
    parts = read(find(data), rules, bad)
    if whole:
        found, dropped = documents(parts, tokenizer, length)
        if dropped:
            say(f"{dropped:,} documents of more than {length} tokens are left out")
    else:
        ends = sentence_ends(tokenizer, vocab_size)
        found = cut(parts, tokenizer, ends, length=length, gap=gap, per_document=per_document)
    for line in bad.messages():
        say(line)
    unique = one_side(found, split)
    if not unique:
        kind = "" if split == "all" else f" {split}"
        raise DataError(
            f"there is no{kind} prompt of up to {length} tokens in {', '.join(map(str, data))}; give more "
            "text, or --whole to take each document as a prompt",
            param="data",
        )
    order = np.random.Generator(np.random.Philox(key=np.array([seed, 0], np.uint64)))
    return [unique[i] for i in order.permutation(len(unique))]


def held_out(text: str) -> bool:
    """Whether a text, or a part of a long one, is held out."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


def one_side(found: Sequence[tuple[Query, bool]], split: Split) -> list[Query]:
    """Return the prompts of a split, each once.

    Args:
        found: prompts, and whether their texts are held out.
        split: which to take.
    """
    if split == "all":
        return list(dict.fromkeys(query for query, _ in found))
    learned = dict.fromkeys(query for query, held in found if not held)
    if split == "train":
        return list(learned)
    return [query for query in dict.fromkeys(query for query, held in found if held) if query not in learned]


def cut(
    parts: Iterator[Part],
    tokenizer: Tokenizer,
    ends: NDArray[np.bool_],
    *,
    length: int,
    gap: int,
    per_document: int,
) -> list[tuple[Query, bool]]:
    """Cut stretches from the beginnings of documents; say of each whether its text is held out."""
    found: list[tuple[Query, bool]] = []
    document, left = -1, 0
    for part in parts:
        if part.document != document:
            document, left = part.document, per_document
        if left:
            ids, held = tokenizer.encode(part.text), held_out(part.text)
            for stretch in stretches(ids, ends, length=length, gap=gap):
                found.append((Query(stretch, tokenizer.decode(stretch)), held))
                left -= 1
                if not left:
                    break
    return found


def documents(
    parts: Iterator[Part], tokenizer: Tokenizer, length: int
) -> tuple[list[tuple[Query, bool]], int]:
    """Return documents that fit as prompts, whether they are held out, and how many do not fit."""
    texts: list[str] = []
    for part in parts:
        if part.first:
            texts.append(part.text)
        else:
            texts[-1] += part.text
    found = [(Query(tuple(tokenizer.encode(text)), text), held_out(text)) for text in texts]
    kept = [(query, held) for query, held in found if 0 < len(query.ids) <= length]
    return kept, len(found) - len(kept)


def fingerprint(queries: Sequence[Query]) -> str:
    """Return the SHA-256 of prompts in their order."""
    return hashlib.sha256(repr([query.ids for query in queries]).encode()).hexdigest()
