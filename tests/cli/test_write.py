from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import inkfish as library
from inkfish.cli.options import GenerationOptions, ModelOptions
from inkfish.errors import SettingError
from inkfish.generate import LanguageModel

Inkfish = Callable[..., Any]
SEED = ("--seed", "3", "--max-tokens", "12")


@pytest.fixture(scope="module")
def writer(model: str) -> LanguageModel:
    return library.load(model)


def expected(writer: LanguageModel, prompt: str, **settings: Any) -> str:
    return writer.generate(prompt, **{"seed": 3, "max_tokens": 12, **settings}).text


def ended(text: str) -> str:
    """Text as the program leaves it: the line is ended."""
    return text if text.endswith("\n") else text + "\n"


@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_a_pipe_gets_prompt_and_continuation(
    inkfish: Inkfish, model: str, writer: LanguageModel, options: tuple[str, ...]
) -> None:
    code, out, err = inkfish("write", "the then", "-m", model, *SEED, *options)
    assert code == 0
    assert out == ended("the then" + expected(writer, "the then"))
    assert re.fullmatch(r"seed 3 · 12 tokens · [\d,]+ tok/s\n", err)


def test_the_seed_is_always_shown_and_gives_the_same_text(inkfish: Inkfish, model: str) -> None:
    first = inkfish("write", "the", "-m", model, "--max-tokens", "12")
    seed = first.err.split()[1]
    assert inkfish("write", "the", "-m", model, "--max-tokens", "12", "--seed", seed).out == first.out


def test_several_samples(inkfish: Inkfish, model: str, writer: LanguageModel) -> None:
    samples = writer.generate("the", seed=3, max_tokens=12, n=3).samples
    out = inkfish("write", "the", "-m", model, *SEED, "-n", "3").out
    parts = re.split(r"=== sample \d ===\n", out)
    assert parts == ["", *(ended("the" + sample.text) for sample in samples)]


def test_settings_reach_the_model(inkfish: Inkfish, model: str, writer: LanguageModel) -> None:
    options = (
        "--temperature",
        "0.5",
        "--top-k",
        "5",
        "--logit-bias",
        "100=30",
        "--stop",
        "q",
        "--stop",
        "zz",
    )
    out = inkfish("write", "the", "-m", model, *SEED, *options, "--no-prompt").out
    text = expected(writer, "the", temperature=0.5, top_k=5, logit_bias={100: 30.0}, stop=("q", "zz"))
    assert out == ended(text)


def test_options_that_are_not_set_are_left_to_the_model() -> None:
    assert GenerationOptions().given() == {}
    assert GenerationOptions(temperature=0.0, seed=0, slide=True).given() == {
        "temperature": 0.0,
        "seed": 0,
        "slide": True,
    }
    assert ModelOptions("x", threads=2).given() == {"threads": 2}
    with pytest.raises(SettingError, match=r'--logit-bias is "1:2"; it must be ID=VALUE'):
        GenerationOptions(logit_bias=("1:2",)).given()


@pytest.mark.parametrize(
    ("words", "stdin", "prompt"),
    [
        (("-",), b"the then\n", "the then"),
        ((), b"the then\r\n", "the then"),
        ((), b"the\n\n", "the\n"),
        ((), b"", ""),
        (("",), b"not read", ""),
        (("--file", "-"), b"the then\n", "the then"),
        (("- the\n",), b"", "- the\n"),
        (("--", "--the"), b"", "--the"),
    ],
)
def test_where_the_prompt_comes_from(
    inkfish: Inkfish, model: str, writer: LanguageModel, words: tuple[str, ...], stdin: bytes, prompt: str
) -> None:
    out = inkfish("write", "-m", model, *SEED, *words, stdin=stdin).out
    assert out == ended(prompt + expected(writer, prompt))


def test_from_a_file_to_a_file(inkfish: Inkfish, model: str, writer: LanguageModel, tmp_path: Path) -> None:
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("the thé\n")
    code, out, err = inkfish("write", "--file", str(source), "--out", str(target), "-m", model, *SEED)
    assert (code, out) == (0, "")
    assert target.read_bytes().decode() == ended("the thé" + expected(writer, "the thé"))
    assert err.endswith(f"written to {target}\n")


def test_json(inkfish: Inkfish, model: str, writer: LanguageModel) -> None:
    code, out, err = inkfish("write", "the", "-m", model, *SEED, "-n", "2", "--top", "2", "--json")
    assert code == 0
    assert "seed 3" in err
    value = json.loads(out)
    assert list(value) == ["model", "prompt", "seed", "samples", "usage", "timings"]
    assert (value["model"], value["prompt"], value["seed"]) == (model, "the", 3)
    samples = writer.generate("the", seed=3, max_tokens=12, n=2, top=2).samples
    for found, sample in zip(value["samples"], samples, strict=True):
        assert list(found) == ["text", "finish_reason", "tokens"]
        assert (found["text"], found["finish_reason"]) == (sample.text, "length")
        assert [(each["id"], each["text"], each["logprob"]) for each in found["tokens"]] == [
            (token.id, token.text, token.logprob) for token in sample.tokens
        ]
        assert [each["top"][0]["id"] for each in found["tokens"]] == [t.top[0].id for t in sample.tokens]
    assert value["usage"] == {"prompt_tokens": 2, "completion_tokens": 24, "cached_tokens": 0}
    assert set(value["timings"]) == {"first_token", "total", "tokens_per_second"}


def test_the_end_of_the_context_is_told(inkfish: Inkfish, model: str) -> None:
    options = ("-m", model, "--seed", "3", "--logit-bias", "0=-100")
    err = inkfish("write", "the", *options).err
    assert "46 tokens" in err
    assert err.endswith("the context of 48 tokens is full, --slide writes on\n")
    err = inkfish("write", "the", *options, "--slide", "--max-tokens", "100").err
    assert "100 tokens" in err
    assert err.endswith("context full 3 ×, each time its last half was read again\n")
    value = json.loads(inkfish("write", "the", *options, "--slide", "--max-tokens", "60", "--json").out)
    assert value["samples"][0]["slid"] == [49]
