"""All suites by name."""

from __future__ import annotations

from inkfish.errors import SettingError
from inkfish.evaluation import (
    answering,
    cloze,
    language_modelling,
    summarizing,
    talking,
    translating,
    winograd,
)
from inkfish.evaluation.suite import Suite

__all__ = ["ALL", "find"]

ALL: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        *cloze.SUITES,
        *winograd.SUITES,
        *language_modelling.SUITES,
        *answering.SUITES,
        *translating.SUITES,
        *summarizing.SUITES,
        *talking.SUITES,
    )
}
"""In the order of the paper."""


def find(name: str) -> Suite:
    """Return the suite of that name.

    Raises:
        SettingError: there is none; the line names all.
    """
    if name not in ALL:
        raise SettingError(f"there is no suite {name!r}; there are {', '.join(ALL)}", param="suite")
    return ALL[name]
