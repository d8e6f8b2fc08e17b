"""Texts as they grow: whole characters, stop strings, tokens; against a search in the complete text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkfish.data.blocklist import blocklist
from inkfish.engine import Alternative, Failed, Finish, Slid, Token
from inkfish.errors import ModelError, SettingError
from inkfish.generate import Draft, StopStrings, check_stop
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary

BYTES = Tokenizer(Vocabulary({bytes([byte]): byte for byte in range(256)}, {END: 256}))


def until_first(text: str, strings: Sequence[str]) -> str:
    """The text before the stop string that is complete first, of several the longest, by trying all."""
    for end in range(len(text) + 1):
        found = [string for string in strings if text[:end].endswith(string)]
        if found:
            return text[: end - len(max(found, key=len))]
    return text


def feed(stops: StopStrings, pieces: Sequence[str]) -> list[str]:
    """What comes out for each piece, and at the end."""
    return [*(stops.push(piece) for piece in pieces), stops.finish()]


@pytest.mark.parametrize(
    ("pieces", "strings", "passed"),
    [
        (["aaab"], ["aab"], "a"),
        (["a", "a", "a", "b"], ["aab"], "a"),
        (["one. ", "two"], [". t"], "one"),
        (["ab", "cd"], ["bc", "abcd"], "a"),
        (["abcd"], ["bc", "abcd"], "a"),
        (["xabc"], ["c", "abc"], "x"),
        (["a.b"], ["."], "a"),
        (["a.*b"], [".*"], "a"),
        (["The ", "End"], ["The End!"], "The End"),
        (["naïve ", "é"], ["é"], "naïve "),
        (["abc"], [], "abc"),
        (["stop"], ["stop"], ""),
        (["x" * 50], ["x" * 10_000], "x" * 50),
    ],
)
def test_stop_strings_by_hand(pieces: list[str], strings: list[str], passed: str) -> None:
    assert "".join(feed(StopStrings(strings), pieces)) == passed


@settings(max_examples=1000, deadline=None)
@given(
    text=st.text("abé🦑", max_size=30),
    strings=st.lists(st.text("abé🦑", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 30), max_size=10),
)
def test_not_one_character_of_a_stop_string_leaks(text: str, strings: list[str], cuts: list[int]) -> None:
    """However the text is cut into pieces; and nothing is held back that could not become a stop string."""
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    stops = StopStrings(strings)
    expected = until_first(text, strings)
    passed = ""
    for start, end in pairwise(borders):
        passed += stops.push(text[start:end])
        assert expected.startswith(passed)
        if stops.found is None:
            held = text[len(passed) : end]
            assert text[:end] == passed + held
            assert not held or any(string.startswith(held) for string in strings)
    assert passed + stops.finish() == expected


@pytest.mark.parametrize("stop", ["", ["a", ""], [1], [None], "\ud800"])
def test_bad_stop_strings_are_refused(stop: object) -> None:
    with pytest.raises(SettingError, match=r"^stop holds .*(not empty|not valid Unicode)$") as caught:
        check_stop(stop)
    assert caught.value.param == "stop"
    str(caught.value).encode()


def test_a_stop_string_may_come_alone() -> None:
    assert check_stop("\n") == ("\n",)
    assert check_stop(["a", "b"]) == ("a", "b")
    assert check_stop(()) == ()


@settings(max_examples=500, deadline=None)
@given(
    ids=st.lists(st.sampled_from([65, 66, 0xC3, 0xA9, 0xF0, 0x9F, 0xA6, 0x91, 0xFF, 0x80]), max_size=25),
    strings=st.lists(st.sampled_from(["A", "é", "🦑", "BA", "\ufffd", "éé"]), max_size=2),
)
def test_a_draft_is_the_decoded_text_up_to_the_stop(ids: list[int], strings: list[str]) -> None:
    draft = Draft(BYTES, stop=strings)
    pieces = [draft.take(Token(i, -1.0)) for i in ids]
    pieces.append(draft.take(Finish("length")))
    text = BYTES.decode(ids)
    expected = until_first(text, strings)
    sample = draft.sample()
    assert sample.text == "".join(pieces) == expected
    assert sample.finish_reason == ("length" if expected == text else "stop")
    joined = "".join(token.text for token in sample.tokens)
    assert joined.startswith(expected)
    assert [token.id for token in sample.tokens] == ids[: len(sample.tokens)]
    if sample.finish_reason == "length":
        assert joined == text
        assert len(sample.tokens) == len(ids)
    else:
        assert len(joined) - len(sample.tokens[-1].text if sample.tokens else "") <= len(expected)


def test_a_stop_token_gives_no_text_but_counts() -> None:
    draft = Draft(BYTES, stop_ids=[256])
    assert [draft.take(Token(i, -1.0)) for i in (72, 0xC3, 256)] == ["H", "", ""]
    assert draft.take(Finish("stop")) == "\ufffd"
    sample = draft.sample()
    assert sample.text == "H\ufffd"
    assert [token.text for token in sample.tokens] == ["H", "\ufffd"]
    assert sample.finish_reason == "stop"
    assert draft.drawn == 3


def test_a_token_that_does_not_stop_shows_its_text() -> None:
    draft = Draft(BYTES)
    assert draft.take(Token(256, -1.0)) == END


def test_alternatives_get_their_texts() -> None:
    draft = Draft(BYTES)
    draft.take(Token(65, -1.0, (Alternative(65, -1.0), Alternative(0xC3, -2.0))))
    assert [(a.id, a.text, a.logprob) for a in draft.sample().tokens[0].top] == [
        (65, "A", -1.0),
        (0xC3, "\ufffd", -2.0),
    ]


def test_an_unfinished_draft_counts_as_cancelled() -> None:
    """With what was passed on: a held back beginning of a stop string is not part of it."""
    draft = Draft(BYTES, stop=["BC"])
    draft.take(Slid(64, 32))
    assert draft.take(Token(65, -1.0)) == "A"
    assert draft.take(Token(66, -1.0)) == ""
    sample = draft.sample()
    assert (sample.text, len(sample.tokens), sample.finish_reason, sample.slid) == (
        "A",
        1,
        "cancelled",
        (64,),
    )
    assert draft.take(Finish("cancelled")) == "B"
    assert draft.sample().text == "AB"


def test_after_the_end_nothing_counts() -> None:
    draft = Draft(BYTES, stop=["A"])
    draft.take(Token(65, -1.0))
    assert draft.finish_reason == "stop"
    assert draft.take(Token(66, -1.0)) == ""
    assert draft.take(Finish("cancelled")) == ""
    assert draft.sample().finish_reason == "stop"
    assert draft.drawn == 1


def test_a_failure_is_raised() -> None:
    with pytest.raises(ModelError, match="damaged"):
        Draft(BYTES).take(Failed(ModelError("damaged")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a WHORE, and whores.", "a *****, and ******."),
        ("whorehouse whore", "whorehouse *****"),
        ("nothing", "nothing"),
        ("é whore", "é *****"),
    ],
)
@pytest.mark.parametrize("stop", [(), ("zzz", " ,")])
def test_masked_words_never_show_however_they_come(text: str, shown: str, stop: tuple[str, ...]) -> None:
    draft = Draft(BYTES, stop=stop, mask=blocklist())
    pieces = [draft.take(Token(byte, 0.0)) for byte in text.encode()]
    assert "".join([*pieces, draft.take(Finish("length"))]) == shown == draft.sample().text


def test_a_masked_word_before_a_stop_string() -> None:
    draft = Draft(BYTES, stop=["!"], mask=blocklist())
    assert "".join(draft.take(Token(byte, 0.0)) for byte in b"a whore! b") == "a *****"
    assert draft.finish_reason == "stop"


def ended(text: str, after: int) -> tuple[str, str | None]:
    """What a draft makes of a text that comes byte by byte, and why it ended."""
    draft = Draft(BYTES, sentence_after=after)
    for byte in text.encode():
        draft.take(Token(byte, 0.0))
    sample = draft.sample()
    assert "".join(token.text for token in sample.tokens) == sample.text
    return sample.text, draft.finish_reason


@pytest.mark.parametrize(
    ("text", "after", "shown", "reason"),
    [
        ("One. Two. Three. ", 6, "One. Two.", "stop"),
        ("One. Two. Three. ", 0, "One.", "stop"),
        ("One. Two. Three. ", 5, "One.", "stop"),  # only the space says that it was the end
        ('"Go!" he said. ', 0, '"Go!"', "stop"),
        ("Mr. Fox ate 1.5 pounds.\n", 0, "Mr. Fox ate 1.5 pounds.", "stop"),
        ("no end", 0, "no end", None),
        ("the end.", 0, "the end.", None),
    ],
)
def test_a_late_sentence_ends_the_text(text: str, after: int, shown: str, reason: str | None) -> None:
    assert ended(text, after) == (shown, reason)
