"""`inkfish finetune` and `inkfish pretrain`: settings as options and in recipes, what errors call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Inkfish = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lora-rank 0", "--lora-rank is 0; it must be a whole number from 1 to 4,096"),
        ("--noise 1", "--noise is 1.0; it must be a number from 0 to 0.9"),
        ("--batch 6 --at-once 4", "--at-once is 4 and batch 6; batch must be a multiple of --at-once"),
    ],
)
def test_an_error_names_the_option(inkfish: Inkfish, tmp_path: Path, words: str, message: str) -> None:
    result = inkfish("finetune", "x.txt", "--out", str(tmp_path / "run"), *words.split())
    assert (result.code, result.out) == (2, "")
    assert result.err == f"inkfish: {message}\n"


def test_an_error_names_the_setting_of_a_recipe(inkfish: Inkfish, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("lora_rank = 0\n")
    words = ("finetune", "x.txt", "--recipe", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "run"))
    assert inkfish(*words).err == "inkfish: lora_rank is 0; it must be a whole number from 1 to 4,096\n"
    assert inkfish(*words, "--lora-rank", "-1").err.startswith("inkfish: --lora-rank is -1; it must")


def test_copying(inkfish: Inkfish, tmp_path: Path, model: str) -> None:
    """A text that is itself found whole: what the model writes with this seed is the training text."""
    written = inkfish("write", "", "-m", model, "--max-tokens", "20", "--seed", "0", "--no-stream")
    row = {"text": "Before it. " + written.out + " After it."}
    (tmp_path / "training.jsonl").write_text(json.dumps(row))
    words = ("evaluate", "copying", "--against", str(tmp_path), "-m", model, "--count", "1", "--tokens", "20")
    result = inkfish(*words, "--run", "3", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["share"] > 0.5
    assert found["longest"][0][0] > 5
    assert " tokens stand in runs of 3 and more in the training text" in inkfish(*words, "--run", "3").out
    assert (
        inkfish(*words, "--run", "1").err
        == "inkfish: --run is 1; it must be a whole number from 2 to 1,000\n"
    )
