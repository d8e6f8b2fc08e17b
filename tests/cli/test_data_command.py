from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkfish.tokenizer import Tokenizer

Inkfish = Callable[..., Any]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"body": "the then and the other"}\n{"body": "an end\\nof it all"}\nbad\n{"text": "x"}\n'
    )
    return path


def test_preview(inkfish: Inkfish, model: str, rows: Path) -> None:
    command = (
        "data",
        "preview",
        str(rows),
        "-m",
        model,
        "--field",
        "body",
        "--length",
        "10",
        "--windows",
        "2",
    )
    code, out, err = inkfish(*command)
    assert code == 0
    assert "files 1 · documents 2 · words 10" in err
    assert "not JSON (line 3)" in err
    assert "no field 'body' (line 4)" in err
    tokens = list(csv.DictReader(io.StringIO(out), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [int(token["position"]) for token in tokens] == list(range(17))
    assert (tokens[0]["id"], json.loads(tokens[0]["token"])) == ("0", "<|endoftext|>")
    assert {token["trainable"] for token in tokens} == {"1"}
    value = json.loads(inkfish(*command, "--json").out)
    assert [window["start"] for window in value["windows"]] == [0, 10]
    assert value["windows"][0]["ids"] == [int(token["id"]) for token in tokens[:10]]


def test_preview_of_a_table_with_prompts(inkfish: Inkfish, model: str, tmp_path: Path) -> None:
    table = tmp_path / "bios.csv"
    table.write_text("the,end\none,other\n")
    options = ("--no-header", "--template", "{1} =", "--completion", "{2}", "--prefix", "<{2}>", "--json")
    value = json.loads(inkfish("data", "preview", str(table), "-m", model, *options).out)
    (window,) = value["windows"]
    text = "".join(window["texts"])
    assert "<end>the = end" in text or "<other>one = other" in text
    pairs = zip(window["texts"], window["trainable"], strict=True)
    read_only = "".join(token for token, learned in pairs if not learned)
    assert read_only in ("<end>the =", "<other>one =")


def test_preview_on_a_terminal(
    inkfish: Inkfish, model: str, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", screen)
    assert inkfish("data", "preview", str(rows), "-m", model, "--field", "body", "--length", "40").code == 0
    text = screen.getvalue()
    assert text.startswith("=== ")
    assert "\x1b[30;48;5;222m<|endoftext|>\x1b[0m" in text
    assert "\x1b[30;48;5;189m" in text


def test_tokenizer(inkfish: Inkfish, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    text, out = tmp_path / "a.txt", tmp_path / "vocabulary"
    text.write_text("the then there other the then there other " * 5)
    command = ("data", "tokenizer", str(text), str(text), "--vocab-size", "262", "--out", str(out))
    code, _, err = inkfish(*command)
    made = Tokenizer.load(out)
    assert code == 0
    assert err.startswith(f"{out / 'tokenizer.json'}: 262 entries, ")
    assert made.fingerprint[:12] in err
    assert made.vocab_size == 262
    assert inkfish(*command).code == 2, "an existing vocabulary is not overwritten"


def test_prepare(inkfish: Inkfish, tmp_path: Path) -> None:
    text, out = tmp_path / "a.txt", tmp_path / "poems.jsonl"
    text.write_text("The Fox\n\nHe went,\nout.\n\n\nSnow\n\n" + "White.\n" * 20)
    code, _, err = inkfish("data", "prepare", "poems", str(text), "--out", str(out))
    assert code == 0
    assert f"{out}: 2 poems; the first:\n\nThe Fox\n\nHe went,\nout.\n\ninkfish finetune {out}" in err
    script = tmp_path / "a.fountain"
    script.write_text("INT. HALL\n\nANNA\nHello.\n\nEXT. ROAD\n\nBEN\nBye.\n")
    made = tmp_path / "scenes.jsonl"
    command = ("data", "prepare", "screenplay", str(script), "--each", "scene", "--out", str(made))
    assert f"{made}: 2 scenes; the first:" in inkfish(*command).err
    table = tmp_path / "a.csv"
    table.write_text("name,class\nAnna,bard\n")
    made = tmp_path / "bios.jsonl"
    err = inkfish("data", "prepare", "bios", str(table), "--columns", "class", "--out", str(made)).err
    assert "1 sheet; the first:\n\nclass: bard\n" in err


def test_added_tokens_and_a_new_vocabulary(inkfish: Inkfish, model: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    out = tmp_path / "more"
    code, _, err = inkfish(
        "data", "add-tokens", "<|a|>", "--words", "Odd", "--model", model, "--out", str(out)
    )
    assert (code, err) == (0, f"{out}: <|a|> is token 261, Odd is token 262\n")
    text, out = tmp_path / "a.txt", tmp_path / "new"
    text.write_text("le chat et le rat et le chien et le chat et le rat " * 4)
    code, _, err = inkfish("data", "transplant", str(text), "--model", model, "--out", str(out))
    assert code == 0
    assert "entries keep their embeddings, the others are means of" in err
    assert f"inkfish finetune {text} --model {out}" in err
