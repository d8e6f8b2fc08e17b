"""Files from elsewhere: nothing outside their folder is opened, nothing but strict JSON is taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from inkfish import untrusted
from inkfish.errors import ModelError


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "x\0.safetensors", "x" * 4096, "%2e%2e/x"]
)
def test_names_that_are_no_plain_file_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="must be a plain name in the folder") as caught:
        untrusted.member(tmp_path, name)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_missing_file_is_none(tmp_path: Path) -> None:
    assert untrusted.member(tmp_path, "config.json") is None


def test_links(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "real").write_text("x")
    (folder / "inside").symlink_to("real")
    (folder / "out").symlink_to("../outside")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    assert untrusted.member(folder, "inside") == folder / "inside"
    with pytest.raises(ModelError, match="outside the folder; copy the file into the folder"):
        untrusted.member(folder, "out")
    for name in ("dangling", "loop"):
        with pytest.raises(ModelError, match="is a link to a file that does not exist"):
            untrusted.member(folder, name)


def test_the_hub_cache_links_to_its_own_blobs_only(tmp_path: Path) -> None:
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "blobs" / "123").write_text("x")
    (cache / "refs").write_text("x")
    (snapshot / "config.json").symlink_to("../../blobs/123")
    (snapshot / "other.json").symlink_to("../../refs")
    assert untrusted.member(snapshot, "config.json") == snapshot / "config.json"
    with pytest.raises(ModelError, match="outside the folder"):
        untrusted.member(snapshot, "other.json")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "config.json")
    with pytest.raises(ModelError, match="is not a regular file"):
        untrusted.member(tmp_path, "config.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not UTF-8 at byte 0; copy the file again"),
        (b'\xef\xbb\xbf{"a": 1}', "is not JSON (Unexpected UTF-8 BOM"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1, "a": 2}', "a key stands there twice"),
        (b'{"a": {"b": 1, "b": 1}}', "a key stands there twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[1]", "holds a JSON list; it must be an object"),
        (b"null", "holds a JSON NoneType; it must be an object"),
        (b'{"a": 1} x', "is not JSON"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ModelError) as caught:
        untrusted.read_object(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_of_any_size_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(ModelError, match=r"has 200,000,000 bytes; the limit is 1,048,576"):
        untrusted.read_object(path)


def test_json_of_many_entries_is_refused_unparsed() -> None:
    for text in (b'{"a":' + b"[" * (1 << 20) + b"1", b'{"a":' * ((1 << 19) + 1)):
        with pytest.raises(ModelError, match=r"x has more than 524,288 entries; is it the right file\?"):
            untrusted.parse_object(text, "x")


def test_shown_names_stay_on_one_short_line() -> None:
    assert untrusted.shown("h.0.ln_1.weight") == "h.0.ln_1.weight"
    assert untrusted.shown("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert untrusted.shown("x" * 500) == "x" * 97 + "..."


def test_files_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")

    def refuse(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        ModelError, match=r"config.json can't be read: Permission denied; copy the file again"
    ):
        untrusted.read_object(tmp_path / "config.json")
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ModelError, match=r"config.json can't be opened: Permission denied; check its rights"):
        untrusted.member(tmp_path, "config.json")
