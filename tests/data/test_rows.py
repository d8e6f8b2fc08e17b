"""Tables, JSON lines, parquet and arrow as documents: columns, templates, prompts, bad rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inkfish.data.documents import BadRows, Part, Rules, read
from inkfish.data.prepare import prepare
from inkfish.errors import DataError, MissingExtraError, SettingError
from inkfish.tokenizer import Tokenizer


def texts(path: Path, rules: Rules | None = None, bad: BadRows | None = None) -> list[str]:
    return [part.text for part in read([path], rules or Rules(), bad if bad is not None else BadRows())]


def test_bios_in_mac_roman_with_bare_carriage_returns(tmp_path: Path) -> None:
    """As the character sheets that people fine-tune on come out of old spreadsheets."""
    rows = [
        "name,race,class,backstory",
        'Ásgeir,elf,bard,"Born in a “quiet” town.\rHe left."',
        "Ümit,,monk,",
        "",
        "short,row",
        ",,,",
    ]
    path = tmp_path / "bios.csv"
    path.write_bytes("\r".join(rows).encode("mac_roman"))
    bad = BadRows()
    found = texts(path, Rules(template="{race} {class} named {name}: {backstory}"), bad)
    assert found == ["elf bard named Ásgeir: Born in a “quiet” town.\nHe left.", "monk named Ümit:"]
    assert bad.messages() == [f"{path}: 1 row left out: 2 cells instead of 4 (line 6)"]


@pytest.mark.parametrize(
    ("name", "content", "rules"),
    [
        ("a.csv", "poem\none\ntwo\n", Rules()),
        ("a.csv", "id;text\n1;one\n2;two\n", Rules()),
        ("a.tsv", "id\tline\n1\tone\n2\ttwo\n", Rules(field="line")),
        ("a.csv", "one,x\ntwo,y\n", Rules(header=False, field="1")),
        ("a.csv", "one\ntwo\n", Rules(header=False)),
    ],
)
def test_a_column(tmp_path: Path, name: str, content: str, rules: Rules) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert texts(path, rules) == ["one", "two"]


@pytest.mark.parametrize("template", [None, "{text}"])
def test_the_mark_of_a_file_that_was_read_into_a_row_is_no_text(tmp_path: Path, template: str | None) -> None:
    rows = ["\ufeffone", "two", "th\ufeffree"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    (tmp_path / "b.csv").write_text('text\n"\ufefffour"\n')
    expected = ["one", "two", "th\ufeffree"]
    assert texts(tmp_path / "a.jsonl", Rules(template=template)) == expected
    assert texts(tmp_path / "b.csv", Rules(template=template)) == ["four"]


def test_a_cell_longer_than_the_limit_of_the_library(tmp_path: Path) -> None:
    path = tmp_path / "novels.csv"
    path.write_text("text\n" + "word " * 40_000 + "\n")
    assert sum(len(text) for text in texts(path)) == 40_000 * 5 - 1


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name,story\nx,y\n")
    with pytest.raises(DataError, match="has no column 'text' but name, story; name one with --field, or"):
        texts(path)
    with pytest.raises(DataError, match="has no column 'rase' but name, story"):
        texts(path, Rules(template="{rase} {name}"))


def test_a_row_that_the_library_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkfish.data.rows.LARGEST_CELL", 10)
    path = tmp_path / "a.csv"
    path.write_text("text\nshort\n" + "x" * 20 + "\nagain\n")
    bad = BadRows()
    assert texts(path, bad=bad) == ["short", "again"]
    assert bad.messages() == [f"{path}: 1 row left out: field larger than field limit (10) (line 3)"]


def test_prompts_and_completions(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Q: two?", "completion": "2"},
        {"prompt": "A poem\n", "completion": "Roses\n"},
        {"prompt": "none", "completion": " "},
        {"prompt": 3, "completion": "x"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    bad = BadRows()
    assert list(read([path], Rules(), bad)) == [
        Part("Q: two? 2", 0, True, 7),
        Part("A poem\nRoses", 1, True, 7),
    ]
    assert [reason for _, reason in bad.counts] == [
        "field 'completion' is empty",
        "field 'prompt' is no text",
    ]


def test_templates_for_prompt_and_completion(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"word": "cat", "means": "chat"}\n{"word": "dog"}\n{"word": "", "means": "x"}')
    bad = BadRows()
    parts = list(read([path], Rules(template="{word} =", completion="{means}"), bad))
    assert parts == [Part("cat = chat", 0, True, 5)]
    assert [reason for _, reason in bad.counts] == ["no field 'means'", "'word' empty"]
    with pytest.raises(SettingError, match="completion needs a template, which is the prompt"):
        Rules(completion="{means}")


def test_parquet_and_arrow(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra [parquet] is not installed")
    pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": ["one", None, "two"], "id": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pyarrow.ipc.new_stream(tmp_path / "a.arrow", table.schema) as out:
        out.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        bad = BadRows()
        assert texts(tmp_path / name, Rules(template="{id} {text}"), bad) == ["1 one", "2", "3 two"]
        assert texts(tmp_path / name, bad=bad) == ["one", "two"]
        assert bad.messages() == [f"{tmp_path / name}: 1 row left out: field 'text' is no text (line 2)"]
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match="is no readable"):
            texts(tmp_path / name)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.ipc", None)
    with pytest.raises(MissingExtraError, match=r"reading parquet and arrow files needs .* \[parquet\]"):
        texts(tmp_path / name)


def test_a_prompt_is_in_the_store_and_its_loss_does_not_count(tmp_path: Path) -> None:
    tokenizer = Tokenizer.gpt2()
    words = ["a red ball", "the blue sea", "some old tree", "my warm house"]
    rows = [{"prompt": f"Number {i} is", "completion": word} for i, word in enumerate(words)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    store = prepare([path], tokenizer, tmp_path / "store", validation_share=0).train
    learned = store.trainable(0, len(store.ids))
    read_only = tokenizer.decode(store.ids[~learned].tolist())
    assert read_only == "".join(row["prompt"] for row in rows)
    assert tokenizer.decode(store.ids[learned].tolist()).count("<|endoftext|>") == 5
    assert len(store) == 5
