"""Scripts of three kinds come out as the same Fountain, which reads back as itself."""

from __future__ import annotations

import pytest

from inkfish.data.screenplay import parse, scenes, written

PLAIN = """\
INT. KITCHEN - NIGHT

Anna opens the fridge. The light falls on her face.

ANNA
(softly)
Empty. Again it is empty.

BEN (O.S.)
Buy milk!

CUT TO:

EXT. STREET - DAY

She runs."""
FOUNTAIN = f"""\
Title:
    _**The Lamp**_
Author: N. N.

# Act one
{PLAIN.replace("NIGHT", "NIGHT #1#").replace("light", "*light*").replace("BEN (O.S.)", "BEN (O.S.) ^")}

[[ask Ben]] /* cut? */

===
= She is late.
"""
INDENTED = """\
                         THE LAMP

     1  INT. KITCHEN - NIGHT                                       1

     Anna opens the fridge. The light falls
     on her face.

                         ANNA
                    (softly)
               Empty. Again it is
               empty.

                         BEN (O.S.)
               Buy milk!
                                                  CUT TO:
                                                            3.
     EXT. STREET - DAY

     She runs.
"""


def test_fountain() -> None:
    script = parse(FOUNTAIN)
    assert (script.title, script.characters) == ("The Lamp", ["ANNA", "BEN"])
    assert written(script) == PLAIN
    assert written(parse(PLAIN)) == PLAIN


def test_an_indented_script_is_the_same_without_its_page() -> None:
    assert written(parse(INDENTED)) == f"THE LAMP\n\n{PLAIN}"


def test_a_play() -> None:
    play = """\
ACT I

SCENE I. A kitchen.

Anna: (softly) Empty.
Ben (off): Buy milk!
And bread.
Note: nobody hears him.

Anna: Yes.

Ben: No.

[Exit.]
"""
    assert written(parse(play)) == (
        "ACT I\n\nSCENE I. A KITCHEN.\n\nANNA\n(softly)\nEmpty.\n\nBEN\n(off)\nBuy milk! And bread. "
        "Note: nobody hears him.\n\nANNA\nYes.\n\nBEN\nNo.\n\n[Exit.]"
    )
    assert written(parse("HAMLET. To be\nor not.\n\nHAMLET. That is it.")) == (
        "HAMLET\nTo be or not.\n\nHAMLET\nThat is it."
    )


@pytest.mark.parametrize("line", ["BANG!", "He runs to the SHOP", "WHO WAS IT?", "It was late: very late."])
def test_action_is_no_cue(line: str) -> None:
    assert parse(f"EXT. STREET\n\n{line}\nNobody moves.\n").characters == []


def test_forced_marks_of_fountain() -> None:
    script = parse(".SNIPER SCOPE\n\n@McAvoy\nDown.\n\n!BOOM\nAll fall.\n\n> Burn to white.\n\n>THE END<")
    assert [(e.kind, e.text) for e in script.elements] == [
        ("scene", "SNIPER SCOPE"),
        ("character", "MCAVOY"),
        ("dialogue", "Down."),
        ("action", "BOOM\nAll fall."),
        ("transition", "BURN TO WHITE."),
        ("action", "THE END"),
    ]


def test_scenes() -> None:
    first, second = scenes(parse(FOUNTAIN))
    assert written(first).startswith("INT. KITCHEN - NIGHT\n\nAnna opens")
    assert written(second) == "EXT. STREET - DAY\n\nShe runs."
    assert (second.title, second.characters) == ("The Lamp", [])
