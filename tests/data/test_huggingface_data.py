"""Data sets of the hub by name, through the real library where it needs no network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inkfish.data.documents import Rules, read
from inkfish.data.files import find
from inkfish.data.huggingface import Named, parsed
from inkfish.data.prepare import prepare
from inkfish.data.rules import BadRows
from inkfish.errors import DataError, MissingExtraError
from inkfish.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:imdb", Named("imdb", None, "train")),
        ("hf:a-b/c.d", Named("a-b/c.d", None, "train")),
        ("hf://datasets/a/b", Named("a/b", None, "train")),
        ("hf:a/b:wiki-2:test", Named("a/b", "wiki-2", "test")),
        ("hf:a/b::test", Named("a/b", None, "test")),
    ],
)
def test_names(name: str, expected: Named) -> None:
    assert parsed(Path(name)) == expected


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:a/b:c:train[:1%]", "hf:a b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(DataError, match="names no data set; write hf:OWNER/NAME"):
        find([name])


def test_a_data_set_is_fetched_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes a folder of the name for the data set, so this needs no network."""
    datasets = pytest.importorskip("datasets", reason="the extra [datasets] is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "us" / "poems"
    folder.mkdir(parents=True)
    for split, words in (("train", ["a red fox", "the blue sea"]), ("test", ["some old tree"])):
        rows = [{"verse": word, "line": number} for number, word in enumerate(words)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def texts(name: str) -> list[str]:
        rules = Rules(template="{line} {verse}")
        return [part.text for part in read(find([name]), rules, BadRows())]

    assert texts("hf:us/poems") == ["0 a red fox", "1 the blue sea"]
    assert texts("hf:us/poems::test") == ["0 some old tree"]
    found = prepare(["hf:us/poems"], Tokenizer.gpt2(), tmp_path / "store", rules=Rules(field="verse"))
    assert found.documents == 2
    with pytest.raises(DataError, match=r"hf:us/poems::valid can't be fetched: .*valid.*; check name and"):
        find(["hf:us/poems::valid"])


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach 'a/b'\n on the Hub." + " really" * 100)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataError) as caught:
        find(["hf:a/b"])
    assert str(caught.value).startswith("hf:a/b can't be fetched: Couldn't reach 'a/b' on the Hub. really")
    assert str(caught.value).endswith("…; check name and network")
    assert "\n" not in str(caught.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra \[datasets\]: pip install"):
        find(["hf:a/b"])


def test_a_name_without_its_mark_is_answered_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"^a/b-c does not exist; check the path, or is it the data set hf:a/b-c\?$"
    ):
        find(["a/b-c"])
