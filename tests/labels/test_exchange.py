from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inkfish.errors import DataError
from inkfish.labels import exchange
from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Store
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub


class Letters:
    """A tokenizer of one id a letter, from 0 for a."""

    vocab_size = 26

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
    read(path, store, form)
    return store


def read(path: Path, store: Store, form: str) -> tuple[int, int]:
    return exchange.add(store, exchange.read(path, form=form, vocabulary=LETTERS))


def write(store: Store, form: str) -> str:
    return exchange.write(store, form=form, vocabulary=LETTERS).content


def values(content: str, form: str) -> Any:
    return json.loads(content) if form == "openai" else list(map(json.loads, content.splitlines()))


@pytest.mark.parametrize("form", FILES)
def test_a_file_read_and_written_is_the_same_and_read_twice_is_stored_once(tmp_path: Path, form: str) -> None:
    with put(tmp_path, FILES[form], form) as store:
        assert write(store, form) == FILES[form]
        assert read(tmp_path / f"file.{form}", store, form) == (0, 0)
        assert write(store, form) == FILES[form]


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
        content = write(store, "csv")
        with put(tmp_path, content, "csv") as other:
            assert sorted(i.key for i in other.items()) == sorted(i.key for i in store.items())
            assert {i.key: i for i in other.items()} == {i.key: i for i in store.items()}
            assert other.labels() == store.labels()
            assert write(other, "csv") == content
    for mark in ("=query()", "+q", "@ann", "-x"):
        assert f"'{mark}" in content
        assert f",{mark}" not in content


def test_a_choice_of_several_is_that_many_pairs(tmp_path: Path) -> None:
    with put(tmp_path, OPENAI, "openai") as store:
        found = [json.loads(line) for line in write(store, "trl").splitlines()]
        assert len(found) == 9
        assert found[0] == {"prompt": "bcd", "chosen": "cd", "rejected": "ab"}
        others = write(store, "summaries").splitlines()
        assert len(others) == 9
        first = json.loads(others[0])
        assert first["summaries"][first["choice"]]["text"] == "cd"
        dialogues = write(store, "hh")
    first = json.loads(dialogues.splitlines()[0])
    assert first["chosen"] == "\n\nHuman: bcd\n\nAssistant: cd"
    with put(tmp_path, dialogues, "hh", "again") as store:  # what was no dialogue has become one
        assert len(store.labels()) == 9
        assert write(store, "hh") == dialogues


def test_texts_without_ids_are_tokenized_and_ties_left_out_for_openai(tmp_path: Path) -> None:
    with Store(tmp_path / "s", create=True) as store:
        two = Item("best", "abc", (Candidate("d"), Candidate("ef")))
        store.add([two], [Label("r", two.key, "ann", "best", (1,)), Label("q", two.key, "b", "tie", (0, 1))])
        (record,) = json.loads(write(store, "openai"))
        assert record == {"query": [0, 1, 2], "sample0": [3, PAD], "sample1": [4, 5], "best": 1}


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    with (
        put(tmp_path, TRL, "trl") as store,
        pytest.raises(
            DataError, match="nothing that the format openai has room for, of labels 2 best; nothing"
        ),
    ):
        write(store, "openai")
    with Store(tmp_path / "t", create=True) as store:
        for form in exchange.FORMATS:
            with pytest.raises(
                DataError, match="of labels none; nothing was written: inkfish prefer sample and"
            ):
                write(store, form)
        item = Item("best", "q", (Candidate("a"), Candidate("b")))
        store.add([item], [Label("r", item.key, "ann", "tie", (0, 1)), Label("s", item.key, "bob", "bad")])
        for form in ("openai", "trl", "summaries", "hh"):
            with pytest.raises(
                DataError, match="labels 1 bad, 1 tie; nothing was written: --form csv has room"
            ):
                write(store, form)
        assert exchange.write(store, form="csv", vocabulary=LETTERS).rows == 2


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    with full(tmp_path) as store:
        found = exchange.write(store, form="trl", vocabulary=LETTERS)
        assert (found.rows, found.left_out) == (2, {"tie": 1, "rating": 1, "skip": 1})
        assert exchange.counted(found.left_out) == "1 rating, 1 skip, 1 tie"
        found = exchange.write(store, form="csv", vocabulary=LETTERS)
        assert (found.rows, found.left_out) == (5, {})


FURTHER = {
    "trl": TRL.replace('"}\n', '", "score": {"margin": [0.5, null]}}\n', 1),
    "hh": HH + HH.replace('{"chosen"', '{"id": 7, "chosen"'),
    "summaries": SUMMARIES
    + SUMMARIES.replace('"sup1"', '"sup2"').replace('"t3_1"', '"t3_2"').replace('"w7"', "7")
    + SUMMARIES.replace(', "worker": "w7"', ', "seconds": 1.5').replace('"choice": 1', '"choice": 0')
    + SUMMARIES.replace('"w7"', "null"),
    "openai": json.dumps(
        [
            {"query": [1, 99, 98], "sample0": [2], "sample1": [3, 4, 99], "best": 1, "worker": "w"},
            {"query": [1], "sample0": [2, 30, 30], "sample1": [3, 4], "best": 0, "further": [1]},
            {"query": [1, PAD], "sample0": [2, PAD], "sample1": [PAD, PAD], "best": 0},
        ]
    ),
}


@pytest.mark.parametrize("form", FURTHER)
def test_what_else_a_row_has_comes_back(tmp_path: Path, form: str) -> None:
    with put(tmp_path, FURTHER[form], form) as store:
        assert values(write(store, form), form) == values(FURTHER[form], form)
        with put(tmp_path, write(store, "csv"), "csv", "copy") as copy:
            assert write(copy, form) == write(store, form)


def test_a_label_of_an_imported_item_has_what_the_item_says(tmp_path: Path) -> None:
    with put(tmp_path, SUMMARIES, "summaries") as store:
        (item,) = store.items()
        store.add([], [Label("r", item.key, "ann", "best", (0,))])
        first, second = values(write(store, "summaries"), "summaries")
    assert second["info"] == first["info"]
    assert second["summaries"] == first["summaries"]
    assert (second["choice"], second["worker"]) == (0, "ann")


def test_ids_of_another_vocabulary_are_written_as_the_same_text(tmp_path: Path) -> None:
    starter, gpt2 = Tokenizer.load(hub.find("starter")), Tokenizer.gpt2()
    texts = ("Once upon a time a fox", " met a hen.", " slept — and dreamt of naïve hens.")
    query, one, two = (tuple(starter.encode(text)) for text in texts)
    item = Item("best", texts[0], (Candidate(texts[1], one), Candidate(texts[2], two)), query)
    path = tmp_path / "labels.json"
    with Store(tmp_path / "s", create=True) as store:
        store.add([item], [Label("r", item.key, "ann", "best", (1,))])
        for vocabulary in (gpt2, starter):
            path.write_text(exchange.write(store, form="openai", vocabulary=vocabulary).content)
            ((found, label),) = exchange.read(path, form="openai", vocabulary=vocabulary)
            assert (found.query, *(c.text for c in found.candidates)) == texts
            assert label is not None
            assert label.best == (1,)
            assert (found.query_ids == query) == (vocabulary is starter)


def test_padding_is_not_taken_into_another_vocabulary(tmp_path: Path) -> None:
    class Larger(Letters):
        vocab_size = 1000

    class Largest(Letters):
        vocab_size = PAD + 1

    content = json.dumps([{"query": [1, 99], "sample0": [2], "sample1": [3, 4, 99], "best": 1}])
    with put(tmp_path, content, "openai") as store:
        found = exchange.write(store, form="openai", vocabulary=Larger()).content
        assert json.loads(found) == [{"query": [1], "sample0": [2, PAD], "sample1": [3, 4], "best": 1}]
        words = "the vocabulary has 50,260 ids, and the format openai pads with 50259; take --model gpt2"
        with pytest.raises(DataError, match=words):
            exchange.write(store, form="openai", vocabulary=Largest())
        with pytest.raises(DataError, match=words):
            exchange.read(tmp_path / "file.openai", form="openai", vocabulary=Largest())


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        ("openai", OPENAI[:100], "not JSON: .*; nothing was imported"),
        ("openai", "[" * 100_000, "not JSON: nested too deeply; nothing was imported"),
        ("openai", '[{"best": 0, "best": 1}]', "not JSON: a key stands there twice; nothing was imported"),
        ("openai", "{}", "the file must be a JSON list of objects; nothing was imported"),
        ("openai", '[{"query": [1], "best": 0}]', "row 1: it must have sample0, sample1"),
        (
            "openai",
            OPENAI.replace("[4, 5", '["x", 5'),
            "row 2: query must be token ids, whole numbers from 0",
        ),
        (
            "openai",
            OPENAI.replace("[4, 5, 50259", "[4, 50259, 5"),
            "row 2: query has the id 50259; ids are below 26, other ones only at the end; nothing",
        ),
        (
            "openai",
            OPENAI.replace('"best": 2', '"best": 4'),
            r"row 1: best is \[4\]; this item's candidates are 0 to 3, each named once at most; nothing",
        ),
        ("openai", OPENAI.replace('"best": 2', '"best": true'), "row 1: best must be a whole number"),
        ("trl", TRL[:-20], "line 2: not a JSON object, or one that has a key twice; nothing was imported"),
        (
            "trl",
            '{"prompt": "a", "prompt": "b", "chosen": "", "rejected": ""}',
            "line 1: not a JSON object, or",
        ),
        ("trl", TRL + '{"prompt": 1}', "row 3: prompt must be text; nothing was imported"),
        ("trl", "[" * 100_000, "line 1: not a JSON object"),
        ("trl", "", "holds no labels of the format trl; nothing was imported"),
        (
            "hh",
            HH + '{"chosen": "a", "rejected": "b"}',
            'row 3: the dialogues share no "Assistant:"; nothing was',
        ),
        ("summaries", SUMMARIES.replace('"post"', '"x"'), "row 1: it must have a post or an article and two"),
        ("summaries", SUMMARIES.replace('" A"', "1"), "row 1: it must have a post or an article and two"),
        (
            "summaries",
            SUMMARIES.replace('"choice": 1', '"choice": "1"'),
            "row 1: choice must be a whole number",
        ),
        (
            "summaries",
            SUMMARIES.replace('"choice": 1', '"choice": 2'),
            r"row 1: best is \[2\]; .*; nothing was",
        ),
        (
            "summaries",
            SUMMARIES.replace("w7", "w" * 101),
            "row 1: labeller must be a name of 1 to 100 characters; nothing was imported",
        ),
        (
            "summaries",
            SUMMARIES.replace('{"id"', '[{"id"').replace('"s"}', '"s"}]'),
            "row 1: info must be an obj",
        ),
        ("csv", "a,b\r\n", "the first row must be kind,query"),
        ("csv", "", "the first row must be kind,query"),
    ],
)
def test_damaged_files_change_nothing(tmp_path: Path, form: str, content: str, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content.encode())
    with full(tmp_path) as store:
        before = write(store, "csv")
        with pytest.raises(DataError, match=words):
            read(path, store, form)
        assert write(store, "csv") == before


HALF = {
    "openai": OPENAI.replace('"best": 0', '"best": 0, "note": "\\ud800"', 1),
    "trl": TRL.replace(" Because é.", "\\ud800"),
    "hh": HH.replace("Hello", "\\ud800").replace("Deer", "\\ud800"),
    "summaries": SUMMARIES.replace("T", "\\ud800"),
}


@pytest.mark.parametrize("form", HALF)
def test_half_a_surrogate_pair_is_refused(tmp_path: Path, form: str) -> None:
    row = 2 if form == "openai" else 1
    (tmp_path / "file").write_text(HALF[form])
    words = (
        rf"row {row}: it has the lone surrogate U\+D800, which is not valid Unicode; remove it; nothing was"
    )
    with pytest.raises(DataError, match=words):
        exchange.read(tmp_path / "file", form=form, vocabulary=LETTERS)


CELLS = [
    ("best", '["x"]', "must be a list of whole numbers from 0, such as [0, 2]"),
    ("best", '"0"', "must be a list of whole numbers"),
    ("best", "[[0]]", "must be a list of whole numbers"),
    ("best", "[0.5]", "must be a list of whole numbers"),
    ("best", "[true]", "must be a list of whole numbers"),
    ("best", "[0, 2", "must be a list of whole numbers"),
    ("best", "[" * 100_000, "must be a list of whole numbers"),
    ("best", "[7]", "candidates are 0 to 2, each named once at most"),
    ("order", '"x"', "must be a list of whole numbers"),
    ("query_ids", "[1.5]", "must be a list of whole numbers"),
    ("query_ids", '"ab"', "must be a list of whole numbers"),
    ("gold", '["x"]', "must be a list of whole numbers"),
    ("gold", "[9]", "candidates are 0 to 2, each named once at most"),
    ("item_meta", "[1]", 'must be an object, such as {"a": 1}'),
    ("item_meta", '"x"', "must be an object"),
    ("label_meta", "3", "must be an object"),
    ("label_meta", '{"a": "\\ud800"}', "it has the lone surrogate U+D800"),
    ("shown", '"yesterday"', "must be a number from 0 to 1e11"),
    ("shown", "NaN", "must be a number from 0 to 1e11"),
    ("shown", "1" * 400, "must be a number from 0 to 1e11"),
    ("answered", '"x"', "must be a number"),
    ("rating", "true", "must be a number"),
    ("repeat", "1", "must be true or false"),
    ("candidates", "null", "an item 'best' has 0 candidates; it must have 2 or more"),
    ("candidates", '[{"text": "a", "ids": null, "origin": [1]}]', 'must be a list of objects with "text"'),
    ("candidates", '[{"text": "a", "ids": [-1], "origin": {}}]', "must be a list of objects"),
    ("candidates", '[{"txt": "a", "ids": null, "origin": {}}]', "must be a list of objects"),
    ("candidates", "[3]", "must be a list of objects"),
    ("kind", "worst", "kind is 'worst'; it must be one of best, pair, rating"),
    ("kind", "pair", "an item 'pair' has 3 candidates; it must have 2"),
    ("kind", "rating", "an item 'rating' has 3 candidates; it must have 1"),
    ("verdict", "rating", "verdict is 'rating' on an item 'best'; it must be best, tie, bad or skip"),
    ("labeller", "n" * 101, "labeller must be a name of 1 to 100 characters"),
    ("request", "", "a label must have a request, any text that no other label has"),
]


@pytest.mark.parametrize(("column", "cell", "words"), CELLS)
def test_wrong_cells_are_named(tmp_path: Path, column: str, cell: str, words: str) -> None:
    with full(tmp_path) as store:
        table = list(csv.reader(io.StringIO(write(store, "csv"), newline="")))
    table[2][table[0].index(column)] = cell  # of bob's choice
    (tmp_path / "file.csv").write_text(exchange.FORMATS["csv"].join(table[1:]), newline="")
    with pytest.raises(DataError, match=f"^row 3: .*{re.escape(words)}.*; nothing was imported$") as found:
        exchange.read(tmp_path / "file.csv", form="csv", vocabulary=LETTERS)
    assert len(str(found.value)) < 400


def test_rows_of_another_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with full(tmp_path) as store:
        content = write(store, "csv")
    path = tmp_path / "file.csv"
    path.write_text(content + "\r\n\r\na,b\r\n", newline="")
    with pytest.raises(DataError, match="row 9: it has 2 cells; it must have 19; nothing was imported"):
        exchange.read(path, form="csv", vocabulary=LETTERS)
    path.write_text(content + "\r\n", newline="")
    assert len(exchange.read(path, form="csv", vocabulary=LETTERS)) == 5
    monkeypatch.setattr("inkfish.labels.exchange.table.LONGEST", 100)
    with pytest.raises(
        DataError, match="row 2: a cell has more than 100 characters; is a quotation mark miss"
    ):
        exchange.read(path, form="csv", vocabulary=LETTERS)
    csv.field_size_limit(1 << 26)


@pytest.mark.parametrize("form", FILES)
def test_marked_and_packed_files_are_read(tmp_path: Path, form: str) -> None:
    plain, marked, packed = (tmp_path / name for name in ("plain", "marked", "packed.gz"))
    plain.write_bytes(FILES[form].encode())
    marked.write_bytes(FILES[form].encode("utf-8-sig"))
    packed.write_bytes(gzip.compress(FILES[form].encode()))
    found = [exchange.read(path, form=form, vocabulary=LETTERS) for path in (plain, marked, packed)]
    assert found[0] == found[1] == found[2]


def test_a_table_as_spreadsheets_save_it(tmp_path: Path) -> None:
    with full(tmp_path) as store:
        (tmp_path / "t.csv").write_bytes(write(store, "csv").encode("utf-8-sig"))
        assert read(tmp_path / "t.csv", store, "csv") == (0, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{\xff\xfe", "is not UTF-8 at byte 1; convert it, for example with iconv -f latin1 -t utf-8"),
        (gzip.compress(b"text" * 99, mtime=0)[:-9], "is damaged, gzip can't unpack it; copy it again"),
        (b"\x1f\x8btext", "is damaged, gzip can't unpack it; copy it again"),
        (None, "can't be read: No such file or directory; check its name and rights"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=f"file {words}"):
        exchange.read(tmp_path / "file", form="trl", vocabulary=LETTERS)
