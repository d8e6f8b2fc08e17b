from __future__ import annotations

from dataclasses import replace

from inkfish.labels.records import Label, Verdict
from inkfish.labels.votes import by_item, first_answers, majorities, majority


def label(item: str, labeller: str, verdict: Verdict, *best: int) -> Label:
    return Label(f"{item}{labeller}{verdict}{best}", item, labeller, verdict, best)


def test_a_majority_is_more_than_half() -> None:
    assert majority(["a"]) == "a"
    assert majority(["a", "b"]) is None
    assert majority(["a", "b", "a"]) == "a"
    assert majority(["a", "b", "a", "b", "c"]) is None


def test_a_second_answer_counts_only_without_the_first() -> None:
    first, other = label("x", "ann", "best", 0), label("x", "bob", "best", 1)
    again = replace(label("x", "ann", "best", 2), repeat=True)
    assert first_answers([first, other, again]) == [first, other]
    assert first_answers([other, again]) == [other, again]
    assert by_item([first, other, again]) == {"x": [first, other, again]}


def test_items_count_once_or_not_at_all() -> None:
    found = majorities(
        [
            label("two of three", "ann", "best", 0),
            label("tied", "ann", "tie", 0, 2),
            label("two of three", "bob", "best", 1),
            label("two of three", "cat", "best", 1),
            label("tied", "bob", "tie", 2, 0),
            label("split", "ann", "best", 0),
            label("split", "bob", "best", 1),
            label("all bad", "ann", "bad"),
        ]
    )
    assert [(one.item, one.labeller, one.verdict, one.best) for one in found] == [
        ("two of three", "majority", "best", (1,)),
        ("tied", "majority", "tie", (0, 2)),
    ]
