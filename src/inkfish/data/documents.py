r"""Documents: the texts in files, streamed in parts, with a count of every row that could not be read.

A plain text file is one document, or several where it spells <|endoftext|>; in tables and .jsonl files each
row is one. A document comes in parts of at most so many characters, cut where white space begins: tokenizing
the parts gives the ids of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from inkfish.data import formats, rows
from inkfish.data.files import kind_of, open_text
from inkfish.data.rules import BadRows, Document, Reason, Rules, Span
from inkfish.errors import DataError

__all__ = ["BadRows", "Part", "Rules", "read", "rows_of", "whole"]

BLOCK = 1 << 16
"""Characters of a text file read at once."""
SPACE = re.compile(r"(?<!\s)[ \t\r\n]+(?=\S)")
"""A run of white space between two words."""
MARK = re.compile(r"<\|(?:start|end)oftext\|>")
"""How documents are parted in text files that were made for other programs."""
LONGEST_MARK = len("<|startoftext|>")


@dataclass(frozen=True)
class Part:
    """A stretch of a document."""

    text: str
    """Begins with white space unless it is the first part; ends without."""
    document: int
    """Number of the document, counted over all files."""
    first: bool
    """Whether the document begins here."""
    unlearned: int = 0
    """Characters at the beginning that are read but not learned: a prompt."""
    turns: tuple[Span, ...] = ()
    """The text of a conversation."""

    @property
    def prompted(self) -> bool:
        """Whether some of it is read but not learned."""
        return self.unlearned > 0 or bool(self.turns)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The text in stretches that are learned or not."""
        prompt = Span(self.text[: self.unlearned], learned=False)
        return self.turns or (prompt, Span(self.text[self.unlearned :], learned=True))


def read(files: Iterable[Path], rules: Rules, bad: BadRows) -> Iterator[Part]:
    """Stream the documents of files in parts; documents without a word are left out.

    Args:
        files: As `inkfish.data.files.find` returns them.
        rules: How to read them.
        bad: Receives what was left out.

    Raises:
        DataError: a file that can't be read at all.
    """
    number = 0
    for path in files:
        for found in READERS.get(kind_of(path), _plain)(path, rules, bad):
            document = _with_prefixes(found, rules)
            if isinstance(document, Reason):
                bad.add(path, document.name, found.line)
                continue
            first = True
            for part in _document_parts(document, rules.part):
                yield replace(part, document=number, first=first)
                first = False
            number += not first


def whole(path: Path, rules: Rules, bad: BadRows) -> Iterator[str]:
    """Yield the documents of one file, each in one piece.

    Raises:
        DataError: the file can't be read.
    """
    for document in READERS.get(kind_of(path), _plain)(path, rules, bad):
        yield "".join(document.pieces)


def rows_of(path: Path, rules: Rules, bad: BadRows) -> Iterator[Mapping[str, str]]:
    """Yield the rows of a table or of JSON lines as texts by column.

    Raises:
        DataError: the file can't be read, or holds no rows.
    """
    if kind_of(path) not in TABLES:
        raise DataError(f"{path} is no table; name a file of the kinds {', '.join(TABLES)}")
    for document in READERS[kind_of(path)](path, replace(rules, template=""), bad):
        yield document.fields


def _plain(path: Path, rules: Rules, bad: BadRows) -> Iterator[Document]:
    """A text file is one document, or each of its lines is."""
    if rules.form == "documents":
        yield from _marked(_blocks(path, rules), path)
        return
    with open_text(path, rules.encoding) as file:
        for number, line in enumerate(file, start=1):
            text, equals, other = line.strip().partition(" = ")
            if rules.form == "lines" and text:
                yield Document([line.strip()], _fields(path), line=number)
            elif equals and text and other.strip():
                yield Document([f"{text} ="], _fields(path), f" {other.strip()}", number)
            elif text:
                bad.add(path, "no pair: this = that", number)


def _blocks(path: Path, rules: Rules) -> Iterator[str]:
    with open_text(path, rules.encoding) as file:
        yield from iter(partial(file.read, BLOCK), "")


def _marked(pieces: Iterable[str], path: Path) -> Iterator[Document]:
    """Part a stream of text where it spells the marks of other programs, which are dropped."""
    source, held, more = iter(pieces), "", True

    def one() -> Iterator[str]:
        nonlocal held, more
        while True:
            mark = MARK.search(held)
            if mark is not None:
                text, held = held[: mark.start()], held[mark.end() :]
                yield text
                return
            safe = max(0, len(held) - LONGEST_MARK)
            yield held[:safe]
            piece = next(source, None)
            if piece is None:
                more = False
                yield held[safe:]
                return
            held = held[safe:] + piece

    while more:
        text = one()
        yield Document(text, _fields(path))
        for _ in text:  # what was not read, as the document was of no use
            pass


def _fields(path: Path) -> dict[str, str]:
    return {"file": path.name.split(".")[0], "folder": path.parent.name}


def _whole(reader: Callable[[Path], Iterator[str]], path: Path, _: Rules, __: BadRows) -> Iterator[Document]:
    """A document of another program is one document."""
    yield Document(reader(path), _fields(path))


def _page(path: Path, rules: Rules, _: BadRows) -> Iterator[Document]:
    yield Document(formats.html(path, rules.encoding), _fields(path))


def _arrays(path: Path, _: Rules, __: BadRows) -> Iterator[Document]:
    """The forks spelled <|endoftext|> out before they encoded, so arrays are parted like text."""
    for pieces in formats.npz(path):
        yield from _marked(pieces, path)


READERS: dict[str, Callable[[Path, Rules, BadRows], Iterator[Document]]] = {
    ".jsonl": rows.json_lines,
    ".ndjson": rows.json_lines,
    ".csv": rows.table,
    ".tsv": rows.table,
    ".xlsx": rows.sheet,
    ".parquet": rows.parquet,
    ".arrow": rows.arrow,
    ".docx": partial(_whole, formats.docx),
    ".odt": partial(_whole, formats.odt),
    ".epub": partial(_whole, formats.epub),
    ".pdf": partial(_whole, formats.pdf),
    ".html": _page,
    ".htm": _page,
    ".xhtml": _page,
    ".npz": _arrays,
}
"""By suffix: a file's documents. Any other suffix is plain text."""


TABLES = (".csv", ".tsv", ".xlsx", ".jsonl", ".ndjson", ".parquet", ".arrow")
"""Suffixes of files whose rows have columns."""


def _with_prefixes(document: Document, rules: Rules) -> Document | Reason:
    """Put the rules' prefixes before a document and its lines."""
    if document.spans:
        return _with_prefix(document, rules)
    pieces = document.pieces
    if rules.line_prefix is not None:
        prefix = rows.fill(rules.line_prefix, document.fields)
        if isinstance(prefix, Reason):
            return prefix
        pieces = _with_line_prefix(pieces, prefix)
    if rules.prefix is not None:
        prefix = rows.fill(rules.prefix, document.fields)
        if isinstance(prefix, Reason):
            return prefix
        pieces = _after(prefix, pieces)
    return replace(document, pieces=pieces)


def _with_prefix(document: Document, rules: Rules) -> Document | Reason:
    """Put the rules' prefix before a conversation, whose lines begin with their speakers."""
    if rules.line_prefix is not None:
        return Reason("a conversation, whose lines take no prefix")
    prefix = rows.fill(rules.prefix or "", document.fields)
    if isinstance(prefix, Reason):
        return prefix
    before = (Span(prefix, learned=False),) if prefix else ()
    return replace(document, spans=(*before, *document.spans))


def _after(prefix: str, pieces: Iterable[str]) -> Iterator[str]:
    """Put a prefix before the first words, so that a document without any stays empty."""
    begun = False
    for piece in pieces:
        text = piece if begun else piece.lstrip()
        if text and not begun:
            begun = True
            yield prefix
        yield text


def _with_line_prefix(pieces: Iterable[str], prefix: str) -> Iterator[str]:
    begins = True
    for piece in pieces:
        for line in re.findall(r"[^\n]*\n|[^\n]+", piece):
            yield (prefix if begins and line.strip() else "") + line
            begins = line.endswith("\n") or (begins and not line.strip())


def _document_parts(document: Document, size: int) -> Iterator[Part]:
    """Cut a document; a prompt and its completion stay together, and a conversation."""
    if document.spans:
        yield Part("".join(span.text for span in document.spans), 0, False, turns=document.spans)
        return
    if document.completion is None:
        yield from (Part(text, 0, False) for text in _parts(document.pieces, size))
        return
    prompt, completion = "".join(document.pieces).lstrip(), document.completion.rstrip()
    if prompt and not prompt[-1].isspace() and not completion[:1].isspace():
        completion = f" {completion}"
    yield Part(prompt + completion, 0, False, len(prompt))


def _parts(pieces: Iterable[str], size: int) -> Iterator[str]:
    """Cut a text that comes in pieces, without the white space around it, where white space begins."""
    held = ""
    begun = False
    for piece in pieces:
        held += piece
        if not begun:
            held = held.lstrip()
            begun = bool(held)
        while len(held) > size and (cut := _cut(held, size)):
            yield held[:cut]
            held = held[cut:]
    if held := held.rstrip():
        yield held


def _cut(text: str, size: int) -> int:
    """Return where to cut: at the second half's last blank line, else the last space, else 0 to wait."""
    places = [(match.start(), match[0]) for match in SPACE.finditer(text, 0, size) if match.start() > 0]
    paragraphs = [start for start, space in places if "\n\n" in space and start > size // 2]
    if places:
        return paragraphs[-1] if paragraphs else places[-1][0]
    return size if len(text) >= 100 * size else 0
