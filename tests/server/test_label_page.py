"""The Label page's routes: what is shown and what is not, answers sent twice, two people, undo, the cord."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from inkfish.labels.records import Candidate, Item
from inkfish.labels.store import Settings as Handing
from inkfish.labels.store import Store
from inkfish.server import Settings, create_app
from inkfish.server.label import page
from inkfish.training.run import locked

SECRET = "runs/secret-policy"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "labels.sqlite", create=True) as made:
        made.add(
            Item(
                "best",
                f"<script>alert({i})</script>",
                tuple(Candidate(f"text {i}.{k}", origin={"model": SECRET}) for k in range(4)),
            )
            for i in range(3)
        )
        yield made


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Iterator[TestClient]:
    site = create_app(Settings(), pages=[page(store.path, tmp_path / "runs")])
    with TestClient(site, base_url="http://localhost") as made:
        yield made


def following(client: TestClient, who: str = "ann") -> Any:
    return client.post("/label/next", json={"labeller": who}).json()["item"]


def body(item: Any, request: str, who: str = "ann", **changes: Any) -> dict[str, Any]:
    said = {"request": request, "labeller": who, "item": item["key"], "verdict": "best", "slots": [0]}
    return said | {"shown": 1000.0} | changes


def test_the_page_is_there_and_shows_no_model(client: TestClient) -> None:
    html = client.get("/label").text
    assert "Who is labelling?" in html
    found = client.post("/label/next", json={"labeller": "ann"})
    assert SECRET not in found.text
    assert found.json()["items"] == 3
    assert sorted(found.json()["item"]["candidates"]) == [f"text 0.{k}" for k in range(4)]


def test_an_answer_is_of_the_text_that_stood_there(client: TestClient, store: Store) -> None:
    item = following(client)
    answer = client.post("/label/answer", json=body(item, "request-1", slots=[2], note="hm"))
    assert answer.json()["mine"] == 1
    (label,) = store.labels()
    chosen = store.items()[0].candidates[label.best[0]].text
    assert (chosen, label.slot, label.note) == (item["candidates"][2], 2, "hm")
    assert label.shown == 1000.0
    assert label.answered is not None


def test_the_same_answer_sent_twice_counts_once(client: TestClient, store: Store) -> None:
    item = following(client)
    for _ in range(3):
        answer = client.post("/label/answer", json=body(item, "request-1"))
        assert (answer.status_code, answer.json()["labels"]) == (200, 1)
    assert following(client)["key"] != item["key"]


def test_two_people_get_different_items_and_orders(client: TestClient, store: Store) -> None:
    store.set(Handing(overlap=2))
    one, two = following(client), following(client, "bob")
    assert one["key"] == two["key"]
    client.post("/label/answer", json=body(one, "request-1"))
    client.post("/label/answer", json=body(two, "request-2", "bob"))
    assert store.progress().complete == 1


def test_undo_brings_it_back(client: TestClient) -> None:
    item = following(client)
    client.post("/label/answer", json=body(item, "request-1", verdict="bad", slots=[]))
    undone = {"labeller": "ann", "request": "undo-0001"}
    for _ in range(2):
        assert client.post("/label/undo", json=undone).json()["undone"]
    assert following(client)["key"] == item["key"]
    assert not client.post("/label/undo", json=undone | {"request": "undo-0002"}).json()["undone"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slots": [4]}, "slots go from 0 to 3"),
        ({"slots": [0, 1]}, "a label 'best' names 2 candidates"),
        ({"verdict": "maybe"}, "verdict"),
        ({"item": "0" * 64}, "there is no item"),
        ({"request": "short"}, "request"),
        ({"labeller": ""}, "labeller"),
        ({"labeller": "  "}, "labeller"),
        ({"rating": 9.0}, "rating"),
        (
            {"verdict": "rating", "slots": [], "rating": 5.0},
            "verdict is 'rating' on an item 'best'; it must be",
        ),
        ({"shown": -1.0}, "shown"),
        ({"more": 1}, "more"),
    ],
)
def test_answers_that_can_not_be(
    client: TestClient, store: Store, changes: dict[str, Any], words: str
) -> None:
    item = following(client)
    found = client.post("/label/answer", json=body(item, "request-1") | changes)
    assert found.status_code == 400
    assert words in found.text
    assert store.labels() == []
    assert client.post("/label/answer", json=body(item, "request-1")).status_code == 200


def test_nothing_left_and_the_dashboard(client: TestClient) -> None:
    for number in range(3):
        client.post("/label/answer", json=body(following(client), f"request-{number}"))
    assert following(client) is None
    found = client.get("/label/dashboard").json()
    assert found["labellers"][0]["labels"] == 3
    assert sum(found["labellers"][0]["slots"]) == 3
    assert (found["labellers"][0]["first"]["count"], found["labellers"][0]["chance"]) == (3, 0.25)
    assert (found["agreement"], found["ratings"]) == (None, None)


def test_instructions_and_their_version(client: TestClient, store: Store) -> None:
    store.set(Handing(rubric="Take the happier one."))
    assert client.post("/label/next", json={"labeller": "ann"}).json()["rubric"] == "Take the happier one."
    client.post("/label/answer", json=body(following(client), "request-1"))
    assert len(store.labels()[0].rubric) == 12


def test_anybody_can_stop_a_run(client: TestClient, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "policy"
    (run / "samples").mkdir(parents=True)
    (run / "config.toml").write_text('model = "starter"\nalgorithm = "ppo"\n')
    for number, text in ((2, "old"), (10, "new")):
        (run / "samples" / f"{number}.txt").write_text(text)
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "config.toml").write_text('model = "starter"\n')
    (tmp_path / "runs" / "young").mkdir()
    (tmp_path / "runs" / "young" / "config.toml").write_text('\nalgorithm = "ppo"\n')
    rounds = tmp_path / "runs" / "rounds" / "round-1" / "policy"
    rounds.mkdir(parents=True)
    (rounds / "config.toml").write_text('\nalgorithm = "ppo"\n')
    pause = {"labeller": "ann"}
    assert client.post("/label/pause", json=pause).json()["runs"] == []  # nobody is at work
    with locked(run), locked(rounds):
        found = client.post("/label/pause", json=pause).json()["runs"]
    assert sorted((one["name"], one["samples"]) for one in found) == [
        ("policy", "new"),
        ("rounds/round-1/policy", ""),
    ]
    assert (rounds / "pause").exists()
    assert (run / "pause").exists()
    assert not (tmp_path / "runs" / "other" / "pause").exists()
