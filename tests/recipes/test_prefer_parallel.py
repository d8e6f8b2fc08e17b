"""Two processes learn from preferences what one does: the same texts, rewards, figures and weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.errors import SettingError
from inkfish.labels.records import Label
from inkfish.labels.store import Store
from inkfish.recipes.prefer import learning, optimize, reward, sample
from inkfish.recipes.prefer.together import check_shares, gathered, led
from inkfish.training.metrics import read_metrics
from inkfish.training.ranks import ALONE, Ranks
from inkfish.weights import hub

TEXT = "".join(
    f"The {n}th fox met {n * 7 % 13} hens. It saw {n % 5} dogs and ate {n % 7} eggs. " for n in range(2500)
)
SHAPE = ModelConfig(n_layer=1, n_head=2, n_embd=8, n_positions=32, vocab_size=280)
PROMPTS: dict[str, Any] = {"query_tokens": 20, "tokens": 6, "per_document": 4000, "threads": 1}
POLICY: dict[str, Any] = PROMPTS | {
    "episodes": 32,
    "batch": 16,
    "minibatch": 8,
    "at_once": 4,
    "epochs": 2,
    "lr": 1e-3,
    "optimizer": "adam",
    "sample_every": 1,
    "kl_target": 1.0,
    "horizon": 16.0,
    "judge": "length:1-3",
    "reward": "length:2-3",
}
REWARD: dict[str, Any] = {"batch": 8, "at_once": 2, "lr": 5e-3, "epochs": 10, "held_out": 0.3, "threads": 1}
REWARD |= {"precision": "float32", "reference": 16}
RUNS: dict[str, dict[str, Any]] = {
    "ppo": {"algorithm": "ppo"},
    "rloo": {"algorithm": "rloo"},
    "dpo": {"algorithm": "dpo", "batch": 8, "minibatch": 8, "at_once": 4, "episodes": 32, "beta": 0.5},
    "reward": {},
}
PROCESS = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_prefer_parallel import learn
os.environ["MASTER_PORT"] = sys.argv[4]
learn(sys.argv[3], Path(sys.argv[2]), Path(sys.argv[2]) / f"two-{sys.argv[3]}")
"""


def learn(kind: str, folder: Path, out: Path) -> Any:
    """Do one of the runs."""
    if kind == "reward":
        return reward.run(reward.Config(**REWARD, store=folder / "s", model=str(folder / "base"), out=out))
    settings = (
        POLICY | RUNS.get(kind, {}) | {"model": str(folder / "base"), "store": folder / "s", "out": out}
    )
    if kind != "dpo":
        settings["store"] = None
    if kind == "broken":
        settings["reward"] = "python:test_prefer_parallel:offline"
    return optimize.run(learning.Config((folder / "text.txt",), **settings))


def offline(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A judge that fails in the second process alone."""
    if os.environ.get("RANK") == "1":
        raise OSError("no network")
    return [float(len(response)) for response in responses]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_base: Callable[..., None]) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("parallel")
    write_base(made, TEXT, SHAPE)
    base = str(made / "base")
    sample.run(sample.Config((made / "text.txt",), **PROMPTS, model=base, store=made / "s", count=120))
    with Store(made / "s") as store:  # who writes the token of the lowest number last is best
        bests = [
            (item, min(range(4), key=lambda i: (item.candidates[i].ids or ())[-1])) for item in store.items()
        ]
        store.add(
            [],
            [Label(f"label-{i}", item.key, "ann", "best", (best,)) for i, (item, best) in enumerate(bests)],
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made
    torch.set_num_threads(threads)


def two(folder: Path, kind: str) -> list[subprocess.CompletedProcess[str]]:
    """Do a run in two processes, as torchrun starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        PROCESS,
        str(Path(__file__).parent),
        str(folder),
        kind,
        port,
    ]
    shared = os.environ | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            words,
            env=shared | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    ends = [one.communicate(timeout=120) for one in started]
    return [
        subprocess.CompletedProcess(words, one.returncode, *end)
        for one, end in zip(started, ends, strict=True)
    ]


def figures(run: Path) -> list[dict[str, Any]]:
    skipped = ("seconds", "episodes_per")
    return [
        {k: v for k, v in record.items() if not k.startswith(skipped)}
        for record in read_metrics(run / "metrics.jsonl")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_two_learn_what_one_does(folder: Path, kind: str) -> None:
    done = two(folder, kind)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert not done[1].stdout, "only process 0 prints"
    learn(kind, folder, folder / f"one-{kind}")
    one, both = (folder / f"{name}-{kind}" for name in ("one", "two"))
    left, right = (weights.read(hub.find(str(run))).tensors for run in (one, both))
    for name, value in left.items():
        np.testing.assert_allclose(right[name], value, rtol=1e-3, atol=2e-5, err_msg=name)
    records = figures(one), figures(both)
    assert len(records[0]) == len(records[1]) > 1
    for mine, theirs in zip(*records, strict=True):
        assert theirs == pytest.approx(mine, rel=2e-2, abs=2e-3)
    if kind in {"ppo", "rloo"}:
        samples = [(run / "samples" / "1.txt").read_text() for run in (one, both)]
        assert samples[0] == samples[1]


@pytest.mark.slow
def test_a_judge_that_fails_in_one_process_stops_both(folder: Path) -> None:
    done = two(folder, "broken")  # which waits for both for two minutes at most
    assert done[0].returncode == 1
    assert "judge python:test_prefer_parallel:offline failed: OSError: no network" in done[0].stderr


@pytest.mark.slow
def test_what_can_not_be_shared_is_said(folder: Path) -> None:
    config = learning.Config((folder / "text.txt",), **POLICY | {"at_once": 8})
    with pytest.raises(SettingError, match="minibatch / at_once is 1, which 2 processes can't share equally"):
        optimize.prepare(config, Ranks(0, 2))
    chooses = learning.Config((folder / "text.txt",), **POLICY | {"algorithm": "best-of-n"})
    with pytest.raises(SettingError, match="best-of-n learns nothing; run it as one process"):
        optimize.prepare(chooses, Ranks(0, 2))


def test_shares() -> None:
    check_shares(Ranks(0, 4), batch=8)
    with pytest.raises(
        SettingError, match="batch is 6, which 4 processes can't share equally; make it a mult"
    ):
        check_shares(Ranks(0, 4), batch=6)
    assert gathered(ALONE, [1, 2]) == [1, 2]
    done: list[int] = []
    led(ALONE, lambda: done.append(1))
    assert done == [1]
