"""Only JSON is taken for JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkfish.server.strict_json import JSONError, dumps, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_json_is_read_as_python_reads_it(value: object) -> None:
    text = json.dumps(value)
    assert loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "not UTF-8: byte 0"),
        ("\ufeff{}".encode(), "not JSON"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"NaN", "holds NaN"),
        (b"[-Infinity]", "holds -Infinity"),
        (b"[1e400]", "too large"),
        (b"[" + b"9" * 5000 + b"]", "more than 400 digits"),
        (b'{"a": 1, "a": 2}', "a name twice"),
        (b"[" * 100_000, "deeper than 64"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "deeper than 64"),
        (b'["\\ud800"]', "lone surrogate"),
        (b'{"\\ud800": 1}', "lone surrogate"),
    ],
)
def test_what_is_none_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(JSONError, match=message):
        loads(content)


def test_brackets_in_texts_are_no_depth() -> None:
    assert loads(json.dumps(["[" * 500 + '"\\']).encode()) == ["[" * 500 + '"\\']
    assert loads(b'["\\ud83d\\ude00"]') == ["😀"]


def test_what_is_written_is_json() -> None:
    assert dumps({"a": [1, "é"]}) == '{"a":[1,"é"]}'
    ends = "a\x0b\x0c\r\n\x1c\x85\u2028\u2029"
    assert len(dumps(ends).splitlines()) == 1
    assert json.loads(dumps(ends)) == ends
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps([float("nan")])
