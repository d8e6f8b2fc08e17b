from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from inkfish.errors import DataError
from inkfish.labels import exchange
from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Store


class Letters:
    """A tokenizer of one id a letter, from 0 for a."""

    def decode(self, ids: Sequence[int], /) -> str:
        return "".join(chr(97 + i) for i in ids)

    def encode(self, text: str, /) -> list[int]:
        return [ord(c) - 97 for c in text]


LETTERS = Letters()
PAD = 50259
OPENAI = json.dumps(
    [
        {
            "query": [1, 2, 3, PAD],
            **{f"sample{i}": [i, i + 1, PAD] for i in range(4)},
            "best": 2,
        },
        {"query": [4, 5, PAD, PAD], **{f"sample{i}": [i + 3, i, 7] for i in range(4)}, "best": 0},
        {"query": [4, 5, PAD, PAD], **{f"sample{i}": [i + 3, i, 7] for i in range(4)}, "best": 0},
    ]
)
TRL = (
    '{"prompt": "Why?", "chosen": " Because é.", "rejected": " No."}\n'
    '{"prompt": "Why?", "chosen": " No.", "rejected": " Because é."}\n'
)
HH = (
    '{"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Hello!", '
    '"rejected": "\\n\\nHuman: Hi\\n\\nAssistant: Go."}\n'
    '{"chosen": "\\n\\nHuman: A\\n\\nAssistant: B\\n\\nHuman: C\\n\\nAssistant: Dear", '
    '"rejected": "\\n\\nHuman: A\\n\\nAssistant: B\\n\\nHuman: C\\n\\nAssistant: Deer"}\n'
)
SUMMARIES = (
    '{"info": {"id": "t3_1", "post": "Long.", "title": "T", "subreddit": "s"}, "split": "train", '
    '"summaries": [{"text": " A", "policy": "sup1", "note": "ok"}, {"text": " B", "policy": "ref", '
    '"note": null}], "choice": 1, "worker": "w7", "batch": "batch3", "extra": {"confidence": 6}}\n'
)
FILES = {"openai": OPENAI, "trl": TRL, "hh": HH, "summaries": SUMMARIES}


def put(tmp_path: Path, content: str, form: str, name: str = "s") -> Store:
    path = tmp_path / f"file.{form}"
    path.write_bytes(content.encode())
    store = Store(tmp_path / name, create=True)
    exchange.read(path, store, form=form, text=LETTERS)
    return store


@pytest.mark.parametrize("form", FILES)
def test_a_file_read_and_written_is_the_same_and_read_twice_is_stored_once(tmp_path: Path, form: str) -> None:
    with put(tmp_path, FILES[form], form) as store:
        assert exchange.write(store, form=form, text=LETTERS) == FILES[form]
        assert exchange.read(tmp_path / f"file.{form}", store, form=form, text=LETTERS) == (0, 0)
        assert exchange.write(store, form=form, text=LETTERS) == FILES[form]


def full(tmp_path: Path) -> Store:
    store = Store(tmp_path / "full", create=True)
    items = [
        Item(
            "best",
            "=query()",
            (Candidate("'one", (1, 2), {"model": "m"}), Candidate("two", (3,)), Candidate("thrée\n", (4,))),
            (5,),
            (1,),
            {"a": 1},
        ),
        Item("rating", "+q", (Candidate("text"),)),
        Item("pair", "nobody", (Candidate("x"), Candidate("y"))),
    ]
    labels = [
        Label(
            "r1", items[0].key, "@ann", "tie", (0, 2), note="-x", order=(2, 0, 1), shown=1.25, meta={"k": 0}
        ),
        Label("r2", items[0].key, "bob", "best", (1,), rubric="v2", tool="t", answered=7.0),
        Label("r3", items[1].key, "bob", "rating", rating=6.5, repeat=False),
        Label("r4", items[0].key, "cat", "skip", note='a "note", with\r\nlines'),
    ]
    store.add(items, labels)
    return store


def test_csv_holds_everything_and_no_formula(tmp_path: Path) -> None:
    with full(tmp_path) as store:
        content = exchange.write(store, form="csv", text=LETTERS)
        with put(tmp_path, content, "csv") as other:
            assert sorted(i.key for i in other.items()) == sorted(i.key for i in store.items())
            assert {i.key: i for i in other.items()} == {i.key: i for i in store.items()}
            assert other.labels() == store.labels()
            assert exchange.write(other, form="csv", text=LETTERS) == content
    for mark in ("=query()", "+q", "@ann", "-x"):
        assert f"'{mark}" in content
        assert f",{mark}" not in content


def test_a_choice_of_several_is_that_many_pairs(tmp_path: Path) -> None:
    with put(tmp_path, OPENAI, "openai") as store:
        found = [json.loads(line) for line in exchange.write(store, form="trl", text=LETTERS).splitlines()]
        assert len(found) == 9
        assert found[0] == {"prompt": "bcd", "chosen": "cd", "rejected": "ab"}
        others = exchange.write(store, form="summaries", text=LETTERS).splitlines()
        assert len(others) == 9
        first = json.loads(others[0])
        assert first["summaries"][first["choice"]]["text"] == "cd"
        dialogues = exchange.write(store, form="hh", text=LETTERS)
    first = json.loads(dialogues.splitlines()[0])
    assert first["chosen"] == "\n\nHuman: bcd\n\nAssistant: cd"
    with put(tmp_path, dialogues, "hh", "again") as store:  # what was no dialogue has become one
        assert len(store.labels()) == 9
        assert exchange.write(store, form="hh", text=LETTERS) == dialogues


def test_texts_without_ids_are_tokenized_and_ties_left_out_for_openai(tmp_path: Path) -> None:
    with Store(tmp_path / "s", create=True) as store:
        two = Item("best", "abc", (Candidate("d"), Candidate("ef")))
        store.add([two], [Label("r", two.key, "ann", "best", (1,)), Label("q", two.key, "b", "tie", (0, 1))])
        (record,) = json.loads(exchange.write(store, form="openai", text=LETTERS))
        assert record == {"query": [0, 1, 2], "sample0": [3, PAD], "sample1": [4, 5], "best": 1}


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    with (
        put(tmp_path, TRL, "trl") as store,
        pytest.raises(DataError, match="no choices among several candidates to export as openai"),
    ):
        exchange.write(store, form="openai", text=LETTERS)


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        ("openai", OPENAI[:100], "not JSON: .*; nothing was imported"),
        ("openai", "{}", "must be a JSON list of objects; nothing was imported"),
        ("openai", '[{"query": [1], "best": 0}]', "row 1: it must have sample0, sample1"),
        ("openai", OPENAI.replace("[4, 5", '["x", 5'), "row 2: query must be token ids"),
        (
            "openai",
            OPENAI.replace("[4, 5, 50259", "[4, 50259, 5"),
            "row 2: query must be tokens, then padding",
        ),
        (
            "openai",
            OPENAI.replace('"best": 2', '"best": 4'),
            r"best is \[4\]; this item's candidates are 0 to 3",
        ),
        ("openai", OPENAI.replace('"best": 2', '"best": true'), "row 1: best must be a whole number"),
        ("trl", TRL[:-20], "line 2: not a JSON object; nothing was imported"),
        ("trl", TRL + '{"prompt": 1}', "row 3: prompt must be text; nothing was imported"),
        ("trl", "[" * 100_000, "line 1: not a JSON object"),
        ("trl", "", "holds no labels of the format trl"),
        ("hh", HH + '{"chosen": "a", "rejected": "b"}', 'row 3: the dialogues share no "Assistant:"'),
        ("summaries", SUMMARIES.replace('"post"', '"x"'), "row 1: it must have a post or an article and two"),
        (
            "summaries",
            SUMMARIES.replace('"choice": 1', '"choice": "1"'),
            "row 1: choice must be a whole number",
        ),
        (
            "summaries",
            SUMMARIES.replace('{"id"', '[{"id"').replace('"s"}', '"s"}]'),
            "row 1: info must be an obj",
        ),
        ("csv", "a,b\r\n", "the first row must be kind,query"),
    ],
)
def test_damaged_files_change_nothing(tmp_path: Path, form: str, content: str, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content.encode())
    with full(tmp_path) as store:
        before = exchange.write(store, form="csv", text=LETTERS)
        with pytest.raises(DataError, match=words):
            exchange.read(path, store, form=form, text=LETTERS)
        assert exchange.write(store, form="csv", text=LETTERS) == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("\nbest,", "\nworst,", "row 2: kind is 'worst'; it must be one of best, pair, rating"),
        ('""text""', '""txt""', "row 2: 'text'; nothing was imported"),
        ("[0, 2]", "[0, 2", "nothing was imported"),
        (",0.5\r\n", ",\r\n", None),
    ],
)
def test_damaged_csv(tmp_path: Path, old: str, new: str, words: str | None) -> None:
    with full(tmp_path) as store:
        content = exchange.write(store, form="csv", text=LETTERS)
        path = tmp_path / "file.csv"
        path.write_bytes(content.replace(old, new, 3).encode())
        if words is None:
            assert exchange.read(path, store, form="csv", text=LETTERS) == (0, 0)
            return
        with pytest.raises(DataError, match=words):
            exchange.read(path, store, form="csv", text=LETTERS)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with Store(tmp_path / "s", create=True) as store:
        for name in ("latin", "missing"):
            with pytest.raises(DataError, match="can't be read as UTF-8 text"):
                exchange.read(tmp_path / name, store, form="trl", text=LETTERS)
