"""Whole texts: alone, in batches, as streams; seeds, stops, limits, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from inkfish.backends import native
from inkfish.errors import ContextError, ModelError, SettingError, TokenizerError
from inkfish.generate import Completion, Kept, LanguageModel, Prompt, load
from inkfish.sampling import Sampling
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import Vocabulary

LATIN = dict.fromkeys(b"abcdefgh \n", 6.0)
"""A bias that makes texts of a few letters."""


def texts(completion: Completion) -> list[str]:
    return [sample.text for sample in completion.samples]


def test_the_same_text_alone_in_a_batch_and_streamed(model: LanguageModel) -> None:
    prompts = ["Once", "", "a longer prompt, with é", "x"]
    alone = [model.generate(prompt, n=3, max_tokens=30, seed=7) for prompt in prompts]
    together = model.generate(prompts, n=3, max_tokens=30, seed=7)
    for prompt, one, other in zip(prompts, alone, together, strict=True):
        assert one.prompt == other.prompt == prompt
        assert one.samples == other.samples
        pieces: dict[int, str] = {0: "", 1: "", 2: ""}
        stream = model.stream(prompt, n=3, max_tokens=30, seed=7)
        for piece in stream:
            assert piece.text
            pieces[piece.sample] += str(piece)
        assert list(pieces.values()) == texts(one)
        assert stream.completion.samples == one.samples
        assert stream.completion.usage == one.usage
        for sample in one.samples:
            assert "".join(token.text for token in sample.tokens) == sample.text
    assert len({text for completion in alone for text in texts(completion)}) == 12
    assert texts(model.generate("Once", max_tokens=30, seed=7)) == texts(alone[0])[:1]
    assert model.backend.slots == {}  # type: ignore[attr-defined]  # the reference back end has them


def test_a_result_says_how_it_came_about(model: LanguageModel, byte_folder: Path) -> None:
    completion = model.generate("Hi", n=2, max_tokens=5, seed=3, stop_ids=())
    assert completion.model == str(byte_folder)
    assert completion.text == str(completion) == completion.samples[0].text
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (2, 10)
    timings = completion.timings
    assert timings.first_token is not None
    assert 0 < timings.first_token <= timings.total
    assert timings.tokens_per_second == pytest.approx(10 / timings.total)
    assert [sample.finish_reason for sample in completion.samples] == ["length", "length"]


def test_without_a_seed_one_is_drawn_and_reported(model: LanguageModel) -> None:
    first, second = model.generate("a", max_tokens=20), model.generate("a", max_tokens=20)
    assert first.seed != second.seed
    assert texts(model.generate("a", max_tokens=20, seed=first.seed)) == texts(first)
    batch = model.generate(["a", "b"], max_tokens=5)
    assert batch[0].seed == batch[1].seed


def test_a_stop_string_ends_the_text_and_is_not_part_of_it(model: LanguageModel) -> None:
    free = model.generate("a", n=4, max_tokens=50, seed=1, logit_bias=LATIN)
    for stop in (" ", ["ab", "h"], "\n", "cd"):
        strings = [stop] if isinstance(stop, str) else stop
        ended = model.generate("a", n=4, max_tokens=50, seed=1, logit_bias=LATIN, stop=stop)
        for before, after in zip(free.samples, ended.samples, strict=True):
            found = [before.text.find(s) for s in strings if s in before.text]
            assert after.text == (before.text[: min(found)] if found else before.text)
            assert after.finish_reason == ("stop" if found else before.finish_reason)
            assert after.tokens == before.tokens[: len(after.tokens)]
        pieces = model.stream("a", max_tokens=50, seed=1, logit_bias=LATIN, stop=stop)
        assert "".join(map(str, pieces)) == ended.text


def test_the_end_token_ends_unless_it_is_told_not_to(model: LanguageModel) -> None:
    bias = {256: 8.0, **LATIN}
    ended = model.generate("a", max_tokens=50, seed=1, logit_bias=bias)
    assert ended.samples[0].finish_reason == "stop"
    assert "<|endoftext|>" not in ended.text
    assert ended.usage.completion_tokens == len(ended.samples[0].tokens) + 1
    on = model.generate("a", max_tokens=50, seed=1, logit_bias=bias, stop_ids=())
    assert on.text.startswith(ended.text + "<|endoftext|>")
    assert on.samples[0].finish_reason == "length"
    other = model.generate("a", max_tokens=50, seed=1, logit_bias=bias, stop_ids=[ord("b")])
    assert other.text == on.text.split("b")[0]
    assert (
        model.generate("a", max_tokens=50, seed=1, logit_bias=bias, min_tokens=50).usage.completion_tokens
        == 50
    )


def test_user_text_never_becomes_the_end_token(model: LanguageModel) -> None:
    job = model.prepare("a<|endoftext|>b")
    assert 256 not in job.request.prompt
    assert len(job.request.prompt) == 15


def test_nothing_before_the_text_means_the_end_token_which_is_not_shown(model: LanguageModel) -> None:
    assert list(model.prepare("").request.prompt) == [256]
    assert model.generate(max_tokens=5, seed=1).prompt == ""
    assert texts(model.generate("", max_tokens=9, seed=1)) == texts(
        model.generate([256], max_tokens=9, seed=1)
    )


def test_prompts_may_be_ids_and_segments(model: LanguageModel) -> None:
    by_text = model.generate("Hi é", max_tokens=9, seed=1)
    by_ids = model.generate([72, 105, 32, 0xC3, 0xA9], max_tokens=9, seed=1)
    assert by_ids.samples == by_text.samples
    assert by_ids.prompt == "Hi é"
    spoken = model.generate(Prompt([72, 105], segments=[3, 4]), max_tokens=9, seed=1)
    assert spoken.samples != model.generate(Prompt([72, 105]), max_tokens=9, seed=1).samples
    assert len(model.generate([[72], [73, 74]], max_tokens=2)) == 2
    assert len(model.generate([Prompt([72]), Prompt([73])], max_tokens=2)) == 2


def test_jobs_of_all_kinds_come_back_in_order(model: LanguageModel) -> None:
    """Far more than there are slots, from an iterator, long ones first, with settings of their own."""
    jobs = [
        model.prepare(f"{n}", n=1 + n % 3, seed=n, max_tokens=40 if n % 50 == 0 else 2, temperature=n % 3)
        for n in range(150)
    ]
    results = list(model.complete(iter(jobs)))
    assert [result.prompt for result in results] == [str(n) for n in range(150)]
    for n in (0, 50, 77, 149):
        assert results[n].samples == next(model.complete([jobs[n]])).samples


def test_a_stream_can_be_left_at_any_time(model: LanguageModel) -> None:
    whole = model.generate("a", max_tokens=40, seed=1, logit_bias=LATIN)
    stream = model.stream("a", max_tokens=40, seed=1, logit_bias=LATIN)
    assert stream.seed == 1
    begun = "".join(str(next(stream)) for _ in range(5))
    stream.close()
    assert model.backend.slots == {}  # type: ignore[attr-defined]  # the reference back end has them
    assert list(stream) == []
    assert stream.completion.text == begun == whole.text[: len(begun)]
    assert stream.completion.samples[0].finish_reason == "cancelled"
    assert stream.completion.usage.completion_tokens == 5


def test_an_interrupt_keeps_the_text_and_frees_the_model(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = model.stream("a", max_tokens=40, seed=1, logit_bias=LATIN)
    begun = [str(next(stream)) for _ in range(3)]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model.backend, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
    assert stream.completion.text == "".join(begun)
    assert model.backend.slots == {}  # type: ignore[attr-defined]  # the reference back end has them


def test_sliding_is_said(model: LanguageModel) -> None:
    completion = model.generate("a", max_tokens=150, seed=1, slide=True, stop_ids=())
    assert completion.samples[0].slid == (65, 98, 131)
    assert completion.usage.completion_tokens == 150
    within = model.generate("a", max_tokens=63, seed=1, stop_ids=())
    assert completion.text.startswith(within.text.rstrip("\ufffd"))
    assert within.samples[0].slid == ()


def test_by_default_200_tokens_or_what_the_context_has_room_for(model: LanguageModel) -> None:
    assert model.prepare("abcd").request.max_tokens == 60
    assert model.prepare("abcd", slide=True).request.max_tokens == 200
    assert model.prepare("x" * 63).request.max_tokens == 1


def test_defaults_of_the_model_hold_where_a_call_says_nothing(model: LanguageModel) -> None:
    defaults = Sampling(temperature=0.5, top_k=7)
    other = LanguageModel(model.backend, model.tokenizer, defaults=defaults, max_tokens=3)
    request = other.prepare("a", top_k=2, temperature=None).request
    assert (request.sampling.temperature, request.sampling.top_k, request.max_tokens) == (0.5, 2, 3)
    assert other.stop_ids == (256,)


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        ("x" * 64, {}, "a prompt of 64 tokens and max_tokens 1 do not fit .* context of 64; shorten one"),
        ("x" * 60, {"max_tokens": 5}, "60 tokens and max_tokens 5 do not fit"),
        ([], {}, "the prompt is empty"),
        ([257], {}, "prompt holds the id 257; ids go from 0 to 256 here"),
        ([1, "a"], {}, "prompt holds 'a'; token ids are whole numbers"),
        (7, {}, "prompt is 7; it must be text or token ids"),
        ("a", {"n": 0}, "n is 0; it must be a whole number, from 1 to 10000"),
        ("a", {"n": 2**31}, "n is 2147483648; it must be"),
        ("a", {"n": True}, "n is True; it must be"),
        ("a", {"temperature": 2.5}, "temperature is 2.5; it must be a number from 0 to 2"),
        ("a", {"stop": ""}, "stop holds ''"),
        ("a", {"logit_bias": {257: 1}}, "logit_bias names the token 257"),
        ("a", {"top": -1}, "top is -1"),
    ],
)
def test_bad_calls_are_refused_in_one_line(
    model: LanguageModel, prompt: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        model.prepare(prompt, **settings)
    assert caught.value.param is not None
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ContextError) == ("context of" in str(caught.value))


def test_one_bad_prompt_in_a_batch_is_found_before_anything_starts(model: LanguageModel) -> None:
    with pytest.raises(TokenizerError, match="lone surrogate"):
        model.generate(["good", "bad \ud800"], max_tokens=3)


def test_a_misspelt_setting_is_a_type_error(model: LanguageModel) -> None:
    with pytest.raises(TypeError, match="temprature"):
        model.generate("a", temprature=1)  # type: ignore[call-overload]  # that is the point


def test_a_vocabulary_without_an_end_needs_a_prompt(model: LanguageModel) -> None:
    endless = Tokenizer(Vocabulary({bytes([byte]): byte for byte in range(256)}), vocab_size=257)
    other = LanguageModel(model.backend, endless)
    assert other.stop_ids == ()
    assert other.generate("a", max_tokens=2).usage.completion_tokens == 2
    with pytest.raises(SettingError, match="no end token to begin from; give a text as prompt"):
        other.generate("")
    with pytest.raises(SettingError, match="no end token to begin from"):
        other.score("a", from_start=True)


def test_damaged_weights_are_one_line(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {**model.backend.tensors, "ln_f.bias": np.full(12, np.nan, np.float32)}  # type: ignore[attr-defined]
    monkeypatch.setattr(model.backend, "tensors", broken)
    with pytest.raises(ModelError, match="the logits are not finite"):
        model.generate(["a", "b"], max_tokens=3)
    with pytest.raises(ModelError, match="the logits are not finite"):
        model.score("abc")
    assert model.backend.slots == {}  # type: ignore[attr-defined]  # the reference back end has them


def test_logits(model: LanguageModel) -> None:
    logits = model.logits(np.array([72, 105]))
    assert logits.shape == (2, 257)
    assert np.allclose(logits[:1], model.logits([72]), atol=1e-5)
    with pytest.raises(
        ContextError, match="ids has 65 tokens; it must have from 1 to this model's context of 64"
    ):
        model.logits([1] * 65)
    with pytest.raises(ContextError, match="ids has 0 tokens"):
        model.logits([])
    with pytest.raises(SettingError, match="ids holds the id 300"):
        model.logits([300])


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_other_back_ends_write_the_same(model: LanguageModel, byte_folder: Path, backend: str) -> None:
    """Greedy and sampled, in a batch: float32 logits are equal to rounding, which no draw here comes near."""
    if backend == "native" and not native.available():
        pytest.skip("the native back end was not compiled")
    other = load(byte_folder, backend=backend, threads=1)
    for settings in (
        {"temperature": 0.0},
        {"top_p": 0.9},
        {"top_k": 5, "repetition_penalty": 1.2},
        {"slide": True},
    ):
        tokens = 100 if "slide" in settings else 40
        wanted = model.generate(["Hello", "é", ""], n=2, seed=11, max_tokens=tokens, top=3, **settings)
        found = other.generate(["Hello", "é", ""], n=2, seed=11, max_tokens=tokens, top=3, **settings)
        for a, b in zip(wanted, found, strict=True):
            assert texts(a) == texts(b)
            for x, y in zip(a.samples[0].tokens, b.samples[0].tokens, strict=True):
                assert y.logprob == pytest.approx(x.logprob, abs=1e-4)
                assert [t.id for t in y.top] == [t.id for t in x.top]


def test_failures_in_the_middle_are_raised(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no memory for it")

    monkeypatch.setattr(model.backend, "prefill", fail)
    with pytest.raises(MemoryError, match="no memory for it"):
        model.generate("a")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"repetition_penalty": 1.4}, {"repetition_penalty": 1.4}),
        ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
        (
            {"repetition_penalty": 1.2, "no_repeat_ngram": 3},
            {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
        ),
    ],
)
def test_greedy_texts_are_those_of_transformers(
    model: LanguageModel, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    peer: Any = GPT2LMHeadModel.from_pretrained(model.name)
    settings: type[Any] = GenerationConfig
    config = settings(do_sample=False, max_new_tokens=50, pad_token_id=0, **theirs)
    ids = torch.tensor([[*b"Once upon"]])
    expected = peer.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[
        0, 9:
    ].tolist()
    found = model.generate("Once upon", temperature=0.0, max_tokens=50, stop_ids=(), **ours)
    assert [token.id for token in found.samples[0].tokens] == expected


def test_guessing_changes_no_text_and_no_event(byte_folder: Path) -> None:
    """Streams, stop strings that cut a step's tokens in two, samples, at any temperature."""
    if not native.available():
        pytest.skip("the native back end was not compiled")
    plain, guessing = (load(byte_folder, backend="native", speculate=on) for on in (False, True))
    for temperature in (0.0, 0.3, 1.0):
        for stop in ((), ("b",), ("ca", "  a")):
            settings: dict[str, Any] = {
                "max_tokens": 40,
                "temperature": temperature,
                "stop": stop,
                "logit_bias": LATIN,
                "seed": 3,
                "n": 3,
                "top": 2,
            }
            prompt = "abcabcabc ab ab ab"
            one, other = (model.generate(prompt, **settings) for model in (plain, guessing))
            assert one.samples == other.samples
            assert one.usage == other.usage
            stream = guessing.stream(prompt, **settings)
            pieces = [piece for piece in stream if piece.sample == 1]
            assert "".join(map(str, pieces)) == one.samples[1].text


def test_usage_tells_what_was_kept(model: LanguageModel) -> None:
    kept = Kept(model.backend)
    for text, cached in (("Once upon", 0), ("Once upon a time", 9), ("Once more", 5)):
        stream = model.stream(text, kept=kept, max_tokens=1, seed=1)
        assert list(stream) is not None
        assert stream.completion.usage.cached_tokens == cached
        assert stream.completion.usage.prompt_tokens == len(text)
    kept.close()
