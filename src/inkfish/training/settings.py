"""The settings of a run as `config.toml`: written, read back, compared."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from inkfish.errors import RunError

__all__ = ["differences", "git_version", "read_toml", "to_toml"]

Settings = Mapping[str, Any]


def to_toml(values: Settings) -> str:
    """Return numbers, texts, truth values, lists of those and tables as TOML; None is left out."""
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {literal(value)}" for key, value in plain.items() if value is not None]
    for key, table in values.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{key}]", to_toml(table).rstrip("\n")]
    return "\n".join(lines) + "\n"


def literal(value: Any) -> str:
    """Return one value as TOML, whose strings, numbers and arrays are JSON's."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, Path):
        value = str(value)
    assert isinstance(value, str | bool | int | float), f"{value!r} is not a setting"
    return json.dumps(value)


def read_toml(path: Path) -> dict[str, Any]:
    """Read the settings of a run.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing: not a run folder; choose another --out") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is not readable ({error}); restore it, or choose another --out") from None


def differences(old: Settings, new: Settings, *, apart_from: Collection[str] = ()) -> list[str]:
    """Return one text "name: old → new" for each setting that differs."""
    names = [name for name in {**old, **new} if name not in apart_from and old.get(name) != new.get(name)]
    return [f"{name}: {shown(old.get(name))} → {shown(new.get(name))}" for name in names]


def shown(value: Any) -> str:
    """Return a value for a message, hashes shortened."""
    text = "none" if value is None else literal(value)
    if len(text) <= 60:
        return text
    return f'{text[:13]}…"' if text.startswith('"') else f"{text[:13]}…"


def git_version() -> str:
    """Return the commit that this program's files are at, "" where they are in no git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
