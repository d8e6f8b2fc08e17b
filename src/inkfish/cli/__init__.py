"""The command line: `inkfish COMMAND …`. Each command is a module of its own, imported only when chosen."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.exceptions import CoercionError

import inkfish
from inkfish.cli.messages import describe, with_options
from inkfish.cli.output import INTERRUPTED, note
from inkfish.cli.recipe import from_recipe
from inkfish.cli.terminal import printable
from inkfish.errors import InkfishError, SlowBackendWarning

__all__ = ["app", "main"]

COMMANDS = {
    "Use a model": {
        "write": "Continue a text.",
        "score": "Show how likely a model finds a text, token by token.",
        "translate": "Translate a text.",
        "summarize": "Summarize a text.",
        "answer": "Answer questions.",
        "chat": "Talk with a persona.",
        "serve": "Serve models: OpenAI's API, and pages for the browser.",
    },
    "Make a model": {
        "finetune": "Go on training a model on your own texts.",
        "pretrain": "Train a model from scratch on text files.",
        "prefer": "Learn from human preferences: label, train a reward, optimise, compare.",
        "data": "Look at training data; make a vocabulary.",
    },
    "Measure a model": {
        "evaluate": "Measure a model: on a card of its own, or as the papers did.",
    },
    "Manage": {
        "models": "List, fetch, import and export models.",
    },
}
"""Group → command → its line in `inkfish --help`. Command `x` is `inkfish.cli.x:app`."""

BROKEN_PIPE = 141
"""Exit code of a program whose reader went away: 128 + SIGPIPE, as the shell's own tools have it."""
SHIELD = "\0"
"""Put before a word that looks like an option and is none: cyclopts takes all with a dash for one.
No word of a command line can contain NUL."""


def shield(word: str) -> str:
    """Mark `-` (standard input) and texts such as "- Hello, she said." as the texts that they are."""
    return SHIELD + word if word == "-" or re.match(r"-[^=]*\s", word) else word


def unshield(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Take the marks of `shield` off again, once cyclopts has sorted words from options."""
    for argument in arguments:
        argument.tokens[:] = [
            token.evolve(value=token.value.removeprefix(SHIELD)) for token in argument.tokens
        ]


def refuse_fractions(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse 1.5 where a whole number is wanted; cyclopts would round it."""
    for argument in arguments:
        if argument.hint not in (int, int | None):
            continue
        for token in argument.tokens:
            if not re.fullmatch(r"\s*[+-]?(\d[\d_]*|0x[0-9a-fA-F]+)\s*", token.value):
                raise CoercionError(token=token, argument=argument, target_type=int)


def shown_default(value: Any) -> str | None:
    """Return how a default stands in a help page; those that mean "not set" are left out."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or None
    return None if value is None or value is False else str(value)


def make_app() -> App:
    """Build the command tree without importing any command."""
    app = App(
        name="inkfish",
        help="The GPT-2 workbench: write, score and train with GPT-2, offline.",
        help_epilogue='Start with: inkfish write "Once upon a time"',
        help_format="markdown",
        version=f"inkfish {inkfish.__version__}",
        config=[unshield, from_recipe, refuse_fractions],
        default_parameter=Parameter(negative=(), show_default=shown_default),
        result_action="return_value",
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
    )
    for number, (title, commands) in enumerate(COMMANDS.items()):
        group = Group(title, sort_key=number)
        for name, line in commands.items():
            app.command(f"inkfish.cli.{name}:app", name=name, help=line, group=group)
    options = Group("Options", sort_key=len(COMMANDS))
    for flag in ("--help", "--version"):
        app[flag].group = (options,)
    return app


app = make_app()


def complain(text: str) -> None:
    """Print one line about an error, with nothing in it that a terminal would obey."""
    if sys.stderr is not None:
        print(printable(f"inkfish: {text}").replace("\n", "␤"), file=sys.stderr, flush=True)


def close_broken_pipe() -> int:
    """Leave quietly after the reader went away (`| head`): Python would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def options_of(words: Sequence[str]) -> list[str]:
    """Return the names of what the command in these words takes; none where it can't even be imported."""
    try:
        arguments = app.parse_commands(words)[1][-1].assemble_argument_collection()
    except InkfishError:
        return []
    return [name for argument in arguments for name in argument.names]


def explain(error: Exception, words: Sequence[str]) -> str:
    """Return the one line for an error that is the user's or the machine's."""
    match error:
        case InkfishError():
            return with_options(error, options_of(words), words)
        case CycloptsError():
            return describe(error).replace(SHIELD, "")
        case OSError():
            place = error.filename if error.filename is not None else "reading or writing failed"
            return f"{place}: {error.strerror or error}"
        case MemoryError():
            return "not enough memory; choose a smaller model, a shorter text or fewer samples"
    return str(error)


def run(words: Sequence[str]) -> int:
    """Run a command and return its exit code; a mistake of the user is one line and 2."""
    shielded = [shield(word) for word in words]
    try:
        result: Any = app(shielded)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return close_broken_pipe()
    except (CycloptsError, InkfishError, OSError, MemoryError) as error:
        complain(explain(error, shielded))
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def prepare_process() -> None:
    """Make the streams UTF-8 where they are no terminals, and keep all warnings from users but our own."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", SlowBackendWarning)
    warnings.showwarning = lambda message, *_: note(str(message))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and stream.isatty():
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        elif stream is not None:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]


def as_utf8(word: str) -> str:
    """Read a word of the command line as UTF-8, also where the locale says something else (or nothing)."""
    return os.fsencode(word).decode("utf-8", errors="surrogateescape")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inkfish` with these words, or with those of the process, and return the exit code.

    0 is success, 2 a user's mistake (one line on standard error), 130 Ctrl-C, 141 a closed pipe.
    """
    if argv is None:
        prepare_process()
        argv = [as_utf8(word) for word in sys.argv[1:]]
    return run(argv)
