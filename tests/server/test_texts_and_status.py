"""Tokens, scores, the next token; models, health, counters."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inkfish.errors import ModelError
from inkfish.generate import LanguageModel
from inkfish.generate.attention import attentions
from inkfish.server import How
from inkfish.server.models import FRESH, Models, named
from inkfish.server.problems import RequestError
from inkfish.weights import facts, read


def test_tokens_there_and_back(server: Any, alone: LanguageModel) -> None:
    text = "the hat, café 🐙"
    ids = alone.tokenizer.encode(text)
    answer = server.post("/tokenize", prompt=text, return_token_strs=True).json()
    assert answer["tokens"] == ids
    assert (answer["count"], answer["max_model_len"]) == (len(ids), 96)
    assert answer["token_strs"][0] == alone.tokenizer.decode(ids[:1])
    assert server.post("/detokenize", tokens=ids).json() == {"prompt": text}
    error = server.post("/detokenize", tokens=[999]).json()["error"]
    assert (error["param"], error["code"]) == ("tokens", "invalid_value")


def test_scores_are_the_models(server: Any, alone: LanguageModel) -> None:
    for text, settings in (
        ("the hat", {}),
        ("the cat " * 30, {"stride": 7, "top": 2}),
        ("a", {"from_start": True}),
    ):
        expected = alone.score(text, **settings)
        answer = server.post("/score", text=text, **settings).json()
        assert answer["total_logprob"] == pytest.approx(expected.total_logprob, abs=1e-3)
        assert [token["id"] for token in answer["tokens"]] == [token.id for token in expected.tokens]
        assert [token["rank"] for token in answer["tokens"]] == [token.rank for token in expected.tokens]
        assert len(answer["tokens"][-1]["top"]) == settings.get("top", 0)
    assert server.post("/score", text=[40, 41]).status_code == 200
    for body, param in (
        ({"text": ""}, "text"),
        ({"text": [999]}, "text"),
        ({"text": "a", "stride": 97}, "stride"),
    ):
        error = server.post("/score", **body).json()["error"]
        assert error["param"] == param
    error = server.post("/score", text=[40] * 200_001).json()["error"]
    assert error["code"] == "context_length_exceeded"


def test_the_likeliest_next_tokens(server: Any, alone: LanguageModel) -> None:
    answer = server.post("/next", prompt="the", top=5).json()["tokens"]
    logits = alone.logits(alone.tokenizer.encode("the"))[-1].astype(float)
    best = sorted(range(len(logits)), key=lambda i: -logits[i])[:5]
    assert [token["id"] for token in answer] == best
    mass = math.log(sum(math.exp(x) for x in logits))
    assert answer[0]["logprob"] == pytest.approx(logits[best[0]] - mass, abs=1e-4)
    assert len(server.post("/next").json()["tokens"]) == 10
    assert server.post("/next", prompt="x" * 10_000).json()["error"]["code"] == "context_length_exceeded"


def test_where_the_heads_of_a_layer_look(server: Any, alone: LanguageModel) -> None:
    ids = alone.tokenizer.encode("the hat 🐙")
    answer = server.post("/attention", text="the hat 🐙", layer=1, from_start=True).json()
    assert [token["id"] for token in answer["tokens"]] == [alone.tokenizer.end, *ids]
    assert "".join(token["text"] for token in answer["tokens"][1:]) == "the hat 🐙"
    assert (answer["layer"], answer["layers"], len(answer["weights"])) == (1, 2, 3)
    for head in answer["weights"]:
        assert [len(row) for row in head] == list(range(1, len(ids) + 2))
        assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in head)
    _, last = attentions(alone, ids)
    plain = server.post("/attention", text=ids, layer=1).json()["weights"]
    assert plain[2][-1] == pytest.approx(last[2, -1].tolist(), abs=1e-4)
    for body, param, words in (
        ({"text": ""}, "text", "empty"),
        ({"text": "a", "layer": 2}, "layer", "layer is 2; it must be a whole number, from 0 to 1"),
        ({"text": "x" * 97}, "text", "97 tokens; attention is shown for at most 96"),
    ):
        error = server.post("/attention", **body).json()["error"]
        assert error["param"] == param
        assert words in error["message"]


def test_models_are_listed(server: Any) -> None:
    with server.client() as client:
        (model,) = client.get("/v1/models").json()["data"]
        assert (model["id"], model["object"], model["max_model_len"]) == ("tiny", "model", 96)
        assert client.get("/v1/models/tiny").json() == model
        error = client.get("/v1/models/a/b").json()["error"]
        assert error["code"] == "model_not_found"


def test_health_and_readiness(server: Any) -> None:
    with server.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready"}
        server.service.broken = True
        try:
            assert client.get("/health").status_code == client.get("/ready").status_code == 503
        finally:
            server.service.broken = False


def test_counters_are_exact_and_hold_no_texts(serve: Any) -> None:
    server = serve()
    for number in range(10):
        server.post(
            "/v1/completions", model="tiny", prompt="hush", max_tokens=10, logit_bias={"0": -100}, seed=number
        )
    server.post("/v1/completions", model="tiny", prompt="hush", max_tokens=-1)
    with server.client() as client:
        page = client.get("/metrics").text
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert found["inkfish_texts_total"] == 10
    assert found["inkfish_completion_tokens_total"] == 100
    assert found["inkfish_first_token_seconds_count"] == 10
    assert found["inkfish_running"] == found["inkfish_waiting"] == found["inkfish_requests_held"] == 0
    assert "hush" not in page


def test_names_of_models(folder: Path, tmp_path: Path) -> None:
    assert named(("starter", str(folder)), ()) == {"starter": "starter", "tiny": str(folder)}
    assert named(("starter",), ("gpt-x", "b=starter")) == {
        "starter": "starter",
        "gpt-x": "starter",
        "b": "starter",
    }
    with pytest.raises(ModelError, match="it is NAME=MODEL"):
        named(("starter",), ("=x",))
    with pytest.raises(ModelError, match="two models are called starter"):
        named(("starter",), (f"starter={folder}",))


def with_models(models: Models, action: Callable[[], Awaitable[None]]) -> None:
    """Do something on an event loop, then end the models."""

    async def all_of_it() -> None:
        try:
            await action()
        finally:
            await models.close(RuntimeError("over"))

    asyncio.run(all_of_it())


def some_models(sources: dict[str, str], *, runs: Path | None = None, memory: int = 0) -> Models:
    how = How(options={"backend": "reference"}, slots=2, memory=memory)
    return Models(sources, runs=runs, how=how, hand_out=lambda news: None, died=lambda: None)


def test_models_take_no_more_memory_than_they_may(folder: Path, tmp_path: Path) -> None:
    from shutil import copytree

    other = copytree(folder, tmp_path / "other")
    size = facts.memory_to_write(read(folder).config)
    models = some_models({"a": str(folder), "b": str(other), "c": str(folder)}, memory=size + size // 2)

    async def action() -> None:
        first = await models.worker("a")
        assert await models.worker("c") is first, "two names of one folder are one model"
        await models.worker("b")
        assert list(models.workers) == [str(other)]
        assert not first.alive
        second = await models.worker("b")
        second.outstanding.add(object())  # type: ignore[arg-type]
        with pytest.raises(RequestError, match="leave no memory") as busy:
            await models.worker("a")
        assert (busy.value.status, busy.value.headers["retry-after"]) == (503, "5")
        second.outstanding.clear()

    with_models(models, action)
    small = some_models({"a": str(folder)}, memory=size - 1)

    async def too_large() -> None:
        with pytest.raises(RequestError, match="all together may take") as large:
            await small.worker("a")
        assert large.value.code == "model_too_large"

    with_models(small, too_large)


def test_runs_are_models_and_are_loaded_anew_when_they_change(folder: Path, tmp_path: Path) -> None:
    from os import utime
    from shutil import copytree

    checkpoint = tmp_path / "poems" / "checkpoints" / "7"
    copytree(folder, checkpoint)
    (tmp_path / "poems" / "last").write_text("7")
    (tmp_path / "empty").mkdir()
    models = some_models({"tiny": str(folder)}, runs=tmp_path)

    async def action() -> None:
        assert models.names() == ["tiny", "poems"]
        first = await models.worker("poems")
        assert await models.worker("poems") is first
        utime(checkpoint / "config.json", (2e9, 2e9))
        assert await models.worker("poems") is first, "nobody has looked again yet"
        await asyncio.sleep(FRESH)
        assert await models.worker("poems") is not first
        for name in ("empty", "../poems", "poems/checkpoints/7", ""):
            with pytest.raises(RequestError, match="no model of this name"):
                await models.worker(name)
        (checkpoint / "model.safetensors").write_bytes(b"damaged")
        models.looked.clear()
        with pytest.raises(RequestError, match="can't be loaded") as damaged:
            await models.worker("poems")
        assert str(tmp_path) not in damaged.value.message

    with_models(models, action)
