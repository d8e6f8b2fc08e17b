"""Files to token stores: duplicates left out, a part held out, packed by streaming, kept for later.

    folder/KEY/tokenizer.json, train.*, validation-text.*, prepared.json

KEY is a hash of the files' contents, the rules and the tokenizer: equal input is not prepared twice, changed
input never taken for the old. Memory is a fixed amount and some hundred bytes for each part of a document.
Texts that say nearly the same as another are left out; rows of which a part is not learned, which may differ
in the one word that matters, only where they are equal to another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from inkfish.data.documents import BadRows, Part, Rules, read
from inkfish.data.duplicates import near_duplicates
from inkfish.data.files import digest, find
from inkfish.data.store import StoreWriter, TokenStore
from inkfish.errors import DataError, SettingError
from inkfish.tokenizer import Tokenizer

__all__ = ["Prepared", "prepare", "texts"]

VERSION = 2
"""Of the rules in this file and those it uses; a new one makes all stores anew."""
SHINGLE_BYTES = 32 << 20
"""Of a text up to this all shingles are compared; of a larger one a share of them, so that memory stays."""
PARTS_WANTED = 200
"""A small corpus is cut into about so many parts, so that the share held out can be met."""


@dataclass(frozen=True)
class Prepared:
    """Stores ready for training, and how they came about."""

    folder: Path
    """Where tokenizer.json and the stores `train` and `validation-text` are."""
    train: TokenStore
    """What to train on."""
    validation: TokenStore | None
    """What was held out; None when the text is too short to hold out any."""
    files: int
    """Files read."""
    documents: int
    """Documents in them, duplicates included."""
    words: int
    """Words in them, as white space parts them."""
    near_duplicates: int
    """Parts of documents left out because another one says the same, or nearly."""
    bad_rows: tuple[str, ...]
    """One line for each kind of row left out, with its line numbers."""
    reused: bool
    """Whether the stores were there already."""


@dataclass(frozen=True)
class Survey:
    """What the first reading found out."""

    left_out: frozenset[int]
    """Parts that are there already, or nearly."""
    held_out: frozenset[int]
    """Parts for validation."""
    documents: int
    words: int
    bad: BadRows
    masked: bool
    """Whether some text is read but not learned."""


def prepare(
    paths: Sequence[Path | str],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    rules: Rules | None = None,
    validation_share: float = 0.05,
) -> Prepared:
    """Build the stores of some texts, or return those that were built from the same texts before.

    Args:
        paths: Files, folders and patterns.
        tokenizer: Must have an end token, which closes each document.
        folder: Where the stores of any input are kept, each in a folder of its own.
        rules: How files become documents.
        validation_share: Part of the text that is held out, from 0 to below 1.

    Raises:
        DataError: files that can't be read, no text in them, or a full disk (nothing is left behind).
        SettingError: validation_share outside its limits, or a tokenizer without an end token.
    """
    if not 0 <= validation_share < 1:
        raise SettingError(
            f"validation_share is {validation_share}; it must be from 0 to below 1", param="validation_share"
        )
    if tokenizer.end is None:
        raise SettingError("the tokenizer has no <|endoftext|> to close documents with; choose another")
    groups, rules = _groups(paths), rules or Rules()
    if rules.equalise and len(groups) < 2:
        raise SettingError("equalise is for two files or folders and more; name another", param="equalise")
    files = [file for group in groups for file in group]
    place = folder / _key(groups, tokenizer, rules, validation_share)
    if (place / "prepared.json").is_file():
        with suppress(DataError, ValueError):
            return _open(place, reused=True)
    _build(groups, tokenizer, place, _fitting(rules, files), validation_share)
    return _open(place, reused=False)


def texts(paths: Sequence[Path | str], rules: Rules | None = None) -> Iterator[str]:
    """Stream the text of some files in parts, as a vocabulary is trained on it.

    Raises:
        DataError: files that can't be read.
    """
    for part in read(find(paths), rules or Rules(), BadRows()):
        yield part.text


def _groups(paths: Sequence[Path | str]) -> list[list[Path]]:
    """Return the files of each path, each file once; a path without any of its own is left out."""
    found = [find([path]) for path in paths]  # all are there
    seen: set[Path] = set()
    groups = []
    for files in found:
        groups.append([file for file in files if file not in seen])
        seen.update(groups[-1])
    return [group for group in groups if group]


def _key(groups: Sequence[Sequence[Path]], tokenizer: Tokenizer, rules: Rules, share: float) -> str:
    files = [file for group in groups for file in group]
    try:
        contents = [(path.suffix.lower(), digest(path)) for path in files]
    except OSError as error:
        raise DataError(f"{error.filename}: can't be read ({error.strerror})") from None
    kept = dataclasses.asdict(rules) | {"render": rules.render is not None}
    sizes = [len(group) for group in groups] if rules.equalise else []
    seen = [VERSION, contents, tokenizer.fingerprint, kept, share, sizes]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def _fitting(rules: Rules, files: Iterable[Path]) -> Rules:
    """Make parts small enough that a small corpus has many of them."""
    size = sum(path.stat().st_size for path in files)
    return dataclasses.replace(rules, part=max(500, min(rules.part, size // PARTS_WANTED)))


def _build(groups: list[list[Path]], tokenizer: Tokenizer, place: Path, rules: Rules, share: float) -> None:
    """Build everything in a folder aside and rename it: a reader sees all of it or nothing."""
    files = [file for group in groups for file in group]
    aside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        aside.mkdir(parents=True, exist_ok=True)
        survey = _survey(files, rules, share)
        _pack(groups, tokenizer, aside, rules, survey)
        tokenizer.save(aside)
        report: dict[str, Any] = {
            "files": len(files),
            "documents": survey.documents,
            "words": survey.words,
            "near_duplicates": len(survey.left_out),
            "bad_rows": survey.bad.messages(),
        }
        (aside / "prepared.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
    except OSError as error:
        raise DataError(
            f"{place.parent}: can't write ({error.strerror}); free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _survey(files: list[Path], rules: Rules, share: float) -> Survey:
    """Read everything once, to find duplicates and to choose what is held out.

    Equal texts have equal ranks, so that none is on both sides where duplicates are kept.
    """
    bad, words, documents, masked = BadRows(), 0, 0, False
    ranks: list[int] = []
    seen: set[int] = set()
    equal: set[int] = set()

    def watched() -> Iterator[str]:
        nonlocal words, documents, masked
        for part in read(files, rules, bad):
            rank = int.from_bytes(hashlib.blake2b(part.text.encode(), digest_size=8).digest())
            if part.prompted and rank in seen:
                equal.add(len(ranks))
            seen.add(rank)
            ranks.append(rank)
            words += len(part.text.split())
            documents += part.first
            masked = masked or part.prompted
            yield "" if part.prompted or rules.keep_duplicates else part.text

    sparsity = max(1, sum(path.stat().st_size for path in files) // SHINGLE_BYTES)
    left_out = near_duplicates(watched(), keep_one_in=sparsity) | equal
    if rules.keep_duplicates:
        left_out.clear()
    if not ranks:
        raise DataError(_no_text(files, bad))
    kept = sorted((rank, number) for number, rank in enumerate(ranks) if number not in left_out)
    count = min(len(kept) - 1, -(-len(kept) * share // 1)) if share else 0
    held_out = frozenset(number for rank, number in kept if rank < kept[int(count)][0])
    return Survey(frozenset(left_out), held_out, documents, words, bad, masked)


def _no_text(files: list[Path], bad: BadRows) -> str:
    names = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    reasons = f" ({bad.messages()[0]})" if bad.total else ""
    return f"{names}: no text to train on{reasons}; name files with text, or the field that holds it"


def _pack(groups: list[list[Path]], tokenizer: Tokenizer, place: Path, rules: Rules, survey: Survey) -> None:
    """Read everything again and write each part to its store."""
    with ExitStack() as stack:
        names = ["train", "validation-text"] if survey.held_out else ["train"]
        outs = [stack.enter_context(_Out(place / name, tokenizer, masked=survey.masked)) for name in names]
        found, number = [], -1
        for files in groups:
            first, before = number + 1, outs[0].writer.tokens
            for part in read(files, rules, BadRows()):
                number += 1
                if number not in survey.left_out:
                    outs[number in survey.held_out].add(number, part)
            found.append(_Packed(files, first, outs[0].writer.tokens - before))
        if rules.equalise:
            _repeat(found, outs[0], rules, survey.left_out | survey.held_out)


class _Packed(NamedTuple):
    """The files of one path that was named."""

    files: list[Path]
    first: int
    """Number of their first part."""
    tokens: int
    """To be trained on."""


def _repeat(groups: list[_Packed], out: _Out, rules: Rules, without: frozenset[int]) -> None:
    """Write parts of smaller groups again, in order, until each has the tokens of the largest."""
    most = max(group.tokens for group in groups)
    for group in groups:
        enough = out.writer.tokens + most - group.tokens
        while group.tokens and out.writer.tokens < enough:
            for number, part in enumerate(read(group.files, rules, BadRows()), group.first):
                if number not in without and out.writer.tokens < enough:
                    out.add(number, part)


class _Out:
    """A store written from parts: an end token stands wherever a part does not go on from the one before."""

    def __init__(self, path: Path, tokenizer: Tokenizer, *, masked: bool) -> None:
        assert tokenizer.end is not None, "documents are closed by an end token"
        self.encode, self.end = tokenizer.encode, tokenizer.end
        self.writer = StoreWriter(
            path, vocab_size=tokenizer.vocab_size, tokenizer=tokenizer.fingerprint, masked=masked
        )
        self.last = -1
        self.writer.append([self.end])

    def add(self, number: int, part: Part) -> None:
        """Write a part, first closing the document before it unless the part belongs to it."""
        goes_on = not part.first and number == self.last + 1 and self.last >= 0
        if not goes_on and self.last >= 0:
            self.writer.append([self.end], goes_on=True)
        for text, learned in part.spans:
            ids = self.encode(text if goes_on else text.lstrip())
            self.writer.append(
                ids, "text", trainable=None if learned else [False] * len(ids), goes_on=goes_on
            )
            goes_on = goes_on or bool(ids)
        self.last = number

    def __enter__(self) -> _Out:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.writer.append([self.end], goes_on=True)
            self.writer.close()
        else:
            self.writer.discard()


def _open(place: Path, *, reused: bool) -> Prepared:
    report = json.loads((place / "prepared.json").read_text("utf-8"))
    held = place / "validation-text"
    return Prepared(
        place,
        TokenStore.open(place / "train"),
        TokenStore.open(held) if (place / f"{held.name}.json").exists() else None,
        **{**report, "bad_rows": tuple(report["bad_rows"])},
        reused=reused,
    )
