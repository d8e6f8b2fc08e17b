"""Data sets of the Hugging Face hub by name, fetched once by its own library; later they need no network.

    hf:roneneldan/TinyStories                                 the split "train"
    hf:Salesforce/wikitext:wikitext-103-raw-v1:validation     a configuration and a split
    hf://datasets/roneneldan/TinyStories                      as the hub writes it

The library keeps a data set as arrow files on the disk, which `inkfish.data.rows` streams like any other.
It runs no code of a data set (from version 4 on).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from inkfish.errors import DataError, MissingExtraError

__all__ = ["fetch", "is_named"]

NAME = re.compile(r"hf:(?:/+datasets/)?([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]*))?(?::([\w.-]+))?")
"""Owner and name; configuration; split. A path has lost one of two slashes."""


class Named(NamedTuple):
    """What a name says."""

    name: str
    configuration: str | None
    split: str


def is_named(path: Path) -> bool:
    """Whether a path is the name of a data set on the hub."""
    return str(path).startswith("hf:")


def fetch(path: Path) -> list[Path]:
    """Return the arrow files of a data set that a path names, fetched if they are not here.

    Raises:
        DataError: no such data set, configuration or split, or no network.
        MissingExtraError: the library is not installed.
    """
    named = parsed(path)
    try:
        import datasets
    except ModuleNotFoundError:
        raise MissingExtraError("reading data sets of the Hugging Face hub", "datasets") from None
    try:
        with quiet():
            found: Any = datasets.load_dataset(named.name, named.configuration, split=named.split)
    except Exception as error:  # the library, and what it stands on, raises anything
        raise DataError(f"{path} can't be fetched: {said(error)}; check name and network") from None
    return [Path(file["filename"]) for file in found.cache_files]


def parsed(path: Path) -> Named:
    """Take a name apart.

    Raises:
        DataError: it is none.
    """
    match = NAME.fullmatch(str(path))
    if match is None:
        raise DataError(f"{path} names no data set; write hf:OWNER/NAME, hf:OWNER/NAME:CONFIGURATION:SPLIT")
    return Named(match[1], match[2] or None, match[3] or "train")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the hub's library from telling of each retry; what came of them is said in the end."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def said(error: Exception) -> str:
    """Return what a library's error says on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return (words if len(words) <= 300 else f"{words[:300]}…").rstrip(".")
