"""What a recipe trains on: files or a ready folder of token stores → ids, tokenizer, held-out windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inkfish.data.documents import Rules
from inkfish.data.files import find
from inkfish.data.prepare import prepare, texts
from inkfish.data.store import TokenStore
from inkfish.errors import DataError
from inkfish.recipes import tokenizer as vocabulary_recipe
from inkfish.recipes.tokenizer import learn_merges
from inkfish.tokenizer import Tokenizer
from inkfish.training.validation import HeldOut

__all__ = ["Corpus", "open_corpus"]

PLENTY = 1024
"""A text that is long enough for more entries than this gives them; of a short one that is tried first."""


@dataclass(frozen=True)
class Corpus:
    """Training and held-out text as ids."""

    train: TokenStore
    """What is trained on."""
    tokenizer: Tokenizer
    """What made the ids."""
    held: tuple[tuple[str, TokenStore], ...]
    """Held-out text by its kind."""
    notes: tuple[str, ...] = ()
    """What happened to the files, a line each."""

    def held_out(self, *, vocab_size: int, length: int, windows: int) -> list[HeldOut]:
        """Cut held-out windows: up to `windows` of each kind, `length` tokens each."""
        lengths = byte_lengths(self.tokenizer, vocab_size)
        return [
            HeldOut.cut(
                kind,
                store.ids,
                lengths,
                length=length,
                windows=windows,
                learned=store.trainable if store.mask is not None else None,
            )
            for kind, store in self.held
            if len(store.ids) > 1
        ]


def open_corpus(
    data: Sequence[Path],
    *,
    vocabulary: str,
    vocab_size: int | None,
    folder: Path,
    validation_share: float,
    rules: Rules,
    say: Callable[[str], None],
) -> Corpus:
    """Return the corpus in a folder of token stores, or make it from files.

    Args:
        data: one folder with `train.json` and tokenizer.json (as `recipes.starter` writes it), or texts.
        vocabulary: "train" for a new one, "gpt2", or a folder with tokenizer.json; for texts only.
        vocab_size: entries of a new vocabulary; None suits the amount of text.
        folder: where vocabulary and stores made from texts are kept for the next time.
        validation_share: part of the texts that is held out.
        rules: how files become documents.
        say: told what takes a while.

    Raises:
        InkfishError: data or a tokenizer that can't be used.
    """
    if len(data) == 1 and (data[0] / "train.json").is_file():
        return stores_in(data[0])
    say("reading the texts")
    tokenizer = find_tokenizer(vocabulary, vocab_size, data, rules, folder)
    prepared = prepare(data, tokenizer, folder, rules=rules, validation_share=validation_share)
    counts = {"file": prepared.files, "document": prepared.documents, "word": prepared.words}
    note = ", ".join(f"{count:,} {name}{'s' * (count != 1)}" for name, count in counts.items())
    if prepared.near_duplicates:
        note += f"; duplicates left out: {prepared.near_duplicates:,}"
    held = (("text", prepared.validation),) if prepared.validation is not None else ()
    return Corpus(prepared.train, tokenizer, held, (note, *prepared.bad_rows))


def stores_in(folder: Path) -> Corpus:
    """Open a folder with the stores `train` and `validation-KIND` and their tokenizer."""
    train, tokenizer = TokenStore.open(folder / "train"), Tokenizer.load(folder)
    if train.tokenizer != tokenizer.fingerprint:
        raise DataError(
            f"{folder}: the stores were made with another tokenizer (fingerprint {train.tokenizer[:8]}) than "
            f"the one beside them ({tokenizer.fingerprint[:8]}); make them again"
        )
    names = [path.name.removesuffix(".json") for path in sorted(folder.glob("validation-*.json"))]
    held = ((name.removeprefix("validation-"), TokenStore.open(folder / name)) for name in names)
    return Corpus(train, tokenizer, tuple(held))


def find_tokenizer(
    vocabulary: str, vocab_size: int | None, data: Sequence[Path], rules: Rules, folder: Path
) -> Tokenizer:
    """Return GPT-2's tokenizer, that of a folder, or a new one, which is kept for the next start."""
    if vocabulary == "gpt2":
        return Tokenizer.gpt2()
    if vocabulary != "train":
        return Tokenizer.load(Path(vocabulary))
    kept = folder / "vocabulary"
    if not (kept / "tokenizer.json").is_file():
        size = vocab_size or fitting_vocab_size(data, rules)
        Tokenizer(vocabulary_recipe.train(texts(data, rules), vocab_size=size)).save(kept)
    return Tokenizer.load(kept)


def fitting_vocab_size(data: Sequence[Path], rules: Rules) -> int:
    """Return how many entries suit a text: one for 500 bytes, 320 to 8,192, no more than it gives."""
    size = sum(path.stat().st_size for path in find(data))
    wanted = min(8192, max(320, size // 500 // 64 * 64))
    if wanted > PLENTY:
        return wanted
    bytes_and_end = 256 + 1
    return bytes_and_end + len(learn_merges(texts(data, rules), wanted - bytes_and_end))


def byte_lengths(tokenizer: Tokenizer, vocab_size: int) -> NDArray[np.int64]:
    """Return how many bytes of text each id stands for (V,); special ids stand for none."""
    special = set(tokenizer.specials.values())
    known = range(min(vocab_size, tokenizer.vocab_size))
    lengths = [0 if i in special else len(tokenizer.token_bytes(i)) for i in known]
    return np.array(lengths + [0] * (vocab_size - len(lengths)))
