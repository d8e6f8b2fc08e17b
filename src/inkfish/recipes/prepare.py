"""Poems, screenplays and character sheets as JSON lines that `inkfish finetune` reads, one document a row.

    inkfish data prepare poems poems/ --out poems.jsonl
    inkfish data prepare screenplay scripts/*.fountain --out scripts.jsonl
    inkfish data prepare bios bios.xlsx --out bios.jsonl
    inkfish finetune poems.jsonl --out runs/poems

The rows can be looked at and corrected before training. Nothing is written unless all files were read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from inkfish.data import screenplay as scripts
from inkfish.data import verse
from inkfish.data.documents import Rules, read, rows_of, whole
from inkfish.data.files import find
from inkfish.data.rules import BadRows
from inkfish.data.verse import PartedBy
from inkfish.errors import DataError, SettingError
from inkfish.recipes.limits import check_choices
from inkfish.weights.files import aside_file

__all__ = ["Bios", "Poems", "Result", "Screenplay", "bios", "poems", "screenplay"]

Row = dict[str, Any]
LONGEST = 1 << 40
"""Characters of a part: every document comes in one."""


@dataclass(frozen=True)
class Poems:
    """Settings for poems."""

    files: tuple[Path, ...]
    """Text files, documents, folders and patterns."""
    _: KW_ONLY
    out: Path
    """The .jsonl file to write; it may not be there yet."""
    parted_by: PartedBy = "auto"
    """What parts poems: gap (two or more blank lines), rule (a line of dashes or stars), blank (a blank line,
    as between haiku), file (each is one), gutenberg (headings of a book of verse); auto looks for it."""
    encoding: str | None = None
    """Of text files, as Python names it; by default it is detected."""

    def __post_init__(self) -> None:
        check_choices(self, {"parted_by": get_args(PartedBy)})


@dataclass(frozen=True)
class Screenplay:
    """Settings for screenplays and plays."""

    files: tuple[Path, ...]
    """Fountain files, plain scripts, documents, folders and patterns."""
    _: KW_ONLY
    out: Path
    """The .jsonl file to write; it may not be there yet."""
    each: Literal["script", "scene"] = "script"
    """What a document is."""
    encoding: str | None = None
    """Of text files, as Python names it; by default it is detected."""

    def __post_init__(self) -> None:
        check_choices(self, {"each": ("script", "scene")})


@dataclass(frozen=True)
class Bios:
    """Settings for character sheets."""

    files: tuple[Path, ...]
    """Tables (csv, tsv, xlsx, parquet) and .jsonl files."""
    _: KW_ONLY
    out: Path
    """The .jsonl file to write; it may not be there yet."""
    columns: tuple[str, ...] = ()
    """Columns to take, in this order; by default all."""
    template: str | None = None
    """How a row reads, such as "{class} named {name}: {story}"; by default lines "column: value"."""
    encoding: str | None = None
    """Of text files, as Python names it; by default it is detected."""

    def __post_init__(self) -> None:
        if self.template is not None and self.columns:
            raise SettingError("template and columns exclude each other; leave one out", param="columns")


@dataclass(frozen=True)
class Result:
    """What was written."""

    path: Path
    """The .jsonl file."""
    rows: int
    """Documents in it."""
    sample: str
    """The first document."""
    notes: tuple[str, ...] = ()
    """What happened to the files, a line each."""


def poems(config: Poems) -> Result:
    """Write a row {title, author, text, file} for each poem.

    Raises:
        InkfishError: a file that can't be read, no poem in them, or a place that can't be written.
    """
    notes: list[str] = []

    def rows() -> Iterator[Row]:
        for path, text in _texts(config.files, config.encoding):
            found = verse.poems(text, config.parted_by)
            if len(found) == 1 and len(found[0].stanzas) > 20 and config.parted_by == "auto":
                stanzas = len(found[0].stanzas)
                notes.append(f"{path}: one poem of {stanzas} stanzas; if each is a poem: --parted-by blank")
            for each in found:
                yield {"title": each.title, "author": each.author, "text": each.text, "file": path.name}

    return _written(config.out, rows(), "poem", notes)


def screenplay(config: Screenplay) -> Result:
    """Write a row {title, scene, characters, text, file} for each script or each scene, in Fountain's form.

    Raises:
        InkfishError: a file that can't be read, no script in them, or a place that can't be written.
    """
    notes: list[str] = []

    def rows() -> Iterator[Row]:
        for path, text in _texts(config.files, config.encoding):
            script = scripts.parse(text)
            if not script.characters:
                notes.append(f"{path}: nobody speaks in it; is it a script?")
            for part in scripts.scenes(script) if config.each == "scene" else [script]:
                scene = next((e.text for e in part.elements if e.kind == "scene"), "")
                speakers = ", ".join(part.characters)
                row = {
                    "title": part.title,
                    "scene": scene,
                    "characters": speakers,
                    "text": scripts.written(part),
                }
                yield row | {"file": path.name}

    return _written(config.out, rows(), config.each, notes)


def bios(config: Bios) -> Result:
    """Write a row of a table as a document: its columns by name, or by a template. Empty cells are left out.

    Raises:
        InkfishError: a file that can't be read, a column that is not there, or a place that can't be written.
    """
    bad = BadRows()
    files = find(config.files)
    rules = Rules(encoding=config.encoding, template=config.template, part=LONGEST)
    if config.template is not None:
        texts = (part.text for part in read(files, rules, bad))
    else:
        texts = (_sheet(row, config, path) for path in files for row in rows_of(path, rules, bad))
    result = _written(config.out, ({"text": text} for text in texts if text), "bio", [])
    return replace(result, notes=tuple(bad.messages()))


def _sheet(row: Mapping[str, str], config: Bios, path: Path) -> str:
    """Return a row as lines "column: value"."""
    columns = config.columns or tuple(row)
    missing = [name for name in columns if name not in row]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r} but {', '.join(row)}", param="columns")
    return "\n".join(f"{name}: {row[name].strip()}" for name in columns if row[name].strip())


def _texts(files: Sequence[Path], encoding: str | None) -> Iterator[tuple[Path, str]]:
    """Yield the documents in files with the file of each."""
    bad = BadRows()
    for path in find(files):
        for text in whole(path, Rules(encoding=encoding), bad):
            yield path, text
    if bad.total:
        raise DataError(bad.messages()[0])


def _written(out: Path, rows: Iterable[Row], noun: str, notes: list[str]) -> Result:
    """Write rows, all or nothing.

    Raises:
        SettingError: `out` is there already, or is no .jsonl file.
        DataError: there are no rows.
        ModelError: the place can't be written.
    """
    if out.suffix != ".jsonl":
        raise SettingError(f"out is {out}; its name must end in .jsonl", param="out")
    if out.exists():
        raise SettingError(f"{out} exists; remove it or choose another name", param="out")
    count, sample = 0, ""
    with aside_file(out) as draft, draft.open("w", encoding="utf-8") as file:
        for row in rows:
            sample = sample or row["text"]
            count += 1
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if not count:
            raise DataError(f"there is no {noun} in the files; look at them, or name others")
    return Result(out, count, sample, tuple(notes))
