"""Rewards against references and by examples, and the table that tells summaries from copies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from inkfish.errors import DataError, MissingExtraError, SettingError
from inkfish.metrics.novelty import begins_alike, has_preamble
from inkfish.preferences.gold import classifier
from inkfish.recipes.prefer import judges, summaries
from inkfish.recipes.prefer.references import read_references

TEXTS = [
    "The fox ran home. It was late. The hens slept well. Nobody saw the fox. The moon was out.",
    "Hello there. A storm came in from the sea. Boats sank. The town was dark. People prayed.",
    "A baker lost his cat. He looked for it all day. At night it came back. It was hungry.",
]
SHORT = ["A fox ran home late.", "A storm sank boats.", "A cat was lost and came back."]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    found = [{"text": text, "summaries": [short, "Else."]} for text, short in zip(TEXTS, SHORT, strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, found)))
    return tmp_path / "rows.jsonl"


def test_a_metric_of_a_task_is_a_reward(rows: Path) -> None:
    pytest.importorskip("rouge_score")
    for name in ("rouge", "f1"):
        judge = judges.find_judge(f"{name}:{rows}")
        cut = TEXTS[1][:30]  # a prompt may be the beginning of its row's text
        exact, alike, other = judge([TEXTS[0], cut, cut], [SHORT[0], "A storm sank two boats.", "Pears."])
        assert exact == pytest.approx(1)
        assert 1 > alike > other == 0


def test_references_that_are_not_there(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="there is no reference for the prompt 'The dog'; give the rows that it"
    ):
        judges.find_judge(f"f1:{rows}")(["The dog"], ["x"])
    (tmp_path / "other.jsonl").write_text('{"a": "b"}')
    with pytest.raises(DataError, match=r"has rows with a; they must have article and highlights; content"):
        read_references(tmp_path / "other.jsonl")


def test_a_classifier_learns_from_examples(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "good.txt").write_text(
        "what a lovely sunny day\nshe laughed with joy\na kind and happy song\n"
    )
    (tmp_path / "bad.txt").write_text("the cold grave was dark\nhe wept in pain\na cruel and bitter war\n")
    judge = judges.find_judge(f"classifier:{tmp_path / 'good.txt'}:{tmp_path / 'bad.txt'}")
    happy, sad, neither = judge(["", "", ""], ["a happy lovely song", "a bitter dark grave", "xyz"])
    assert happy > neither > sad
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(DataError, match=r"none\.txt holds no examples; give a text on each line"):
        judges.find_judge(f"classifier:{tmp_path / 'good.txt'}:{tmp_path / 'none.txt'}")


def test_a_classifier_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(MissingExtraError, match="a classifier"):
        classifier(["a"], ["b"])


def test_beginnings_by_hand() -> None:
    assert begins_alike(["a", "b", "c", "d"], ["a", "b", "c", "x"])
    assert not begins_alike(["a", "b", "x"], ["a", "b", "c"])
    assert not begins_alike(["a", "b"], ["a", "b"])
    assert has_preamble("Hey, everybody listen")
    assert not has_preamble("Long story short it: broke")
    assert has_preamble("My story: it broke")
    assert not has_preamble("So-so weather today")
    assert not has_preamble("")


def test_rows_by_hand() -> None:
    pytest.importorskip("rouge_score")
    references = [[short, "Else."] for short in SHORT]
    leads = [". ".join(text.split(". ")[:3]) + "." for text in TEXTS]
    copied = summaries.figures("lead-3", leads, TEXTS, references)
    assert copied["new 1-grams"] == copied["new sentences"] == copied["copied from"] == 0
    assert copied["begins alike"] == copied["begins alike, no preamble"] == 100
    own = summaries.figures("reference", SHORT, TEXTS, references)
    assert "R-AVG" not in own
    assert own["new sentences"] == 100
    assert own["begins alike"] == 0
    perfect = summaries.figures("model", SHORT, TEXTS, references)
    assert perfect["R-1"] == perfect["R-AVG"] == pytest.approx(100)
    mixed = summaries.figures("model", [leads[0], leads[1], SHORT[2]], TEXTS, references)
    assert mixed["begins alike"] == pytest.approx(200 / 3)
    assert mixed["begins alike, no preamble"] == 50  # the second text greets
    shown = summaries.table({"reference": own, "lead-3": copied, "model": perfect}).split("\n")
    assert shown[1].startswith("reference  ")
    assert "–" in shown[1]
    assert len(set(map(len, shown))) == 1


@pytest.mark.slow
def test_the_table_of_a_model(rows: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("rouge_score")
    settings: dict[str, Any] = {"tokens": 12, "query_tokens": 20, "count": 3, "threads": 1}
    config = summaries.Config((rows,), **settings, out=tmp_path / "out" / "t.json")
    found = summaries.run(config)
    assert list(found) == ["reference", "lead-3", "starter"]
    written = json.loads((tmp_path / "out" / "t.json").read_text())
    assert written["table"] == found
    assert len(written["summaries"]) == 3
    assert set(written["summaries"][0]) == set(found)
    assert all(row["starter"] for row in written["summaries"])
    assert "lead-3" in capsys.readouterr().out
    with pytest.raises(DataError, match="the data give 3 texts, not 4"):
        summaries.run(summaries.Config((rows,), **settings | {"count": 4}))
    with pytest.raises(SettingError, match="the table is about one file of rows; name one"):
        summaries.Config((rows, rows))
