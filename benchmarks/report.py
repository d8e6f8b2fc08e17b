"""What the benchmark of writing measures, and its results as a table and a plot."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PROMPT", "ROWS", "Row", "as_table", "lines", "plot", "put"]

PROMPT = 512
"""Tokens of the prompt that is read."""
NOISE = 0.2
"""Gaps below this are called ties."""
MARKS = re.compile(r"(<!-- decode (\S+) -->)\n.*?(<!-- /decode -->)", re.DOTALL)
"""Where a page has the table of a size."""


@dataclass(frozen=True)
class Row:
    """One line of the table: who is measured, and what ours is to reach."""

    name: str
    unit: str
    ours: str
    peers: tuple[str, ...]
    against: str
    """The peer that the goal names."""
    goal: float
    """Least ratio of ours to it; of seconds and bytes the most, which `less` says."""
    less: bool = False


ROWS = (
    Row("decode, int8", "tok/s", "inkfish int8", ("llama.cpp q8_0", "onnxruntime int8", "ctranslate2 int8"),
        "llama.cpp q8_0", 1.2),
    Row("decode, float32", "tok/s", "inkfish float32", ("llama.cpp f32", "onnxruntime float32",
        "ctranslate2 float32"), "llama.cpp f32", 0.97),
    Row("decode, bfloat16", "tok/s", "inkfish bfloat16", ("llama.cpp bf16",), "llama.cpp bf16", 0.97),
    Row("decode, int4", "tok/s", "inkfish int4", ("llama.cpp q4_0",), "llama.cpp q4_0", 1.1),
    Row(f"prompt of {PROMPT}", "tok/s", "inkfish int8", ("onnxruntime int8", "llama.cpp q8_0",
        "ctranslate2 int8", "transformers bfloat16"), "onnxruntime int8", 1.0),
    Row("batch of 16", "tok/s", "inkfish int8", ("onnxruntime int8", "llama.cpp q8_0", "ctranslate2 int8"),
        "onnxruntime int8", 1.1),
    Row("batch of 64", "tok/s", "inkfish int8", ("onnxruntime int8", "llama.cpp q8_0", "ctranslate2 int8"),
        "onnxruntime int8", 1.1),
    Row("generate, default", "tok/s", "inkfish default", ("transformers float32", "transformers bfloat16"),
        "transformers float32", 5.0),
    Row("generate, float32", "tok/s", "inkfish float32", ("transformers float32",), "transformers float32",
        2.0),
)  # fmt: skip


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios within rounds."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def verdict(ratio: float, goal: float, *, less: bool = False) -> str:
    """Say whether a goal is met, and whether the gap is within the noise."""
    met = ratio <= goal if less else ratio >= goal
    tie = ", a tie" if abs(ratio - 1) < NOISE else ""
    return ("met" if met else "missed") + tie


def lines(result: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """The table of one size: what, ours, the peers, ratio and goal, verdict."""
    table = []
    for row in ROWS:
        rates = result["rates"][row.name]
        mine = rates[row.ours]
        others = [f"{name} {statistics.median(rates[name]):,.0f}" for name in row.peers if name in rates]
        own = f"{statistics.median(mine):,.0f} {row.unit} ({row.ours.removeprefix('inkfish ')})"
        if len(rates.get(row.against, [])) == len(mine):
            ratio = median_ratio(mine, rates[row.against])
            goal = f"{ratio:.2f} × {row.against}; goal {row.goal}"
            table.append((row.name, own, ", ".join(others) or "–", goal, verdict(ratio, row.goal)))
        else:
            table.append((row.name, own, ", ".join(others) or "–", f"{row.against} is missing", "–"))
        if row.name.startswith("decode"):
            table.append(bandwidth_line(result, row, mine))
    return [*table, *start_lines(result), *python_lines(result)]


def bandwidth_line(result: Mapping[str, Any], row: Row, mine: Sequence[float]) -> tuple[str, ...]:
    """How much of the bandwidth a decode step uses."""
    size = result["bytes"][row.ours.removeprefix("inkfish ")]
    read_rates = result["rates"][row.name]["bandwidth"]
    share = median_ratio([rate * size for rate in mine], read_rates)
    own = f"{statistics.median(mine) * size / 1e9:.1f} GB/s"
    met = verdict(share, 0.85) if "float" in row.ours else "–"
    memory = f"memory {statistics.median(read_rates) / 1e9:.1f} GB/s"
    return ("  of the bandwidth", own, memory, f"{share:.2f}; goal 0.85", met.split(",")[0])


def start_lines(result: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Start-up and memory."""
    table = []
    seconds = {name: statistics.median(values) for name, values in result["starts"].items()}
    goals = {"inkfish": 0.45, "inkfish, starter": 0.30} if result["size"] == "gpt2" else {"inkfish": None}
    peer = "llama.cpp q8_0"
    theirs = f"{peer} {seconds[peer]:.2f}" if peer in seconds else "–"
    for name, goal in goals.items():
        if name in seconds:
            what = "start to first token" + name.removeprefix("inkfish")
            own = f"{seconds[name]:.2f} s"
            if goal is None:
                table.append((what, own, theirs, "–", "–"))
            else:
                table.append(
                    (what, own, theirs, f"goal {goal} s", "met" if seconds[name] <= goal else "missed")
                )
    memory = {name: statistics.median(values) / 1e6 for name, values in result["memory"].items()}
    if peer in memory:
        more = memory["inkfish"] - memory[peer]
        met = "met" if more <= 60 else "missed"
        own = f"{memory['inkfish']:.0f} MB"
        table.append(("memory", own, f"{peer} {memory[peer]:.0f}", f"{more:+.0f} MB; goal at most +60", met))
    return table


def python_lines(result: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """What of a step of generating is not the back end's."""
    rates = result["rates"]["generate, default"]
    share = 1 - median_ratio(rates["inkfish default"], rates["raw"])
    met = "met" if share <= 0.15 else "missed"
    table = [("Python's share of a step", f"{share:.0%}", "–", "goal 15 %", met)]
    if "starter" in result["rates"]:
        rates = result["rates"]["starter"]
        own = f"{1 - median_ratio(rates['generate'], rates['raw']):.0%}"
        speed = f"{statistics.median(rates['generate']):,.0f} tok/s"
        table.append(("  of the starter's", own, "–", f"writes {speed}", "–"))
    return table


def as_table(rows: Sequence[Sequence[str]], title: str) -> str:
    """A table in Markdown."""
    head = (title, "inkfish", "others", "ratio and goal", "")
    body = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in body) + "\n"


def put(page: Path, tables: Mapping[str, str]) -> None:
    """Put tables between a page's marks: <!-- decode gpt2 --> … <!-- /decode --> takes that of gpt2.

    Raises:
        ValueError: the page has no such marks.
    """
    text, count = MARKS.subn(
        lambda marks: f"{marks[1]}\n{tables.get(marks[2], '(not measured)')}\n{marks[3]}",
        page.read_text(encoding="utf-8"),
    )
    if count == 0:
        raise ValueError(f"{page} has no marks <!-- decode SIZE --> and <!-- /decode -->")
    page.write_text(text, encoding="utf-8")


def plot(results: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Bars of each row, ours beside the peers'."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(results), len(ROWS), figsize=(3 * len(ROWS), 3.2 * len(results)), squeeze=False
    )
    for result, line in zip(results, axes, strict=True):
        for row, axis in zip(ROWS, line, strict=True):
            rates = result["rates"][row.name]
            names = [name for name in (row.ours, *row.peers) if name in rates]
            values = [statistics.median(rates[name]) for name in names]
            axis.barh(names[::-1], values[::-1], color=["#b0b8c0"] * (len(names) - 1) + ["#205080"])
            axis.set_title(f"{result['size']}: {row.name}", fontsize=9)
            axis.tick_params(labelsize=7)
            axis.set_xlabel(row.unit, fontsize=8)
    figure.tight_layout()
    figure.savefig(target)
