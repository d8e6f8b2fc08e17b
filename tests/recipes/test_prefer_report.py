"""What labellers said of two models, counted: by several people, two and two, of replies in a chat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inkfish.errors import DataError, SettingError
from inkfish.labels.records import Candidate, Item, Label, Verdict
from inkfish.labels.store import Store
from inkfish.recipes.prefer import compare, report, simulate
from inkfish.recipes.prefer import frontier as frontiers
from inkfish.recipes.prefer.replies import messages


def item(number: int, *models: str, long: str = "new") -> Item:
    candidates = [
        Candidate(f"{model} {number} {place}" + " so old." * (model == long), origin={"model": model})
        for place, model in enumerate(models)
    ]
    return Item("pair" if len(models) == 2 else "best", f"query {number}", tuple(candidates))


def labelled(path: Path, items: Sequence[Item], *labels: tuple[int, str, Verdict, tuple[int, ...]]) -> Path:
    with Store(path, create=True) as store:
        store.add(
            items,
            [
                Label(f"request-{i}", items[n].key, who, verdict, best, order=places(items[n]))
                for i, (n, who, verdict, best) in enumerate(labels)
            ],
        )
    return path


def places(of: Item) -> tuple[int, ...]:
    return tuple(range(len(of.candidates)))


def test_points_by_hand(tmp_path: Path, capsys: Any) -> None:
    items = [item(n, "new", "old") for n in range(5)]
    store = labelled(
        tmp_path / "s",
        items,
        (0, "ann", "best", (0,)),
        (0, "bob", "best", (0,)),
        (0, "cat", "best", (1,)),  # two of three: a win
        (1, "ann", "best", (1,)),
        (2, "ann", "tie", (0, 1)),
        (3, "ann", "bad", ()),
        (4, "ann", "skip", ()),
    )
    found = report.run(report.Config(store=store, out=tmp_path / "out" / "r.json"))
    assert (found["model"], found["other"]) == ("new", "old")
    assert (found["wins"], found["ties"], found["losses"]) == (1, 2, 1)
    assert (found["items"], found["labelled"], found["labels"]) == (5, 4, 6)
    assert found["score"]["mean"] == pytest.approx((1 + 0 + 0.5 + 0.5) / 4)
    assert found["decided"]["mean"] == 0.5
    assert found["p"] == 1
    assert found["longer_by"] == 8
    assert found["slots"]["first"]["mean"] == 0.5  # two of four choices
    assert found["slots"]["chance"] == 0.5
    assert found["labellers"] == {"ann": 0.5, "bob": 1.0, "cat": 0.0}
    assert found["agreement"]["percent"] == pytest.approx(1 / 3)
    assert found["voters"] == {"mean": 1.5, "least": 1, "most": 3}
    assert found["undecided"] == 0
    written = json.loads((tmp_path / "out" / "r.json").read_text())
    assert written["wins"] == 1
    assert written["votes"][0] == {
        "item": items[0].key,
        "majority": 1.0,
        "votes": [
            {"labeller": "ann", "verdict": "best", "best": [0], "point": 1.0},
            {"labeller": "bob", "verdict": "best", "best": [0], "point": 1.0},
            {"labeller": "cat", "verdict": "best", "best": [1], "point": 0.0},
        ],
    }
    said = capsys.readouterr().out
    assert "1.5 labellers voted per item (1 to 3); 0 items have no majority and count as ties" in said
    other = report.run(report.Config(store=store, model="old"))
    assert (other["wins"], other["losses"]) == (1, 1)
    assert other["score"]["mean"] == pytest.approx(1 - found["score"]["mean"])


def test_two_and_two_by_hand(tmp_path: Path) -> None:
    items = [item(n, "new", "new", "old", "old") for n in range(4)]
    store = labelled(
        tmp_path / "s",
        items,
        (0, "ann", "best", (1,)),
        (1, "ann", "best", (0,)),
        (2, "ann", "best", (3,)),
        (3, "ann", "tie", (0, 1, 2)),  # both models' texts
    )
    found = report.run(report.Config(store=store))
    assert found["score"]["mean"] == pytest.approx((1 + 1 + 0 + 1 / 2) / 4)
    assert (found["wins"], found["ties"], found["losses"]) == (2, 1, 1)
    assert found["slots"]["chance"] == 0.25


@pytest.mark.parametrize(
    ("votes", "majority"),
    [
        ([("best", (0,)), ("tie", (0, 1)), ("tie", (0, 1))], 0.5),  # the mean would be a win
        ([("best", (0,)), ("best", (1,))], None),
        ([("best", (0,)), ("bad", ()), ("tie", (0, 1))], 0.5),
        ([("best", (0,)), ("best", (0,)), ("tie", (0, 1)), ("bad", ())], None),
        ([("best", (1,)), ("best", (1,)), ("best", (0,))], 0.0),
        ([("best", (1,)), ("skip", ()), ("skip", ())], 0.0),
    ],
)
def test_more_than_half_of_the_votes_decide(
    tmp_path: Path, votes: list[tuple[Verdict, tuple[int, ...]]], majority: float | None
) -> None:
    given = [(0, f"labeller {i}", *vote) for i, vote in enumerate(votes)]
    found = report.run(report.Config(store=labelled(tmp_path / "s", [item(0, "new", "old")], *given)))
    assert found["votes"][0]["majority"] == majority
    assert found["score"]["mean"] == (0.5 if majority is None else majority)
    assert found["undecided"] == (majority is None)


def test_a_second_answer_to_the_same_item_is_no_vote(tmp_path: Path) -> None:
    one = item(0, "new", "old")
    with Store(labelled(tmp_path / "s", [one], (0, "ann", "best", (0,)))) as store:
        store.add([], [Label(f"again {i}", one.key, "ann", "best", (1,), repeat=True) for i in range(3)])
    found = report.run(report.Config(store=tmp_path / "s"))
    assert (found["wins"], found["labels"]) == (1, 1)


def test_stores_that_are_no_comparisons(tmp_path: Path) -> None:
    three = labelled(tmp_path / "three", [item(0, "a", "b", "c")])
    with pytest.raises(DataError, match=r"holds texts of 3 models \(a, b, c\); a report is about two"):
        report.run(report.Config(store=three))
    imported = labelled(tmp_path / "imported", [Item("pair", "q", (Candidate("a"), Candidate("b")))])
    with pytest.raises(
        DataError, match="does not say which model wrote each text, as labels from other progr"
    ):
        report.run(report.Config(store=imported))
    two = labelled(tmp_path / "two", [item(0, "a", "b")])
    with pytest.raises(DataError, match="holds no labels yet; inkfish prefer label or simulate makes them"):
        report.run(report.Config(store=two))
    with pytest.raises(DataError, match="holds texts of a and b, not of c"):
        report.run(report.Config(store=two, model="c"))


def test_two_models_reply_to_messages_and_are_labelled(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "said.txt").write_text("Hello!\nDo you have a dog?\nHello!\n\nWhat did you eat today?\n")
    config = compare.Config(
        (tmp_path / "said.txt",),
        task="chat",
        count=3,
        tokens=12,
        judge=("length:2-4",),
        store=tmp_path / "s",
        out=tmp_path / "r.json",
        other="starter",
        threads=1,
    )
    found = compare.run(config)
    assert found["prompts"] == 3
    assert "kl" not in found
    written = json.loads((tmp_path / "r.json").read_text())["pairs"]
    assert [row["query"] for row in written] == ["Hello!", "Do you have a dog?", "What did you eat today?"]
    assert all(row["model"] and "\n" not in row["model"] for row in written)
    with pytest.raises(DataError, match="the data give 3 messages, not 4"):
        messages(config, skip=1, count=3)
    # two and two: all four stand together for people, and a judge takes the better one of each
    twice = replace(config, each=2, count=2, store=tmp_path / "t", out=tmp_path / "u.json", model="starter")
    (found,) = compare.run(twice)["judges"].values()
    assert (found["wins"], found["ties"], found["losses"]) == (0, 2, 0)
    rows = json.loads((tmp_path / "u.json").read_text())["pairs"]
    assert all(len(row["model"]) == 2 and row["model"] == row["other"] for row in rows)
    assert any(row["model"][0] != row["model"][1] for row in rows)
    with Store(tmp_path / "t") as opened:
        assert [(item.kind, len(item.candidates)) for item in opened.items()] == [("best", 4)] * 2
        assert [c.text for c in opened.items()[0].candidates] == rows[0]["model"] + rows[0]["other"]
    with pytest.raises(SettingError, match="best_of chooses among continuations, not in a chat; leave"):
        replace(config, best_of=2, reward="vader")


def test_labels_of_a_simulated_labeller_count_too(tmp_path: Path, capsys: Any) -> None:
    items = [item(n, "new", "old") for n in range(20)]
    store = labelled(tmp_path / "s", items)
    simulate.run(simulate.Config(store=store, judge="length:0-1", agreement=1.0, slot_bias=100.0, tie=0.0))
    found = report.run(report.Config(store=store))
    assert found["slots"]["first"]["mean"] == 1.0  # the bias is far above the noise
    assert found["labelled"] == 20
    assert "what stood first was chosen 100.0% of the time" in capsys.readouterr().out


def test_best_of_and_each_exclude_each_other() -> None:
    with pytest.raises(SettingError, match="best_of and each are both above 1; leave one of them out"):
        compare.Config((Path("x"),), best_of=2, each=2, reward="vader")


def test_a_judge_takes_the_better_of_each_sides_two() -> None:
    def length(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
        assert len(queries) == len(responses)
        return [float(len(response)) for response in responses]

    texts, scores = compare.best_by(length, ["q", "r"], ["a", "bb", "ccc", "d"], 2)
    assert (texts, scores.tolist()) == (["bb", "ccc"], [2, 3])


@pytest.mark.parametrize("frontier", [False, True])
def test_places_that_can_not_be_written_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frontier: bool
) -> None:
    monkeypatch.setattr(compare, "System", None)  # no model is read
    (tmp_path / "runs" / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    settings: dict[str, Any] = {"frontier": (tmp_path / "runs",), "reward": "vader"} if frontier else {}
    run = frontiers.run if frontier else compare.run
    with pytest.raises(
        DataError, match=r"file/r\.json can't be written: (Not a directory|File exists); name"
    ):
        run(compare.Config((Path("x"),), out=tmp_path / "file" / "r.json", **settings))
    if not frontier:
        with pytest.raises(DataError, match="file"):
            run(compare.Config((Path("x"),), store=tmp_path / "file" / "s"))
    assert not (tmp_path / "r.json").exists()
