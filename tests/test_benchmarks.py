"""What the benchmark of writing says of its measurements."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("report", None)
    return __import__("report")


@pytest.fixture
def result(report: ModuleType) -> dict[str, Any]:
    """Three rounds in which the machine slows down by half, ours always 1.25 times the peers'."""
    drift = (1.0, 0.8, 0.5)
    rates = {
        row.name: {
            **{row.ours: [125 * one for one in drift], "bandwidth": [1e9 * one for one in drift]},
            **{peer: [100 * one for one in drift] for peer in row.peers},
        }
        for row in report.ROWS
    }
    rates["generate, default"]["raw"] = [150 * one for one in drift]
    return {
        "size": "gpt2",
        "rates": rates,
        "starts": {"inkfish": [0.4, 0.5, 0.3], "llama.cpp q8_0": [0.2, 0.3, 0.25]},
        "memory": {"inkfish": [3e8] * 3, "llama.cpp q8_0": [2.3e8] * 3},
        "bytes": {"int4": 4_000_000, "int8": 6_000_000, "bfloat16": 6_000_000, "float32": 7_200_000},
    }


def by_name(report: ModuleType, result: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {line[0]: line[1:] for line in report.lines(result)}


def test_ratios_are_taken_within_rounds(report: ModuleType, result: dict[str, Any]) -> None:
    lines = by_name(report, result)
    assert lines["decode, int8"][0] == "100 tok/s (int8)"
    assert lines["decode, int8"][2:] == ("1.25 × llama.cpp q8_0; goal 1.2", "met")
    assert lines["generate, float32"][2:] == ("1.25 × transformers float32; goal 2.0", "missed")
    assert lines["Python's share of a step"][::3] == ("17%", "missed")


def test_gaps_within_the_noise_are_ties(report: ModuleType) -> None:
    assert report.verdict(1.19, 1.1) == "met, a tie"
    assert report.verdict(0.81, 0.97) == "missed, a tie"
    assert (report.verdict(1.21, 1.1), report.verdict(0.79, 0.97)) == ("met", "missed")


def test_share_of_the_bandwidth(report: ModuleType, result: dict[str, Any]) -> None:
    """125 tokens of 7.2 MB a second are 0.9 of 1 GB/s."""
    shares = [line[-2:] for line in report.lines(result) if line[0] == "  of the bandwidth"]
    assert shares == [
        ("0.75; goal 0.85", "–"),
        ("0.90; goal 0.85", "met"),
        ("0.75; goal 0.85", "missed"),
        ("0.50; goal 0.85", "–"),
    ]


def test_start_and_memory(report: ModuleType, result: dict[str, Any]) -> None:
    lines = by_name(report, result)
    assert lines["start to first token"] == ("0.40 s", "llama.cpp q8_0 0.25", "goal 0.45 s", "met")
    assert by_name(report, result | {"size": "gpt2-medium"})["start to first token"][2:] == ("–", "–")
    assert lines["memory"] == ("300 MB", "llama.cpp q8_0 230", "+70 MB; goal at most +60", "missed")


def test_a_missing_peer_is_named(report: ModuleType, result: dict[str, Any]) -> None:
    del result["rates"]["decode, int8"]["llama.cpp q8_0"]
    result["rates"]["batch of 16"]["onnxruntime int8"].pop()  # it failed in the last round
    lines = by_name(report, result)
    assert lines["decode, int8"][1:] == (
        "onnxruntime int8 80, ctranslate2 int8 80",
        "llama.cpp q8_0 is missing",
        "–",
    )
    assert lines["batch of 16"][2:] == ("onnxruntime int8 is missing", "–")


def test_tables_go_between_a_pages_marks(report: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    first, second = "<!-- decode gpt2 -->", "<!-- decode gpt2-medium -->"
    page.write_text(f"a\n{first}\nold\n<!-- /decode -->\nb\n{second}\n<!-- /decode -->\nc\n")
    for _ in range(2):
        report.put(page, {"gpt2": "| new \\1 |"})
        assert page.read_text() == (
            f"a\n{first}\n| new \\1 |\n<!-- /decode -->\nb\n{second}\n(not measured)\n<!-- /decode -->\nc\n"
        )
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has no marks <!-- decode SIZE -->"):
        report.put(page, {"gpt2": "new"})


def test_as_table(report: ModuleType) -> None:
    assert report.as_table([("a", "1")], "what").splitlines()[-1] == "| a | 1 |"
