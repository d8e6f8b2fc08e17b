"""Each mistake of a user is one line with value, limit and remedy, exit code 2, and no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Inkfish = Callable[..., Any]

WORDS = [
    ("wriet x", "unknown command wriet; did you mean write? (inkfish --help shows what there is)"),
    ("sing", "unknown command sing (inkfish --help shows what there is)"),
    ("--hlep", "unknown option --hlep; did you mean --help?"),
    ("models lsit", "unknown command lsit; did you mean list? (inkfish models --help shows what there is)"),
    (
        "write x --temprature 1",
        "unknown option --temprature; did you mean --temperature? (inkfish write --help",
    ),
    ("write x -q", "unknown option -q"),
    ("write once upon", 'unexpected "upon"; put a text of several words in quotes'),
    ("write x -- --seed 1", "--seed stands after --, where all is text; put options before it"),
    ("write x --top 3", "--top lists alternatives in JSON; add --json"),
    ("write x -n", "-n needs a value"),
    ("write x -n two", '-n is "two"; it must be a whole number'),
    ("write x -n 1.5", '-n is "1.5"; it must be a whole number'),
    ("write x --seed 1e3", '--seed is "1e3"; it must be a whole number'),
    ("write x --max-tokens 2.0", '--max-tokens is "2.0"; it must be a whole number'),
    ("write x --temperature hot", '--temperature is "hot"; it must be a number'),
    ("write x --seed 1 --seed 2", "--seed is given twice; leave one out"),
    ("write x --top-p-rule kep", '--top-p-rule is "kep"; it must be one of keep, openai; did you mean keep?'),
    ("write x --json=maybe", '--json is "maybe"; it must be true or false'),
    ("score x --color pink", '--color is "pink"; it must be one of probability, rank'),
    ("data preview", "DATA is missing"),
]
"""Mistakes that are found before any model is looked for."""

SETTINGS = [
    ("-n 0", "n is 0; it must be a whole number"),
    ("-n 1000000", "n is 1000000; it must be a whole number"),
    ("--max-tokens 0", "--max-tokens is 0; it must be a whole number, 1 or more"),
    ("--max-tokens -1", "--max-tokens is -1; it must be a whole number, 1 or more"),
    (
        "--max-tokens 47",
        "a prompt of 2 tokens and --max-tokens 47 do not fit this model's context of",
    ),
    ("--min-tokens 5 --max-tokens 4", "--min-tokens is 5 and --max-tokens 4; it must not be larger"),
    ("--min-tokens -1", "--min-tokens is -1; it must be a whole number"),
    ("--temperature -1", "temperature is -1.0; it must be a number from 0 to 2"),
    ("--temperature nan", "temperature is nan; it must be a number from 0 to 2"),
    ("--temperature inf", "temperature is inf; it must be a number from 0 to 2"),
    ("--temperature 1e400", "temperature is inf; it must be a number from 0 to 2"),
    ("--temperature 2.0001", "temperature is 2.0001; it must be a number from 0 to 2"),
    ("--top-k -1", "--top-k is -1; it must be a whole number, 0 or more"),
    ("--top-p 1.0001", "--top-p is 1.0001; it must be a number from 0 to 1"),
    ("--min-p -0.1", "--min-p is -0.1; it must be a number from 0 to 1"),
    ("--repetition-penalty 0", "--repetition-penalty is 0.0; it must be a number from 0.01 to 100"),
    ("--presence-penalty 2.01", "--presence-penalty is 2.01; it must be a number from -2 to 2"),
    ("--frequency-penalty -2.01", "--frequency-penalty is -2.01; it must be a number from -2 to 2"),
    ("--no-repeat-ngram -1", "--no-repeat-ngram is -1; it must be a whole number, 0 or more"),
    ("--logit-bias foo=1", '--logit-bias is "foo=1"; it must be ID=VALUE'),
    ("--logit-bias 3", '--logit-bias is "3"; it must be ID=VALUE'),
    ("--logit-bias 3=101", "--logit-bias is 101.0; it must be a number from -100 to 100"),
    ("--logit-bias 261=1", "--logit-bias names the token 261; ids go from 0 to 260 here"),
    (
        "--seed 9223372036854775808",
        "seed is 9223372036854775808; it must be a whole number",
    ),
    ("--top 101 --json", "top is 101; it must be a whole number, from 0 to 100"),
    ("--stop=", "stop holds ''; it must be a text that is not empty"),
    ("--threads 0", "threads is 0; it must be a whole number"),
    ("--dtype float16 --backend reference", "float32"),
]
"""Options of `write the` that the model or the sampling refuses."""


def check(result: Any, fragment: str) -> None:
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("inkfish: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert fragment in err


@pytest.mark.parametrize(("words", "fragment"), WORDS)
def test_words(inkfish: Inkfish, words: str, fragment: str) -> None:
    check(inkfish(*words.split()), fragment)


@pytest.mark.parametrize(("options", "fragment"), SETTINGS)
def test_settings(inkfish: Inkfish, model: str, options: str, fragment: str) -> None:
    check(inkfish("write", "the", "-m", model, *options.split()), fragment)


def test_a_text_without_a_command(inkfish: Inkfish) -> None:
    fragment = 'there is no command before the text; to continue it: inkfish write "Once upon"'
    check(inkfish("Once upon"), fragment)


def test_a_normal_command_works_after_refusals(inkfish: Inkfish, model: str) -> None:
    for options, fragment in SETTINGS[:5]:
        check(inkfish("write", "the", "-m", model, *options.split()), fragment)
    assert inkfish("write", "the", "-m", model, "--max-tokens", "2").code == 0


@pytest.mark.parametrize("command", ["write", "score"])
def test_texts(inkfish: Inkfish, model: str, tmp_path: Path, command: str) -> None:
    name = {"write": "PROMPT", "score": "TEXT"}[command]
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    cases = [
        (["x", "--file", str(latin)], f"{name} and --file are both given; leave one out"),
        (["--file", str(latin)], "latin.txt is not UTF-8: byte 0xe9 at offset 3; convert it"),
        (["--file", str(tmp_path / "gone.txt")], "there is no file"),
        (["--file", str(tmp_path)], "is a folder; name a file in it"),
        ([b"a\xff".decode(errors="surrogateescape")], f"{name} is not UTF-8: bad byte at offset 1"),
        (["x", "--out", str(tmp_path)], "is a folder; name a file in it"),
        (["x", "--out", str(tmp_path / "gone" / "x")], "does not exist; create it first"),
    ]
    for words, fragment in cases:
        check(inkfish(command, "-m", model, *words), fragment)
    check(
        inkfish(command, "-", "-m", model, stdin=b"ab\xff"),
        "standard input is not UTF-8: byte 0xff at offset 2",
    )


def test_score(inkfish: Inkfish, model: str) -> None:
    for words, fragment in [
        ("--top -1", "top is -1; it must be a whole number, from 0 to 100"),
        ("--stride 0", "stride is 0; it must be a whole number, from 1 to 48"),
        ("--stride 49", "stride is 49; it must be a whole number, from 1 to 48"),
    ]:
        check(inkfish("score", "the", "-m", model, *words.split()), fragment)
    check(inkfish("score", "", "-m", model), "the text is empty; there is nothing to score")


def test_models(inkfish: Inkfish, model: str, tmp_path: Path) -> None:
    def damaged(name: str) -> Path:
        return Path(shutil.copytree(model, tmp_path / name))

    (damaged("no-config") / "config.json").unlink()
    weights = damaged("cut") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    weights = damaged("header") / "model.safetensors"
    weights.write_bytes(b"\xff" * 8 + weights.read_bytes()[8:])
    config = damaged("shape") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "n_layer": 3}))
    (damaged("vocabulary") / "tokenizer.json").write_text("{}")
    (damaged("pickle") / "model.safetensors").rename(tmp_path / "pickle" / "pytorch_model.bin")
    cases = [
        ("nowhere", "there is no model 'nowhere' here; use starter"),
        (str(tmp_path), "has no config.json; a model folder has config.json and model.safetensors"),
        (str(tmp_path / "no-config"), "has no config.json"),
        (str(tmp_path / "cut"), "model.safetensors"),
        (str(tmp_path / "header"), "model.safetensors"),
        (str(tmp_path / "shape"), "h.2.ln_1.weight (12,) is missing"),
        (str(tmp_path / "vocabulary"), "tokenizer.json"),
        (str(tmp_path / "pickle"), "pytorch_model.bin"),
        ("a\0b", "there is no model"),
        ("../" * 2000, "there is no model"),
    ]
    for name, fragment in cases:
        check(inkfish("write", "the", "-m", name), fragment)
        check(inkfish("score", "the", "-m", name), fragment)
    check(inkfish("models", "show", "nowhere"), "there is no model 'nowhere' here")


def test_batches(inkfish: Inkfish, model: str, tmp_path: Path) -> None:
    prompts, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
    prompts.write_text('{"prompt": "the"}\n{"prompt": "the", "temperature": "hot"}\n')
    command = ["write", "--prompts", str(prompts), "-m", model]
    check(
        inkfish(*command, "--out", str(out)), "row 2: temperature is 'hot'; it must be a number from 0 to 2"
    )
    assert not out.exists()
    check(inkfish(*command, "x"), "--prompts and a text are both given; leave one out")
    check(inkfish(*command, "--file", "x"), "--prompts and a text are both given; leave one out")
    check(inkfish(*command, "--out", str(prompts)), "--out is the file of the prompts")
    check(inkfish("write", "--prompts", str(tmp_path / "gone"), "-m", model), "there is no file")
    rows: list[tuple[dict[str, Any], str]] = [
        ({"n": 0}, "row 1: n is 0; it must be a whole number"),
        ({"n": "2"}, "row 1: n is '2'; it must be a whole number"),
        ({"max_tokens": 1.5}, "row 1: max_tokens is 1.5; it must be a whole number"),
        ({"seed": "x"}, "row 1: seed is 'x'; it must be a whole number"),
        ({"stop": [1]}, "row 1: stop holds 1; it must be a text that is not empty"),
        ({"top_p_rule": "kep"}, 'row 1: top_p_rule is \'kep\'; it must be "keep" or "openai"'),
        ({"logit_bias": {"1": "x"}}, "row 1: logit_bias is 'x'; it must be a number"),
    ]
    for row, fragment in rows:
        prompts.write_text(json.dumps({"prompt": "the", **row}))
        check(inkfish(*command), fragment)


def test_data(inkfish: Inkfish, model: str, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("the then\n")
    preview = ["data", "preview", "-m", model]
    check(inkfish(*preview, str(text), "--windows", "0"), "windows is 0; it must be a whole number")
    check(inkfish(*preview, str(text), "--length", "-1"), "length is -1; it must be a whole number")
    check(inkfish(*preview, str(tmp_path / "gone")), "gone does not exist; check the path")
    check(inkfish(*preview, str(text), "--encoding", "utf-9"), "'utf-9' is no encoding")
    check(inkfish("data", "tokenizer"), "FILES is missing")
    make = ["data", "tokenizer", str(text), "--out", str(tmp_path / "v")]
    check(inkfish(*make, "--vocab-size", "3"), "--vocab-size is 3; it must be from 257")
    check(inkfish(*make, "--vocab-size", "9000"), "--vocab-size is 9,000 and the texts give only")


def test_recipes(inkfish: Inkfish, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    recipe = tmp_path / "mine.toml"
    cases = [
        ("stps = 4", f"unknown setting stps in {recipe}; did you mean steps?"),
        ("steps = 1.5", f'steps in {recipe} is "1.5"; it must be a whole number'),
        ("steps = 'many'", f'steps in {recipe} is "many"; it must be a whole number'),
        ("steps =", f"{recipe} is not TOML: "),
        ("a = " + "[" * 100_000, f"{recipe} is not TOML: "),
        ("[pretrain]\nstps = 4", "unknown setting stps"),
    ]
    for text, fragment in cases:
        recipe.write_text(text)
        check(inkfish("pretrain", "a.txt", "--recipe", str(recipe)), fragment)
    check(inkfish("pretrain", "a.txt", "--recipe", str(tmp_path / "gone.toml")), "there is no file")
    check(inkfish("pretrain", "a.txt", "--steps", "1.5"), '--steps is "1.5"; it must be a whole number')
    check(inkfish("pretrain"), "DATA is missing")
