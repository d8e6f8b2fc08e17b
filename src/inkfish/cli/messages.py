"""Mistakes on the command line as one line each: what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin

from cyclopts import Token
from cyclopts.argument import Argument
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from inkfish.errors import InkfishError

__all__ = ["describe", "suggestion", "with_options"]


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the nearest known word, or nothing when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def wanted(target: Any) -> str:
    """Name the values that a type allows: `a whole number`, `one of a, b`."""
    if get_origin(target) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(target))
    inner = next((t for t in get_args(target) if t is not type(None)), target)
    if inner is not target:
        return wanted(inner)
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(
        target, "another kind of value"
    )


def setting(token: Token) -> tuple[str, str]:
    """Return a setting's name in a file, and ` in FILE`; for the command line the option and nothing."""
    if token.source in ("", "cli"):
        return token.keyword or "", ""
    return (token.keyword or "").strip("[]").replace("][", "."), f" in {token.source}"


def unknown_option(error: UnknownOptionError) -> str:
    """Describe an option, or a setting in a file, that does not exist."""
    names = [name for each in error.argument_collection for name in each.names if name.startswith("-")]
    word, where = setting(error.token)
    if where:
        known = (name.lstrip("-").replace("-", "_") for name in names)
        return f"unknown setting {word}{where}{suggestion(word, known)}"
    word = word or error.token.value
    if word in names:
        return f"{word} stands after --, where all is text; put options before it"
    return f"unknown option {word}{suggestion(word, names)}"


def bad_value(error: CoercionError) -> str:
    """Describe a value of the wrong kind."""
    if error.token is None or error.target_type is None or error.msg is not None:
        return str(error)
    name, where = setting(error.token)
    name = name or (positional(error.argument) if error.argument else "the value")
    choices = [str(choice) for choice in get_args(error.target_type)]
    near = suggestion(error.token.value, choices) if get_origin(error.target_type) is Literal else ""
    return f'{name}{where} is "{error.token.value}"; it must be {wanted(error.target_type)}{near}'


def positional(argument: Argument) -> str:
    """Return what a help page calls an argument that stands without an option's name."""
    return argument.name.lstrip("-").upper()


def missing(error: MissingArgumentError) -> str:
    """Describe an option without its value, or a missing argument."""
    assert error.argument is not None, "cyclopts names the argument that is missing"
    if error.keyword is not None:
        return f"{error.keyword} needs a value"
    if not error.argument.field_info.is_positional:
        return f"{error.argument.name} is missing"
    return f"{positional(error.argument)} is missing"


def mistake(error: CycloptsError) -> str:
    """Describe what is wrong with the words on the command line, without the remedy."""
    match error:
        case UnknownCommandError() if error.unused_tokens and error.app is not None:
            word = error.unused_tokens[0]
            dash = word.startswith("-")
            if " " in word:
                return f'there is no command before the text; to continue it: inkfish write "{word}"'
            kind, known = "option" if dash else "command", [n for n in error.app if n.startswith("-") == dash]
            return f"unknown {kind} {word}{suggestion(word, known)}"
        case UnknownOptionError():
            return unknown_option(error)
        case UnusedCliTokensError() if error.unused_tokens:
            return f'unexpected "{error.unused_tokens[0]}"; put a text of several words in quotes'
        case CoercionError():
            return bad_value(error)
        case MissingArgumentError():
            return missing(error)
        case RepeatArgumentError() if error.token.keyword:
            return f"{error.token.keyword} is given twice; leave one out"
    return str(error)


def describe(error: CycloptsError) -> str:
    """Return the one line for an error of parsing, ending with where help is."""
    command = " ".join(["inkfish", *(error.command_chain or ())])
    return f"{' '.join(mistake(error).split())} ({command} --help shows what there is)"


def with_options(error: InkfishError, known: Iterable[str], words: Sequence[str]) -> str:
    """Return an error that names settings as the command line does: `--max-tokens`, not `max_tokens`.

    A setting that a file gave, a recipe or a row, keeps the name that it has there.

    Args:
        error: names settings as Python does, the one at fault first.
        known: names of what the command takes.
        words: of the command line.
    """
    text, given = str(error), {word.split("=")[0] for word in words}
    from_file = "--recipe" in given or re.search(r"\brow \d+: ", text)
    options = {name.lstrip("-").replace("-", "_"): name for name in known}
    for setting, option in options.items():
        if from_file and option not in given:
            continue
        if "_" in setting:
            text = re.sub(rf"(?<![\w/.'\"-]){setting}(?![\w/.'\"-])", option, text)
        elif setting == error.param:
            text = re.sub(rf"^{setting}(?= is )", option, text)
    return text
