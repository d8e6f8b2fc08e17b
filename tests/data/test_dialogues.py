"""Rows in their publishers' own formats, made up for the test."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from inkfish.data.dialogues import Talk, read
from inkfish.data.rules import BadRows
from inkfish.errors import DataError


def talks(tmp_path: Path, name: str, content: str | Any) -> tuple[list[Talk], list[str]]:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    bad = BadRows()
    found = read([path], bad)
    return found, [message.removeprefix(f"{path}: ") for message in bad.messages()]


RELEASE = {
    "train": [
        {
            "personality": ["i like cats .", "i bake ."],
            "utterances": [
                {"candidates": ["no .", "i am fine ."], "history": ["hi , how are you ?"]},
                {
                    "candidates": ["red .", "i bake bread ."],
                    "history": ["hi , how are you ?", "i am fine .", "what do you do ?"],
                },
            ],
        }
    ],
    "valid": [{"personality": [], "utterances": [{"candidates": ["a", "b"], "history": ["x"]}]}],
}


def test_persona_chat_as_released(tmp_path: Path) -> None:
    found, bad = talks(tmp_path, "personachat_self_original.json", RELEASE)
    assert found == [
        Talk(
            ("hi , how are you ?", "i am fine .", "what do you do ?", "i bake bread ."),
            ((), ("i like cats .", "i bake .")),
            replies=(1, 3),
            candidates={1: ("no .",), 3: ("red .",)},
        ),
        Talk(("x", "b"), replies=(1,), candidates={1: ("a",)}, held_out=True),
    ]
    assert not bad


def test_histories_that_do_not_go_on_are_talks_of_their_own(tmp_path: Path) -> None:
    utterances = [{"candidates": ["c"], "history": ["a"]}, {"candidates": ["d"], "history": ["b"]}]
    found, _ = talks(tmp_path, "x.json", {"train": [{"personality": [], "utterances": utterances}]})
    assert [talk.turns for talk in found] == [("a", "c"), ("b", "d")]


CONVAI2 = """\
1 your persona: i like cats .
2 your persona: i bake .
3 partner's persona: i am tall .
4 hi !\thello .\t\tred .|hello .|no .
5 and ?\twell .
1 your persona: i swim .
2 hey\tyes
"""
PARLAI = (
    "text:your persona: i swim .\\nyour persona: i run .\\nhi\tlabels:hello\tlabel_candidates:no|hello\n"
    "text:so ?\tlabels:yes\tepisode_done:True\n"
    "text:a\tlabels:b\tepisode_done:True\n"
)


def test_convai2_text(tmp_path: Path) -> None:
    found, bad = talks(tmp_path, "valid_self_original.txt", CONVAI2)
    first = Talk(
        ("hi !", "hello .", "and ?", "well ."),
        (("i am tall .",), ("i like cats .", "i bake .")),
        replies=(1, 3),
        candidates={1: ("red .", "no .")},
    )
    assert found == [first, Talk(("hey", "yes"), ((), ("i swim .",)), replies=(1,))]
    assert not bad


def test_parlai_fields(tmp_path: Path) -> None:
    found, _ = talks(tmp_path, "export.txt", PARLAI)
    assert found == [
        Talk(
            ("hi", "hello", "so ?", "yes"),
            ((), ("i swim .", "i run .")),
            replies=(1, 3),
            candidates={1: ("no",)},
        ),
        Talk(("a", "b"), replies=(1,)),
    ]


def test_plain_rows(tmp_path: Path) -> None:
    rows = [
        {"turns": ["hi", "hello", "so"], "personas": [["I am A."], ["I am B.", ""]], "topic": "ink"},
        {"turns": [{"text": "a\n b"}, {"text": "c"}], "about_user": [], "about_bot": ["I bake."]},
        {"prompt": "why?", "response": "so"},
    ]
    expected = [
        Talk(("hi", "hello", "so"), (("I am A.",), ("I am B.",)), (1, 2), topic="ink"),
        Talk(("a b", "c"), ((), ("I bake.",)), (1,)),
        Talk(("why?", "so"), replies=(1,)),
    ]
    lines = "\n\n".join(map(json.dumps, rows))
    assert talks(tmp_path, "x.jsonl", lines) == (expected, [])
    assert talks(tmp_path, "x.json", json.dumps(rows, indent=1)) == (expected, [])
    assert talks(tmp_path, "y.json", lines) == (expected, [])
    packed = tmp_path / "z.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.encode()))
    assert read([packed], BadRows()) == expected


def test_openai_messages(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "system", "content": "You are Marv. You are rude!\nYou sigh."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "you"}]},
            {"role": "assistant", "content": "What."},
            {"role": "assistant", "content": "Now?"},
            {"role": "user", "content": "Bye"},
        ]
    }
    found, _ = talks(tmp_path, "train.jsonl", json.dumps(row))
    persona = ("You are Marv.", "You are rude!", "You sigh.")
    assert found == [Talk(("Hi you", "What. Now?", "Bye"), ((), persona), (1,))]


def test_sharegpt(tmp_path: Path) -> None:
    rows = [
        {
            "id": "x",
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
        },
        {
            "system": "I greet.",
            "conversations": [
                {"from": "gpt", "value": "Welcome"},
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "So"},
            ],
        },
    ]
    found, _ = talks(tmp_path, "sharegpt.json", rows)
    assert found == [
        Talk(("Hi", "Hello"), replies=(1,)),
        Talk(("Welcome", "Hi", "So"), (("I greet.",), ()), (2,)),
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", 'hi,"hello, you"\nso,yes\n', [("hi", "hello, you"), ("so", "yes")]),
        ("b.tsv", "prompt\tresponse\nhi\thello\n", [("hi", "hello")]),
        ("c.csv", "id;question;answer\n1;why;so\n", [("why", "so")]),
        (
            "d.csv",
            "speaker,text\nAnna,hi\nBen,hello\nBen,you\n,\nAnna,bye\nBen,yes\n",
            [("hi", "hello you"), ("bye", "yes")],
        ),
    ],
)
def test_two_columns(tmp_path: Path, name: str, content: str, expected: list[tuple[str, ...]]) -> None:
    found, bad = talks(tmp_path, name, content)
    assert [talk.turns for talk in found] == expected
    assert not bad


SCREENPLAY = """\
INT. KITCHEN - DAY

Anna looks for bread.

                  ANNA (CONT'D)
        Is there (softly)
        bread?

                  BEN
        I ate it.

EXT. STREET

                  ANNA
        Again?
                  BEN
        [sighs] Again.
                  CARLA
        Who?
"""


def test_screenplay(tmp_path: Path) -> None:
    found, _ = talks(tmp_path, "film.txt", SCREENPLAY)
    assert [(talk.turns, talk.names) for talk in found] == [
        (("Is there bread?", "I ate it."), ("ANNA", "BEN")),
        (("Again?", "Again."), ("ANNA", "BEN")),
        (("Again.", "Who?"), ("BEN", "CARLA")),
    ]


def test_chat_log(tmp_path: Path) -> None:
    log = "Anna: hi\nBen: hello:\n  there\nAnna: ok\n\n\nBen: so?\nAnna: yes (laughs)\n"
    found, _ = talks(tmp_path, "log.txt", log)
    assert [talk.turns for talk in found] == [("hi", "hello: there", "ok"), ("so?", "yes")]


GOOD = '{"turns": ["a", "b"]}\n'


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "1 row left out: not JSON (line 2)"),
        ("[1]", "1 row left out: not an object (line 2)"),
        ("{}", "1 row left out: no field 'turns', 'messages' or 'conversations' (line 2)"),
        ('{"turns": "a"}', "1 row left out: 'turns' is no list (line 2)"),
        ('{"turns": ["a", 3]}', "1 row left out: turn 2 is no text (line 2)"),
        ('{"turns": ["a"]}', "1 row left out: fewer than two turns (line 2)"),
        ('{"turns": ["a", " "]}', "1 row left out: turn 2 is empty (line 2)"),
        (
            '{"turns": ["a", "b\\u001b"]}',
            "1 row left out: turn 2 has the control character U+001B (line 2)",
        ),
        (
            '{"turns": ["a", "\\ud800"]}',
            "1 row left out: half a surrogate pair, not valid Unicode (line 2)",
        ),
        (
            '{"turns": ["a", "b"], "personas": [["x"]]}',
            "1 row left out: 'personas' are no two lists of texts (line 2)",
        ),
        ('{"turns": ["a", "b"], "topic": 3}', "1 row left out: 'topic' is no text (line 2)"),
        (
            '{"messages": [{"role": "tool", "content": "x"}]}',
            "1 row left out: message 1 has no known role with a text (line 2)",
        ),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}',
            "1 row left out: message 1 has no known role with a text (line 2)",
        ),
        (
            '{"messages": [{"role": "user", "content": "x"}]}',
            "1 row left out: the assistant does not reply (line 2)",
        ),
    ],
)
def test_rows_that_are_left_out(tmp_path: Path, row: str, message: str) -> None:
    found, bad = talks(tmp_path, "x.jsonl", GOOD + row + "\n" + GOOD)
    assert len(found) == 2
    assert bad == [message]


def test_items_of_an_array_have_lines(tmp_path: Path) -> None:
    found, bad = talks(tmp_path, "x.json", f"[\n{GOOD},\n3,\n{GOOD}]")
    assert len(found) == 2
    assert bad == ["1 row left out: not an object (line 4)"]


def test_parlai_lines_that_are_broken(tmp_path: Path) -> None:
    text = f"{CONVAI2}1 hey\n1 a\tb\nno number\n1 c\td\n"
    found, bad = talks(tmp_path, "x.txt", text)
    assert len(found) == 3
    assert bad == [
        "1 row left out: line 8 has no reply after a tab (line 8)",
        "1 row left out: line 10 has no number (line 9)",
    ]
    _, bad = talks(tmp_path, "y.txt", f"{PARLAI}text:a\tepisode_done:True\n")
    assert bad == ["1 row left out: line 4 has no labels (line 4)"]


def test_tables_with_other_rows(tmp_path: Path) -> None:
    _, bad = talks(tmp_path, "x.csv", "a,b\nhi,hello\nhi\n")
    assert bad == ["1 row left out: 1 cells instead of 2 (line 3)"]
    _, bad = talks(tmp_path, "y.csv", "speaker,text\nA,hi\nB,yes\nB\n")
    assert bad == ["1 row left out: 1 cells instead of 2 (line 4)"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", f"[\n{GOOD},\n{{", r"x\.json, line 4 is not JSON \(Expecting property name enclosed in"),
        ("x.json", "[" * 100_000, r"x\.json, line 1 is not JSON \(nested too deeply\); get the file again"),
        (
            "x.json",
            '{"train": [{"personality": []}]}',
            r"x\.json: train, dialogue 1 has not the form of personachat_self_original\.json "
            r"\(KeyError: 'utterances'\); get the file again",
        ),
        (
            "x.json",
            '{"valid": [{"personality": [], "utterances": [{"history": [], "candidates": [1]}]}]}',
            r"valid, dialogue 1 .* \(TypeError: a text that is none\)",
        ),
        ("x.txt", "just a text", r"x\.txt: not one dialogue; docs/chat\.md shows the formats that are read"),
        ("x.csv", "", r"x\.csv: not one dialogue; docs"),
        ("x.jsonl", "{", r"x\.jsonl: not one dialogue \(.*x\.jsonl: 1 row left out: not JSON \(line 1\)\)"),
    ],
)
def test_files_without_dialogues(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        talks(tmp_path, name, content)
