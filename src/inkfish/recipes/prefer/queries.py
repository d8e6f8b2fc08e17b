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
from inkfish.tasks import Piece, chat, encode, summarize
from inkfish.tokenizer import Tokenizer

__all__ = ["HELD_OUT", "Frame", "Query", "Split", "TaskName", "fingerprint", "framing", "held_out"]
__all__ += ["read_queries", "sentence_ends", "stretches"]

Split = Literal["all", "train", "held-out"]
HELD_OUT = 0.2
"""Share of the texts that "held-out" takes and "train" leaves."""

END = re.compile(r"[.!?][\"'”’)]*\s*$")
"""How the last token of a sentence ends."""


class Query(NamedTuple):
    """A prompt: what is to be continued, summarized, answered."""

    ids: tuple[int, ...]
    """What labellers and the reward see of it."""
    text: str
    """The same as text."""
    asked: tuple[int, ...] = ()
    """What the model reads, where that is more: a task's cue, text before and after."""

    @property
    def prompt(self) -> tuple[int, ...]:
        """What the model reads."""
        return self.asked or self.ids


Frame = Callable[[Query], Query]
"""Says what the model is to read of a prompt."""


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
    cut_after: str | None = None,
    frame: Frame = lambda query: query,
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
        whole: take each document as a prompt, as it is.
        rules: how files become documents.
        split: which texts to take; a prompt of both kinds of texts is not held out.
        seed: of the order.
        say: told what was left out.
        cut_after: whole documents that are too long end after the last such text that fits, those without it
            are left out; "" cuts anywhere, None leaves all of them out.
        frame: what the model reads of each.

    Raises:
        DataError: nothing to read, or no prompt in it.
    """
    bad = BadRows()
    parts = read(find(data), rules, bad)
    if whole:
        found, dropped = documents(parts, tokenizer, length, cut_after)
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
    return [frame(unique[i]) for i in order.permutation(len(unique))]


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
    parts: Iterator[Part], tokenizer: Tokenizer, length: int, cut_after: str | None
) -> tuple[list[tuple[Query, bool]], int]:
    """Return documents as prompts, whether they are held out, and how many do not fit."""
    texts: list[str] = []
    for part in parts:
        if part.first:
            texts.append(part.text)
        else:
            texts[-1] += part.text
    whole = [(Query(tuple(tokenizer.encode(text)), text), held_out(text)) for text in texts]
    found = [(fitted(query, tokenizer, length, cut_after), held) for query, held in whole]
    kept = [(query, held) for query, held in found if 0 < len(query.ids) <= length]
    return kept, len(found) - len(kept)


def fitted(query: Query, tokenizer: Tokenizer, length: int, cut_after: str | None) -> Query:
    """Return a prompt that is too long cut after the last `cut_after` that fits, if there is one."""
    if cut_after is None or len(query.ids) <= length:
        return query
    text = tokenizer.decode(query.ids[:length]).rstrip("\ufffd")
    end = text.rfind(cut_after) + len(cut_after) if cut_after in text else 0
    ids = tuple(tokenizer.encode(text[:end]))[:length]  # a word that was cut may need more tokens than before
    return Query(ids, tokenizer.decode(ids)) if ids else query


def framing(tokenizer: Tokenizer, *, before: str, after: str, task: str) -> Frame:
    """Return what gives prompts a task's form, and text before and after them, for the model alone."""
    front, back = tokenizer.encode(before), tokenizer.encode(after)

    def frame(query: Query) -> Query:
        ids = TASKS[task](query.text, tokenizer) if task in TASKS else query.ids
        asked = (*front, *ids, *back)
        return query if asked == query.ids else query._replace(asked=asked)

    return frame


def asked_by(pieces: Callable[[str], list[Piece]]) -> Callable[[str, Tokenizer], Sequence[int]]:
    """Return what turns a text into the ids of a task's prompt."""
    return lambda text, tokenizer: encode(pieces(text), tokenizer).ids


TaskName = Literal["complete", "summarize", "moral", "chat"]
TASKS: dict[str, Callable[[str, Tokenizer], Sequence[int]]] = {
    "summarize": asked_by(lambda text: summarize.TASK.prompt(summarize.Summary(text))),
    "moral": asked_by(lambda text: summarize.MORAL.prompt(summarize.Summary(text))),
    "chat": asked_by(lambda text: chat.prompt(chat.Dialogue((text,)))),
}
"""How tasks ask; to complete is to ask for nothing."""


def fingerprint(queries: Sequence[Query]) -> str:
    """Return the SHA-256 of prompts in their order."""
    return hashlib.sha256(repr([query.prompt for query in queries]).encode()).hexdigest()
