"""`inkfish finetune` and `inkfish pretrain`: settings as options and in recipes, what errors call them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkfish.recipes.finetune import Config

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


def a_run(folder: Path, scores: dict[int, float]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('model = "starter"\n')
    (folder / "last").write_text("20\n")
    lines = [json.dumps({"step": step, "validation": score}) for step, score in scores.items()]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_runs_are_listed_and_compared(
    inkfish: Inkfish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / "runs" / "one", {0: 3.0, 10: 2.5, 20: 2.75})
    a_run(tmp_path / "runs" / "two", {0: 3.0, 20: 2.0})
    assert "runs/one" in inkfish("models", "list").out
    assert "20 steps" in inkfish("models", "list").out
    assert "from starter, 2.500 bits a byte" in inkfish("models", "list").out
    assert {"model": "runs/two", "source": "starter", "ready": True} in json.loads(
        inkfish("models", "list", "--json").out
    )
    words = ("models", "list", "--compare", "runs/one", "--compare", "runs/two")
    rows = [line.split() for line in inkfish(*words, "--out", "curves.png").out.splitlines()]
    assert rows == [
        ["step", "runs/one", "runs/two"],
        ["0", "3.0000", "3.0000"],
        ["10", "2.5000"],
        ["20", "2.7500", "2.0000"],
        ["best", "2.5000", "2.0000"],
    ]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "config.toml is missing: not a run folder" in inkfish(*words[:2], "--compare", "runs").err
    a_run(tmp_path / "runs" / "empty", {})
    assert "none of these runs has measured" in inkfish(*words[:2], "--compare", "runs/empty").err


def test_the_help_page_has_every_option_in_a_group(inkfish: Inkfish) -> None:
    said = inkfish("finetune", "--help").out
    titles = re.findall(r"╭─ (.*?) ─", said)
    assert titles[0] == "Model and data"
    assert "Other" not in titles
    assert "Optimizer" in titles
    shown = re.findall(r"^│[ *]+(?:DATA )?(--[a-z-]+)", said, re.MULTILINE)
    fields = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Config)}
    assert shown[0] == "--model"
    assert set(shown) >= fields | {"--recipe"}
    assert len(shown) == len(set(shown))
