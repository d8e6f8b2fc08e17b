"""How much of what a model writes stands word for word in its training text, and the longest such runs.

inkfish evaluate copying --against poems/ --model runs/poems
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from inkfish.data.prepare import prepare
from inkfish.data.rules import Rules
from inkfish.generate import load
from inkfish.metrics.copying import places_copied
from inkfish.recipes.limits import check_whole
from inkfish.recipes.transcripts import transcript

__all__ = ["Config", "Copied", "run", "table"]

SHOWN = 5
"""Runs that are shown, the longest."""


@dataclass(frozen=True)
class Config:
    """What to write, and what to look for it in."""

    against: tuple[Path, ...]
    """The training text: files, folders, patterns (repeatable)."""
    _: KW_ONLY
    field: str = "text"
    """Where the text stands in a row."""
    count: int = 20
    """Texts that the model writes from nothing."""
    tokens: int = 200
    """Most tokens of each."""
    run: int = 8
    """Fewest tokens in a row that count as copied."""
    seed: int = 0
    """Of the texts."""

    def __post_init__(self) -> None:
        check_whole(
            self, {"count": (1, 10**6), "tokens": (1, 10**6), "run": (2, 1000), "seed": (0, 2**63 - 1)}
        )


@dataclass(frozen=True)
class Copied:
    """What was found."""

    texts: int
    """Texts written."""
    tokens: int
    """Tokens of them."""
    share: float
    """Part of the tokens that stand in copied runs."""
    longest: tuple[tuple[int, str], ...]
    """The longest copied runs: tokens and words."""


def run(config: Config, model: str = "starter", **settings: Any) -> Copied:
    """Let a model write, and find what stands in the training text.

    Args:
        config: how much, and against what.
        model: its name or folder.
        **settings: how it is run, as `inkfish.load` takes it.

    Raises:
        InkfishError: the model or the text can't be read.
    """
    writer = load(model, **settings)
    most = min(config.tokens, writer.config.n_positions - 1)
    texts = [
        writer.generate("", max_tokens=most, seed=config.seed + number).samples[0].text
        for number in range(config.count)
    ]
    tokens, copied, runs = 0, 0, {}
    with tempfile.TemporaryDirectory() as place:
        rules = Rules(field=config.field, render=transcript)
        store = prepare(
            config.against, writer.tokenizer, Path(place), rules=rules, validation_share=0.0
        ).train
        for text in texts:
            ids = np.array(writer.tokenizer.encode(text), np.int64)
            places = places_copied(ids, store.ids, width=config.run)
            tokens += len(ids)
            for start, stop in pairwise([0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(ids)]):
                found = writer.tokenizer.decode(ids[start:stop].tolist()) if start < stop else ""
                if places[start] and re.search(r"\w", found):  # blank lines alone are nobody's
                    copied += stop - start
                    runs[found] = stop - start
    longest = sorted(((length, text) for text, length in runs.items()), reverse=True)[:SHOWN]
    return Copied(len(texts), tokens, copied / max(1, tokens), tuple(longest))


def table(found: Copied, config: Config) -> str:
    """Return what was found for people."""
    lines = [
        f"{found.share:.1%} of {found.tokens:,} tokens stand in runs of {config.run} and more "
        "in the training text"
    ]
    lines += [f"{length:5} tokens: {' '.join(text.split())}" for length, text in found.longest]
    return "\n".join(lines) + "\n"
