"""POST /v1/chat/completions: OpenAI's messages in the chat task's form."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from inkfish.generate import LanguageModel
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.conversation import DEFAULTS, pieces
from inkfish.tasks.writing import document_ids

HI = [{"role": "user", "content": "hi"}]
YO = {"role": "assistant", "content": "yo"}
PARTS = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
PICTURE = {"type": "image_url", "image_url": {"url": "http://x"}}


def said(alone: LanguageModel, dialogue: Dialogue, **settings: Any) -> str:
    """What the model alone replies."""
    ids = document_ids(alone, pieces(dialogue))
    chosen: dict[str, Any] = DEFAULTS | {"max_tokens": 30, "seed": 3} | settings
    return alone.generate(ids, stop=["\n", "\r"], **chosen).text.strip()


def ask(server: Any, messages: list[dict[str, Any]], **body: Any) -> dict[str, Any]:
    start = {"model": "tiny", "messages": messages, "seed": 3, "max_tokens": 30}
    answer = server.post("/v1/chat/completions", **(start | body))
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def refused(server: Any, messages: list[Any], **body: Any) -> dict[str, Any]:
    answer = server.post("/v1/chat/completions", **({"model": "tiny", "messages": messages} | body))
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.mark.parametrize(
    ("messages", "dialogue"),
    [
        (HI, Dialogue(("hi",))),
        ([{"role": "system", "content": "I am a cat."}, *HI], Dialogue(("hi",), about_bot=("I am a cat.",))),
        ([{"role": "developer", "content": "A\nB"}, *HI], Dialogue(("hi",), about_bot=("A B",))),
        (
            [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}],
            Dialogue(("hi",)),
        ),
        ([*HI, *HI], Dialogue(("hi hi",))),
        (
            [*HI, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "a"}],
            Dialogue(("hi", "yo", "a")),
        ),
        ([YO, *HI], Dialogue(("", "yo", "hi"))),
        ([{"role": "developer", "content": "A"}], Dialogue(("",), about_bot=("A",))),
    ],
)
def test_messages_are_the_chat_tasks_dialogue(
    server: Any, alone: LanguageModel, messages: list[dict[str, Any]], dialogue: Dialogue
) -> None:
    answer = ask(server, messages)
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": said(alone, dialogue), "refusal": None}
    assert choice["finish_reason"] in ("stop", "length")
    assert answer["object"] == "chat.completion"


def test_a_stream_says_the_same(server: Any) -> None:
    body = {"model": "tiny", "messages": HI, "seed": 3, "max_tokens": 30, "n": 2, "logprobs": True}
    whole = ask(server, HI, n=2, logprobs=True, top_logprobs=2)
    options = {"stream": True, "stream_options": {"include_usage": True}, "top_logprobs": 2}
    frames = server.post("/v1/chat/completions", **body, **options).text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    events = [json.loads(frame[6:]) for frame in frames[:-2]]
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert events[-1]["usage"] == whole["usage"]
    for index, choice in enumerate(whole["choices"]):
        mine = [e["choices"][0] for e in events[:-1] if e["choices"][0]["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert "".join(m["delta"].get("content", "") for m in mine) == choice["message"]["content"]
        assert [m["finish_reason"] for m in mine if m["finish_reason"]] == [choice["finish_reason"]]
        listed = [t for m in mine if m["logprobs"] for t in m["logprobs"]["content"]]
        assert listed == choice["logprobs"]["content"][: len(listed)]
        assert all(len(token["top_logprobs"]) == 2 for token in listed)
        assert all(bytes(token["bytes"]) is not None for token in listed)


def test_special_tokens_in_messages_are_text(server: Any, alone: LanguageModel) -> None:
    text = "<|endoftext|>"
    answer = ask(server, [{"role": "system", "content": text}, {"role": "user", "content": text}])
    ids = document_ids(alone, pieces(Dialogue((text,), about_bot=(text,))))
    assert ids.count(0) == 1
    assert answer["usage"]["prompt_tokens"] == len(ids)


def test_long_conversations_are_refused_or_shortened_as_asked(server: Any) -> None:
    turns = [{"role": role, "content": "the hat"} for _ in range(9) for role in ("user", "assistant")]
    error = refused(server, [*turns, *HI])
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert ask(server, [*turns, *HI], truncation="auto", max_tokens=10)["usage"]["prompt_tokens"] < 86
    long = [{"role": "user", "content": "x" * 200}]
    assert refused(server, long, truncation="auto")["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("messages", "body", "param"),
    [
        ([], {}, "messages"),
        ([{"role": "assistant", "content": "a"}], {}, "messages"),
        ([{"role": "tool", "content": "a"}], {}, "messages.0.role"),
        ([{"role": "user", "content": ""}], {}, None),
        ([{"role": "user", "content": "\x00"}], {}, None),
        ([{"role": "user", "content": None}], {}, "messages.0.content"),
        ([{"role": "user"}], {}, "messages.0.content"),
        ([{"role": "user", "content": "a", "name": "b"}], {}, "messages.0.name"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}],
            {},
            "messages",
        ),
        (["a"], {}, "messages.0"),
        (HI, {"tools": []}, "tools"),
        (HI, {"response_format": {"type": "json_object"}}, "response_format.type"),
        (HI, {"top_logprobs": 2}, "top_logprobs"),
        (HI, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (HI, {"max_tokens": 0}, "max_tokens"),
        (HI, {"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        (HI, {"stream_options": {}}, "stream_options"),
        (HI, {"best_of": 2}, "best_of"),
    ],
)
def test_what_is_no_conversation_is_refused(
    server: Any, messages: list[Any], body: dict[str, Any], param: str | None
) -> None:
    error = refused(server, messages, **body)
    if param is not None:
        assert error["param"].startswith(param)
    assert ask(server, HI)["choices"]


def test_the_official_client(server: Any) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], seed=1, max_completion_tokens=9
        )
        stream = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "hi"}],
            seed=1,
            max_completion_tokens=9,
            stream=True,
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text == whole.choices[0].message.content


def test_what_open_webui_asks(server: Any) -> None:
    """Models with any key; a chat as a stream with usage, its turns as texts or parts; a whole answer."""
    with server.client(headers={"authorization": "Bearer any"}) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["tiny"]
        messages = [
            {"role": "system", "content": "I bake."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hm"},
            {"role": "user", "content": [{"type": "text", "text": "why?"}]},
        ]
        body = {"model": "tiny", "messages": messages, "max_tokens": 8, "temperature": 0.7}
        options = {"stream": True, "stream_options": {"include_usage": True}}
        stream = client.post("/v1/chat/completions", json=body | options)
        assert stream.headers["content-type"].startswith("text/event-stream")
        *events, done = [line[6:] for line in stream.text.split("\n") if line]
        assert done == "[DONE]"
        assert json.loads(events[-1])["usage"]["completion_tokens"] > 0
        whole = client.post("/v1/chat/completions", json=body | {"stream": False}).json()
        assert whole["choices"][0]["message"]["role"] == "assistant"
