"""Fine-tuning is killed with -9 at random moments and started again: all is as a quiet run leaves it.

Full and LoRA, in the third epoch and before, with dropout, noise, shuffled order and accumulation.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.recipes import tokenizer
from inkfish.tokenizer import Tokenizer
from inkfish.weights import huggingface

TEXT = "".join(f"The {n}th fox met {n * 7 % 13} hens and {n % 5} dogs. " for n in range(40))
SHAPE = ModelConfig(n_layer=2, n_head=2, n_embd=8, n_positions=16, vocab_size=272)
SETTINGS: dict[str, Any] = {
    "recipe": "finetune",
    "epochs": 3.0,
    "batch": 4,
    "at_once": 2,
    "dropout": 0.1,
    "noise": 0.05,
    "evaluate_every": 7,
    "give_up_after": 0,
    "save_every": 5,
    "sample_every": 0,
    "threads": 1,
    "precision": "float32",
}
KINDS: dict[str, dict[str, Any]] = {"full": {}, "lora": {"train": "lora", "lora_dropout": 0.2}}


class Trainer:
    """Starts runs in forks of one process, as `trainer.py` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = Path(__file__).with_name("trainer.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.answer() == "ready"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, out: Path, *, kill_after: float | None = None, **settings: Any) -> int:
        """Run to the end, or to the kill; return the exit code or minus the signal."""
        out.with_suffix(".log").write_text("")
        places = {"data": str(self.folder / "text.txt"), "model": str(self.folder / "base"), "out": str(out)}
        request = {"settings": SETTINGS | places | settings, "log": str(out.with_suffix(".log"))}
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        process = int(self.answer().removeprefix("pid "))
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it had finished
                os.kill(process, signal.SIGKILL)
        return int(self.answer().removeprefix("status "))

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "text.txt").write_text(TEXT)
    vocabulary = Tokenizer(tokenizer.train([TEXT], vocab_size=272))
    torch.manual_seed(3)
    huggingface.write(folder / "base", SHAPE, GPT2(SHAPE).tensors(), tokenizer=vocabulary, eos=vocabulary.end)
    found = Trainer(folder)
    yield found
    found.close()


def outcome_of(run: Path) -> tuple[dict[str, bytes], list[tuple[Any, ...]]]:
    """The last checkpoint's files of tensors, and the log without times."""
    folder = run / "checkpoints" / (run / "last").read_text().strip()
    files = {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    columns = ("step", "loss", "lr", "grad_norm", "tokens", "cursor", "validation")
    return files, [tuple(record.get(column) for column in columns) for record in records]


def killed_and_resumed(trainer: Trainer, kind: str, kills: int, seed: int) -> None:
    settings = KINDS[kind]
    quiet = trainer.folder / f"quiet-{kind}"
    if not (quiet / "README.md").exists():
        assert trainer.run(quiet, **settings) == 0, quiet.with_suffix(".log").read_text()
    began = time.monotonic()
    assert trainer.run(trainer.folder / f"timed-{kind}-{seed}", **settings) == 0
    seconds = time.monotonic() - began
    draw, out, died = random.Random(seed), trainer.folder / f"killed-{kind}-{seed}", 0
    for _ in range(kills):
        code = trainer.run(out, kill_after=draw.uniform(0, 0.8 * seconds), **settings)
        assert code in (0, -signal.SIGKILL), out.with_suffix(".log").read_text()
        died += code != 0
    assert died
    assert trainer.run(out, **settings) == 0, out.with_suffix(".log").read_text()
    assert outcome_of(out) == outcome_of(quiet)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_a_few_times(trainer: Trainer, kind: str) -> None:
    killed_and_resumed(trainer, kind, 3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2, 8))
def test_killed_often(trainer: Trainer, kind: str, seed: int) -> None:
    killed_and_resumed(trainer, kind, 8, seed)
