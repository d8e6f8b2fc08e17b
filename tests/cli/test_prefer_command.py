"""`inkfish prefer`: what needs no torch, what is checked before anything is kept, examples of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Settings, Store

Inkfish = Callable[..., Any]
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from inkfish.cli import main
codes = [main(words.split()) for words in sys.argv[1:]]
print(*codes)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    origin = {"one": {"model": "one"}, "two": {"model": "two"}}
    items = [Item("pair", f"q{n}", tuple(Candidate(t, origin=origin[t]) for t in origin)) for n in range(3)]
    with Store(tmp_path / "s.sqlite", create=True) as made:
        made.add(items, [Label(f"r{n}", one.key, "ann", "best", (0,)) for n, one in enumerate(items)])
    return tmp_path / "s.sqlite"


def test_labels_need_no_torch(store: Path) -> None:
    commands = [
        *("prefer --help", "prefer label --help", "prefer sample --help"),
        f"prefer simulate --store {store} --judge length:1-2 --agreement 1 --labeller bob --overlap 2",
        f"prefer export {store.parent}/labels.csv --form csv --store {store}",
        f"prefer import {store.parent}/labels.csv --form csv --store {store.parent}/t.sqlite",
        f"prefer report --store {store}",
        "prefer reward --store s.sqlite",
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *commands], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 0 0 0 0 0 0 2", done.stderr
    assert "3 labelled" in done.stderr
    assert "inkfish: learning from preferences needs the extra [train]: pip install" in done.stderr
    with Store(store.parent / "t.sqlite") as made:
        assert made.progress().labels == 6


def test_label_has_examples_of_its_own(inkfish: Inkfish) -> None:
    shown = inkfish("prefer", "label", "--help").out
    assert "inkfish prefer label --store labels.sqlite --gold-by ann --gold-every 10" in shown
    assert "inkfish prefer optimize" not in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--overlap 0", "--overlap is 0; it must be 1 or more"),
        ("--gold-every -1", "--gold-every is -1; it must be 0 or more"),
        ("--overlap 2 --gold-by eve", "eve has chosen nothing in {store}; label some items first"),
        ("--overlap 2 --rubric {store}.txt", "there is no file {store}.txt; check the name"),
        ("--overlap 2 --gold-by ann --port {port}", "can't listen on 127.0.0.1 port {port}: Address already"),
    ],
)
def test_what_is_refused_leaves_no_trace(inkfish: Inkfish, store: Path, words: str, message: str) -> None:
    before = store.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = {"store": store, "port": taken.getsockname()[1]}
        port = [] if "--port" in words else ["--port", "0"]
        result = inkfish("prefer", "label", "--store", str(store), *port, *words.format(**place).split())
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"inkfish: {message.format(**place)}")
    assert store.read_bytes() == before


def test_simulating_keeps_overlap_and_repeats(inkfish: Inkfish, store: Path) -> None:
    words = ("prefer", "simulate", "--store", str(store), "--judge", "length:1-2", "--agreement", "1")
    result = inkfish(*words, "--labeller", "bob")
    assert result.out.splitlines()[-1] == "every item has its 1 label; --overlap 2 lets bob see them"
    assert inkfish(*words, "--labeller", "bob", "--overlap", "2", "--repeat-every", "3").code == 0
    with Store(store) as opened:
        assert opened.settings == Settings(overlap=2, repeat_every=3)
        assert [label.repeat for label in opened.labels() if label.labeller == "bob"] == [False] * 3 + [True]
    assert inkfish(*words, "--overlap", "0").err == (
        "inkfish: --overlap is 0; it must be a whole number from 1 to 1,000,000\n"
    )


def test_the_last_line_is_the_command_that_compares(inkfish: Inkfish, tmp_path: Path) -> None:
    """It names the model that a run began as, and works."""
    text = "The fox met a hen. It saw some dogs and ate eggs. The owl sat in a tree. It was a cold night. "
    (tmp_path / "a.txt").write_text(text * 20)
    small = ["--tokens", "4", "--query-tokens", "20", "--threads", "1"]
    words = ["--algorithm", "best-of-n", "--reward", "length:1-3", "--episodes", "2", "--samples", "2"]
    done = inkfish(
        "prefer", "optimize", str(tmp_path / "a.txt"), *words, *small, "--out", str(tmp_path / "b")
    )
    assert done.code == 0
    line = next(line for line in done.err.splitlines() if "prefer compare HELD-OUT" in line)
    said = "inkfish prefer compare HELD-OUT --model starter --other starter --best-of 2 --reward length:1-3"
    assert line.endswith(said)
    again = [str(tmp_path / "a.txt") if word == "HELD-OUT" else word for word in said.split()[1:]]
    assert inkfish(*again, *small, "--count", "2", "--judge", "length:1-3").code == 0
