"""Which files are read, and how they become text."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from inkfish.data.files import detect_encoding, digest, find, kind_of, open_text
from inkfish.errors import DataError

FRENCH = "Où êtes-vous, chère âme ? « Ça va », dit-elle : l’été…\n"


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")


def read(path: Path, encoding: str | None = None) -> str:
    with open_text(path, encoding) as file:
        return file.read()


def test_files_folders_and_patterns_are_found_once_in_order(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "z.txt",
        "a/2.txt",
        "a/1.jsonl.gz",
        "a/b/3.md",
        "a/.hidden.txt",
        "a/.git/x.txt",
        "a/p.png",
        "q.css",
    )
    found = find([tmp_path / "q.css", tmp_path / "a", str(tmp_path / "*.txt"), tmp_path / "a" / "2.txt"])
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "q.css",
        "a/1.jsonl.gz",
        "a/2.txt",
        "a/b/3.md",
        "z.txt",
    ]


def test_a_pattern_may_be_relative_and_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/b/1.txt", "a/2.txt")
    monkeypatch.chdir(tmp_path)
    assert find(["**/*.txt"]) == [Path("a/2.txt"), Path("a/b/1.txt")]


def test_a_name_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    fill(tmp_path, "[1].txt")
    assert find([tmp_path / "[1].txt"]) == [tmp_path / "[1].txt"]


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "pictures/a.png")
    with pytest.raises(DataError, match=r"nothing\.txt does not exist; check the path"):
        find([tmp_path / "nothing.txt"])
    with pytest.raises(DataError, match=r"\*\.txt matches no file; check the pattern"):
        find([tmp_path / "*.txt"])
    with pytest.raises(
        DataError, match=r"pictures holds no \.docx, .* among 1 files; name the files to read"
    ):
        find([tmp_path / "pictures"])


@pytest.mark.parametrize(
    ("name", "kind"), [("a.TXT", ".txt"), ("a.b.jsonl.gz", ".jsonl"), ("a", ""), ("x.gz", "")]
)
def test_the_suffix_that_counts(name: str, kind: str) -> None:
    assert kind_of(Path(name)) == kind


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "mac_roman"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_are_detected(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = FRENCH.encode(encoding)
    path = tmp_path / ("x.txt.gz" if packed else "x.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read(path) == FRENCH


def test_utf8_is_detected_across_blocks_and_doubted_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"a" * ((1 << 20) - 1) + "é".encode() + b"b" * 100)
    assert detect_encoding(path) == "utf-8"
    path.write_bytes(b"a" * 10 + "é".encode()[:1])
    assert detect_encoding(path) == "cp1252"
    path.write_bytes(b"a" * (1 << 21) + "l’été".encode("mac_roman"))
    assert detect_encoding(path) == "mac_roman"


def test_a_given_encoding_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("žluťoučký".encode("cp1250"))
    assert read(tmp_path / "x.txt", "cp1250") == "žluťoučký"


def test_line_ends_become_newlines(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"a\rb\r\nc\n")
    assert read(tmp_path / "x.txt") == "a\nb\nc\n"


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    binary, wrong, cut = tmp_path / "b.txt", tmp_path / "w.txt", tmp_path / "c.txt.gz"
    binary.write_bytes(b"PNG\0\0")
    wrong.write_bytes(b"caf\xe9")
    cut.write_bytes(gzip.compress(os.urandom(10_000))[:-20])
    with pytest.raises(
        DataError, match=r"b\.txt is binary, not text; if it is UTF-16 or UTF-32, name the encoding"
    ):
        read(binary)
    with pytest.raises(DataError, match=r"w\.txt is not in utf-8: byte 0xe9; give another encoding"):
        read(wrong, "utf-8")
    with pytest.raises(DataError, match=r"c\.txt\.gz is damaged \(.*\); unpack or copy it again"):
        read(cut)
    with pytest.raises(DataError, match="'klingon' is no encoding; use one such as utf-8"):
        read(wrong, "klingon")
    with pytest.raises(DataError, match=r"gone\.txt: can't be read \(No such file or directory\)"):
        read(tmp_path / "gone.txt")


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert digest(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_a_saved_data_set_stands_for_its_training_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "state.json").write_text("{}")
        for name in ("data-00001-of-00002.arrow", "data-00000-of-00002.arrow"):
            (tmp_path / split / name).write_bytes(b"")
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert [file.name for file in find([tmp_path])] == [
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]
    assert {file.parent.name for file in find([tmp_path])} == {"train"}
    assert {file.parent.name for file in find([tmp_path / "test"])} == {"test"}
