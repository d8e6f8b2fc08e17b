from __future__ import annotations

from pathlib import Path

import pytest

from inkfish.labels.dashboard import dashboard
from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Store


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


def test_unequal_numbers_of_labels_have_no_kappa(tmp_path: Path) -> None:
    items = [item(i) for i in range(2)]
    labels = [Label(f"{w}0", items[0].key, w, "best", (0,)) for w in "abc"]
    labels += [Label(f"{w}1", items[1].key, w, "rating", rating=3.0) for w in "ab"]
    with Store(tmp_path / "s", create=True) as store:
        store.add(items, labels)
        assert dashboard(store)["agreement"]["kappa"] is None
