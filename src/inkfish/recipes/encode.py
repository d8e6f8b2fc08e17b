"""Texts as the npz file of token arrays that nshepperd/gpt-2 and gpt-2-simple train on.

    inkfish data encode novel.docx poems/ --out texts.npz
    python train.py --dataset texts.npz

The file is what their encode.py writes by `np.savez_compressed(out, *chunks)`: one array of ids for each
chunk of whole documents, 50,000 characters and more. Documents end with token 50256; encode.py has the seven
tokens that spell it out, which GPT-2 was not trained on.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inkfish.data.documents import Rules, read
from inkfish.data.files import find
from inkfish.data.rules import BadRows
from inkfish.errors import DataError, SettingError
from inkfish.recipes.transcripts import transcript
from inkfish.tokenizer import Tokenizer
from inkfish.weights.files import aside_file

__all__ = ["Config", "Result", "run"]

CHUNK = 50_000
"""Fewest characters of an array but for the last one, as encode.py combines files."""


@dataclass(frozen=True)
class Config:
    """Settings."""

    files: tuple[Path, ...]
    """Text files, documents, folders and patterns."""
    _: KW_ONLY
    out: Path
    """The .npz file to write; it may not be there yet."""
    encoding: str | None = None
    """Of text files, as Python names it; by default it is detected."""
    field: str = "text"
    """Where the text stands in a row."""
    template: str | None = None
    """A document from a row's fields, such as "{name}: {story}"."""


@dataclass(frozen=True)
class Result:
    """What was written."""

    path: Path
    """The .npz file."""
    arrays: int
    """Arrays in it."""
    tokens: int
    """Tokens in them."""
    notes: tuple[str, ...] = ()
    """Rows that were left out, a line each kind."""


def run(config: Config) -> Result:
    """Write the arrays one by one, all or nothing.

    Raises:
        InkfishError: a file that can't be read, no text in them, or a place that can't be written.
    """
    if config.out.suffix != ".npz":
        raise SettingError(f"out is {config.out}; its name must end in .npz", param="out")
    if config.out.exists():
        raise SettingError(f"{config.out} exists; remove it or choose another name", param="out")
    rules = Rules(encoding=config.encoding, field=config.field, template=config.template, render=transcript)
    bad, arrays, tokens = BadRows(), 0, 0
    with aside_file(config.out) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for array in chunks(find(config.files), rules, bad):
            with archive.open(f"arr_{arrays}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
            arrays, tokens = arrays + 1, tokens + len(array)
        if not arrays:
            raise DataError("there is no text in the files; look at them, or name others")
    return Result(config.out, arrays, tokens, tuple(bad.messages()))


def chunks(files: list[Path], rules: Rules, bad: BadRows) -> Iterator[NDArray[np.int32]]:
    """Yield the ids of whole documents, each with its end token, in arrays of many."""
    tokenizer = Tokenizer.gpt2()
    ids: list[NDArray[np.int32]] = []
    characters = 0
    for part in read(files, rules, bad):
        if part.first and ids:
            ids.append(np.array([tokenizer.end], np.int32))
            if characters >= CHUNK:
                yield np.concatenate(ids)
                ids, characters = [], 0
        ids.append(np.array(tokenizer.encode(part.text), np.int32))
        characters += len(part.text)
    if ids:
        yield np.concatenate([*ids, np.array([tokenizer.end], np.int32)])
