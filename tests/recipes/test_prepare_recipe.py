"""Preparers: rows that fine-tuning reads, what is said about files, and every refusal."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from inkfish.data.documents import BadRows, Rules, read
from inkfish.errors import DataError, MissingExtraError, ModelError, SettingError
from inkfish.recipes.prepare import Bios, Poems, Screenplay, bios, poems, screenplay


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def sheet(path: Path) -> Path:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra [documents] is not installed")
    book = openpyxl.Workbook()
    for row in (
        ("timestamp", "name", "class", "level", "story"),
        (datetime(2026, 1, 2), "Ásgeir", "bard", 3.0, "Born in\na quiet town."),
        (date(2026, 1, 3), "Ümit", "monk", 2.5, None),
        (None, None, None, None, None),
    ):
        book.active.append(row)
    book.save(path)
    return path


def test_poems(tmp_path: Path) -> None:
    (tmp_path / "poems").mkdir()
    (tmp_path / "poems" / "a.txt").write_text("The Fox\n\nHe went,\nout.\n\n\nSnow\n\nWhite.\n")
    result = poems(Poems((tmp_path / "poems",), out=tmp_path / "out.jsonl"))
    assert rows(result.path)[0] == {
        "title": "The Fox",
        "author": "",
        "text": "The Fox\n\nHe went,\nout.",
        "file": "a.txt",
    }
    assert (result.rows, result.sample, result.notes) == (2, "The Fox\n\nHe went,\nout.", ())
    parts = list(read([result.path], Rules(prefix="{title}|", line_prefix="{file} "), BadRows()))
    assert parts[1].text == "Snow|a.txt Snow\n\na.txt White."


def test_many_stanzas_may_be_poems(tmp_path: Path) -> None:
    path = tmp_path / "haiku.txt"
    path.write_text("old pond\na frog\n\n" * 30)
    said = poems(Poems((path,), out=tmp_path / "one.jsonl")).notes
    assert said == (f"{path}: one poem of 30 stanzas; if each is a poem: --parted-by blank",)
    assert poems(Poems((path,), out=tmp_path / "all.jsonl", parted_by="blank")).rows == 30


def test_screenplay(tmp_path: Path) -> None:
    path = tmp_path / "a.fountain"
    path.write_text("Title: Lamp\n\nINT. HALL\n\nANNA\nHello.\n\nEXT. ROAD\n\nBEN\nBye.\n\nANNA\nNo.\n")
    result = screenplay(Screenplay((path,), out=tmp_path / "out.jsonl", each="scene"))
    assert rows(result.path)[1] == {
        "title": "Lamp",
        "scene": "EXT. ROAD",
        "characters": "BEN, ANNA",
        "text": "EXT. ROAD\n\nBEN\nBye.\n\nANNA\nNo.",
        "file": "a.fountain",
    }
    assert screenplay(Screenplay((path,), out=tmp_path / "whole.jsonl")).rows == 1
    (tmp_path / "novel.txt").write_text("It was late. Nobody spoke.")
    result = screenplay(Screenplay((tmp_path / "novel.txt",), out=tmp_path / "novel.jsonl"))
    assert result.notes == (f"{tmp_path / 'novel.txt'}: nobody speaks in it; is it a script?",)


def test_bios(tmp_path: Path) -> None:
    path = sheet(tmp_path / "bios.xlsx")
    result = bios(Bios((path,), out=tmp_path / "all.jsonl"))
    assert [row["text"] for row in rows(result.path)] == [
        "timestamp: 2026-01-02\nname: Ásgeir\nclass: bard\nlevel: 3\nstory: Born in\na quiet town.",
        "timestamp: 2026-01-03\nname: Ümit\nclass: monk\nlevel: 2.5",
    ]
    result = bios(Bios((path,), out=tmp_path / "some.jsonl", columns=("class", "name")))
    assert result.sample == "class: bard\nname: Ásgeir"
    template = "{class} named {name}: {story}"
    result = bios(Bios((path,), out=tmp_path / "template.jsonl", template=template))
    assert rows(result.path)[1]["text"] == "monk named Ümit:"
    parts = [part.text for part in read([path], Rules(template=template), BadRows())]
    assert parts == [row["text"] for row in rows(result.path)]


def test_bad_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name,class\nAnna,bard\nshort\n")
    result = bios(Bios((path,), out=tmp_path / "out.jsonl"))
    assert result.notes == (f"{path}: 1 row left out: 1 cells instead of 2 (line 3)",)


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, out = tmp_path / "a.txt", tmp_path / "out.jsonl"
    text.write_text("A line\n")
    with pytest.raises(SettingError, match=r"out is .*out\.txt; its name must end in \.jsonl"):
        poems(Poems((text,), out=tmp_path / "out.txt"))
    with pytest.raises(SettingError, match="parted_by is 'line'; choose one of auto, file"):
        Poems((text,), out=out, parted_by="line")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="each is 'page'; choose one of script, scene"):
        Screenplay((text,), out=out, each="page")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="template and columns exclude each other"):
        Bios((text,), out=out, template="{a}", columns=("a",))
    with pytest.raises(DataError, match=r"a\.txt is no table; name a file of the kinds \.csv, \.tsv, \.xlsx"):
        bios(Bios((text,), out=out))
    (tmp_path / "a.csv").write_text("name,class\nAnna,bard\n")
    with pytest.raises(DataError, match=r"has no column 'race' but name, class"):
        bios(Bios((tmp_path / "a.csv",), out=out, columns=("race",)))
    text.write_text(" \n")
    with pytest.raises(DataError, match="there is no poem in the files; look at them"):
        poems(Poems((text,), out=out))
    (tmp_path / "bad.jsonl").write_text('{"text": "x"}\nnot\n')
    with pytest.raises(DataError, match=r"1 row left out: not JSON \(line 2\)"):
        poems(Poems((tmp_path / "bad.jsonl",), out=out))
    with pytest.raises(ModelError, match=r"can't write"):
        poems(Poems((tmp_path / "bad.jsonl",), out=text / "x" / "out.jsonl"))
    assert not out.exists()
    out.write_text("")
    with pytest.raises(SettingError, match="exists; remove it or choose another name"):
        poems(Poems((text,), out=out))


def test_a_spreadsheet_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"a\.xlsx is no spreadsheet that can be read \(.*\); save it again"):
        list(read([path], Rules(), BadRows()))
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match=r"reading \.xlsx needs the extra \[documents\]"):
        list(read([path], Rules(), BadRows()))
