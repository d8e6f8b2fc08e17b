"""Token arrays for the old forks: what numpy loads, what reads them back, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from inkfish.data.documents import Rules, read
from inkfish.data.rules import BadRows
from inkfish.errors import DataError, SettingError
from inkfish.recipes import encode
from inkfish.recipes.encode import Config, run
from inkfish.tokenizer import Tokenizer


def test_what_the_forks_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nshepperd/gpt-2's load_dataset: `with np.load(path) as npz: for item in npz.files: npz[item]`."""
    monkeypatch.setattr(encode, "CHUNK", 20)
    texts = ["One é day the fox came home.", "Two.", "Three hens and a fox."]
    (tmp_path / "a.txt").write_text(texts[0] + "\n", "utf-8")
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in [*texts[1:], " "]))
    result = run(Config((tmp_path / "a.txt", tmp_path / "b.jsonl"), out=tmp_path / "out" / "c.npz"))
    with np.load(result.path) as arrays:
        found = [arrays[name] for name in arrays.files]
    gpt2 = Tokenizer.gpt2()
    expected = [[*gpt2.encode(texts[0]), 50256]]
    expected += [[i for text in texts[1:] for i in [*gpt2.encode(text), 50256]]]
    assert [array.tolist() for array in found] == expected
    assert all(array.ndim == 1 for array in found)
    assert (result.arrays, result.tokens) == (2, sum(map(len, expected)))
    assert "1 row left out: field 'text' is empty (line 3)" in result.notes[0]
    assert [part.text for part in read([result.path], Rules(), BadRows())] == texts


def test_refusals_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(DataError, match="there is no text in the files; look at them, or name others"):
        run(Config((tmp_path / "a.txt",), out=tmp_path / "b.npz"))
    with pytest.raises(SettingError, match=r"b\.bin; its name must end in \.npz"):
        run(Config((tmp_path / "a.txt",), out=tmp_path / "b.bin"))
    (tmp_path / "c.npz").write_bytes(b"mine")
    with pytest.raises(SettingError, match="exists; remove it or choose another name"):
        run(Config((tmp_path / "a.txt",), out=tmp_path / "c.npz"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "c.npz"]
