from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.errors import RunError
from inkfish.heads import ScalarHead, with_heads
from inkfish.model import GPT2
from inkfish.training import optimizers
from inkfish.training.batches import Windows, batches
from inkfish.training.checkpoints import fault
from inkfish.training.files import Disk
from inkfish.training.metrics import read_metrics
from inkfish.training.optimise import optimise
from inkfish.training.run import Run, forget, locked, machine

TINY = ModelConfig(n_layer=1, n_head=2, n_embd=8, n_positions=8, vocab_size=17)
SETTINGS = {"lr": 0.1, "steps": 5, "out": "a", "shape": {"n_layer": 1}, "hashes": {"data": "x"}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(folder: Path, said: list[str] | None = None, disk: Disk | None = None) -> Run:
    return Run(folder, disk=disk or Disk(), say=(said if said is not None else []).append)


def net(config: ModelConfig = TINY) -> tuple[GPT2, optimizers.Optimizer]:
    torch.manual_seed(0)
    model = GPT2(config)
    return model, optimizers.adamw(model, lr=0.01)


def train(run: Run, model: GPT2, optimizer: optimizers.Optimizer, steps: int) -> None:
    ids = np.arange(100, dtype=np.uint16) % 17
    stream = batches(Windows(ids, 5), size=3, seed=0, cursor=run.progress.cursor)
    loop = optimise(model, stream, optimizer, schedule=lambda step: 1.0, steps=steps, start=run.progress.step)
    for step in loop:
        run.took(step)


def test_goes_on_where_it_was(tmp_path: Path) -> None:
    first = make(tmp_path)
    model, optimizer = net()
    train(first, model, optimizer, 3)
    first.save(model, optimizer)
    drawn = torch.rand(3)
    train(first, model, optimizer, 5)

    second, (other, state) = make(tmp_path), net()
    assert second.resume(other, state)
    assert torch.equal(torch.rand(3), drawn)
    assert second.progress.step == 3
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    train(second, other, state, 5)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
    assert second.progress.cursor == first.progress.cursor == 15


def test_nothing_to_resume(tmp_path: Path) -> None:
    model, optimizer = net()
    (tmp_path / ".curve.png.partial").write_text("torn")
    assert not make(tmp_path).resume(model, optimizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl"]


def test_the_log_has_what_a_curve_needs(tmp_path: Path) -> None:
    run = make(tmp_path)
    train(run, *net(), 2)
    assert run.evaluated({"a": 1.0, "b": 2.0}, 1.5)
    assert not run.evaluated({"a": 1.0, "b": 2.5}, 1.75)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert set(rows[0]) == {"step", "loss", "lr", "grad_norm", "tokens", "cursor", "seconds"}
    assert [row["tokens"] for row in rows[:2]] == [15, 30]
    assert rows[2] == {"step": 2, "validation": 1.5, "bits_per_byte": {"a": 1.0, "b": 2.0}}
    assert run.progress.best == 1.5


def test_a_saved_step_is_not_saved_again(tmp_path: Path) -> None:
    run, (model, optimizer) = make(tmp_path), net()
    train(run, model, optimizer, 1)
    run.save(model, optimizer)
    before = (tmp_path / "checkpoints" / "1").stat().st_ino
    run.save(model, optimizer, best=True)
    assert (tmp_path / "checkpoints" / "1").stat().st_ino == before
    assert (tmp_path / "best").read_text() == "1\n"


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    run, (model, optimizer) = make(tmp_path), net()
    train(run, model, optimizer, 1)
    run.save(model, optimizer)
    with torch.no_grad():
        model.wte.weight[3, 1] = float("nan")
    train(run, model, optimizer, 2)
    with pytest.raises(
        RunError, match=r"step 2 was not saved \(.*wte.weight.*not finite.*step 1 is unharmed"
    ):
        run.save(model, optimizer)
    assert (tmp_path / "last").read_text() == "1\n"


def test_changed_settings_are_refused_with_all_of_them(tmp_path: Path) -> None:
    make(tmp_path).begin(SETTINGS, may_change=("out",), force=False)
    changed: dict[str, object] = {"lr": 0.2, "steps": 5, "out": "b"}
    changed |= {"shape": {"n_layer": 2}, "hashes": {"data": "y"}}
    with pytest.raises(RunError) as caught:
        make(tmp_path).begin(changed, may_change=("out",), force=False)
    changes = 'lr: 0.1 → 0.2; shape.n_layer: 1 → 2; hashes.data: "x" → "y"'
    remedy = "give the old ones, choose another --out, or go on all the same with --force"
    assert str(caught.value) == f"{tmp_path} was begun with other settings ({changes}); {remedy}"
    said: list[str] = []
    make(tmp_path, said).begin(changed, may_change=("out",), force=True)
    (line,) = said
    assert line.startswith("going on with changed settings: lr: 0.1 → 0.2; shape.n_layer: 1 → 2; hashes")
    make(tmp_path).begin(changed, may_change=(), force=False)


def test_a_longer_run_is_allowed_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    make(tmp_path, said).begin(SETTINGS, may_change=("steps",), force=False)
    make(tmp_path, said).begin({**SETTINGS, "steps": 9}, may_change=("steps",), force=False)
    assert said == ["steps: 5 → 9"]


def test_another_machine_is_said(tmp_path: Path) -> None:
    run, (model, optimizer) = make(tmp_path), net()
    train(run, model, optimizer, 1)
    run.save(model, optimizer)
    torch.set_num_threads(2)
    said: list[str] = []
    assert make(tmp_path, said).resume(model, optimizer)
    assert said == ["not bit-exact with what came before: threads: 1 → 2"]
    assert set(machine()) == {"torch", "threads", "processor", "gpu"}


def test_another_shape_can_not_go_on(tmp_path: Path) -> None:
    run, (model, optimizer) = make(tmp_path), net()
    train(run, model, optimizer, 1)
    run.save(model, optimizer)
    wider = net(ModelConfig(n_layer=1, n_head=2, n_embd=12, n_positions=8, vocab_size=17))
    with pytest.raises(
        RunError, match=r"model of another shape \(1,\d\d\d parameters, not 2,\d\d\d\); choose"
    ):
        make(tmp_path).resume(*wider)


def test_another_optimizer_begins_without_a_state(tmp_path: Path) -> None:
    run, (model, optimizer) = make(tmp_path), net()
    train(run, model, optimizer, 1)
    run.save(model, optimizer)
    said: list[str] = []
    other = optimizers.sgd(model, lr=0.1)
    make(tmp_path, said).resume(model, other)
    assert said == ["optimizer: adamw → sgd, which begins without a state"]
    assert not other.tensors()


def test_a_file_that_can_not_be_written(tmp_path: Path) -> None:
    def full(point: str, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = make(tmp_path, disk=Disk(full))
    with pytest.raises(RunError, match=r"can't write .*/samples/5.txt: No space left on device; free space"):
        run.write("samples/5.txt", b"x")
    with pytest.raises(RunError, match=r"can't write .*config.toml: No space left on device; free space or"):
        run.begin(SETTINGS, may_change=(), force=False)


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    out = tmp_path / "a" / "run"
    with (
        locked(out),
        pytest.raises(RunError, match=rf"being trained in by process {os.getpid()} on .*; stop that first"),
        locked(out),
    ):
        pass
    (out / "lock").write_text("process 1 on elsewhere")  # stale text does not matter
    with locked(out):
        assert (out / "lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(
            RunError, match=r"can't write the run folder .*: Not a directory; choose another --out"
        ),
        locked(tmp_path / "file" / "run"),
    ):
        pass


def test_forget_removes_only_what_runs_make(tmp_path: Path) -> None:
    run, (model, optimizer) = make(tmp_path), net()
    run.begin(SETTINGS, may_change=(), force=False)
    train(run, model, optimizer, 1)
    run.save(model, optimizer, best=True)
    (tmp_path / "notes.txt").write_text("mine")
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_heads_go_on_with_the_model(tmp_path: Path) -> None:
    def make_with(heads: dict[str, ScalarHead]) -> Run:
        return Run(tmp_path, disk=Disk(), say=print, heads=heads)

    model, head = GPT2(TINY), ScalarHead(8)
    optimizer = optimizers.adamw(with_heads(model, {"choice": head}), lr=0.1)
    (model(torch.tensor([[1, 2]])).sum() + head(model.hidden(torch.tensor([[3]]))).sum()).backward()
    optimizer.step(1.0)
    run = make_with({"choice": head})
    run.save(model, optimizer)
    assert fault(tmp_path / "checkpoints" / "0") is None

    other, fresh = GPT2(TINY), ScalarHead(8)
    state = optimizers.adamw(with_heads(other, {"choice": fresh}), lr=0.1)
    assert make_with({"choice": fresh}).resume(other, state)
    assert torch.equal(head.weight, fresh.weight)
    assert torch.equal(state.tensors()["choice.weight:exp_avg"], optimizer.tensors()["choice.weight:exp_avg"])

    with pytest.raises(RunError, match=r"trained with choice.bias, choice.weight, this run has no heads;"):
        make_with({}).resume(other, optimizers.adamw(other, lr=0.1))
    (tmp_path / "checkpoints" / "0" / "heads.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(RunError, match=r"heads\.safetensors has 100 bytes instead of"):
        make_with({"choice": fresh}).resume(other, state)
