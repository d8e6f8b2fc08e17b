"""Poems out of files: what parts them, their titles and authors, lines and stanzas as they were."""

from __future__ import annotations

import pytest

from inkfish.data.verse import Verse, parting, poems

FOX = "The fox went out\n  on a chilly night,\nand prayed."
SNOW = "White on white,\nthe field."


def test_poems_parted_by_wide_gaps() -> None:
    snow = SNOW.replace("White on", "   White on").replace("the field", "   the field")
    text = f"THE FOX\n\n{FOX}\n\nSecond stanza.\n\n\nSnow\nby A. Writer\n\n{snow}\n\n\n\nNo title,\nnone.\n"
    assert poems(text) == [
        Verse("THE FOX", "", (FOX, "Second stanza.")),
        Verse("Snow", "A. Writer", (SNOW,)),
        Verse("", "", ("No title,\nnone.",)),
    ]
    assert poems(text)[1].text == f"Snow\nby A. Writer\n\n{SNOW}"


def test_a_title_with_a_gap_under_it_goes_to_its_poem() -> None:
    assert poems(f"The Fox\n\n\n{FOX}\n\n\nSnow\n\n\n{SNOW}") == [
        Verse("The Fox", "", (FOX,)),
        Verse("Snow", "", (SNOW,)),
    ]


def test_titles_in_capitals_or_marked_stand_right_over_the_verse() -> None:
    assert poems(f"THE FOX\n{FOX}") == [Verse("THE FOX", "", (FOX,))]
    assert poems(f"# The fox\n{FOX}") == [Verse("The fox", "", (FOX,))]


@pytest.mark.parametrize("rule", ["---", "***", "* * *", "  ~~~~", "======"])
def test_poems_parted_by_rules(rule: str) -> None:
    assert [verse.stanzas for verse in poems(f"{FOX}\n{rule}\n{SNOW}\n")] == [(FOX,), (SNOW,)]


def test_a_file_is_one_poem_unless_told_otherwise() -> None:
    text = f"{FOX}\n\n{SNOW}\n"
    assert parting(text) == "file"
    assert [verse.stanzas for verse in poems(text)] == [(FOX, SNOW)]
    assert [verse.stanzas for verse in poems(text, "blank")] == [(FOX,), (SNOW,)]


def test_one_line_alone_is_a_poem() -> None:
    assert [verse.text for verse in poems("All that is left\n")] == ["All that is left"]
    assert poems(" \n") == []


def test_a_book_of_project_gutenberg() -> None:
    verse = (
        "I saw the sun upon the hill,\nAnd all the birds were in the sky,\nThe river lay, the wood was still."
    )
    text = (
        "Title: Verses\n\n*** START OF THE PROJECT GUTENBERG EBOOK VERSES ***\n\nMORNING\n\n"
        f"{verse}\n\n*** END OF THE PROJECT GUTENBERG EBOOK VERSES ***\n\nThe licence says that you may.\n"
    )
    assert parting(text) == "gutenberg"
    assert poems(text) == [Verse("Morning", "", (verse,))]
