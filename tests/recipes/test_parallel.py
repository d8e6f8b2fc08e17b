"""Two processes train what one would: equal gradients, equal files, stopped, killed and resumed as one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.recipes import tokenizer
from inkfish.tokenizer import Tokenizer
from inkfish.weights import huggingface

pytestmark = pytest.mark.slow
TEXT = "".join(f"The {n}th fox met {n * 7 % 13} hens and {n % 5} dogs. " for n in range(120))
SHAPE = ModelConfig(n_layer=2, n_head=2, n_embd=8, n_positions=16, vocab_size=273)  # rows that don't halve
TINY: dict[str, Any] = {
    "steps": 6,
    "batch": 8,
    "at_once": 2,
    "optimizer": "sgd",
    "lr": 0.5,
    "clip": 1e6,
    "warmup": 0,
    "evaluate_every": 3,
    "save_every": 3,
    "sample_every": 0,
    "threads": 1,
    "precision": "float32",
}


class Ended(NamedTuple):
    """How a run ended."""

    codes: list[int]
    logs: list[str]
    seconds: float


class Team:
    """Starts runs of several processes through `team.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("team.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == ["ready"]

    def read(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def begin(self, name: str, *, processes: int = 2, recipe: str = "finetune", **settings: Any) -> list[int]:
        """Start a run and return its process ids."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        out = self.folder / name
        data = self.folder / settings.pop("data", "text.txt")
        model = {"model": str(self.folder / "base")} if recipe == "finetune" else {}
        request = {
            "recipe": recipe,
            "settings": {"data": str(data), "out": str(out), **model, **TINY, **settings},
            "processes": processes,
            "port": port,
            "log": str(out.with_suffix(".log")),
        }
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        self.log, self.processes, self.began = out.with_suffix(".log"), processes, time.monotonic()
        return [int(pid) for pid in self.read()[1:]]

    def end(self) -> Ended:
        """Wait for the run."""
        codes = [int(code) for code in self.read()[1:]]
        logs = [Path(f"{self.log}.{rank}").read_text() for rank in range(self.processes)]
        return Ended(codes, logs, time.monotonic() - self.began)

    def run(self, name: str, **settings: Any) -> Path:
        """Run to the end and return the run folder."""
        self.begin(name, **settings)
        done = self.end()
        assert set(done.codes) == {0}, done.logs
        assert not any(done.logs[1:]), "only process 0 prints"
        return self.folder / name

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    (folder / "text.txt").write_text(TEXT)
    rows = [{"prompt": f"The {n}th fox met", "completion": f"{n * 7 % 13} hens and"} for n in range(90)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    vocabulary = Tokenizer(tokenizer.train([TEXT], vocab_size=272))
    torch.manual_seed(3)
    huggingface.write(folder / "base", SHAPE, GPT2(SHAPE).tensors(), tokenizer=vocabulary, eos=vocabulary.end)
    found = Team(folder)
    yield found
    found.close()


def tensors(run: Path, step: int = 6) -> dict[str, np.ndarray]:
    """Model and optimizer state of a checkpoint."""
    folder = run / "checkpoints" / str(step)
    from safetensors.numpy import load_file

    state = load_file(folder / "state" / "optimizer.safetensors")
    return {**weights.read(folder).tensors, **state}


def assert_close(one: Path, other: Path) -> None:
    """Up to sums in another order, after six steps with a large learning rate."""
    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_allclose(right[name], value, rtol=1e-4, atol=2e-6, err_msg=name)


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def files(run: Path) -> set[str]:
    folder = run / "checkpoints" / "6"
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("text", {}),
        ("completions", {"data": "rows.jsonl", "noise": 0.1}),
        ("lora", {"train": "lora", "lora_rank": 3}),
        ("last", {"last": 1, "checkpointing": True}),
    ],
)
def test_two_train_what_one_does(team: Team, name: str, settings: dict[str, Any], parallel: str) -> None:
    """Plain gradient descent with momentum: the state after six steps is a sum of six gradients."""
    alone = team.run(f"{name}-alone-{parallel}", processes=1, **settings)
    both = team.run(f"{name}-{parallel}", parallel=parallel, **settings)
    assert_close(alone, both)
    assert files(alone) == files(both)
    for one, other in zip(records(alone), records(both), strict=True):
        assert one["step"] == other["step"]
        assert one.get("tokens") == other.get("tokens")
        assert one.get("cursor") == other.get("cursor")
        for key in {"loss", "grad_norm", "validation"} & one.keys():
            assert one[key] == pytest.approx(other[key], rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_other_optimizers_learn_alike(team: Team, optimizer: str, parallel: str) -> None:
    """Where a gradient is near nothing these take its sign, so only what is learned can be compared."""
    settings = {"optimizer": optimizer, "lr": 3e-3, "recipe": "pretrain", "size": "nano", "n_layer": 1}
    shape = {"n_head": 2, "n_embd": 8, "n_positions": 16, "vocab_size": 270}
    alone = team.run(f"{optimizer}-alone-{parallel}", processes=1, **settings, **shape)
    both = team.run(f"{optimizer}-{parallel}", parallel=parallel, **settings, **shape)
    losses = [[record["loss"] for record in records(run) if "loss" in record] for run in (alone, both)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert {name: x.shape for name, x in tensors(alone).items()} == {
        name: x.shape for name, x in tensors(both).items()
    }


def test_a_run_goes_on_with_other_numbers_of_processes(team: Team) -> None:
    alone = team.run("numbers-alone", processes=1, steps=6, save_every=2)
    for steps, processes, parallel in ((2, 1, "ddp"), (4, 2, "fsdp"), (6, 2, "ddp")):
        run = team.run(
            "numbers", processes=processes, parallel=parallel, steps=steps, save_every=2, schedule="constant"
        )
    whole = team.run("numbers-whole", processes=1, schedule="constant", save_every=2)
    assert_close(whole, run)
    run = team.run("more", parallel="fsdp", steps=4, save_every=2, schedule="constant")
    assert_close(whole, team.run("more", processes=1, steps=6, save_every=2, schedule="constant"))
    assert alone.exists()
    assert "processes: 2 → none" in Path(f"{team.log}.0").read_text()


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_resumed_run_is_the_same_bit_for_bit(team: Team, parallel: str) -> None:
    settings = {
        "parallel": parallel,
        "dropout": 0.2,
        "schedule": "constant",
        "optimizer": "adamw",
        "lr": 1e-3,
    }
    whole = team.run(f"whole-{parallel}", **settings)
    team.run(f"parts-{parallel}", steps=3, **settings)
    parts = team.run(f"parts-{parallel}", **settings)
    one, other = tensors(whole), tensors(parts)
    assert all(np.array_equal(one[name], other[name]) for name in one)


def begun(team: Team, name: str, **settings: Any) -> list[int]:
    """Start a long run and wait until it has taken a step."""
    shutil.rmtree(team.folder / name, ignore_errors=True)
    pids = team.begin(name, steps=100_000, evaluate_every=10**6, save_every=10**6, **settings)
    log = team.folder / name / "metrics.jsonl"
    while not log.is_file() or not log.read_text():
        time.sleep(0.01)
    return pids


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("rank", [0, 1])
def test_asking_one_process_stops_all(team: Team, rank: int, parallel: str) -> None:
    name = f"stopped-{rank}-{parallel}"
    pids = begun(team, name, parallel=parallel)
    os.kill(pids[rank], signal.SIGTERM)
    done = team.end()
    assert done.codes[0] == 128 + signal.SIGTERM
    last = (team.folder / name / "last").read_text().strip()
    assert f"SIGTERM: saved after step {last}; the same command goes on" in done.logs[0]
    assert done.logs[1] == ""
    assert len([r for r in records(team.folder / name) if "loss" in r]) == int(last)


@pytest.mark.parametrize("rank", [0, 1])
def test_who_loses_another_one_says_so(team: Team, rank: int) -> None:
    pids = begun(team, f"lost-{rank}")
    os.kill(pids[rank], signal.SIGKILL)
    done = team.end()
    assert done.codes[rank] == -signal.SIGKILL
    assert done.codes[1 - rank] == 2
    line = done.logs[1 - rank].strip().splitlines()[-1]
    assert line == (
        f"error: process {1 - rank} of 2 has lost another one, which has ended or does not answer; "
        "start again: the run goes on from its last checkpoint"
    )
    assert done.seconds < 20


def test_nobody_waits_for_ever(team: Team) -> None:
    team.begin("silent", recipe="silence")
    done = team.end()
    assert done.codes == [2, 0]
    assert "process 0 of 2 has lost another one" in done.logs[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"batch": 9, "at_once": 3},
            "batch is 9, and 2 processes compute 3 sequences each at once; it must be a multiple of 6",
        ),
        ({"batch": 7, "at_once": None}, "batch is 7, and 2 processes compute"),
        (
            {"parallel": "fsdp", "optimizer": "adafactor"},
            "adafactor does not work in parts; take --optimizer adamw",
        ),
        ({"task": "chat"}, "task chat trains in one process; leave torchrun out"),
        ({"model": "nothing-of-the-kind"}, "there is no model 'nothing-of-the-kind' here"),
        ({"last": 3}, "last is 3 and the model has 2 blocks; choose fewer"),
        ({"sequence": 17}, "sequence is 17 and the context 16 tokens"),
    ],
)
def test_refusals_are_said_once(team: Team, settings: dict[str, Any], message: str) -> None:
    team.begin("refused", **settings)
    done = team.end()
    assert done.codes[0] == 2
    assert f"error: {message}" in done.logs[0]
    assert done.logs[1] == ""


def test_a_run_that_fails_says_so_once(team: Team) -> None:
    """Weights beyond all numbers after the first steps."""
    team.begin("failing", lr=10.0, optimizer="sgd", steps=60, patience=3)
    done = team.end()
    assert done.codes == [2, 0]
    assert "3 steps in a row had a loss or gradient that is not finite" in done.logs[0]
    assert done.logs[1] == ""


def test_a_changed_setting_is_said_once(team: Team) -> None:
    team.run("changed", steps=3)
    team.begin("changed", noise=0.5)
    done = team.end()
    assert done.codes == [2, 0]
    assert "noise: 0.0 → 0.5" in done.logs[0]
    assert done.logs[1] == ""
