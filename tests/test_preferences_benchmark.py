"""What the benchmark of learning from a reward says, and that it names a peer that is not there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inkfish.config import ModelConfig
from inkfish.recipes.prefer.rewards import read_reward_model
from inkfish.tokenizer import Tokenizer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("preferences", None)
    return __import__("preferences")


def test_ratios_are_taken_within_rounds(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    phases = [{"write": 1.0, "score": 2.0, "learn": 5.0 * slow} for slow in (1, 1, 9)]
    speeds: dict[str, Any] = {
        "inkfish": [3.0, 2.0, 1.0],
        "TRL": [1.0, 1.0, 0.5],
        "inkfish, CPU": [3.0, 3.0, 2.0],
        "TRL, CPU": [1.0, 1.0, 1.0],
        "inkfish, bytes": [2**30],
        "TRL, bytes": [2**31],
    }
    benchmark.report_rloo(speeds)
    benchmark.report_ppo(phases, 16)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "RLOO, inkfish: 2.00 episodes/s, 1.0 GiB at most",
        "RLOO, TRL: 1.00 episodes/s, 2.0 GiB at most",
        "2.00 × TRL (2.00 to 3.00); goal 2",
        "3.00 × TRL (2.00 to 3.00); by the seconds of CPU",
        "PPO: 2.00 episodes/s (write 12%, score 25%, learn 62%)",
    ]
    benchmark.report_rloo({name: found for name, found in speeds.items() if "TRL" not in name})
    assert "TRL" not in capsys.readouterr().out


def test_a_missing_peer_is_named(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    assert not benchmark.has_trl(None)
    assert not benchmark.has_trl(str(other))
    assert not benchmark.has_trl(str(tmp_path / "gone"))
    assert capsys.readouterr().out.splitlines() == [
        "TRL is left out: name a Python that has it with --trl",
        f"TRL is left out: {other} has none",
        f"TRL is left out: {tmp_path / 'gone'} has none",
    ]


def test_prompts_and_models_of_the_benchmark(benchmark: ModuleType, tmp_path: Path) -> None:
    benchmark.prepare(tmp_path, ModelConfig(n_layer=1, n_head=1, n_embd=2))
    lines = (tmp_path / "prompts.jsonl").read_text().splitlines()
    assert len(set(lines)) == benchmark.PROMPTS
    assert Tokenizer.load(tmp_path).vocab_size == 50_257
    assert read_reward_model(tmp_path / "reward").trunk.config.n_embd == 2
