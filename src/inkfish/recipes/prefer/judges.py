"""Judges by their names: programs that say how good a text is. Only a learned one needs torch."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inkfish.errors import InkfishError, SettingError
from inkfish.preferences.gold import Judge, afinn, descriptiveness, length_band, vader
from inkfish.recipes.prefer import references
from inkfish.recipes.prefer.queries import Query
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub

__all__ = ["find_judge"]


def find_judge(name: str) -> Judge:
    """Return the judge that a setting names; what goes wrong in it is a user's error of one line.

    Args:
        name: vader, afinn, descriptive, length:FEWEST-MOST, reward:FOLDER, classifier:LIKED:DISLIKED (files
            of examples), rouge:ROWS or f1:ROWS (with references), or python:MODULE:FUNCTION for any function
            of queries and responses.

    Raises:
        SettingError: none is called so.
        ModelError: a folder without a reward model.
    """
    return checked(name, named(name))


def named(name: str) -> Judge:
    """Return the judge of a name, not yet watched."""
    plain: dict[str, Judge] = {"vader": vader, "afinn": afinn, "descriptive": descriptiveness}
    kind, _, rest = name.partition(":")
    band = re.fullmatch(r"(\d+)-(\d+)", rest)
    if name in plain:
        return plain[name]
    if kind == "length" and band and int(band[1]) <= int(band[2]):
        return length_band(int(band[1]), int(band[2]))
    if kind == "reward" and rest:
        return learned_judge(rest)
    if kind == "classifier" and ":" in rest:
        liked, _, disliked = rest.partition(":")
        return references.learned_from_examples(Path(liked), Path(disliked))
    if kind in references.METRICS and rest:
        return references.metric(kind, Path(rest))
    if kind == "python" and ":" in rest:
        return imported(rest)
    raise SettingError(
        f"judge is {name!r}; choose vader, afinn, descriptive, length:FEWEST-MOST, reward:FOLDER, "
        "classifier:LIKED:DISLIKED, rouge:ROWS, f1:ROWS or python:MODULE:FUNCTION",
        param="judge",
    )


def imported(place: str) -> Judge:
    """Return a function of a module, installed or in the current folder.

    Raises:
        SettingError: it is not there.
    """
    module, _, name = place.partition(":")
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)  # behind what is installed, which a file here must not hide
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except Exception as error:  # the module is the user's, and may do anything
        why = " ".join(str(error).split())
        raise SettingError(f"judge python:{place} is not there: {why}", param="judge") from None
    return found


def checked(name: str, judge: Judge) -> Judge:
    """Return a judge that gives one finite number for each response, or says in one line why not."""

    def watched(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
        try:
            found = np.asarray(judge(queries, responses), float)
        except InkfishError:
            raise
        except Exception as error:  # a python: judge is the user's, and may do anything
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise SettingError(f"judge {name} failed: {why}", param="judge") from None
        if found.shape != (len(responses),) or not np.isfinite(found).all():
            raise SettingError(
                f"judge {name} must give one finite number for each response; for {len(responses):,} it gave "
                f"{np.isfinite(found).sum():,}",
                param="judge",
            )
        values: list[float] = found.tolist()
        return values

    return watched


def learned_judge(folder: str) -> Judge:
    """Return a judge of texts from the folder of a reward model; it sees as much as its context holds."""
    from inkfish.recipes.prefer.rewards import read_reward_model, score  # it needs torch, others do not

    model, place = read_reward_model(Path(folder)), hub.find(folder)
    context = model.trunk.config.n_positions
    tokenizer = Tokenizer.load(place, vocab_size=model.trunk.config.vocab_size)

    def judge(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
        answers = [tokenizer.encode(response)[: context - 1] for response in responses]
        room = context - max(map(len, answers))
        asked = [Query(tuple(tokenizer.encode(query)[-room:]), query) for query in queries]
        return score(model, asked, answers, at_once=32)

    return judge
