from __future__ import annotations

from pathlib import Path

import pytest

from inkfish.labels.dashboard import dashboard
from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Settings, Store


def item(number: int, gold: tuple[int, ...] | None = None) -> Item:
    return Item("best", f"q{number}", tuple(Candidate(f"{number}.{i}") for i in range(3)), gold=gold)


def test_figures_of_labellers_and_their_agreement(tmp_path: Path) -> None:
    items = [item(i, gold=(0,) if i < 2 else None) for i in range(4)]
    labels = [
        Label("a0", items[0].key, "ann", "best", (0,), order=(2, 0, 1), shown=10.0, answered=12.0),
        Label("a1", items[1].key, "ann", "best", (1,), order=(1, 0, 2), shown=20.0, answered=26.0),
        Label("a2", items[2].key, "ann", "tie", (0, 1)),
        Label("a3", items[3].key, "ann", "bad"),
        Label("a4", items[0].key, "ann", "best", (0,), repeat=True),
        Label("a5", items[1].key, "ann", "best", (2,), repeat=True),
        Label("b0", items[0].key, "bob", "best", (0,)),
        Label("b1", items[1].key, "bob", "best", (2,)),
        Label("b2", items[2].key, "bob", "tie", (1, 0)),
        Label("b3", items[3].key, "bob", "skip"),
    ]
    with Store(tmp_path / "s", create=True) as store:
        store.add(items, labels)
        found = dashboard(store)
    ann, bob = found["labellers"]
    assert (found["items"], found["labels"], ann["labels"], bob["labels"]) == (4, 10, 6, 3)
    assert ann["seconds"] == pytest.approx(4)
    assert ann["slots"] == [1, 1, 0]
    assert (ann["first"]["mean"], ann["first"]["count"], ann["chance"]) == (0.5, 2, pytest.approx(1 / 3))
    assert (ann["ties"], bob["seconds"], bob["slots"]) == (1, None, [])
    assert (ann["gold"]["mean"], ann["gold"]["count"]) == (pytest.approx(2 / 4), 4)
    assert (ann["steady"]["mean"], bob["steady"]) == (0.5, None)
    both = found["agreement"]
    assert (both["items"], both["percent"]) == (3, pytest.approx(2 / 3))
    assert both["kappa"] == pytest.approx((2 / 3 - 2 / 9) / (1 - 2 / 9))
    assert both["alpha_low"] is None


def test_three_labellers_and_an_interval(tmp_path: Path) -> None:
    items = [item(i) for i in range(12)]
    labels = [
        Label(f"{who}{i}", one.key, who, "best", ((i + (who == "cat" and i % 3 == 0)) % 3,))
        for i, one in enumerate(items)
        for who in ("ann", "bob", "cat")
    ]
    with Store(tmp_path / "s", create=True) as store:
        assert dashboard(store)["agreement"] is None
        store.add(items, labels)
        both = dashboard(store)["agreement"]
    assert both["alpha_low"] < both["alpha"] < both["alpha_high"]
    assert 0 < both["kappa"] < 1


def test_kappa_is_of_items_with_as_many_labels_as_the_overlap(tmp_path: Path) -> None:
    items = [item(i) for i in range(5)]
    labels = [Label(f"{w}0", items[0].key, w, "best", (0,)) for w in "abc"]
    labels += [Label(f"{w}{i}", items[i].key, w, "best", (i % 2,)) for i in (1, 2, 3) for w in "ab"]
    labels += [Label(f"{w}4", items[4].key, w, "best", (int(w == "b"),)) for w in "ab"]
    with Store(tmp_path / "s", create=True) as store:
        store.add(items, labels)
        found = dashboard(store)["agreement"]
        # the commonest number, two: Cohen's of [1, 0, 1, 0] and [1, 0, 1, 1]
        assert (found["items"], found["kappa_items"]) == (5, 4)
        assert found["kappa"] == pytest.approx((3 / 4 - 1 / 2) / (1 - 1 / 2))
        store.set(Settings(overlap=3))
        found = dashboard(store)["agreement"]
        assert (found["kappa_items"], found["kappa"]) == (1, 1.0)


def test_ratings_agree_by_their_distance_and_apart_from_choices(tmp_path: Path) -> None:
    single = [Item("rating", f"r{i}", (Candidate(str(i)),)) for i in range(3)]
    said = {"ann": (1.0, 5.0, 7.0), "bob": (2.0, 5.0, 6.0)}
    labels = [
        Label(f"{who}{i}", one.key, who, "rating", rating=values[i], order=(0,))
        for who, values in said.items()
        for i, one in enumerate(single)
    ]
    labels += [Label(f"c{who}", item(0).key, who, "best", (0,)) for who in said]
    with Store(tmp_path / "s", create=True) as store:
        store.add([*single, item(0)], labels)
        found = dashboard(store)
    assert (found["agreement"]["items"], found["agreement"]["percent"]) == (1, 1)
    ratings = found["ratings"]
    assert (ratings["items"], ratings["kappa"], ratings["percent"]) == (3, None, pytest.approx(1 / 3))
    # by hand: 1, 2, 5, 5, 7, 6: Σ over units of ordered pairs 4, expected 2 (6 · 140 - 26²) / 5 = 65.6
    assert ratings["alpha"] == pytest.approx(1 - 4 / 65.6)
    assert (found["labellers"][0]["first"], found["labellers"][0]["chance"]) == (None, None)
