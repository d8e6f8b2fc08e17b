"""Translate and Summarize over HTTP: what the tasks alone write, and others are served meanwhile."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from inkfish.generate import LanguageModel
from inkfish.server.language import summarize_page, translate_page
from inkfish.tasks import summarize, translate

TEXT = "The hat. The cat!\n\nThe end"


def test_a_translation_is_the_tasks(serve: Any, alone: LanguageModel) -> None:
    server = serve(pages_of=(translate_page,), slots=2)
    (expected,) = translate.translate(alone, [TEXT], ())
    body = {"model": "tiny", "text": TEXT, "shots": 0}
    assert server.post("/translate/text", **body).json() == expected._asdict()
    assert expected.sentences == 3
    empty = server.post("/translate/text", **body | {"text": " "}).json()
    assert (empty["text"], empty["sentences"]) == (" ".strip(), 0)
    with server.client() as client:
        assert "fr" in client.get("/translate/languages").json()["languages"]
    for wrong, param in (
        ({"target": "xx"}, "target"),
        ({"target": "en"}, "target"),
        ({"shots": 64}, "shots"),
    ):
        error = server.post("/translate/text", **body | wrong).json()["error"]
        assert error["param"] == param
    assert server.post("/translate/text", **body | {"model": "x"}).status_code == 404


@pytest.mark.parametrize("form", ["tldr", "moral"])
def test_a_summary_is_the_tasks(serve: Any, alone: LanguageModel, form: Any) -> None:
    server = serve(pages_of=(summarize_page,))
    (expected,) = summarize.summarize(alone, ["the cat " * 40], form=form, sentences=2, seed=3)
    body = {"model": "tiny", "text": "the cat " * 40, "form": form, "sentences": 2, "seed": 3}
    answer = server.post("/summarize/text", **body).json()
    assert answer == {"text": expected.text, "read": expected.fitted.tokens, "of": expected.fitted.of}
    assert answer["read"] < answer["of"]


def test_others_are_served_while_a_long_text_is_translated(serve: Any) -> None:
    server = serve(pages_of=(translate_page,), slots=4)
    done = threading.Event()

    def long() -> None:
        server.post("/translate/text", model="tiny", text="The hat. " * 200, shots=0)
        done.set()

    thread = threading.Thread(target=long)
    thread.start()
    (worker,) = server.service.models.workers.values()
    while worker.load == 0:
        time.sleep(0.001)
    for seed in range(3):
        assert server.post("/v1/completions", model="tiny", prompt="a", max_tokens=4, seed=seed).is_success
    assert not done.is_set(), "three short texts are written before two hundred sentences"
    thread.join(30)
    assert done.is_set()
