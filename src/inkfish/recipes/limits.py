"""The settings of recipes, checked by tables: one line with the name, the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inkfish.errors import DataError, SettingError

__all__ = ["check_choices", "check_out", "check_real", "check_whole"]


def check_whole(settings: object, limits: Mapping[str, tuple[int, int]]) -> None:
    """Refuse a setting that is no whole number from the smallest to the largest value; None may pass.

    Raises:
        SettingError: which one.
    """
    for name, (low, high) in limits.items():
        value: Any = getattr(settings, name)
        if value is not None and not (type(value) is int and low <= value <= high):
            raise SettingError(
                f"{name} is {value!r}; it must be a whole number from {low:,} to {high:,}", param=name
            )


def check_real(settings: object, limits: Mapping[str, tuple[float, float]]) -> None:
    """Refuse a setting that is not a finite number from the smallest to the largest value.

    Raises:
        SettingError: which one.
    """
    for name, (low, high) in limits.items():
        value: Any = getattr(settings, name)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (number and low <= value <= high):
            raise SettingError(
                f"{name} is {value!r}; it must be a number from {low:g} to {high:g}", param=name
            )


def check_choices(settings: object, choices: Mapping[str, Sequence[str]]) -> None:
    """Refuse a setting that is none of its choices.

    Raises:
        SettingError: which one.
    """
    for name, allowed in choices.items():
        value: Any = getattr(settings, name)
        if value not in allowed:
            raise SettingError(f"{name} is {value!r}; choose one of {', '.join(allowed)}", param=name)


def check_out(*paths: Path) -> None:
    """Refuse files that can't be written, before the work whose result they are to hold; folders are made.

    Raises:
        DataError: which one.
    """
    for path in paths:
        try:
            there = path.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()
            if not there:
                path.unlink()
        except OSError as error:
            raise DataError(
                f"{path} can't be written: {error.strerror}; name a file elsewhere", param="out"
            ) from None
