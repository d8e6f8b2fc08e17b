"""Preparing stores: exact ids, nothing in both halves, reused until the input changes, small in memory."""

from __future__ import annotations

import json
import random
import resource
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from inkfish.data.documents import Rules
from inkfish.data.prepare import Prepared, prepare, texts
from inkfish.data.preview import preview
from inkfish.data.store import TokenStore
from inkfish.errors import DataError, SettingError
from inkfish.recipes.tokenizer import train
from inkfish.tokenizer import Tokenizer

RNG = random.Random(3)
WORDS = ["".join(RNG.choices("abcdefghijkl", k=5)) for _ in range(500)]


@cache
def vocabulary() -> Tokenizer:
    return Tokenizer(train(WORDS * 3, vocab_size=500))


def sentence(count: int = 12) -> str:
    return " ".join(RNG.choices(WORDS, k=count)).capitalize() + "."


def story(paragraphs: int) -> str:
    return "\n\n".join(" ".join(sentence() for _ in range(4)) for _ in range(paragraphs))


def rows(path: Path, stories: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in stories))
    return path


def ids(stories: list[str]) -> list[int]:
    """What a store should hold: the end token, and after each document again."""
    end = vocabulary().end
    assert end is not None
    return [end, *(i for text in stories for i in [*vocabulary().encode(text.strip()), end])]


def pieces(store: TokenStore) -> set[str]:
    """All sentences in a store."""
    text = vocabulary().decode(store.ids.tolist()).replace("<|endoftext|>", "\n\n")
    return {line.strip() for line in text.replace(". ", ".\n").split("\n") if line.strip()}


@pytest.mark.parametrize("part", [600, 16_384])
def test_without_validation_the_ids_are_those_of_the_documents(tmp_path: Path, part: int) -> None:
    stories = [story(6), f"\n {story(3)} \n", sentence(), "é“”x"]
    files = [rows(tmp_path / "a.jsonl", stories[:2]), tmp_path / "b.txt", tmp_path / "c.txt"]
    for file, text in zip(files[1:], stories[2:], strict=True):
        file.write_text(text)
    prepared = prepare(files, vocabulary(), tmp_path / "out", rules=Rules(part=part), validation_share=0)
    assert prepared.train.ids.tolist() == ids(stories)
    assert len(prepared.train) == 1 + 4
    assert prepared.validation is None
    assert (prepared.files, prepared.documents) == (3, 4)
    assert prepared.words == sum(len(text.split()) for text in stories)
    assert Tokenizer.load(prepared.folder).fingerprint == prepared.train.tokenizer


def test_validation_shares_no_sentence_with_training(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text(story(400))
    rows(tmp_path / "tales.jsonl", [story(5) for _ in range(50)])
    prepared = prepare([tmp_path / "novel.txt", tmp_path / "tales.jsonl"], vocabulary(), tmp_path / "out")
    assert prepared.validation is not None
    train, validation = pieces(prepared.train), pieces(prepared.validation)
    assert len(train & validation) == 0
    assert len(train | validation) == 4 * (400 + 250)
    share = len(prepared.validation.ids) / (len(prepared.validation.ids) + len(prepared.train.ids))
    assert 0.02 < share < 0.1
    assert vocabulary().end in (prepared.validation.ids[0], prepared.validation.ids[-1])


def test_a_seam_where_a_part_was_held_out_is_closed(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text(story(100))
    prepared = prepare([tmp_path / "novel.txt"], vocabulary(), tmp_path / "out", validation_share=0.2)
    assert prepared.validation is not None
    for store in (prepared.train, prepared.validation):
        documents = [vocabulary().decode(store[i].tolist()) for i in range(1, len(store))]
        assert len(documents) > 3
        assert all(text.endswith(".<|endoftext|>") and not text[0].isspace() for text in documents)


def test_near_duplicates_are_left_out_before_the_split(tmp_path: Path) -> None:
    stories = [story(4) for _ in range(20)]
    copies = [text.replace("a", "o", 1) for text in stories[:8]]
    prepared = prepare(
        [rows(tmp_path / "a.jsonl", stories + copies)], vocabulary(), tmp_path / "out", rules=Rules(part=9999)
    )
    plain = prepare([rows(tmp_path / "b.jsonl", stories)], vocabulary(), tmp_path / "out", validation_share=0)
    assert prepared.validation is not None
    assert prepared.near_duplicates >= 8
    assert abs(len(prepared.train.ids) + len(prepared.validation.ids) - len(plain.train.ids)) < 20


def test_rows_with_a_completion_may_be_alike_but_not_equal(tmp_path: Path) -> None:
    question = sentence(30)
    pairs = [{"prompt": f"{question} {n}?", "completion": f"{n * 7} of them"} for n in range(9)]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, [*pairs, *pairs[:2]])))

    def kept(**changes: bool) -> Prepared:
        rules = Rules(**changes)  # type: ignore[arg-type]
        return prepare([file], vocabulary(), tmp_path / "out", rules=rules, validation_share=0)

    found, every = kept(), kept(keep_duplicates=True)
    assert (found.near_duplicates, len(found.train)) == (2, 1 + 9)
    assert (every.near_duplicates, len(every.train)) == (0, 1 + 11)
    assert not every.reused
    (tmp_path / "b.txt").write_text(f"{question} = one\n{question} = two\n{question} = one\n")
    rules = Rules(form="pairs")
    two = prepare([tmp_path / "b.txt"], vocabulary(), tmp_path / "out", rules=rules, validation_share=0)
    assert (two.near_duplicates, len(two.train)) == (1, 1 + 2)


def test_kept_duplicates_are_on_one_side_of_the_split(tmp_path: Path) -> None:
    stories = [story(4) for _ in range(20)]
    rules = Rules(keep_duplicates=True)
    file = rows(tmp_path / "a.jsonl", stories * 3)
    prepared = prepare([file], vocabulary(), tmp_path / "out", rules=rules, validation_share=0.2)
    assert prepared.validation is not None
    train, held = pieces(prepared.train), pieces(prepared.validation)
    assert not train & held
    assert len(train | held) == 20 * 4 * 4
    assert vocabulary().decode(prepared.train.ids.tolist()).count(min(train)) == 3


def test_equal_input_is_reused_and_changed_input_is_not(tmp_path: Path) -> None:
    file = rows(tmp_path / "a.jsonl", [story(4) for _ in range(10)])

    def again(**changes: float) -> Prepared:
        return prepare([file], vocabulary(), tmp_path / "out", **changes)  # type: ignore[arg-type]

    first = again()
    assert not first.reused
    second = again()
    assert second.reused
    assert second.train.fingerprint == first.train.fingerprint
    assert not again(validation_share=0.2).reused
    file.write_text(file.read_text() + json.dumps({"text": sentence()}) + "\n")
    third = again()
    assert not third.reused
    assert third.train.fingerprint != first.train.fingerprint


@pytest.mark.parametrize("name", ["train.bin", "validation-text.bin", "prepared.json", "train.json"])
def test_a_damaged_store_is_built_again(tmp_path: Path, name: str) -> None:
    file = rows(tmp_path / "a.jsonl", [story(4) for _ in range(10)])
    first = prepare([file], vocabulary(), tmp_path / "out")
    damaged = first.folder / name
    damaged.write_bytes(damaged.read_bytes()[:-2])
    second = prepare([file], vocabulary(), tmp_path / "out")
    assert not second.reused
    assert second.train.fingerprint == first.train.fingerprint


def test_too_short_to_hold_out_any(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(sentence())
    assert prepare([tmp_path / "a.txt"], vocabulary(), tmp_path / "out").validation is None


def test_bad_rows_are_told(tmp_path: Path) -> None:
    file = rows(tmp_path / "a.jsonl", [story(3)])
    file.write_text(file.read_text() + "oops\n")
    assert prepare([file], vocabulary(), tmp_path / "out").bad_rows == (
        f"{file}: 1 row left out: not JSON (line 2)",
    )


def test_data_without_text_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    (tmp_path / "b.jsonl").write_text('{"title": "x"}\n')
    with pytest.raises(DataError) as error:
        prepare([tmp_path / "a.txt", tmp_path / "b.jsonl"], vocabulary(), tmp_path / "out")
    assert str(error.value) == (
        f"{tmp_path}/a.txt and 1 more: no text to train on "
        f"({tmp_path}/b.jsonl: 1 row left out: no field 'text' (line 1)); "
        "name files with text, or the field that holds it"
    )
    assert list((tmp_path / "out").iterdir()) == []


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse longer files, as a full disk would."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room", [100, 5000])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, room: int) -> None:
    file = rows(tmp_path / "a.jsonl", [story(10) for _ in range(10)])
    with (
        files_of_at_most(room),
        pytest.raises(DataError, match=r"can't write.*\(File too large\); free space or"),
    ):
        prepare([file], vocabulary(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    file = rows(tmp_path / "a.jsonl", [story(2)])
    with pytest.raises(DataError, match=r"a\.jsonl: can't write \(Not a directory\); free"):
        prepare([file], vocabulary(), file)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_outside_its_limits_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(SettingError, match=rf"validation_share is {share}; it must be from 0 to below 1"):
        prepare([tmp_path], vocabulary(), tmp_path, validation_share=share)


def test_texts_streams_what_a_vocabulary_is_trained_on(tmp_path: Path) -> None:
    stories = [story(3), story(2)]
    rows(tmp_path / "a.jsonl", stories)
    assert list(texts([tmp_path])) == stories


def test_memory_does_not_grow_with_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times the text takes hardly more: little is kept of each part, and shingles are thinned out."""
    monkeypatch.setattr("inkfish.data.prepare.SHINGLE_BYTES", 1 << 14)

    def peak(name: str, paragraphs: int) -> int:
        with (tmp_path / name).open("w") as out:
            for _ in range(paragraphs):
                out.write(story(1) + "\n\n")
        tracemalloc.start()
        prepare([tmp_path / name], vocabulary(), tmp_path / "out", rules=Rules(part=2000))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak("warm.txt", 10)
    assert peak("long.txt", 4000) < 1.5 * peak("short.txt", 500)


def test_preview_shows_tokens_borders_and_mask(tmp_path: Path) -> None:
    first_word, second_word = list(vocabulary().vocabulary.ranked)[-2:]
    (tmp_path / "a.txt").write_bytes(first_word + b"\n!")
    (tmp_path / "b.txt").write_bytes(second_word)
    prepared = prepare(
        [tmp_path / "a.txt", tmp_path / "b.txt"], vocabulary(), tmp_path / "out", validation_share=0
    )
    first, second = preview(prepared.train, vocabulary(), windows=5, length=4)
    words = [first_word.decode(), second_word.decode()]
    assert first.texts == ["<|endoftext|>", words[0], "\n", "!"]
    assert first.begins == [True, True, False, False]
    assert first.trainable == [True] * 4
    assert (second.start, second.texts) == (4, ["<|endoftext|>", words[1], "<|endoftext|>"])
    assert second.begins == [False, True, False]
    assert first.ids + second.ids == prepared.train.ids.tolist()


def test_each_path_counts_equally(tmp_path: Path) -> None:
    """Of a folder and a file the smaller one is repeated in its own order; nothing held out comes back."""
    (tmp_path / "small").mkdir()
    small, large = [sentence() for _ in range(4)], [sentence() for _ in range(30)]
    rows(tmp_path / "small" / "a.jsonl", small[:1])
    rows(tmp_path / "small" / "b.jsonl", small[1:])
    paths = [tmp_path / "small", rows(tmp_path / "large.jsonl", large)]

    def found(paths: list[Path], share: float = 0.0, *, equalise: bool = True) -> Prepared:
        rules = Rules(equalise=equalise)
        return prepare(paths, vocabulary(), tmp_path / "out", rules=rules, validation_share=share)

    store = found(paths).train
    packed = ids([*small, *large])
    assert store.ids[: len(packed)].tolist() == packed
    again = ids(small * 30)[1:][: len(store.ids) - len(packed)]
    assert store.ids[len(packed) :].tolist() == again
    share = len(ids(small)) + len(again)
    assert 0 <= share - len(ids(large)) < 60
    assert found(paths, equalise=False).train.ids.tolist() == packed
    held = found(paths, 0.3)
    assert held.validation is not None
    assert not pieces(held.train) & pieces(held.validation)
    with pytest.raises(SettingError, match="equalise is for two files or folders and more; name another"):
        found(paths[:1])
