"""Texts to label, written by a served model: into a new store, again and again, and refused whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from inkfish.labels.store import Store
from inkfish.server import How, Service, Settings, create_app
from inkfish.server.label import page


@pytest.fixture
def client(folder: Path, tmp_path: Path) -> Iterator[TestClient]:
    service = Service({"tiny": str(folder)}, how=How(options={"backend": "reference"}, slots=4))
    label = page(tmp_path / "new" / "labels.sqlite", tmp_path / "runs", service=service)
    site = create_app(Settings(), pages=[label], service=service)
    with TestClient(site, base_url="http://localhost") as made:
        yield made


def write(client: TestClient, **changes: Any) -> Any:
    body = {"model": "tiny", "openings": ["the hat", "the cat"], "max_tokens": 12, "seed": 3}
    return client.post("/label/write", json=body | changes)


def test_a_store_begins_with_what_a_model_writes(client: TestClient, tmp_path: Path) -> None:
    place = tmp_path / "new" / "labels.sqlite"
    assert not place.exists(), "looking at a server makes no files"
    begun = client.post("/label/next", json={"labeller": "ann"}).json()
    assert (begun["item"], begun["items"], begun["writes"]) == (None, 0, True)
    assert write(client).json() == {"added": 2, "seed": 3}
    shown = client.post("/label/next", json={"labeller": "ann"}).json()["item"]
    assert (shown["kind"], shown["query"], len(set(shown["candidates"]))) == ("best", "the hat", 4)
    with Store(place) as store:
        first = store.items()[0]
    assert first.candidates[2].origin["model"] == "tiny"
    assert [candidate.origin["sample"] for candidate in first.candidates] == [0, 1, 2, 3]
    answer = client.post(
        "/v1/completions",
        json={"model": "tiny", "prompt": "the hat", "n": 4, "max_tokens": 12, "seed": 3, "temperature": 0.7},
    )
    assert [choice["text"] for choice in answer.json()["choices"]] == [one.text for one in first.candidates]


def test_the_same_seed_adds_nothing_new(client: TestClient) -> None:
    assert write(client).json()["added"] == 2
    assert write(client).json()["added"] == 0
    assert write(client, seed=None).json()["added"] == 2
    assert write(client, openings=["a pair"], n=2).json()["added"] == 1


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"openings": []}, 400, "openings"),
        ({"openings": [""]}, 400, "openings"),
        ({"n": 1}, 400, "n"),
        ({"model": "none"}, 404, "no model of this name"),
        ({"openings": ["the hat", "the " * 100]}, 400, "context"),
    ],
)
def test_refused_whole(
    client: TestClient, tmp_path: Path, changes: dict[str, Any], status: int, words: str
) -> None:
    answer = write(client, **changes)
    assert (answer.status_code, words in answer.text) == (status, True)
    assert not (tmp_path / "new").exists()


def test_a_store_of_given_texts_alone_is_not_made(tmp_path: Path) -> None:
    site = create_app(Settings(), pages=[page(tmp_path / "labels.sqlite")])
    with TestClient(site, base_url="http://localhost") as client:
        answer = client.post("/label/next", json={"labeller": "ann"})
        assert "there is no label store" in answer.json()["error"]["message"]
        assert client.post("/label/write", json={}).status_code == 404
