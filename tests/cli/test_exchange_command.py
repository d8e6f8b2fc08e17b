"""`inkfish prefer import` and `export`: what they say, and what a refusal leaves behind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Store

Inkfish = Callable[..., Any]
ROW = '{"prompt": "Why?", "chosen": " Because.", "rejected": " No.", "score": 1.5}\n'


def test_a_refused_import_makes_no_store(inkfish: Inkfish, tmp_path: Path) -> None:
    file, store = tmp_path / "rows.jsonl", tmp_path / "new" / "labels.sqlite"
    file.write_text(ROW + '{"prompt": 1}')
    found = inkfish("prefer", "import", str(file), "--form", "trl", "--store", str(store))
    assert (found.code, found.out) == (2, "")
    assert "row 2: prompt must be text; nothing was imported" in found.err
    assert not store.parent.exists()


def test_a_packed_file_comes_in_once_and_goes_out_as_it_was(inkfish: Inkfish, tmp_path: Path) -> None:
    file, store, out = tmp_path / "rows.jsonl.gz", tmp_path / "labels.sqlite", tmp_path / "out.jsonl"
    file.write_bytes(gzip.compress(ROW.encode()))
    for count in (1, 0):
        found = inkfish("prefer", "import", str(file), "--form", "trl", "--store", str(store))
        assert found.code == 0
        assert f"{count} items and {count} labels are new in {store}" in found.err
    found = inkfish("prefer", "export", str(out), "--form", "trl", "--store", str(store))
    assert (found.code, out.read_text()) == (0, ROW)
    assert f"1 rows written to {out}" in found.err
    assert "left out" not in found.err


def test_an_export_says_what_it_leaves_out(inkfish: Inkfish, tmp_path: Path) -> None:
    item = Item("best", "q", (Candidate("a"), Candidate("b"), Candidate("c")))
    out = tmp_path / "out.json"
    with Store(tmp_path / "s", create=True) as store:
        store.add([item], [Label("1", item.key, "ann", "tie", (0, 1)), Label("2", item.key, "bob", "skip")])
    out.write_text("kept")
    command = ("prefer", "export", str(out), "--store", str(tmp_path / "s"), "--form")
    for form in ("openai", "trl", "summaries", "hh"):
        found = inkfish(*command, form)
        assert found.code == 2
        assert f"holds nothing that the format {form} has room for, of labels 1 skip, 1 tie" in found.err
        assert len(found.err.strip().splitlines()) == 1
        assert out.read_text() == "kept"
    with Store(tmp_path / "s") as store:
        store.add([], [Label("3", item.key, "cat", "best", (2,))])
    found = inkfish(*command, "openai")
    assert found.code == 0
    assert json.loads(out.read_text())[0]["best"] == 2
    assert "1 rows written" in found.err
    assert "labels left out, as openai has no room for them: 1 skip, 1 tie" in found.err


def test_a_place_that_can_not_be_written(inkfish: Inkfish, tmp_path: Path) -> None:
    file, store = tmp_path / "rows.jsonl", str(tmp_path / "s")
    file.write_text(ROW)
    assert inkfish("prefer", "import", str(file), "--form", "trl", "--store", store).code == 0
    found = inkfish("prefer", "export", str(tmp_path), "--form", "trl", "--store", store)
    assert found.code == 2
    assert f"{tmp_path} can't be written: Is a directory; name a file elsewhere" in found.err


def test_each_shows_its_own_examples(inkfish: Inkfish) -> None:
    for name, other in (("import", "export"), ("export", "import")):
        shown = inkfish("prefer", name, "--help").out
        assert f"inkfish prefer {name} labels." in shown
        assert f"inkfish prefer {other} " not in shown
        assert "inkfish prefer sample" not in shown
