from __future__ import annotations

import pytest

from inkfish.tasks import Special, encode, plain
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.transfertransfo import SPECIALS, TASK, Exchange, exchange, prompt, render
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import Vocabulary

BYTES = Tokenizer(
    Vocabulary(
        {bytes([byte]): byte for byte in range(256)}, {name: 256 + i for i, name in enumerate(SPECIALS)}
    )
)
PERSONA = ("i like cats .", "i bake .")


def shown(example: Exchange) -> list[tuple[str, str]]:
    """Text and segment of each piece of an example, as a person would write them by hand."""
    short = {name: name.strip("<|>") for name in SPECIALS}
    return [
        (
            short[piece.content.name] if isinstance(piece.content, Special) else piece.content,
            short[piece.speaker.name][-1] if piece.speaker else "-",
        )
        for piece in render(example)
    ]


def released_code(history: int) -> tuple[list[str], list[str]]:
    """The speakers' tokens and the segments of persona, history and reply as its README describes them."""
    parts = 1 + history + 1
    tokens = ["2" if (parts - i) % 2 else "1" for i in range(parts - 1)]
    return tokens, ["2" if i % 2 else "1" for i in range(parts)]


def test_an_odd_history() -> None:
    assert shown(Exchange(("hi", "hello", "what do you do ?"), PERSONA, "i bake")) == [
        ("bos", "1"),
        (" i like cats . i bake .", "1"),
        ("speaker2", "2"),
        (" hi", "2"),
        ("speaker1", "1"),
        (" hello", "1"),
        ("speaker2", "2"),
        (" what do you do ?", "2"),
        ("speaker1", "1"),
        (" i bake", "1"),
        ("eos", "1"),
    ]


def test_an_even_history_keeps_turns_and_segments_together() -> None:
    assert shown(Exchange(("hi", "hello"), (), "so")) == [
        ("bos", "1"),
        ("speaker1", "1"),
        (" hi", "1"),
        ("speaker2", "2"),
        (" hello", "2"),
        ("speaker1", "1"),
        (" so", "1"),
        ("eos", "1"),
    ]


@pytest.mark.parametrize("count", range(6))
def test_the_original_counting(count: int) -> None:
    tokens, segments = released_code(count)
    found = shown(Exchange(("x",) * count, PERSONA, "y", original=True))
    assert [text[-1] for text, _ in found if text.startswith("speaker")] == tokens
    starts = [0] + [i for i, (text, _) in enumerate(found) if text.startswith("speaker")]
    assert [found[i][1] for i in starts] == segments
    safe = shown(Exchange(("x",) * count, PERSONA, "y"))
    assert (found == safe) == (count % 2 == 1)


def test_only_the_reply_is_learned() -> None:
    encoded = encode(render(Exchange(("hi",), PERSONA, "ok")), BYTES)
    learned = [i for i, kept in zip(encoded.ids, encoded.trainable, strict=True) if kept]
    assert learned == [*b" ok", BYTES.specials["<|eos|>"]]
    assert encoded.ids[-1] == BYTES.specials["<|eos|>"]
    assert encoded.segments is not None
    assert set(encoded.segments) == {BYTES.specials[name] for name in ("<|speaker1|>", "<|speaker2|>")}


def test_a_prompt_is_the_beginning_of_an_example() -> None:
    for history in ((), ("hi",), ("hi", "you")):
        example = Exchange(history, PERSONA, "yes")
        assert render(example)[:-2] == prompt(example)


def test_the_next_turn_of_a_dialogue() -> None:
    dialogue = Dialogue(("hi",), ("I am a user.",), ("I am a bot.",))
    assert exchange(dialogue) == Exchange(("hi",), ("I am a bot.",))
    asked = Dialogue(("hi", "hello"), ("I am a user.",), ("I am a bot.",))
    assert exchange(asked) == Exchange(("hi", "hello"), ("I am a user.",))


def test_text_is_never_a_special_token() -> None:
    ids = encode(prompt(Exchange(("<|eos|> <|speaker1|>\n",), ("<|bos|>",))), BYTES).ids
    assert [i for i in ids if i > 255] == [256, 259, 258]
    assert plain(prompt(Exchange(("a\nb\tc",)))) == "<|bos|><|speaker2|> a b c<|speaker1|>"
    assert TASK.clean(" yes \nno") == "yes"
