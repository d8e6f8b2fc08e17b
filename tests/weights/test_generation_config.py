"""generation_config.json: known fields are checked, unknown ones kept, ours are read by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inkfish.errors import ModelError
from inkfish.sampling import Sampling
from inkfish.weights.generation_config import BOUNDS, GenerationDefaults


def test_read_and_written_fields() -> None:
    values = {
        "temperature": 1,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
        "max_new_tokens": 200,
        "eos_token_id": [3, 5],
        "typical_p": 0.7,
        "do_sample": True,
    }
    defaults = GenerationDefaults.from_json(values, "x")
    assert (defaults.temperature, defaults.top_k, defaults.eos_token_ids) == (1.0, 40, (3, 5))
    assert defaults.other == {"typical_p": 0.7}
    assert defaults.to_json() == values
    assert GenerationDefaults.from_json(defaults.to_json(), "x") == defaults


def test_what_is_not_said_is_left_open() -> None:
    assert GenerationDefaults.from_json({"temperature": None}, "x") == GenerationDefaults()
    assert GenerationDefaults().to_json() == {}


def test_greedy_is_do_sample_false() -> None:
    assert GenerationDefaults.from_json({"do_sample": False}, "x").temperature == 0.0
    assert GenerationDefaults(temperature=0.0, max_new_tokens=9).to_json() == {
        "do_sample": False,
        "max_new_tokens": 9,
    }


@pytest.mark.parametrize("ends", [True, False, None])
def test_ending_with_a_sentence_is_kept(ends: bool | None) -> None:
    written = GenerationDefaults(end_at_sentence=ends).to_json()
    assert written == ({} if ends is None else {"end_at_sentence": ends})
    assert GenerationDefaults.from_json(written, "x").end_at_sentence is ends


def test_transformers_reads_it(tmp_path: Path) -> None:
    import transformers

    defaults = GenerationDefaults(
        end_at_sentence=True, temperature=0.8, top_p=0.9, max_new_tokens=60, eos_token_ids=(3,)
    )
    (tmp_path / "generation_config.json").write_text(json.dumps(defaults.to_json()))
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (theirs.do_sample, theirs.temperature, theirs.top_p) == (True, 0.8, 0.9)
    assert (theirs.max_new_tokens, theirs.eos_token_id) == (60, 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"temperature": -0.1}, "temperature is -0.1, it must be a number from 0 to 2: change it"),
        ({"temperature": 2.5}, "temperature is 2.5, it must be a number from 0 to 2"),
        ({"temperature": "hot"}, "temperature is 'hot', it must be a number"),
        ({"temperature": True}, "temperature is True, it must be a number"),
        ({"temperature": 1e999}, "temperature is inf, it must be a number"),
        ({"top_k": 1.5}, "top_k is 1.5, it must be a whole number"),
        ({"top_p": 1.01}, "top_p is 1.01, it must be a number from 0 to 1"),
        ({"min_p": -1}, "min_p is -1, it must be a number from 0 to 1"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0, it must be a number from 0.01 to 100"),
        ({"no_repeat_ngram_size": -3}, "no_repeat_ngram_size is -3, it must be a whole number from 0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, it must be a whole number from 1"),
        ({"max_new_tokens": 10**400}, "it must be a whole number from 1"),
        ({"eos_token_id": "3"}, "eos_token_id is '3', it must be a token id or a list of them"),
        ({"eos_token_id": [3, -1]}, "eos_token_id is [3, -1], it must be"),
        ({"do_sample": 1}, "do_sample is 1, it must be true or false"),
        ({"end_at_sentence": "yes"}, "end_at_sentence is 'yes', it must be true or false"),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        GenerationDefaults.from_json({"top_k": 3} | values, "some/file")
    assert str(caught.value).startswith("some/file: ")
    assert words in str(caught.value)


def test_all_bad_values_are_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"temperature is -1.*top_p is 2.*do_sample is 'x'"):
        GenerationDefaults.from_json({"temperature": -1, "top_p": 2, "do_sample": "x"}, "x")


def test_what_is_read_can_be_sampled_with() -> None:
    """The limits are those of `Sampling`, at both ends."""
    ours = {"no_repeat_ngram_size": "no_repeat_ngram"}
    for name, (kind, low, high) in BOUNDS.items():
        if name == "max_new_tokens":
            continue
        for value in (low, high):
            GenerationDefaults.from_json({name: value}, "x")
            Sampling(**{ours.get(name, name): kind(value)})
