"""/openapi.json: every route says what it answers, and answers what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from inkfish.server import Service, Settings, create_app, label, page_replies, pages, replies, train
from inkfish.server.language import summarize_page, translate_page
from inkfish.server.page_replies import Languages, Personas, Suggestions, SummarizeReply, TranslateReply
from inkfish.server.runs import Runs
from inkfish.server.talk import page as talk_page

PROMPT = {"model": "tiny", "prompt": "the hat", "max_tokens": 5, "seed": 1}
TALK = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "seed": 1}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def described(tmp_path: Path) -> dict[str, Any]:
    """The description of the whole site."""
    service = Service({"starter": "starter"})
    site: Any = create_app(
        Settings(), service=service, pages=pages(service, tmp_path / "runs", tmp_path / "labels.sqlite")
    )
    found: dict[str, Any] = site.app.openapi()
    return found


def answers(description: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Each answer of each route: route, status, kind, schema."""
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            for status, answer in route["responses"].items():
                for kind, content in answer["content"].items():
                    yield f"{method} {path}", status, kind, content.get("schema", {})


def test_every_answer_has_a_schema(tmp_path: Path) -> None:
    description = described(tmp_path)
    routes: dict[str, list[str]] = {}
    for route, status, kind, schema in answers(description):
        routes.setdefault(route, []).append(status)
        if kind == "application/json":
            name = schema["$ref"].rpartition("/")[2]
            assert description["components"]["schemas"][name]["properties"], (route, status)
        if status == "default":
            assert schema["$ref"] == "#/components/schemas/ErrorAnswer", route
    assert len(routes) > 30
    assert all({"200", "default"} == set(statuses) for statuses in routes.values())


def test_every_reference_leads_somewhere(tmp_path: Path) -> None:
    description = described(tmp_path)
    text = json.dumps(description)
    names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert {"CompletionChunk", "ChatChunk"} <= names <= set(description["components"]["schemas"])
    assert json.dumps(description) == text, "asked for again it is the same"


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/v1/completions", PROMPT, replies.Completion),
        ("/v1/completions", PROMPT | {"logprobs": 2, "echo": True, "n": 2}, replies.Completion),
        ("/v1/completions", PROMPT | {"max_tokens": 0, "echo": True, "logprobs": 0}, replies.Completion),
        ("/v1/completions", PROMPT | {"choices": ["a", "b"]}, replies.Completion),
        ("/v1/chat/completions", TALK, replies.ChatCompletion),
        ("/v1/chat/completions", TALK | {"logprobs": True, "top_logprobs": 2}, replies.ChatCompletion),
        ("/tokenize", {"prompt": "the hat"}, replies.Tokenized),
        ("/tokenize", {"prompt": "the hat", "return_token_strs": True}, replies.Tokenized),
        ("/detokenize", {"tokens": [40, 41]}, replies.Detokenized),
        ("/score", {"text": "the hat", "top": 2}, replies.ScoreReply),
        ("/attention", {"text": "the hat", "layer": 1}, replies.AttentionReply),
        ("/next", {"prompt": "the hat"}, replies.Next),
    ],
)
def test_answers_are_what_was_said(server: Any, path: str, body: Any, model: type[BaseModel]) -> None:
    answer = server.post(path, **body)
    assert answer.status_code == 200, answer.text
    model.model_validate_json(answer.content)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/models", replies.ModelList),
        ("/v1/models/tiny", replies.ModelCard),
        ("/health", replies.Health),
        ("/ready", replies.Readiness),
    ],
)
def test_facts_are_what_was_said(server: Any, path: str, model: type[BaseModel]) -> None:
    with server.client() as client:
        model.model_validate_json(client.get(path).content)


@pytest.mark.parametrize(
    ("path", "body", "chunk"),
    [
        ("/v1/completions", PROMPT | USAGE | {"logprobs": 1, "echo": True}, replies.CompletionChunk),
        ("/v1/chat/completions", TALK | USAGE | {"logprobs": True}, replies.ChatChunk),
    ],
)
def test_events_are_what_was_said(server: Any, path: str, body: Any, chunk: type[BaseModel]) -> None:
    lines = [line for line in server.post(path, **body).text.split("\n") if line]
    assert lines.pop() == "data: [DONE]"
    for line in lines:
        chunk.model_validate_json(line.removeprefix("data: "))


def test_pages_answer_what_they_said(serve: Any) -> None:
    server = serve(pages_of=(translate_page, summarize_page, talk_page))
    text = {"model": "tiny", "text": "The hat."}
    for path, body, model in (
        ("/translate/text", text | {"shots": 0}, TranslateReply),
        ("/summarize/text", text, SummarizeReply),
        ("/chat/suggest", {"model": "tiny", "messages": TALK["messages"]}, Suggestions),
    ):
        answer = server.post(path, **body)
        assert answer.status_code == 200, answer.text
        model.model_validate_json(answer.content)
    with server.client() as client:
        Languages.model_validate_json(client.get("/translate/languages").content)
        Personas.model_validate_json(client.get("/chat/personas").content)


def test_training_answers_what_it_said(serve: Any, tmp_path: Path) -> None:
    server = serve(pages_of=(lambda service: train.page(service, Runs(tmp_path / "runs")),))
    recipe = {"name": "poems", "model": "tiny"}
    kind = {"content-type": "application/octet-stream"}
    with server.client() as client:
        kept = client.put("/train/files/poems/a.txt", content=b"The hat. " * 200, headers=kind)
        page_replies.KeptFile.model_validate_json(kept.content)
        page_replies.Overview.model_validate_json(client.get("/train/runs").content)
        page_replies.Progress.model_validate_json(client.get("/train/runs/poems").content)
        page_replies.Plan.model_validate_json(client.post("/train/plan", json=recipe).content)
        page_replies.Removed.model_validate_json(client.delete("/train/files/poems/a.txt").content)


def test_labelling_answers_what_it_said(serve: Any, tmp_path: Path) -> None:
    store, runs = tmp_path / "labels.sqlite", tmp_path / "runs"
    server = serve(pages_of=(lambda service: label.page(store, runs, service=service),))
    written = server.post("/label/write", model="tiny", openings=["the", "an"], n=2, max_tokens=4)
    assert page_replies.Added.model_validate_json(written.content).added == 2
    me = {"labeller": "me"}
    for number in range(2):
        shown = page_replies.Handed.model_validate_json(server.post("/label/next", **me).content)
        assert shown.item is not None
        said = {"item": shown.item.key, "verdict": "best", "slots": [0], "shown": 1.0}
        answer = server.post("/label/answer", request=f"request-{number}", **me, **said)
        page_replies.Answered.model_validate_json(answer.content)
    assert page_replies.Handed.model_validate_json(server.post("/label/next", **me).content).item is None
    with server.client() as client:
        figures = page_replies.Dashboard.model_validate_json(client.get("/label/dashboard").content)
    assert [each.labels for each in figures.labellers] == [2]
    undone = page_replies.Undone.model_validate_json(
        server.post("/label/undo", request="request-undo", **me).content
    )
    assert undone.undone
    page_replies.Paused.model_validate_json(server.post("/label/pause", **me).content)
