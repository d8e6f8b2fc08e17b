"""Dialogues: files of seven formats, each read into one form, a `Talk`; rows of no use are counted and named.

    personachat_self_original.json    {"train": [{"personality", "utterances": [{"candidates", "history"}]}]}
    ConvAI2 and ParlAI text           numbered lines, or lines of text:…, labels:… and further fields
    plain, a line or an item each     {"turns": […], "personas": [[…], […]], "topic"}, as inkfish keeps talks
    OpenAI messages                   {"messages": [{"role", "content"}]}; system is the assistant's persona
    ShareGPT                          {"conversations": [{"from": "human" | "gpt", "value"}]}
    two columns (csv, tsv)            something said and its reply; or a speaker and what they say
    screenplay, chat log (text)       NAME: words; or NAME alone on a line and the words below it

Which it is, is seen from the suffix and the first line. Files may be packed by gzip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from inkfish.data.dialogues import columns, objects, parlai, screenplay
from inkfish.data.dialogues.talk import Found, Talk, checked
from inkfish.data.files import find, kind_of, open_text
from inkfish.data.rules import BadRows, Reason
from inkfish.errors import DataError

__all__ = ["Talk", "read"]

Reader = Callable[[Path, str | None], Iterator[Found]]


def read(paths: Sequence[Path | str], bad: BadRows, *, encoding: str | None = None) -> list[Talk]:
    """Return the dialogues of files, folders and patterns.

    Args:
        paths: As `inkfish.data.files.find` takes them.
        bad: Receives what was left out.
        encoding: Of the files, as Python names it; None detects it.

    Raises:
        DataError: a file that can't be read, or not one dialogue in all of them.
    """
    talks: list[Talk] = []
    files = find(paths)
    for path in files:
        for found in reader_of(path, encoding)(path, encoding):
            talk = checked(found.talk)
            if isinstance(talk, Reason):
                bad.add(path, talk.name, found.line)
            else:
                talks.append(talk)
    if not talks:
        names = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
        reasons = f" ({bad.messages()[0]})" if bad.total else ""
        raise DataError(f"{names}: not one dialogue{reasons}; docs/chat.md shows the formats that are read")
    return talks


def reader_of(path: Path, encoding: str | None) -> Reader:
    """Return what reads a file of this suffix and first line."""
    kind = kind_of(path)
    if kind in {".json", ".jsonl", ".ndjson"}:
        return objects.read
    if kind in {".csv", ".tsv"}:
        return columns.read
    with open_text(path, encoding) as file:
        first = next((line for line in file if line.strip()), "")
    return parlai.read if parlai.is_parlai(first) else screenplay.read
