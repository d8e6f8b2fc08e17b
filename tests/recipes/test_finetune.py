"""Fine-tuning: what is trained, what is learned, stopped and resumed bit for bit, and every refusal."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import inkfish
from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.errors import DataError, ModelError, RunError, SettingError
from inkfish.model import GPT2
from inkfish.recipes import afterwards, finetune, tokenizer
from inkfish.recipes.display import display
from inkfish.recipes.finetune import Config, Result, run
from inkfish.recipes.plan import memory_line, probe, too_much
from inkfish.tasks import chat, encode
from inkfish.tokenizer import Tokenizer
from inkfish.training import curve, lora
from inkfish.training.batches import Windows
from inkfish.training.loss import language_loss
from inkfish.training.memory import Load
from inkfish.training.run import Run
from inkfish.weights import hub, huggingface

TEXT = "".join(f"The {n}th fox met {n * 7 % 13} hens and {n % 5} dogs. " for n in range(40))
SHAPE = ModelConfig(n_layer=2, n_head=2, n_embd=8, n_positions=16, vocab_size=272)
TINY: dict[str, Any] = {
    "steps": 6,
    "batch": 4,
    "at_once": 2,
    "evaluate_every": 3,
    "save_every": 2,
    "sample_every": 0,
    "threads": 1,
    "precision": "float32",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(curve, "draw", lambda records, *, title="": b"")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tiny model with its vocabulary, and a text beside it."""
    (tmp_path / "text.txt").write_text(TEXT)
    vocabulary = Tokenizer(tokenizer.train([TEXT], vocab_size=272))
    torch.manual_seed(3)
    tensors = GPT2(SHAPE).tensors()
    huggingface.write(tmp_path / "base", SHAPE, tensors, tokenizer=vocabulary, eos=vocabulary.end)
    return tmp_path / "base"


def go(base: Path, out: str, **settings: Any) -> Result:
    data = (base.parent / settings.pop("data", "text.txt"),)
    return run(Config(data, model=str(base), out=base.parent / out, **(TINY | settings)))


def tensors_of(folder: Path) -> dict[str, Any]:
    return dict(weights.read(folder).tensors)


def changed(base: Path, result: Result) -> set[str]:
    before = tensors_of(base)
    after = tensors_of(result.folder / "checkpoints" / "6")
    return {name for name, value in after.items() if not np.array_equal(value, before[name])}


def test_what_is_trained(base: Path) -> None:
    names = set(SHAPE.tensor_shapes())
    assert changed(base, go(base, "all")) == names
    blocks = {name for name in names if name.startswith("h.")}
    assert changed(base, go(base, "transformer", train="transformer")) == blocks
    top = {name for name in names if name.startswith(("h.1.", "ln_f."))}
    assert changed(base, go(base, "last", last=1)) == top
    found = changed(base, go(base, "lora", train="lora", lora_layers=("attn.c_attn",)))
    assert found == {"h.0.attn.c_attn.weight", "h.1.attn.c_attn.weight"}


@pytest.mark.parametrize(
    "settings", [{}, {"train": "lora", "lora_dropout": 0.2, "noise": 0.1, "dropout": 0.1}]
)
def test_a_run_goes_on_bit_for_bit(
    base: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """The process ends after the checkpoint of step 4, and the same command goes on."""
    whole = go(base, "whole", **settings)
    took = Run.took

    def end_at_5(self: Run, step: Any) -> None:
        if step.number == 5:
            raise RunError("killed")
        took(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "took", end_at_5)
        with pytest.raises(RunError, match="killed"):
            go(base, "parts", **settings)
    parts = go(base, "parts", **settings)
    assert parts.step == whole.step == 6
    one, other = (tensors_of(r.folder / "checkpoints" / "6") for r in (whole, parts))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert inkfish.load(str(whole.folder)).generate("The", max_tokens=3, seed=1).samples


def test_a_checkpoint_of_lora_holds_the_sum_and_the_updates_alone(base: Path) -> None:
    result = go(base, "lora", train="lora")
    folder = result.folder / "checkpoints" / "6"
    model = GPT2(SHAPE)
    model.load_tensors(tensors_of(base))
    lora.attach(folder / "adapter", model)
    for name, value in lora.merged(model).items():
        np.testing.assert_array_equal(value, tensors_of(folder)[name])


def test_less_text_than_a_context(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base.parent / "short.txt").write_text("The fox.")
    assert go(base, "short", data="short.txt").step == 6
    assert "the text is too short to hold any out: no validation" in capsys.readouterr().out


def test_the_plan_and_steps_from_epochs(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = go(base, "run", steps=None, epochs=0.25)
    said = capsys.readouterr().out
    tokens = int(said.split(" tokens an epoch")[0].split("\n")[-1].replace(",", ""))
    assert result.step == -(-tokens * 0.25 // (4 * 16))
    for line in ("1 file, 1 document", "parameters are trained", "an epoch,", "memory about", "GiB are free"):
        assert line in said
    plan = json.loads((base.parent / "run" / "plan.json").read_text())
    assert (plan["tokens"], plan["steps"], plan["tokens_a_step"]) == (tokens, result.step, 64)
    assert plan["seconds_an_epoch"] > 0
    assert plan["held_out"] > 0


def test_time_is_measured_in_the_thread_that_trains() -> None:
    """Memory that another thread had would stay with it."""
    seen: set[str] = set()

    def loss(model: GPT2, batch: Any) -> torch.Tensor:
        seen.add(threading.current_thread().name)
        return language_loss(model, batch)

    source = Windows(np.arange(100, dtype=np.uint16), 16, seed=1)
    config = Config((Path("x.txt"),), **TINY, device="cpu")
    with ThreadPoolExecutor(1, thread_name_prefix="worker") as workers:
        assert probe(GPT2(SHAPE), source, config, loss=loss, workers=workers) > 0
    assert seen == {"worker_0"}


def test_a_plan_alone_changes_nothing(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert go(base, "run", plan=True, steps=600) == Result(base.parent / "run", 0, None, leads=False)
    said = capsys.readouterr().out
    assert "so often, and a model copies: of so much text 10 times are enough, which is --steps " in said
    assert not (base.parent / "run" / "checkpoints").exists()
    assert go(base, "run").step == 6


def test_a_plan_for_a_released_model_that_is_not_here(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a GPU with 80 GB all of 1558M is trained."""
    config = Config(
        (base.parent / "text.txt",), model="gpt2-xl", device="cuda", precision="bfloat16", plan=True
    )
    run(config)
    said = capsys.readouterr().out
    assert "1,557,611,200 parameters are trained" in said
    assert 30 < float(said.split("memory about ")[1].split(" GiB")[0]) < 74


def test_what_would_fit() -> None:
    load = Load(SHAPE, 16, 4, groups=1, trained=SHAPE.parameters, blocks=2)
    assert too_much(load, None).startswith("about 0.00 GiB are needed; --at-once 2 takes about 0.00 GiB")
    assert "even --at-once 1 --checkpointing --train lora takes about" in too_much(load, 10)
    assert memory_line(load, 10)
    assert not memory_line(load, 2**40)


def test_only_completions_are_learned(base: Path) -> None:
    rows = [{"prompt": f"The {n}th fox met", "completion": f"{n * 7 % 13} hens and"} for n in range(20)]
    (base.parent / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = Config((base.parent / "rows.jsonl",), model=str(base), out=base.parent / "run", **TINY)
    with display() as screen:
        corpus = finetune.read_corpus(config, base, weights.read(base), screen)
    store = corpus.train
    config = finetune.settled(config, SHAPE, corpus)
    batch = finetune.windows(config, SHAPE, store).batch(np.arange(4), 0)
    learned = store.trainable(0, len(store.ids))
    assert 0 < learned.mean() < 1
    places = finetune.windows(config, SHAPE, store).offset(0) + np.arange(4 * 16) + 1
    expected = learned[places % len(store.ids)].reshape(4, 16)
    np.testing.assert_array_equal((batch.targets != -100).numpy(), expected)
    assert run(config).step == 6


def test_noise_spares_the_targets_and_depends_on_the_example_alone(base: Path) -> None:
    ids = np.arange(200, dtype=np.uint16)
    noisy = Windows(ids, 16, seed=1, noise=0.3, vocab_size=272)
    clean = Windows(ids, 16, seed=1)
    both, alone = noisy.batch(np.array([3, 5]), 2), noisy.batch(np.array([5]), 2)
    assert torch.equal(both.targets, clean.batch(np.array([3, 5]), 2).targets)
    assert torch.equal(both.ids[1], alone.ids[0])
    wrong = (both.ids != clean.batch(np.array([3, 5]), 2).ids).float().mean()
    assert 0.02 < wrong < 0.7  # of 32 places; outside with probability below 1e-4
    assert not torch.equal(both.ids[1], noisy.batch(np.array([5]), 3).ids[0])


def test_a_run_that_gets_no_better_ends_and_stands_for_its_best(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"steps": 60, "evaluate_every": 1, "give_up_after": 2, "lr": 1.0, "warmup": 0}
    result = go(base, "run", **settings)
    assert result.step < 60
    assert "2 validations have brought nothing better" in capsys.readouterr().out
    best = int((result.folder / "best").read_text())
    assert best == result.step - 2
    assert hub.find(str(result.folder)).name == str(best)
    assert go(base, "run", **settings).step == result.step


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_layers": ("wte",)}, "lora_layers is wte; choose of attn.c_attn, "),
        ({"lora_layers": ()}, "lora_layers is empty; choose of"),
        ({"last": 1, "train": "lora"}, "last and train lora exclude each other"),
        ({"last": 3}, "last is 3 and the model has 2 blocks; choose fewer"),
        ({"train": "most"}, "train is 'most'; choose one of all, transformer, lora"),
        ({"noise": 1.0}, "noise is 1.0; it must be a number from 0 to 0.9"),
        ({"epochs": 0}, "epochs is 0; it must be a number from 0.001"),
        ({"at_once": 3}, "batch must be a multiple of at_once"),
        ({"sequence": 17}, "sequence is 17 and the context 16 tokens"),
    ],
)
def test_refused_settings(base: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        go(base, "run", **settings)


def test_other_refusals(base: Path) -> None:
    with pytest.raises(SettingError, match="there are no data; name at least one text file"):
        Config(())
    (base.parent / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match="no text to train on"):
        go(base, "empty", data="empty.txt")
    with pytest.raises(ModelError, match="there is no model"):
        go(base.parent / "nothing", "run")
    go(base, "run")
    with pytest.raises(RunError, match=r"noise: 0\.0 → 0\.5"):
        go(base, "run", noise=0.5)


def test_what_a_finished_run_leaves(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A card with front matter, a page without scripts whose style its policy allows, figures."""
    result = go(base, "run<b>", steps=40, lr=1e-2)
    said = capsys.readouterr().out
    before, after = (
        float(word.split(" ")[0]) for word in said.split("perplexity a token: ")[1].split(", ")[:2]
    )
    assert after < before
    page = (result.folder / "before-after.html").read_text()
    assert "<script" not in page
    assert "run&lt;b&gt;: before and after" in page
    style = page.split("<style>")[1].split("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in page
    card = (result.folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == str(base)
    assert front["pipeline_tag"] == "text-generation"
    assert f"{before:,.1f} before, {after:,.1f} after" in card


def test_copied_words_are_underlined(base: Path) -> None:
    vocabulary = Tokenizer.load(base)
    ids = np.array(vocabulary.encode(TEXT), np.uint16)
    copied = TEXT[200:260]
    pieces = afterwards.marks(vocabulary, f"zzz {copied} zzz", SimpleNamespace(ids=ids))  # type: ignore[arg-type]
    assert "".join(text for text, _ in pieces) == f"zzz {copied} zzz"
    marked = "".join(text for text, found in pieces if found)
    assert copied[5:55] in marked
    assert "z" not in marked.replace(copied, "")
    html = afterwards.underlined([("a < b", False), (" c <d>\n", True), (" ", True)])
    assert html == "a &lt; b <u>c &lt;d&gt;</u>\n "


def test_held_out_prompts_are_not_measured(base: Path) -> None:
    rows = [{"prompt": f"The {n}th fox met", "completion": f"{n * 7 % 13} hens and"} for n in range(40)]
    (base.parent / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = Config((base.parent / "rows.jsonl",), model=str(base), out=base.parent / "run", **TINY)
    with display() as screen:
        corpus = finetune.read_corpus(config, base, weights.read(base), screen)
    ((_, store),) = corpus.held
    (held,) = corpus.held_out(vocab_size=SHAPE.vocab_size, length=16, windows=10**6)
    whole = (len(store.ids) - 1) // 16 * 16
    assert held.counted == store.trainable(1, whole + 1).sum() < whole
    assert held.counted > 0


def test_from_python(base: Path) -> None:
    result = inkfish.finetune(base.parent / "text.txt", model=str(base), out=str(base.parent / "run"), **TINY)
    assert result.load().generate("The", max_tokens=3, seed=1).samples
    small = {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 16, "vocab_size": 270} | TINY
    assert inkfish.pretrain(str(base.parent / "text.txt"), out=base.parent / "new", **small).step == 6


def test_conversations_are_transcripts_whose_replies_are_learned(base: Path) -> None:
    """The ids are those of the chat task's own examples."""
    said = [("user", "hi"), ("assistant", "hello\n  you"), ("user", "why?"), ("assistant", "the fox")]
    rows: list[dict[str, Any]] = [{"messages": [{"role": role, "content": text} for role, text in said]}]
    parts = [{"type": "text", "text": "The red hen."}]
    rows += [{"messages": [{"role": "system", "content": "A fox."}, {"role": "assistant", "content": parts}]}]
    rows[1]["messages"] += [{"role": "user", "content": "so"}, {"role": "assistant", "content": "yes"}]
    (base.parent / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = TINY | {"validation_share": 0.0}
    config = Config((base.parent / "rows.jsonl",), model=str(base), out=base.parent / "run", **settings)
    with display() as screen:
        corpus = finetune.read_corpus(config, base, weights.read(base), screen)
    first = chat.Dialogue(("hi", "hello you", "why?", "the fox"))
    second = chat.Dialogue(("", "The red hen.", "so", "yes"), about_bot=("A fox.",))
    for document, dialogue in enumerate((first, second), start=1):
        expected = encode(chat.render(dialogue), corpus.tokenizer)
        start, stop = corpus.train.borders[document : document + 2]
        assert corpus.train.ids[start:stop].tolist() == expected.ids
        assert corpus.train.trainable(start, stop).tolist() == expected.trainable
    assert go(base, "trained", data="rows.jsonl").step == 6


def test_conversations_that_are_left_out(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"messages": [{"role": "user", "content": "hi"}]}, {"text": TEXT}]
    (base.parent / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    go(base, "run", data="rows.jsonl")
    assert "1 row left out: the assistant does not reply (line 1)" in capsys.readouterr().out


def test_a_finished_run_takes_more_steps(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(base, "run", steps=6)
    assert go(base, "run", steps=24).step == 24
    said = capsys.readouterr().out
    assert "steps: 6 → 24" in said
    assert "going on after step 6" in said


FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("folder", [FIXTURES / "gpt-2-simple" / "checkpoint" / "run1", FIXTURES / "openai"])
def test_checkpoints_of_the_old_programs_are_trained_on(tmp_path: Path, folder: Path) -> None:
    """Those of gpt-2-simple and nshepperd/gpt-2, which write OpenAI's layout."""
    (tmp_path / "text.txt").write_text(TEXT)
    result = run(Config((tmp_path / "text.txt",), model=str(folder), out=tmp_path / "run", **TINY))
    before, after = tensors_of(folder), tensors_of(result.folder / "checkpoints" / "6")
    assert all(not np.array_equal(before[name], after[name]) for name in before)
    assert result.load().generate("The", max_tokens=3, seed=1).samples


@pytest.mark.slow
def test_settings_that_fit_are_named_when_memory_runs_out(tmp_path: Path) -> None:
    """Addresses are limited such that the first run gets none; what it advises then works."""
    words = np.random.default_rng(0).choice(["fox", "hen", "dog", "wood", "sun", "met", "saw", "ate"], 40_000)
    (tmp_path / "text.txt").write_text(" ".join(words))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2_600 << 20,) * 2);"
        "from inkfish.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    line = ["finetune", str(tmp_path / "text.txt"), "--steps", "1", "--batch", "32", "--threads", "1"]
    line += ["--out", str(tmp_path / "run"), "--sample-every", "0"]
    first = subprocess.run(
        [sys.executable, "-c", code, *line, "--at-once", "32"], capture_output=True, text=True, check=False
    )
    assert first.returncode == 2, first.stdout
    assert re.search(
        r"not enough memory: about \d.\d\d GiB are needed and \d.\d\d GiB are free", first.stderr
    )
    done = first
    for _ in range(3):  # a process that has but so many addresses may need to be told twice
        advice = done.stderr.split("; ")[1].split(" takes about")[0].split()
        done = subprocess.run(
            [sys.executable, "-c", code, *line, *advice, "--force"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            break
    assert "finished: 1 steps" in done.stdout, done.stderr


def test_a_run_is_finished_though_its_page_can_not_be_written(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[str]:
        raise ModelError("no memory")

    monkeypatch.setattr(finetune, "conclude", refuse)
    assert go(base, "run").step == 6
    assert "README.md and before-after.html were not written: no memory" in capsys.readouterr().out
