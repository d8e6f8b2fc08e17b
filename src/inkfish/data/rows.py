"""Rows to documents: JSON lines, tables (CSV, TSV, xlsx), parquet and arrow, by a field or a template."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from inkfish.data.dialogues.objects import talk_of
from inkfish.data.dialogues.talk import checked
from inkfish.data.files import kind_of, open_text
from inkfish.data.rules import BadRows, Document, Reason, Rules, Span
from inkfish.errors import DataError, MissingExtraError

__all__ = ["arrow", "fill", "json_lines", "parquet", "sheet", "table"]

NAME = re.compile(r"\{([^{}]+)\}")
"""A field in a template."""
MARK = "\ufeff"
LARGEST_CELL = 1 << 27
"""Characters; csv's own limit of 131,072 is less than a novel."""
CONVERSATION = {"messages", "conversations"}
"""Fields with what was said, as OpenAI and ShareGPT call them."""
DELIMITERS = ",;\t|"
SAMPLE = 1 << 16
"""Characters from which a table's delimiter is guessed."""


def json_lines(path: Path, rules: Rules, bad: BadRows) -> Iterator[Document]:
    """Each line is a JSON object with a document."""
    with open_text(path, rules.encoding) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                row = _object(line)
                yield from _documents(row, path, number, rules, bad)


def table(path: Path, rules: Rules, bad: BadRows) -> Iterator[Document]:
    """Each row of a CSV or TSV file is a document.

    Raises:
        DataError: a header without the columns that the rules name, or a file that can't be read.
    """
    csv.field_size_limit(LARGEST_CELL)
    with open_text(path, rules.encoding) as file:
        delimiter = "\t" if kind_of(path) == ".tsv" else _delimiter(file.read(SAMPLE))
    with open_text(path, rules.encoding) as file:
        reader = csv.reader(file, delimiter=delimiter)
        yield from _table(_rows(reader, path, bad), path, rules, bad)


def sheet(path: Path, rules: Rules, bad: BadRows) -> Iterator[Document]:
    """Each row of a spreadsheet's first sheet is a document; formulas stand for their last values.

    Raises:
        DataError: damaged, or a header without the columns that the rules name.
        MissingExtraError: openpyxl is not installed.
    """
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise MissingExtraError("reading .xlsx", "documents") from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # a damaged file can make a library raise anything
        raise DataError(
            f"{path} is no spreadsheet that can be read ({_line(error)}); save it again"
        ) from None
    try:
        rows = ([_cell(value) for value in row] for row in book.worksheets[0].iter_rows(values_only=True))
        filled = (_Row(line, cells) for line, cells in enumerate(rows, start=1) if any(map(str.strip, cells)))
        yield from _table(filled, path, rules, bad)
    finally:
        book.close()


def parquet(path: Path, rules: Rules, bad: BadRows) -> Iterator[Document]:
    """Each row of a parquet file is a document.

    Raises:
        DataError: no such file, or no parquet.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rules = _checked(file.schema_arrow.names, path, rules)
            yield from _batches(file.iter_batches(batch_size=1024), path, rules, bad)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable parquet file ({_line(error)}); copy it again") from None


def arrow(path: Path, rules: Rules, bad: BadRows) -> Iterator[Document]:
    """Each row of an arrow file, as Hugging Face datasets keeps them on the disk, is a document.

    Raises:
        DataError: no such file, or no arrow stream.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    try:
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as stream:
            rules = _checked(stream.schema.names, path, rules)
            yield from _batches(stream, path, rules, bad)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable arrow stream ({_line(error)}); copy it again") from None


def fill(template: str, fields: Mapping[str, Any]) -> str | Reason:
    """Put fields into a template; a field without a value leaves nothing."""
    missing = [name for name in NAME.findall(template) if name not in fields]
    if missing:
        return Reason(f"no field {missing[0]!r}")
    return NAME.sub(lambda match: _text(fields[match[1]]), template)


def _documents(
    row: Mapping[str, Any] | Reason, path: Path, line: int, rules: Rules, bad: BadRows
) -> Iterator[Document]:
    """Yield the row's document, or count the row as bad."""
    found = row if isinstance(row, Reason) else _document(row, line, rules)
    if isinstance(found, Reason):
        bad.add(path, found.name, line)
    else:
        yield found


def _document(row: Mapping[str, Any], line: int, rules: Rules) -> Document | Reason:
    fields = {name: _text(value) for name, value in row.items()}
    if rules.template is None and rules.field not in row and CONVERSATION & row.keys():
        spans = _conversation(row, rules)
        return spans if isinstance(spans, Reason) else Document((), fields, line=line, spans=spans)
    completion: str | Reason | None = None
    if rules.template is not None:
        text = _filled(rules.template, fields)
        completion = None if rules.completion is None else _filled(rules.completion, fields)
    elif rules.field not in row and {"prompt", "completion"} <= row.keys():
        text, completion = _field(row, "prompt"), _field(row, "completion")
    else:
        text = _field(row, rules.field)
    if isinstance(text, Reason):
        return text
    return completion if isinstance(completion, Reason) else Document([text], fields, completion, line)


def _conversation(row: Mapping[str, Any], rules: Rules) -> tuple[Span, ...] | Reason:
    if rules.render is None:
        return Reason("a conversation; inkfish finetune learns from those")
    talk = checked(talk_of(row))
    return talk if isinstance(talk, Reason) else rules.render(talk)


def _filled(template: str, fields: Mapping[str, Any]) -> str | Reason:
    """Fill a template, unless nothing at all comes into it."""
    names = NAME.findall(template)
    if names and all(name in fields and not fields[name].strip() for name in names):
        return Reason(f"{', '.join(map(repr, names))} empty")
    return _whole(fill(template, fields))


def _whole(text: str | Reason) -> str | Reason:
    if isinstance(text, str) and re.search("[\ud800-\udfff]", text):
        return Reason("half a surrogate pair, not valid Unicode")
    return text


def _field(row: Mapping[str, Any], name: str) -> str | Reason:
    text = row.get(name)
    if not isinstance(text, str):
        return Reason(f"field {name!r} is no text" if name in row else f"no field {name!r}")
    text = _text(text)
    return _whole(text) if text.strip() else Reason(f"field {name!r} is empty")


def _object(line: str) -> Mapping[str, Any] | Reason:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError):
        return Reason("not JSON")
    return row if isinstance(row, dict) else Reason("not an object")


class _Row(NamedTuple):
    line: int
    cells: list[str]


def _table(rows: Iterable[_Row], path: Path, rules: Rules, bad: BadRows) -> Iterator[Document]:
    """Yield the documents of rows, the first of which names the columns unless the rules say otherwise."""
    columns: list[str] = []
    for line, cells in rows:
        if not columns:
            columns = [cell.strip() for cell in cells] if rules.header else _numbers(len(cells))
            rules = _checked(columns, path, rules)
            if rules.header:
                continue
        if len(cells) == len(columns):
            yield from _documents(dict(zip(columns, cells, strict=True)), path, line, rules, bad)
        else:
            bad.add(path, f"{len(cells)} cells instead of {len(columns)}", line)


def _cell(value: object) -> str:
    """Write a spreadsheet's value as the sheet shows it: 3 for 3.0, a day without midnight."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and not (value.hour or value.minute or value.second):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return _text(value)


def _rows(reader: Any, path: Path, bad: BadRows) -> Iterator[_Row]:
    """Yield rows that hold anything, with the line where each begins; count those that csv can't read."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad.add(path, str(error), line)
            continue
        if any(cell.strip() for cell in cells):
            yield _Row(line, cells)


def _checked(columns: list[str], path: Path, rules: Rules) -> Rules:
    """Return the rules with the column to read filled in where there is but one.

    Raises:
        DataError: a column that is not there, or several and none named.
    """
    templates = (rules.template, rules.completion, rules.prefix, rules.line_prefix)
    wanted = [name for template in templates for name in NAME.findall(template or "")]
    others = {"prompt", "completion"} <= set(columns) or CONVERSATION & set(columns)
    if rules.template is None and rules.field not in columns and not others:
        if len(columns) == 1 and rules.field == "text":
            rules = Rules(**{**vars(rules), "field": columns[0]})
        else:
            wanted.append(rules.field)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r} but {', '.join(columns)}; name one with --field, "
            "or several in a --template",
            param="field",
        )
    return rules


def _batches(batches: Any, path: Path, rules: Rules, bad: BadRows) -> Iterator[Document]:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield from _documents(row, path, number, rules, bad)


def _delimiter(sample: str) -> str:
    """Return the delimiter that csv guesses from the beginning of a file; a comma where it can't tell."""
    try:
        return csv.Sniffer().sniff(sample, DELIMITERS).delimiter
    except csv.Error:
        return ","


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


def _text(value: Any) -> str:
    """Return a field's value as text, without the byte order mark of a file that was read into it."""
    return "" if value is None else str(value).removeprefix(MARK)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _pyarrow() -> Any:
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingExtraError("reading parquet and arrow files", "parquet") from None
    return pyarrow
