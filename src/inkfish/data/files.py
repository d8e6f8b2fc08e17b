"""Which files to read, and how: paths, folders and patterns to files; gzip; encodings given or detected."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import has_magic
from pathlib import Path
from typing import IO, cast

from inkfish.data import huggingface
from inkfish.errors import DataError

__all__ = ["TEXT", "detect_encoding", "digest", "find", "kind_of", "open_text"]

TEXT = {".txt", ".text", ".md", ".jsonl", ".ndjson", ".docx", ".odt", ".epub", ".pdf", ".html", ".htm"}
"""Suffixes read inside folders, also with .gz behind those of text. A file that is named may have any suffix;
tables must be named, as it needs to be said what to read in them."""
BLOCK = 1 << 16
"""Bytes read at once."""
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"""Byte order marks and the encodings they stand for."""
EIGHT_BIT = ("cp1252", "mac_roman", "cp850")
"""Encodings tried when bytes are not UTF-8, the likeliest first."""
PLAUSIBLE = frozenset("éèêëàâäáãåùûúüôöóõòîïíìçñßæœøÉÈÊÀÂÄÅÖÜÇÑØŒÆ“”‘’„«»–—…£€°§\u00a0")
"""What is beyond ASCII in western texts."""


def find(paths: Sequence[Path | str]) -> list[Path]:
    """Return the files that paths, folders and patterns such as "poems/*.txt" name, each once.

    A folder that holds a saved data set of Hugging Face's `datasets` stands for its training split, and
    hf:OWNER/NAME for one on the hub (`inkfish.data.huggingface`).
    Files keep the order in which they were named; those of a folder or pattern are sorted, none hidden.

    Raises:
        DataError: a path that is not there, or a folder or pattern without a file that can be read.
        MissingExtraError: a data set on the hub, without the library for it.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_files_at(Path(path))))
    return list(found)


def kind_of(path: Path) -> str:
    """Return the suffix that decides how a file is read: .jsonl of rows.jsonl.gz, in small letters."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


@contextmanager
def open_text(path: Path, encoding: str | None = None) -> Iterator[IO[str]]:
    r"""Open a file as text, unpacked and decoded, with every kind of line end as "\n".

    Args:
        path: A file; one with the suffix .gz is unpacked.
        encoding: Its name as Python has it; None detects it.

    Raises:
        DataError: a file that is missing, damaged, binary, or not in the encoding given; also while reading.
    """
    try:
        name = codecs.lookup(encoding).name if encoding else detect_encoding(path)
        with _open_bytes(path) as raw, io.TextIOWrapper(raw, encoding=name) as text:
            yield text
    except LookupError:
        raise DataError(f"{encoding!r} is no encoding; use one such as utf-8, cp1252 or mac_roman") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not in {error.encoding}: byte {error.object[error.start]:#04x}; give another encoding"
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged ({error}); unpack or copy it again") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from None


def detect_encoding(path: Path) -> str:
    """Return a text file's encoding: by its mark, else UTF-8 if all of it is, else the likeliest 8-bit one.

    Raises:
        DataError: a file with NUL bytes, which is no text.
    """
    with _open_bytes(path) as raw:
        first = raw.read(BLOCK)
        for mark, name in MARKS:
            if first.startswith(mark):
                return name
        if b"\0" in first:
            raise DataError(f"{path} is binary, not text; if it is UTF-16 or UTF-32, name the encoding")
        decoder = codecs.getincrementaldecoder("utf-8")()
        block = first
        try:
            while block:
                decoder.decode(block)
                block = raw.read(BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return _likeliest(block or first)
    return "utf-8"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as it lies there."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_at(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir() and (dataset := _dataset(path)):
        return dataset
    if path.is_dir():
        inside = [p for p in sorted(path.rglob("*")) if p.is_file() and not _is_hidden(p.relative_to(path))]
        if not (files := [p for p in inside if kind_of(p) in TEXT]):
            raise DataError(
                f"{path} holds no {', '.join(sorted(TEXT))} among {len(inside)} files; name the files to read"
            )
        return files
    if huggingface.is_named(path):
        return huggingface.fetch(path)
    if has_magic(str(path)):
        start = Path(path.anchor)
        if not (files := [p for p in sorted(start.glob(str(path.relative_to(start)))) if p.is_file()]):
            raise DataError(f"{path} matches no file; check the pattern")
        return files
    hub = f", or is it the data set hf:{path}?" if re.fullmatch(r"[\w-]+/[\w-]+", str(path)) else ""
    raise DataError(f"{path} does not exist; check the path{hub}")


def _dataset(folder: Path) -> list[Path]:
    """Return the arrow files of a data set that Hugging Face's save_to_disk wrote; of its splits, train."""
    if (folder / "dataset_dict.json").is_file() and (folder / "train").is_dir():
        folder = folder / "train"
    return sorted(folder.glob("*.arrow")) if (folder / "state.json").is_file() else []


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _open_bytes(path: Path) -> IO[bytes]:
    packed = path.suffix.lower() == ".gz"
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


def _likeliest(block: bytes) -> str:
    """Return the 8-bit encoding that turns most bytes beyond ASCII into plausible characters."""
    high = bytes(byte for byte in block if byte >= 0x80)

    def plausible(encoding: str) -> int:
        return sum(character in PLAUSIBLE for character in high.decode(encoding, errors="replace"))

    return max(EIGHT_BIT, key=plausible)
