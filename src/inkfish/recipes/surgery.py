"""Change a trained model's vocabulary: add tokens, or give it a new one for another language.

    inkfish data add-tokens "<|scene|>" --model gpt2 --out models/gpt2-scenes
    inkfish data transplant texts-fr/ --model gpt2 --vocab-size 16384 --out models/gpt2-fr
    inkfish finetune texts-fr/ --model models/gpt2-fr --out runs/fr

The result is a model folder like any other, for writing, training and export. Left out: alignments by word
vectors of both languages (WECHSEL, FOCUS), which need a dictionary or vectors that are not here offline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import chain
from pathlib import Path
from reprlib import repr as shown

from inkfish import weights
from inkfish.data.prepare import texts
from inkfish.data.rules import Rules
from inkfish.errors import SettingError
from inkfish.recipes.corpus import fitting_vocab_size
from inkfish.recipes.tokenizer import CHUNK, take, train
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import Vocabulary
from inkfish.weights import hub, huggingface
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.specials import add_specials
from inkfish.weights.surgery import transplanted

__all__ = ["AddTokens", "Added", "Transplant", "Transplanted", "add_tokens", "transplant"]

MARK = re.compile(r"<\|[A-Za-z0-9_.:-]+\|>")
LONGEST_WORD = 100
"""Characters."""


@dataclass(frozen=True)
class AddTokens:
    """Settings for added tokens."""

    specials: tuple[str, ...] = ()
    """Special tokens, each <|name|>: a program puts them, text never becomes one."""
    _: KW_ONLY
    model: str = "starter"
    """The model that gets them: a name, a folder, or a run."""
    out: Path
    """Folder for the new model; it may not be there yet."""
    words: tuple[str, ...] = ()
    """Words that are found in text before anything else, such as a name, and become one token each."""
    seed: int = 0
    """Of the noise around the mean of all embeddings that the new ones get."""

    def __post_init__(self) -> None:
        if not (self.specials or self.words):
            raise SettingError("there are no tokens to add; name some, such as <|scene|>", param="specials")
        for text in self.specials:
            if not MARK.fullmatch(text):
                raise SettingError(f"special token {shown(text)} must be written <|name|>", param="specials")
        for text in self.words:
            if not text.strip() or len(text) > LONGEST_WORD:
                raise SettingError(
                    f"word {shown(text)} must have 1 to {LONGEST_WORD} characters", param="words"
                )


@dataclass(frozen=True)
class Added:
    """What `add_tokens` made."""

    folder: Path
    """The new model."""
    ids: dict[str, int]
    """Each new token with its id."""


@dataclass(frozen=True)
class Transplant:
    """Settings for a new vocabulary."""

    files: tuple[Path, ...]
    """Texts in the new language: files, documents, folders, patterns."""
    _: KW_ONLY
    model: str = "starter"
    """The model that gets it: a name, a folder, or a run."""
    out: Path
    """Folder for the new model; it may not be there yet."""
    vocab_size: int | None = None
    """Entries of the vocabulary; by default what suits the amount of text, at most 8,192."""
    encoding: str | None = None
    """Of text files, as Python names it; by default it is detected."""
    field: str = "text"
    """Where the text stands in a row."""

    def __post_init__(self) -> None:
        if not self.files:
            raise SettingError("there are no files; name at least one text file", param="files")


@dataclass(frozen=True)
class Transplanted:
    """What `transplant` made."""

    folder: Path
    """The new model."""
    entries: int
    """Of the new vocabulary."""
    kept: int
    """Entries that the old vocabulary has too; they keep their rows."""
    parts: float
    """Old tokens whose mean a new row is, on average."""
    bytes_before: float
    """Bytes a token of the texts with the old vocabulary."""
    bytes_after: float
    """And with the new one."""


def add_tokens(config: AddTokens) -> Added:
    """Write a model with further tokens, whose rows are the mean of all others and a little noise.

    Raises:
        InkfishError: a token that is there already, a model that can't be read, a folder that exists.
    """
    found, vocabulary = read_model(config.model, config.out)
    there = {*vocabulary.specials, *vocabulary.words}
    new = (*config.specials, *config.words)
    twice = [text for i, text in enumerate(new) if text in there or text in new[:i]]
    if twice:
        raise SettingError(f"the vocabulary would have {shown(twice[0])} twice; leave it out")
    larger, tokenizer = add_specials(found, Tokenizer(vocabulary), new, seed=config.seed)
    ids = {text: tokenizer.specials[text] for text in new}
    vocabulary = replace(
        tokenizer.vocabulary,
        specials={text: i for text, i in tokenizer.specials.items() if text not in config.words},
        words={**vocabulary.words, **{text: ids[text] for text in config.words}},
    )
    write_model(config.out, larger, vocabulary)
    return Added(config.out, ids)


def transplant(config: Transplant) -> Transplanted:
    """Write a model with a vocabulary learned from texts; what both have in common keeps its rows.

    Raises:
        InkfishError: texts or a model that can't be read, too little text, a folder that exists.
    """
    found, old = read_model(config.model, config.out)
    rules = Rules(encoding=config.encoding, field=config.field)
    size = config.vocab_size or fitting_vocab_size(config.files, rules) + len(old.specials) - 1  # it has one
    pieces = texts(config.files, rules)
    sample = take(pieces, CHUNK)
    new = train(chain(sample, pieces), vocab_size=size, specials=tuple(old.specials))
    made = Tokenizer(new)
    result = transplanted(found, old, new, eos=made.end)
    write_model(config.out, result.checkpoint, new)
    return Transplanted(
        config.out,
        entries=made.vocab_size,
        kept=result.kept,
        parts=result.parts,
        bytes_before=bytes_per_token(Tokenizer(old), sample),
        bytes_after=bytes_per_token(made, sample),
    )


def read_model(name: str, out: Path) -> tuple[Checkpoint, Vocabulary]:
    """Return a model with its vocabulary, once it is clear that there is room for the result."""
    if out.exists():
        raise SettingError(f"{out} exists; choose another folder", param="out")
    folder = hub.find(name)
    found = weights.read(folder)
    return found, Tokenizer.load(folder, vocab_size=found.config.vocab_size).vocabulary


def write_model(folder: Path, checkpoint: Checkpoint, vocabulary: Vocabulary) -> None:
    """Write a Hugging Face folder."""
    huggingface.write(
        folder,
        checkpoint.config,
        checkpoint.tensors,
        tokenizer=Tokenizer(vocabulary),
        generation=checkpoint.generation,
        eos=checkpoint.eos,
    )


def bytes_per_token(tokenizer: Tokenizer, sample: Sequence[str]) -> float:
    """Return how many bytes a token stands for on average."""
    return sum(len(text.encode()) for text in sample) / sum(map(len, tokenizer.encode_batch(sample)))
