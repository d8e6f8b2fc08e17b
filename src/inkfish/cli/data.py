"""`inkfish data`: what training would see of files; poems, scripts and sheets made ready; vocabularies."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from inkfish import weights
from inkfish.cli.options import examples
from inkfish.cli.output import Output, as_json, note, quoted
from inkfish.data.documents import Rules
from inkfish.data.prepare import Prepared, prepare
from inkfish.data.preview import Window
from inkfish.data.preview import preview as first_windows
from inkfish.data.rules import Form
from inkfish.engine import check_whole
from inkfish.recipes import encode as encoder
from inkfish.recipes import prepare as preparers
from inkfish.recipes import surgery
from inkfish.recipes import tokenizer as recipe
from inkfish.recipes.transcripts import transcript
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub

__all__ = ["app"]

SHADES = (153, 189)
"""Colours of the 256-colour palette that tell one token from the next."""
SHADE_OF_BORDER = 222
"""Behind the token that begins a document."""
SHADE_OF_MASKED = 250
"""Behind tokens that are read but not learned."""
SAMPLE_LINES = 12
"""Lines of the first prepared document that are shown."""

app = App(
    name="data",
    help_epilogue=examples(
        "inkfish data preview poems/ letters.jsonl",
        'inkfish data preview "texts/*.txt" --model gpt2 --windows 1 | less',
        "inkfish data prepare poems poems/ --out poems.jsonl",
        "inkfish data encode novel.docx --out novel.npz",
        "inkfish data tokenizer poems/*.txt --vocab-size 4096 --out vocabulary",
        'inkfish data add-tokens "<|scene|>" --words Gandalf --model gpt2 --out models/gpt2-scenes',
        "inkfish data transplant texts-fr/ --model gpt2 --out models/gpt2-fr",
    ),
)

prepare_app = App(
    name="prepare",
    help="Make poems, screenplays or character sheets ready for training: JSON lines, a document a row.",
    help_epilogue=examples(
        "inkfish data prepare poems poems/*.txt --out poems.jsonl",
        "inkfish data prepare screenplay pilot.fountain --each scene --out pilot.jsonl",
        "inkfish data prepare bios bios.xlsx --columns race --columns name --columns story --out bios.jsonl",
        "inkfish finetune poems.jsonl --out runs/poems",
    ),
)
app.command(prepare_app)


def report(found: Prepared) -> list[str]:
    """Return the lines about what was read, left out and held out."""
    held = 0 if found.validation is None else len(found.validation.ids)
    lines = [
        f"files {found.files:,} · documents {found.documents:,} · words {found.words:,}",
        f"tokens to train on {len(found.train.ids):,} · held out {held:,}",
    ]
    if found.near_duplicates:
        lines.append(f"parts left out that say the same as another, or nearly: {found.near_duplicates:,}")
    return [*lines, *found.bad_rows]


def colour(window: Window, i: int) -> int:
    """Choose what stands behind a token."""
    if window.begins[i]:
        return SHADE_OF_BORDER
    return SHADES[i % 2] if window.trainable[i] else SHADE_OF_MASKED


def write_colours(windows: list[Window], output: Output) -> None:
    """Write the windows as text in which each token can be seen."""
    for window in windows:
        output.write(f"=== {len(window.ids)} tokens from token {window.start:,} ===\n")
        for i, text in enumerate(window.texts):
            for number, part in enumerate(text.split("\n")):
                output.write("\n" * (number > 0))
                output.write(part, background=colour(window, i))
        output.end_line()


def write_table(windows: list[Window], output: Output) -> None:
    """Write one line of tab-separated values a token."""
    output.write("position\tid\ttoken\tbegins\ttrainable\n")
    for window in windows:
        rows = zip(window.ids, window.texts, window.begins, window.trainable, strict=True)
        for position, (token, text, begins, trainable) in enumerate(rows, window.start):
            output.write(f"{position}\t{token}\t{quoted(text)}\t{begins:d}\t{trainable:d}\n")


@app.command
def preview(
    data: tuple[Path, ...],
    /,
    *,
    model: Annotated[str, Parameter(alias="-m")] = "starter",
    windows: int = 2,
    length: int = 256,
    encoding: str | None = None,
    field: str = "text",
    form: Form = "documents",
    template: str | None = None,
    completion: str | None = None,
    prefix: str | None = None,
    line_prefix: str | None = None,
    no_header: bool = False,
    keep_duplicates: bool = False,
    json: bool = False,
) -> None:
    """Show what training would see: counts, then the first tokens as they are packed.

    Args:
        data: Files, folders, or patterns in quotes.
        model: Whose vocabulary cuts the text into tokens.
        windows: How many windows to show.
        length: Tokens of a window.
        encoding: Of the files, such as cp1252; by default it is detected.
        field: Where the text stands in a row.
        form: Of plain text: a file is a document, or each line is, or each line is "this = that".
        template: A document from a row's fields; with a completion the prompt before it.
        completion: What is learned of a row, as a template.
        prefix: Put before each document.
        line_prefix: Put before each line that is not empty.
        no_header: A table's first row is no header; columns are called 1, 2, 3.
        keep_duplicates: Keep texts that say nearly the same as another, and equal rows with a completion.
        json: Print JSON.
    """
    check_whole("windows", windows, 1)
    check_whole("length", length, 1)
    folder = hub.find(model)
    tokenizer = Tokenizer.load(folder, vocab_size=weights.read(folder).config.vocab_size)
    rules = Rules(
        encoding=encoding,
        field=field,
        form=form,
        template=template,
        completion=completion,
        prefix=prefix,
        line_prefix=line_prefix,
        header=not no_header,
        keep_duplicates=keep_duplicates,
        render=transcript,
    )
    with tempfile.TemporaryDirectory() as place:
        found = prepare(data, tokenizer, Path(place), rules=rules)
        shown = first_windows(found.train, tokenizer, windows=windows, length=length)
        lines = report(found)
    write_preview(shown, lines, Output(), json=json)


def write_preview(windows: list[Window], lines: list[str], output: Output, *, json: bool) -> None:
    """Write counts and windows: coloured on a terminal, a table in a pipe, or JSON."""
    if json:
        value: dict[str, Any] = {"report": lines, "windows": [dataclasses.asdict(each) for each in windows]}
        output.write(as_json(value) + "\n")
        return
    note("\n".join(lines))
    if output.guarded:
        write_colours(windows, output)
    else:
        write_table(windows, output)


@app.command
def tokenizer(config: Annotated[recipe.Config, Parameter(name="*")]) -> None:
    """Make a new byte-level BPE vocabulary from texts.

    Args:
        config: Its settings.
    """
    made = recipe.run(config)
    note(
        f"{made.path}: {made.tokenizer.vocab_size:,} entries, {made.bytes_per_token:.2f} bytes a token · "
        f"fingerprint {made.tokenizer.fingerprint[:12]}"
    )


def say(result: preparers.Result, noun: str) -> None:
    """Say what was written, and show the first document."""
    for line in result.notes:
        note(line)
    note(f"{result.path}: {result.rows:,} {noun}{'s' * (result.rows != 1)}; the first:\n")
    lines = result.sample.split("\n")
    note("\n".join([*lines[:SAMPLE_LINES], *(["…"] if len(lines) > SAMPLE_LINES else [])]))
    note(f"\ninkfish finetune {result.path}")


@prepare_app.command
def poems(config: Annotated[preparers.Poems, Parameter(name="*")]) -> None:
    """Part files into poems: lines and stanzas stay, headings become titles.

    Args:
        config: Its settings.
    """
    say(preparers.poems(config), "poem")


@prepare_app.command
def screenplay(config: Annotated[preparers.Screenplay, Parameter(name="*")]) -> None:
    """Bring scripts into one form, Fountain: scenes, action, characters, what they say.

    Args:
        config: Its settings.
    """
    say(preparers.screenplay(config), config.each)


@prepare_app.command
def bios(config: Annotated[preparers.Bios, Parameter(name="*")]) -> None:
    """Turn the rows of a spreadsheet into texts, by their columns or a template.

    Args:
        config: Its settings.
    """
    say(preparers.bios(config), "sheet")


@app.command
def encode(config: Annotated[encoder.Config, Parameter(name="*")]) -> None:
    """Write the npz file of GPT-2's tokens that nshepperd/gpt-2 and gpt-2-simple train on.

    Args:
        config: Its settings.
    """
    made = encoder.run(config)
    for line in made.notes:
        note(line)
    note(f"{made.path}: {made.tokens:,} tokens in {made.arrays:,} array{'s' * (made.arrays != 1)}")


@app.command
def add_tokens(config: Annotated[surgery.AddTokens, Parameter(name="*")]) -> None:
    """Give a model further tokens; their embeddings are near the mean of all others.

    Args:
        config: The settings.
    """
    made = surgery.add_tokens(config)
    note(f"{made.folder}: " + ", ".join(f"{text} is token {i:,}" for text, i in made.ids.items()))


@app.command
def transplant(config: Annotated[surgery.Transplant, Parameter(name="*")]) -> None:
    """Give a model a new vocabulary learned from texts in another language; shared entries are kept.

    Args:
        config: The settings.
    """
    made = surgery.transplant(config)
    means = f"the others are means of {made.parts:.1f} old ones" if made.parts else "there are no others"
    note(f"{made.folder}: {made.kept:,} of {made.entries:,} entries keep their embeddings, {means}")
    note(f"bytes a token of these texts: {made.bytes_before:.2f} before, {made.bytes_after:.2f} now")
    files = " ".join(map(str, config.files))
    note(f"inkfish finetune {files} --model {made.folder}")
