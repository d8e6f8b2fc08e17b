"""POST /v1/completions: what comes over the wire is what the engine alone writes."""

from __future__ import annotations

import json
import math
from typing import Any

import openai
import pytest

from inkfish.generate import LanguageModel

PROMPT = "the cat and the hat"


def events(text: str) -> list[dict[str, Any]]:
    """The objects of a stream, which must end with exactly one [DONE]."""
    frames = text.split("\n\n")
    assert frames.pop() == ""
    assert frames.pop() == "data: [DONE]"
    assert all(frame.startswith("data: {") for frame in frames)
    return [json.loads(frame[6:]) for frame in frames]


def ask(server: Any, **body: Any) -> dict[str, Any]:
    answer = server.post("/v1/completions", **({"model": "tiny", "prompt": PROMPT, "seed": 3} | body))
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def refused(server: Any, status: int = 400, path: str = "/v1/completions", **body: Any) -> dict[str, Any]:
    start = {"model": "tiny"} | ({"prompt": PROMPT} if path == "/v1/completions" else {})
    answer = server.post(path, **(start | body))
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert server.post("/v1/completions", model="tiny", prompt="a", max_tokens=1).status_code == 200
    return error


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 1e-6},
        {"top_p": 0.5, "top_k": 7},
        {"min_p": 0.1, "repetition_penalty": 1.3},
        {"presence_penalty": 1.5, "frequency_penalty": -1},
        {"no_repeat_ngram": 2, "min_tokens": 5},
        {"stop": "e"},
        {"stop": ["zz", "h", "q", "x"]},
        {"logit_bias": {"40": 5.0, "50": -100}},
    ],
)
def test_text_is_the_engines_alone_streamed_or_not(
    server: Any, alone: LanguageModel, settings: dict[str, Any]
) -> None:
    bias = (
        {"logit_bias": {int(k): v for k, v in settings["logit_bias"].items()}}
        if "logit_bias" in settings
        else {}
    )
    expected = alone.generate(PROMPT, max_tokens=30, seed=3, n=3, **(settings | bias))
    whole = ask(server, max_tokens=30, n=3, **settings)
    assert [choice["text"] for choice in whole["choices"]] == [sample.text for sample in expected.samples]
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    reasons = [choice["finish_reason"] for choice in whole["choices"]]
    assert reasons == [sample.finish_reason for sample in expected.samples]
    assert whole["usage"] == {
        "prompt_tokens": expected.usage.prompt_tokens,
        "completion_tokens": expected.usage.completion_tokens,
        "total_tokens": expected.usage.prompt_tokens + expected.usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    body = {"model": "tiny", "prompt": PROMPT, "seed": 3, "max_tokens": 30, "n": 3, "stream": True}
    stream = events(server.post("/v1/completions", **body, **settings).text)
    texts, ends = ["", "", ""], ["", "", ""]
    for event in stream:
        assert event["id"] == stream[0]["id"]
        (choice,) = event["choices"]
        assert not ends[choice["index"]], "nothing comes after the reason"
        texts[choice["index"]] += choice["text"]
        ends[choice["index"]] = choice["finish_reason"] or ""
    assert texts == [sample.text for sample in expected.samples]
    assert ends == reasons


def test_prompts_of_all_four_kinds(server: Any, alone: LanguageModel) -> None:
    ids = alone.tokenizer.encode(PROMPT)
    expected = alone.generate(PROMPT, max_tokens=9, seed=3).text
    assert ask(server, max_tokens=9, prompt=ids)["choices"][0]["text"] == expected
    for prompts in ([PROMPT, "an", PROMPT], [ids, alone.tokenizer.encode("an"), ids]):
        choices = ask(server, max_tokens=9, prompt=prompts)["choices"]
        assert [choice["index"] for choice in choices] == [0, 1, 2]
        other = alone.generate("an", max_tokens=9, seed=3).text
        assert [choice["text"] for choice in choices] == [expected, other, expected]
    nothing = alone.generate("", max_tokens=9, seed=3).text
    for prompt in ("", [""], None):
        assert ask(server, max_tokens=9, prompt=prompt)["choices"][0]["text"] == nothing
    assert ask(server, max_tokens=9, prompt=[0])["choices"][0]["text"] == nothing


def test_special_tokens_come_from_ids_alone(server: Any, alone: LanguageModel) -> None:
    tokens = server.post("/tokenize", prompt="<|endoftext|>").json()["tokens"]
    assert 0 not in tokens
    assert server.post("/detokenize", tokens=tokens).json()["prompt"] == "<|endoftext|>"


def test_the_seed_is_told_and_gives_the_text_again(server: Any) -> None:
    first = ask(server, seed=None, max_tokens=20)
    assert ask(server, seed=first["seed"], max_tokens=20)["choices"] == first["choices"]
    assert ask(server, max_tokens=20)["seed"] == 3


def test_a_model_that_ends_with_a_sentence_does_so_here_too(server: Any, alone: LanguageModel) -> None:
    (worker,) = server.service.models.workers.values()
    bias = {str(alone.tokenizer.encode(".")[0]): 6.0, str(alone.tokenizer.encode(" ")[0]): 4.0}
    given = {int(token): value for token, value in bias.items()}
    expected = alone.generate(PROMPT, max_tokens=40, seed=3, end_at_sentence=True, logit_bias=given)
    worker.model.end_at_sentence = True
    try:
        answer = ask(server, max_tokens=40, logit_bias=bias)
    finally:
        worker.model.end_at_sentence = False
    assert answer["choices"][0]["text"] == expected.text
    assert answer["usage"]["completion_tokens"] == expected.usage.completion_tokens < 40


def test_a_text_that_may_not_end_has_all_its_tokens(server: Any) -> None:
    likely = {"0": 100}
    assert ask(server, logit_bias=likely, max_tokens=9)["usage"]["completion_tokens"] == 1
    answer = ask(server, logit_bias=likely, max_tokens=9, ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 9
    assert answer["choices"][0]["finish_reason"] == "length"


def test_defaults_are_openais(server: Any) -> None:
    assert ask(server, logit_bias={"0": -100})["usage"]["completion_tokens"] == 16


def test_best_of_returns_the_likeliest(server: Any, alone: LanguageModel) -> None:
    samples = alone.generate(PROMPT, n=6, max_tokens=8, seed=3).samples
    best = sorted(samples, key=lambda s: -sum(t.logprob for t in s.tokens) / max(1, len(s.tokens)))[:2]
    answer = ask(server, n=2, best_of=6, max_tokens=8)
    assert [choice["text"] for choice in answer["choices"]] == [sample.text for sample in best]


def test_logprobs_are_the_models_own(server: Any, alone: LanguageModel) -> None:
    answer = ask(server, max_tokens=6, logprobs=3, echo=True)
    choice = answer["choices"][0]
    listed = choice["logprobs"]
    assert "".join(listed["tokens"]) == choice["text"]
    offsets = [len("".join(listed["tokens"][:i])) for i in range(len(listed["tokens"]))]
    assert listed["text_offset"] == offsets
    assert listed["token_logprobs"][0] is None
    assert listed["top_logprobs"][0] is None
    score = alone.score(choice["text"], top=3)
    if len(score.tokens) == len(listed["tokens"]):  # random bytes may tokenize otherwise as text
        for token, logprob in zip(score.tokens[1:], listed["token_logprobs"][1:], strict=True):
            assert logprob == pytest.approx(token.logprob, abs=1e-4)
    prompt = alone.score(PROMPT, top=3)
    for i, token in enumerate(prompt.tokens[1:], 1):
        assert listed["token_logprobs"][i] == pytest.approx(token.logprob, abs=1e-4)
        top = listed["top_logprobs"][i]
        assert len(top) in (3, 4)
        assert max(top.values()) == pytest.approx(token.top[0].logprob, abs=1e-4)
        assert math.isclose(top[token.text], listed["token_logprobs"][i])


def test_streamed_logprobs_are_the_whole_answers(server: Any) -> None:
    body = {"max_tokens": 12, "logprobs": 2, "echo": True, "stop": ["q", "zzzz"]}
    whole = ask(server, **body)["choices"][0]
    stream = events(
        server.post("/v1/completions", model="tiny", prompt=PROMPT, seed=3, stream=True, **body).text
    )
    parts = [event["choices"][0]["logprobs"] for event in stream]
    for key in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
        assert [item for part in parts for item in part[key]] == whole["logprobs"][key]


def test_what_lm_evaluation_harness_asks_and_reads(server: Any, alone: LanguageModel) -> None:
    """As its `local-completions`: ids of contexts with continuations, echo, one token more, its sums."""
    encode = alone.tokenizer.encode
    pairs = [("the cat", " and"), ("the hat", " the cat"), ("an", "the"), ("the", " the the the")]
    prompts = [encode(context) + encode(continuation) for context, continuation in pairs]
    body = {"prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True, "seed": 1234}
    answer = ask(server, **body)
    for (context, _), ids, choice in zip(pairs, prompts, answer["choices"], strict=True):
        start = len(encode(context))
        logprobs = choice["logprobs"]["token_logprobs"][start:-1]
        tops = choice["logprobs"]["top_logprobs"][start:-1]
        direct = alone.score(ids, top=1).tokens[start:]
        assert sum(logprobs) == pytest.approx(sum(token.logprob or 0 for token in direct), abs=1e-4)
        greedy = all(one == max(top.values()) for one, top in zip(logprobs, tops, strict=True))
        assert greedy == all(token.rank == 1 for token in direct)


def test_max_tokens_0_only_scores(server: Any, alone: LanguageModel) -> None:
    answer = ask(server, max_tokens=0, echo=True, logprobs=1)
    choice = answer["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (PROMPT, "length")
    assert answer["usage"]["completion_tokens"] == 0
    total = sum(choice["logprobs"]["token_logprobs"][1:])
    assert total == pytest.approx(alone.score(PROMPT).total_logprob, abs=1e-4)
    assert refused(server, max_tokens=0)["param"] == "max_tokens"
    assert refused(server, max_tokens=0, echo=True, stream=True)["param"] == "stream"


def test_usage_in_a_stream(server: Any) -> None:
    body = {"model": "tiny", "prompt": PROMPT, "seed": 3, "stream": True, "max_tokens": 5}
    stream = events(server.post("/v1/completions", stream_options={"include_usage": True}, **body).text)
    assert all(event["usage"] is None for event in stream[:-1])
    assert stream[-1]["choices"] == []
    assert stream[-1]["usage"] == ask(server, max_tokens=5)["usage"]
    without = events(server.post("/v1/completions", **body).text)
    assert not any("usage" in event for event in without)
    assert refused(server, stream_options={"include_usage": True})["param"] == "stream_options"


def test_choices_are_scored(server: Any, alone: LanguageModel) -> None:
    answer = ask(server, choices=["an", " the", "xyz"])
    ids = alone.tokenizer.encode(PROMPT)
    for choice, option in zip(answer["choices"], ["an", " the", "xyz"], strict=True):
        more = alone.tokenizer.encode(option)
        whole, before = alone.score(ids + more).total_logprob, alone.score(ids).total_logprob
        assert choice["text"] == option
        assert choice["logprob"] == pytest.approx(whole - before, abs=1e-3)
    assert ask(server, prompt="", choices=["an", "b"])["usage"]["prompt_tokens"] == 1
    assert refused(server, choices=["an", "b"], prompt=["a", "b"])["param"] == "prompt"
    assert refused(server, choices=["an", "b"], stream=True)["param"] == "stream"
    assert refused(server, choices=["an"])["param"] == "choices"
    assert refused(server, choices=["an", "b" * 200])["code"] == "context_length_exceeded"


def test_what_does_not_fit_the_context_is_refused_with_both_numbers(server: Any) -> None:
    fits = ask(server, prompt=[40] * 90, max_tokens=6, logit_bias={"0": -100})
    assert fits["usage"]["completion_tokens"] == 6
    error = refused(server, prompt=[40] * 90, max_tokens=7)
    assert error["code"] == "context_length_exceeded"
    assert "90" in error["message"]
    assert "7 " in error["message"]
    assert refused(server, prompt=[40] * 97)["code"] == "context_length_exceeded"
    assert refused(server, prompt="x" * 100_000)["code"] == "context_length_exceeded"
    assert ask(server, prompt=[40] * 96, max_tokens=0, echo=True)["usage"]["prompt_tokens"] == 96
    assert refused(server, prompt=[40] * 97, max_tokens=0, echo=True)["param"] == "prompt"
    slid = ask(server, prompt=[40] * 90, max_tokens=60, slide=True, logit_bias={"0": -100})
    assert slid["usage"]["completion_tokens"] == 60


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": 2.0001}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.0001}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"presence_penalty": 2.01}, "presence_penalty"),
        ({"frequency_penalty": -2.01}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.0}, "max_tokens"),
        ({"max_tokens": 2**63}, "max_tokens"),
        ({"min_tokens": 17}, "min_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": 2**31}, "n"),
        ({"best_of": 21}, "best_of"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"n": 128, "prompt": ["a"] * 17}, "prompt"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop.1"),
        ({"stop": "x" * 10_001}, "stop"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"seed": 2**63}, "seed"),
        ({"logit_bias": {"261": 1}}, "logit_bias"),
        ({"logit_bias": {"9999": 1}}, "logit_bias"),
        ({"logit_bias": {"foo": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [-1]}, "prompt.0"),
        ({"prompt": [9999]}, "prompt"),
        ({"prompt": [2**63]}, "prompt.0"),
        ({"prompt": [1.5]}, "prompt.0"),
        ({"prompt": [True]}, "prompt.0"),
        ({"prompt": [[1], []]}, "prompt.1"),
        ({"prompt": [1, "a"]}, "prompt.1"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"nonsense": 1}, "nonsense"),
        ({"model": 3}, "model"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(server: Any, body: dict[str, Any], param: str) -> None:
    error = refused(server, **body)
    assert error["param"].split(".")[0] == param.split(".")[0]
    assert error["type"] == "invalid_request_error"


def test_null_is_the_default(server: Any) -> None:
    names = [
        "temperature",
        "top_p",
        "n",
        "stop",
        "logit_bias",
        "stream",
        "best_of",
        "echo",
        "logprobs",
        "suffix",
    ]
    assert ask(server, **dict.fromkeys(names))["choices"] == ask(server)["choices"]


def test_unknown_models_are_not_found(server: Any) -> None:
    error = refused(server, 404, model="gpt-5")
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert refused(server, model="")["param"] == "model"


def test_everything_forbidden_is_no_end(server: Any) -> None:
    bias = {str(i): -100 for i in range(261)}
    assert ask(server, logit_bias=bias, max_tokens=3)["usage"]["completion_tokens"] == 3


def test_the_official_client(server: Any, alone: LanguageModel) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").object == "model"
        expected = alone.generate(PROMPT, max_tokens=12, seed=3).text
        whole = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=12, seed=3)
        assert whole.choices[0].text == expected
        assert whole.usage is not None
        stream = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=12, seed=3, stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == expected
        for error, settings in (
            (openai.BadRequestError, {"max_tokens": 1000}),
            (openai.NotFoundError, {"model": "x"}),
        ):
            with pytest.raises(error) as caught:
                client.completions.create(**({"model": "tiny", "prompt": "a"} | settings))
            assert (caught.value.request_id or "").startswith("req-")
