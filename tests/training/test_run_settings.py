from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from inkfish.errors import RunError
from inkfish.training.settings import differences, git_version, read_toml, to_toml

VALUES = {
    "text": 'a "quoted" \\ line\nand é',
    "number": 1,
    "small": 1e-05,
    "yes": True,
    "nothing": None,
    "path": Path("a/b"),
    "list": ("x", "y"),
    "empty": (),
    "table": {"inner": 2.5, "deep": {"x": 1}},
}


def test_toml_comes_back() -> None:
    assert tomllib.loads(to_toml({k: v for k, v in VALUES.items() if k != "table"})) == {
        "text": 'a "quoted" \\ line\nand é',
        "number": 1,
        "small": 1e-5,
        "yes": True,
        "path": "a/b",
        "list": ["x", "y"],
        "empty": [],
    }
    assert tomllib.loads(to_toml({"a": 1, "table": {"b": "c"}})) == {"a": 1, "table": {"b": "c"}}


def test_differences_name_old_and_new() -> None:
    old = {"lr": 0.1, "size": "nano", "hash": "a" * 64, "same": 1, "free": 1}
    new = {"lr": 0.2, "hash": "b" * 64, "same": 1, "free": 2}
    assert differences(old, new, apart_from={"free"}) == [
        "lr: 0.1 → 0.2",
        'size: "nano" → none',
        f'hash: "{"a" * 12}…" → "{"b" * 12}…"',
    ]
    assert differences({}, {"layers": ["x" * 30] * 3}) == [f'layers: none → ["{"x" * 11}…']


def test_a_missing_or_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"config.toml is missing: not a run folder; choose another --out"):
        read_toml(tmp_path / "config.toml")
    (tmp_path / "config.toml").write_text("a = = 1")
    with pytest.raises(RunError, match=r"config.toml is not readable \(.*\); restore it, or choose another"):
        read_toml(tmp_path / "config.toml")


def test_git_version_is_a_word() -> None:
    assert " " not in git_version()
