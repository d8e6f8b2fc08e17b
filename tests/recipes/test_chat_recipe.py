"""Fine-tuning to talk: a tiny model on a handful of dialogues."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from inkfish import load
from inkfish.config import ModelConfig
from inkfish.data.dialogues import Talk
from inkfish.errors import DataError, RunError
from inkfish.model import GPT2
from inkfish.recipes.dialogues import Dialogues, Form, split, store
from inkfish.recipes.finetune import Config, run
from inkfish.tasks.choosing import Judge
from inkfish.tasks.conversation import Conversation
from inkfish.tasks.forms import PERSONA
from inkfish.tasks.speaking import Turn
from inkfish.tasks.transfertransfo import SPECIALS
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary
from inkfish.training import lora
from inkfish.training.batches import IGNORED
from inkfish.weights import heads, huggingface
from inkfish.weights.huggingface import read

TOKENIZER = Tokenizer(
    Vocabulary(
        {bytes([byte]): byte for byte in range(256)},
        {END: 256} | {name: 257 + i for i, name in enumerate(SPECIALS)},
    )
)
PERSONAS = (("I am A.",), ("I bake.", "I swim.", "I run."))
TALKS = [Talk((f"hi {i}", f"yes {i}", f"so {i}", f"no {i}"), PERSONAS, (1, 2, 3)) for i in "abcdefghijklmnop"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A plain GPT-2 over bytes, without the form's tokens."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    shape = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=96, vocab_size=257)
    tokenizer = Tokenizer(Vocabulary(TOKENIZER.vocabulary.ranked, {END: 256}))
    huggingface.write(folder, shape, GPT2(shape).tensors(), tokenizer=tokenizer, eos=256)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "talks.jsonl"
    rows = [{"turns": talk.turns, "personas": talk.personas} for talk in TALKS]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def config(base: str, data: Path, out: Path, **settings: Any) -> Config:
    given: dict[str, Any] = {
        "model": base,
        "task": "chat",
        "out": out,
        "steps": 4,
        "batch": 4,
        "at_once": 2,
        "lr": 1e-2,
        "warmup": 0,
        "precision": "float32",
        "threads": 1,
        "evaluate_every": 2,
        "save_every": 2,
        "evaluate_windows": 2,
        "validation_share": 0.1,
    }
    return Config((data,), **(given | settings))


def tensors(folder: Path) -> dict[str, Any]:
    choice = {f"choice.{name}": value for name, value in heads.read(folder)["choice"].items()}
    return {**read(folder).tensors, **choice}


@pytest.mark.parametrize("train", ["all", "transformer", "lora"])
def test_stopped_and_gone_on_is_bit_for_bit(base: str, data: Path, tmp_path: Path, train: str) -> None:
    once = run(config(base, data, tmp_path / "once", train=train))
    run(config(base, data, tmp_path / "twice", train=train, steps=2, schedule="constant"))
    assert once.step == 4
    settings = {"train": train, "schedule": "constant"}
    whole = run(config(base, data, tmp_path / "whole", **settings))
    twice = run(config(base, data, tmp_path / "twice", **settings))
    one, two = (tensors(result.folder / "checkpoints" / "4") for result in (whole, twice))
    for name, value in one.items():
        assert np.array_equal(value, two[name]), name
    before = huggingface.read(Path(base)).tensors
    after = read(whole.folder / "checkpoints" / "4")
    assert after.config.vocab_size == 262
    same = np.array_equal(before["wte.weight"], after.tensors["wte.weight"][:257])
    assert same == (train != "all")
    assert (whole.folder / "checkpoints" / "4" / "adapter").is_dir() == (train == "lora")
    assert lora.LAYERS


def test_what_was_trained_talks(
    base: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(config(base, data, tmp_path / "run", steps=6))
    said = "".join(capsys.readouterr())
    assert "16 dialogues with 48 replies, 2 held out" in said
    assert "42 examples an epoch, 2 candidates each; 6 steps of 4 examples, float32" in said
    assert "right among 2" in said
    assert (result.folder / "samples" / "2.txt").read_text().count("→") == 2
    model = load(result.folder)
    judge = Judge.of(model)
    assert judge.form is PERSONA
    assert judge.choice is not None
    turn = Turn(model, Conversation(seed=1).heard("hi"), form=judge.form, max_tokens=5)
    assert "".join(turn) == turn.text


def test_what_a_finished_run_leaves(
    base: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A card, and a page with dialogues as both models reply to them, whatever form they talk in."""
    result = run(config(base, data, tmp_path / "run<b>", steps=8))
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("perplexity of held-out replies: "))
    before, after = (float(word.split()[0].replace(",", "")) for word in line.split(": ")[1].split(", "))
    assert after < before
    page = (result.folder / "before-after.html").read_text()
    assert "run&lt;b&gt;: before and after" in page
    assert page.count("A: hi ") == page.count("<td><b>") > 2
    assert "About B: I " in page
    card = (result.folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == base
    assert f"P{line[1:]}." in card
    assert "8 steps of 4 replies of up to 96 tokens" in card
    assert "inkfish chat --model run<b>" in card
    records = [json.loads(each) for each in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [each["step"] for each in records if "hits" in each] == [0, 2, 4, 6, 8]


def test_dialogues_that_leave_no_room_are_not_shown(base: str, tmp_path: Path) -> None:
    """In the base model's form they are longer than in the tuned one's."""
    talks = [replace(talk, personas=(("I " + "x" * 58,), ("I " + "y" * 58,))) for talk in TALKS]
    rows = [{"turns": talk.turns, "personas": talk.personas} for talk in talks]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run(config(base, tmp_path / "talks.jsonl", tmp_path / "run", steps=1))
    assert "<td>" not in (result.folder / "before-after.html").read_text()
    assert "Unedited samples" in (result.folder / "README.md").read_text()


def test_one_that_was_trained_before_goes_on_with_its_head(base: str, data: Path, tmp_path: Path) -> None:
    first = run(config(base, data, tmp_path / "first"))
    second = run(config(str(first.folder), data, tmp_path / "second", steps=1, lr=1e-9))
    places = [result.folder / "checkpoints" / str(result.step) for result in (first, second)]
    one, two = (tensors(place) for place in places)
    for name in ("choice.weight", "wte.weight"):
        assert np.allclose(one[name], two[name], atol=1e-6)


def test_other_settings_are_refused(base: str, data: Path, tmp_path: Path) -> None:
    run(config(base, data, tmp_path / "run", steps=1))
    with pytest.raises(RunError, match=r"begun with other settings \(candidates: 2 → 3"):
        run(config(base, data, tmp_path / "run", steps=1, candidates=3))


# Examples


def texts(source: Dialogues, number: int, epoch: int = 0) -> list[str]:
    return [TOKENIZER.decode(row.ids) for row in source.candidates(number, epoch)]


def test_an_example_is_the_right_reply_after_wrong_ones() -> None:
    source = Dialogues(TALKS, TOKENIZER, Form(candidates=3, history=1), length=96)
    assert len(source) == 48
    found = texts(source, 2)  # the third reply of the first talk
    prompt = "<|bos|> I bake. I swim. I run.<|speaker2|> hi a<|speaker1|> yes a<|speaker2|> so a<|speaker1|>"
    assert all(text.startswith(f"{prompt} ") for text in found)
    assert found[-1] == f"{prompt} no a<|eos|>"
    assert len(set(found)) == 3
    assert not any(f" {turn}<|eos|>" in text for text in found[:-1] for turn in TALKS[0].turns)
    assert found == texts(source, 2)
    assert found[:-1] != texts(source, 2, epoch=1)[:-1]
    asked = texts(source, 1)[-1]  # the first speaker's reply has the first speaker's persona
    assert asked == "<|bos|> I am A.<|speaker1|> hi a<|speaker2|> yes a<|speaker1|> so a<|eos|>"


def test_the_datas_own_wrong_replies_come_first() -> None:
    talk = replace(TALKS[0], candidates={1: ("x", "y", "z")}, replies=(1,))
    source = Dialogues([talk, *TALKS[1:]], TOKENIZER, Form(candidates=3), length=96)
    assert [text.split("|> ")[-1] for text in texts(source, 0)] == ["y<|eos|>", "z<|eos|>", "yes a<|eos|>"]
    more = Dialogues([talk, *TALKS[1:]], TOKENIZER, Form(candidates=5), length=96)
    assert [text.split("|> ")[-1] for text in texts(more, 0)][:3] == ["x<|eos|>", "y<|eos|>", "z<|eos|>"]


def test_personas_are_turned() -> None:
    source = Dialogues(TALKS[:8], TOKENIZER, Form(permutations=3), length=96)
    assert len(source) == 3 * 24
    openings = [texts(source, n)[-1].split("<|speaker2|>")[0] for n in range(3)]
    assert openings == [
        "<|bos|> I bake. I swim. I run.",
        "<|bos|> I run. I bake. I swim.",
        "<|bos|> I swim. I run. I bake.",
    ]


def test_long_examples_lose_their_oldest_turns() -> None:
    source = Dialogues(TALKS, TOKENIZER, Form(), length=40)
    assert texts(source, 2)[-1].split("<|speaker")[1:] == ["2|> so a", "1|> no a<|eos|>"]
    assert source.left_out == 0
    wrong = replace(TALKS[0], candidates={1: ("x" * 90,)}, replies=(1,))
    cut = Dialogues([wrong, *TALKS[1:]], TOKENIZER, Form(), length=40).candidates(0, 0)[0]
    assert len(cut.ids) == 40
    assert cut.ids[-1] == TOKENIZER.specials["<|eos|>"]
    with pytest.raises(DataError, match="no reply of 48 fits 20 tokens with its persona; raise --sequence"):
        Dialogues(TALKS, TOKENIZER, Form(), length=20)
    with pytest.raises(DataError, match="the data has 3 different replies, too few to draw 1 wrong ones"):
        Dialogues(TALKS[:1], TOKENIZER, Form(), length=96)


def test_a_batch() -> None:
    source = Dialogues(TALKS, TOKENIZER, Form(candidates=2), length=96)
    batch = source.batch(np.array([0, 5]), 0)
    assert batch.ids.shape == batch.targets.shape == batch.segments.shape
    assert batch.ends.shape == (2, 2)
    pad, eos = TOKENIZER.specials["<|pad|>"], TOKENIZER.specials["<|eos|>"]
    for row, end in zip(batch.ids, batch.ends.flatten(), strict=True):
        assert row[end] == eos
        assert (row[end + 1 :] == pad).all()
        assert not (row[: end + 1] == pad).any()
    learned = [row[row != IGNORED].tolist() for row in batch.targets]
    assert learned[0] == learned[2] == []
    assert TOKENIZER.decode(learned[1]) == " yes a<|eos|>"
    for row, wanted, ids in zip((1, 3), (learned[1], learned[3]), (batch.ids[1], batch.ids[3]), strict=True):
        places = (batch.targets[row] != IGNORED).nonzero().flatten()
        assert ids[places + 1].tolist() == wanted


def test_held_out() -> None:
    train, held = split(TALKS, 0.2)
    assert (len(train), len(held)) == (12, 4)
    assert split(TALKS[::-1], 0.2).held == held[::-1]
    marked = [replace(TALKS[0], held_out=True), *TALKS[1:]]
    assert split(marked, 0.5).held == marked[:1]
    assert split(TALKS[:1], 0.5).train == TALKS[:1]
    one, two = store(TALKS, TOKENIZER), store([replace(TALKS[0], topic="x"), *TALKS[1:]], TOKENIZER)
    assert one.fingerprint != two.fingerprint
    assert TOKENIZER.decode(one[0].tolist()) == " hi a yes a so a no a"
