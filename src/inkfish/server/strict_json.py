"""JSON as the standard says (RFC 8259), where Python's own reader takes more and fails in other ways."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

__all__ = ["JSONError", "dumps", "loads"]

DEEPEST = 64
LONGEST_NUMBER = 400
LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""Line ends of Unicode, which JSON lets stand: clients that split a stream by them would lose its frames."""
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
OPENING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', re.DOTALL)


class JSONError(ValueError):
    """Text that is not JSON, or JSON that no request has a use for."""


def loads(content: bytes) -> Any:
    """Return what JSON in UTF-8 says.

    Raises:
        JSONError: not UTF-8, not JSON, a number that is not finite, a name twice in an object, a lone
            surrogate, or brackets deeper than 64.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JSONError(f"the body is not UTF-8: byte {error.start} fits no character") from None
    check_depth(text)
    try:
        value = json.loads(
            text,
            parse_constant=refuse_constant,
            parse_float=finite,
            parse_int=whole,
            object_pairs_hook=unique,
        )
    except json.JSONDecodeError as error:
        raise JSONError(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    if "\\u" in text:
        check_text(value)
    return value


def dumps(value: Any) -> str:
    """Return a value as JSON on one line, whatever a reader takes for a line's end.

    Raises:
        ValueError: a number that is not finite, which is the caller's mistake.
    """
    text = ENCODER.encode(value)
    return text if text.isascii() else text.translate(LINE_ENDS)


def check_depth(text: str) -> None:
    """Refuse what Python's recursive reader could not take."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for match in OPENING.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > DEEPEST:
                raise JSONError(f"the body has brackets deeper than {DEEPEST}")
        elif match[0] in "]}":
            depth -= 1


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN, Infinity and -Infinity, which Python would take."""
    raise JSONError(f"the body holds {name}, which is not JSON")


def finite(digits: str) -> float:
    """Return a number with a fraction or an exponent."""
    value = float(digits)
    if not math.isfinite(value):
        raise JSONError("the body holds a number that is too large")
    return value


def whole(digits: str) -> int:
    """Return a whole number."""
    if len(digits) > LONGEST_NUMBER:
        raise JSONError(f"the body holds a number of more than {LONGEST_NUMBER} digits")
    return int(digits)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise JSONError("the body says a name twice in one object")
    return value


def check_text(value: Any) -> None:
    """Refuse lone surrogates, which escapes can say and Unicode does not have."""
    match value:
        case str():
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise JSONError("the body holds a lone surrogate, which is not valid Unicode")
        case dict():
            for name, item in value.items():
                check_text(name)
                check_text(item)
        case list():
            for item in value:
                check_text(item)
