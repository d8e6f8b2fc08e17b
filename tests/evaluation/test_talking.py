"""ConvAI2's measures on tiny models whose answers are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inkfish import load as load_model
from inkfish.config import ModelConfig
from inkfish.errors import DataError, SettingError
from inkfish.evaluation import talking
from inkfish.evaluation.suite import Settings
from inkfish.evaluation.suites import find
from inkfish.evaluation.talking import Dictionary
from inkfish.generate import LanguageModel
from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.recipes.evaluate import Config, numbers_table, run
from inkfish.tasks.choosing import Judge
from inkfish.tasks.transfertransfo import SPECIALS
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary
from inkfish.weights import heads, huggingface

SHAPE = ModelConfig(n_layer=1, n_head=2, n_embd=8, n_positions=128, vocab_size=262)
NAMES = (END, *SPECIALS)
TOKENIZER = Tokenizer(
    Vocabulary({bytes([byte]): byte for byte in range(256)}, {name: 256 + i for i, name in enumerate(NAMES)})
)


def write(folder: Path, *, zero: bool = False, choice: bool = False) -> LanguageModel:
    torch.manual_seed(3)
    net = GPT2(SHAPE)
    tensors = {name: 0 * value if zero else 8 * value for name, value in net.tensors().items()}
    huggingface.write(folder, SHAPE, tensors, tokenizer=TOKENIZER, eos=256)
    if choice:
        heads.write(folder, {"choice": ScalarHead(8, std=0.5).tensors()})
    return load_model(folder)


def release(dialogues: int = 3) -> dict[str, Any]:
    wrong = [f"wrong {i}" for i in range(19)]
    valid = [
        {
            "personality": [f"i am {i} .", "i bake ."],
            "utterances": [
                {"candidates": [*wrong, f"yes {i} ."], "history": [f"hi {i}"]},
                {"candidates": [*wrong, "so ."], "history": [f"hi {i}", f"yes {i} .", "what ?"]},
            ],
        }
        for i in range(dialogues)
    ]
    train = [{"personality": ["x"], "utterances": [{"candidates": ["a", "yes so"], "history": ["so so"]}]}]
    return {"train": train, "valid": valid}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "personachat_self_original.json"
    path.write_text(json.dumps(release()))
    return path


def test_a_model_that_knows_nothing(tmp_path: Path, published: Path) -> None:
    model = write(tmp_path / "zero", zero=True)
    report = run(Config("convai2", (published,), model=str(tmp_path / "zero")), model=model)
    found = report["numbers"]
    assert found["perplexity per token"] == pytest.approx(262)
    # "yes i ." has 8 bytes with the spaces before its 3 words, "so ." has 5 and 2
    assert found["perplexity per word"] == pytest.approx(262 ** ((3 * 8 + 3 * 5) / (3 * 3 + 3 * 2)))
    assert found["hits@1 of 20"] == 0  # all scores are equal
    assert found["replies"] == 6
    facts = {fact["name"]: (fact["found"], fact["expected"]) for fact in report["facts"]}
    assert facts == {"dialogues": (3, 1000), "replies": (6, 7801)}
    table = numbers_table(report)
    assert "| Hugging Face TransferTransfo " in table
    assert "82.10" in table


def test_own_and_other_persona(tmp_path: Path, published: Path) -> None:
    model = write(tmp_path / "m", choice=True)
    items = talking.load([published], Settings(), model)
    assert [item.reply for item in items[:2]] == ["yes 0 .", "so ."]
    assert items[1].history == ("hi 0", "yes 0 .", "what ?")
    assert all(item.persona == (f"i am {i // 2} .", "i bake .") for i, item in enumerate(items))
    assert all(item.other and item.other != item.persona for item in items)
    assert all(len(item.wrong) == 19 for item in items)
    records = list(talking.measure(model, items, Settings()))
    assert records == list(talking.measure(model, items, Settings()))
    assert {record["rank"] for record in records} <= set(range(1, 21))
    assert all(record["rank_other"] is not None for record in records)
    found = talking.table(records)
    assert found["hits@1 of 20, where there is a persona"] == found["hits@1 of 20"]


def test_any_dialogues(tmp_path: Path) -> None:
    model = write(tmp_path / "m")
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps({"turns": [f"a{i}", f"b{i}", f"c{i}"]}) + "\n" for i in range(12)))
    items = talking.load([path], Settings(limit=5, history=0), model)
    assert len(items) == 5
    assert [item.history for item in items[:2]] == [("a0",), ("b0",)]
    for item in items:
        assert len({*item.wrong, item.reply}) == 20
        assert not any(text.endswith(item.reply[1:]) and len(text) == len(item.reply) for text in item.wrong)
    assert items == talking.load([path], Settings(limit=5, history=0), model)
    found = talking.table(list(talking.measure(model, items, Settings())))
    assert "hits@1 of 20, somebody else's persona" not in found
    assert find("dialogues").published == {}


def test_too_few_replies(tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text('{"turns": ["a", "b", "c"]}\n')
    with pytest.raises(
        DataError, match=r"talks\.jsonl has 2 different replies, too few for 20 candidates each"
    ):
        talking.load([path], Settings(), write(tmp_path / "m"))


def test_what_does_not_fit_loses_turns_or_is_left_out(tmp_path: Path) -> None:
    model = write(tmp_path / "m")
    dictionary = Dictionary([], TOKENIZER.encode)
    short = talking.Asked(("x" * 60, "y" * 60, "z"), (), (), "ok", ("no",), dictionary)
    fitted = talking.shortened(Judge.of(model).form, model, short)
    assert fitted is not None
    assert fitted.history == ("y" * 60, "z")
    long = talking.Asked(("x" * 126,), (), (), "ok", ("no",), dictionary)
    records = list(talking.measure(model, [short, long], Settings()))
    assert records[1] == {"cut": True}
    assert talking.table(records)["replies cut"] == 1
    assert talking.table(records[1:]) == {"replies": 0, "replies cut": 1}


def test_a_piece_is_shared_out_among_the_words_that_begin_with_it() -> None:
    dictionary = Dictionary(["on on one two"], lambda text: [ord(text[1])])
    assert dictionary.total == {ord("o"): 2 + 5 + 1 + 5, ord("t"): 6}
    logits = np.zeros((5, 128), np.float32)
    logits[3, ord("t")] = math.log(127)  # half of the probability
    found = dictionary.logprobs("one two x", logits, [3, 1, 1])
    assert np.exp(found) == pytest.approx([6 / 13 / 128, 0.5])


def test_repetition_of_ones_own_words() -> None:
    assert talking.repeated("I like red cats, I do", ("so I like red wine",)) == pytest.approx(1 / 4)
    assert talking.repeated("yes", ("yes",)) == 0
    assert talking.another(("a",), [("a",), ("b",)], np.random.default_rng(0)) == ("b",)
    assert talking.another((), [("a",)], np.random.default_rng(0)) == ()


def test_a_history_below_none() -> None:
    with pytest.raises(SettingError, match="history is -1; it must be at least 0"):
        Settings(history=-1)
