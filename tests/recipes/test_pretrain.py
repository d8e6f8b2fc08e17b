from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import inkfish
from inkfish.errors import DataError, InkfishError, ModelError, RunError, SettingError
from inkfish.recipes.pretrain import Config, Result, run
from inkfish.training import curve
from inkfish.training.optimise import Step
from inkfish.training.run import Run
from inkfish.training.settings import read_toml

TEXT = "".join(f"The {n}th fox met {n * 7 % 13} hens and {n % 5} dogs. " for n in range(60))
TINY: dict[str, Any] = {
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "n_positions": 16,
    "vocab_size": 270,
    "steps": 10,
    "batch": 4,
    "at_once": 2,
    "warmup": 2,
    "evaluate_every": 4,
    "evaluate_windows": 4,
    "save_every": 4,
    "sample_every": 0,
    "threads": 1,
    "precision": "float32",
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(curve, "draw", lambda records, *, title="": b"")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def go(text: Path, out: str, **settings: Any) -> Result:
    """Train in the folder `out` beside a text, or beside the folder of a store."""
    return run(Config((text,), out=text.parent / out, **(TINY | settings)))


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send SIGTERM to this process when a step has been taken."""
    took = Run.took

    def watched(self: Run, taken: Step) -> None:
        took(self, taken)
        if taken.number == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "took", watched)


def outcome(folder: Path) -> tuple[list[bytes], list[list[Any]]]:
    last = folder / "checkpoints" / (folder / "last").read_text().strip()
    names = ("model.safetensors", "state/optimizer.safetensors", "state/random.safetensors")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    columns = ("step", "loss", "lr", "grad_norm", "tokens", "cursor", "validation")
    return [(last / name).read_bytes() for name in names], [[row.get(c) for c in columns] for row in rows]


MATRIX: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "in the middle of an epoch": ({}, (7,)),
    "right after a save": ({}, (4,)),
    "at the border of two epochs": ({"sequence": 8, "steps": 60, "batch": 4}, (41,)),
    "in epoch 3": ({"sequence": 16, "steps": 80, "evaluate_every": 40}, (71,)),
    "accumulation": ({"batch": 6, "at_once": 2}, (5,)),
    "all at once": ({"at_once": 4}, (5,)),
    "in the warm-up of a cosine": ({"schedule": "cosine", "warmup": 6}, (3,)),
    "dropout": ({"dropout": 0.2}, (5,)),
    "dropout, checkpointing, accumulation": ({"dropout": 0.2, "checkpointing": True}, (5,)),
    "adamw": ({"optimizer": "adamw"}, (5,)),
    "adafactor": ({"optimizer": "adafactor"}, (5,)),
    "bfloat16": ({"precision": "bfloat16"}, (5,)),
    "at a validation": ({}, (8,)),
    "at the last step": ({}, (10,)),
    "twice": ({"dropout": 0.1}, (3, 9)),
}


@pytest.mark.parametrize("case", MATRIX)
def test_resumed_is_uninterrupted(text: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    settings, stops = MATRIX[case]
    assert go(text, "whole", **settings).stopped is None
    for step in stops:
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            stopped = go(text, "parts", **settings)
        assert stopped == Result(text.parent / "parts", step, signal.SIGTERM)
    assert go(text, "parts", **settings) == Result(text.parent / "parts", settings.get("steps", 10), None)
    assert outcome(text.parent / "parts") == outcome(text.parent / "whole")


def test_a_longer_total_is_a_run_of_that_length(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"schedule": "constant", "save_every": 3, "evaluate_every": 3}
    go(text, "whole", steps=12, **settings)
    go(text, "parts", steps=6, **settings)
    capsys.readouterr()
    go(text, "parts", steps=12, **settings)
    assert "steps: 6 → 12\n" in capsys.readouterr().out
    assert outcome(text.parent / "parts") == outcome(text.parent / "whole")


def test_a_finished_run_says_so(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(text, "run")
    before = outcome(text.parent / "run")
    capsys.readouterr()
    assert go(text, "run").step == 10
    said = capsys.readouterr().out
    assert "going on after step 10" in said
    assert "finished: 10 steps, 640 tokens" in said
    assert outcome(text.parent / "run") == before


def test_the_number_of_cores_changes_nothing(text: Path) -> None:
    go(text, "one", threads=1)
    go(text, "three", threads=3)
    assert outcome(text.parent / "one") == outcome(text.parent / "three")


def test_a_run_writes_shows_and_draws(
    text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    go(text, "run", sample_every=5, prompts=("The fox", ""), sample_tokens=9, steps=10)
    said = capsys.readouterr().out
    folder = text.parent / "run"
    assert "parameters" in said
    assert "tokens; 10 steps of 4 × 16 tokens read them" in said
    assert "step 4: validation" in said
    assert "the best so far" in said
    assert "step 10 of 10: loss" in said
    assert "step 5 writes: The fox" in said
    assert (folder / "samples" / "10.txt").read_text().startswith("The fox")
    go(text, "run", sample_every=11, prompts=("The fox",), sample_tokens=9, steps=11, samples=2, top_k=1)
    both = (folder / "samples" / "11.txt").read_text()[:-1]
    half = len(both) // 2
    assert both[: half - 1] == both[half + 1 :], "the likeliest tokens are the same in every sample"
    assert both.startswith("The fox")
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    settings = (folder / "config.toml").read_text()
    for line in ("lr = 0.0025", 'optimizer = "muon"', "sequence = 16", "[hashes]", "[machine]", "[program]"):
        assert line in settings
    model = inkfish.load(str(folder))
    assert model.config.n_embd == 8
    assert model.generate("The fox", seed=1, max_tokens=5).samples[0].text


def test_learns(text: Path) -> None:
    go(text, "run", n_embd=16, n_positions=32, steps=60, lr=1e-2, evaluate_every=60)
    rows = outcome(text.parent / "run")[1]
    assert rows[0][1] > 5
    assert rows[59][1] < 3.5


def test_starts_from_the_weights_of_a_run(text: Path) -> None:
    go(text, "first")
    last = text.parent / "first" / "checkpoints" / "10"
    go(text, "second", start_from=last, steps=1, warmup=0)
    first, second = (outcome(text.parent / name)[1] for name in ("first", "second"))
    assert second[0][1] < first[0][1] - 0.02
    with pytest.raises(
        ModelError, match=r"has 1 layers, 2 heads, 8 .*, and this run 1 layers, 2 heads, 16 .*equal"
    ):
        go(text, "third", start_from=last, n_embd=16)


def test_fresh_begins_anew(text: Path) -> None:
    go(text, "run", lr=1e-3)
    with pytest.raises(RunError, match=r"begun with other settings \(lr: 0.001 → 0.0025\)"):
        go(text, "run")
    go(text, "run", fresh=True)
    go(text, "other")
    assert outcome(text.parent / "run") == outcome(text.parent / "other")


def test_force_goes_on_all_the_same(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(text, "run", lr=1e-3)
    go(text, "run", steps=12, force=True)
    assert "going on with changed settings: lr: 0.001 → 0.0025" in capsys.readouterr().out
    assert outcome(text.parent / "run")[1][11][0] == 10


def test_changed_texts_are_refused(text: Path) -> None:
    go(text, "run")
    text.write_text(TEXT.replace("fox", "cat"))
    with pytest.raises(RunError, match=r"begun with other settings \(hashes.data: .* → .*\)"):
        go(text, "run")


def test_a_damaged_checkpoint_is_said_and_made_good(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(text, "run")
    expected = outcome(text.parent / "run")
    path = text.parent / "run" / "checkpoints" / "10" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    capsys.readouterr()
    go(text, "run")
    said = capsys.readouterr().out
    assert "the checkpoint of step 10 can't be used: model.safetensors has" in said
    assert "going back to step 8" in said
    assert outcome(text.parent / "run") == expected


def stores_of(text: Path, out: str, **settings: Any) -> Path:
    """The folder of token stores that a run has made, moved beside the text."""
    go(text, out, **settings)
    (header,) = (text.parent / out / "data").glob("*/train.json")
    return header.parent.rename(text.parent / f"{out}-stores")


def test_a_ready_folder_of_stores(text: Path) -> None:
    stores = stores_of(text, "run")
    go(stores, "again")
    assert outcome(text.parent / "again") == outcome(text.parent / "run")


def test_a_store_of_another_tokenizer(text: Path) -> None:
    stores, others = stores_of(text, "run"), stores_of(text, "other", vocab_size=280)
    (stores / "tokenizer.json").write_bytes((others / "tokenizer.json").read_bytes())
    with pytest.raises(DataError, match=r"the stores were made with another tokenizer .* make them again"):
        go(stores, "third")


def test_a_text_shorter_than_a_context(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text.write_text("A fox met two hens and a dog.")
    go(text, "run", n_positions=64, vocab_size=None, vocabulary="gpt2", steps=2)
    said = capsys.readouterr().out
    assert "the text is too short to hold any out: no validation" in said
    (line,) = (line for line in said.splitlines() if "2 steps of 4 × " in line)
    tokens = int(line.split()[0])
    assert f"2 steps of 4 × {tokens - 1} tokens" in line


def test_a_new_vocabulary_suits_the_text(text: Path) -> None:
    """Not more entries than the text gives: 256 bytes, the end token, and here "ab" and its like."""
    text.write_text("ab " * 200)
    go(text, "run", vocab_size=None, steps=1)
    shape = read_toml(text.parent / "run" / "config.toml")["shape"]
    assert 258 <= shape["vocab_size"] <= 262


def test_bad_rows_are_counted(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = text.with_suffix(".jsonl")
    lines = [json.dumps({"text": f"{n} {TEXT}"[: 40 + n]}) for n in range(60)]
    rows.write_text("\n".join([*lines, "{", '{"title": "x"}']))
    go(rows, "run", steps=1)
    said = capsys.readouterr().out
    assert "60 documents" in said
    assert said.count(" row left out: ") == 2


REFUSED: dict[str, tuple[dict[str, Any], type[InkfishError], str]] = {
    "steps": ({"steps": 0}, SettingError, "steps is 0; it must be a whole number from 1 to 1,000,000,000"),
    "fraction": ({"batch": 1.5}, SettingError, "batch is 1.5; it must be a whole number from 1 to 65,536"),
    "truth": ({"seed": True}, SettingError, "seed is True; it must be a whole number from 0 to"),
    "lr": ({"lr": float("nan")}, SettingError, "lr is nan; it must be a number from 0 to 10"),
    "text": ({"lr": "x"}, SettingError, "lr is 'x'; it must be a number from 0 to 10"),
    "dropout": ({"dropout": 1.0}, SettingError, "dropout is 1.0; it must be a number from 0 to 0.99"),
    "choice": (
        {"optimizer": "lion"},
        SettingError,
        "optimizer is 'lion'; choose one of muon, adamw, sgd, ada",
    ),
    "multiple": (
        {"batch": 6, "at_once": 4},
        SettingError,
        "at_once is 4 and batch 6; batch must be a multiple",
    ),
    "sequence": (
        {"sequence": 17},
        SettingError,
        "sequence is 17 and the context 16 tokens; choose a shorter",
    ),
    "heads": ({"n_head": 3}, ModelError, "n_embd is 8 and n_head 3; n_embd must be a multiple of n_head"),
    "share": (
        {"validation_share": 1.0},
        SettingError,
        "validation_share is 1.0; it must be from 0 to below 1",
    ),
    "vocabulary": ({"vocabulary": "nowhere"}, InkfishError, "nowhere"),
    "entries": ({"vocab_size": 5000}, DataError, "vocab_size is 5,000 and the texts give only"),
    "start": ({"start_from": Path("nowhere")}, ModelError, "there is no model 'nowhere' here"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(text: Path, case: str) -> None:
    settings, kind, message = REFUSED[case]
    with pytest.raises(kind) as caught:
        go(text, "run", **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert go(text, "run", steps=1, fresh=True).step == 1, "a right run works after a refusal"


def test_no_data() -> None:
    with pytest.raises(SettingError, match="there are no data; name at least one text file"):
        Config(())


def test_an_empty_file(text: Path) -> None:
    text.write_text("")
    with pytest.raises(DataError, match="the files hold no text"):
        go(text, "run")


def test_sequences_at_once_divide_the_batch() -> None:
    found = {batch: Config((Path("x"),), batch=batch).sequences_at_once for batch in (1, 2, 5, 6, 9, 16)}
    assert found == {1: 1, 2: 2, 5: 1, 6: 3, 9: 3, 16: 4}
