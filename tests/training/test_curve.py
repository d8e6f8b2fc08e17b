from __future__ import annotations

import pytest

from inkfish.training.curve import draw, draw_updates, smooth

PNG = b"\x89PNG\r\n\x1a\n"


def test_smoothing_has_no_bias() -> None:
    assert smooth([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smooth([1.0, 2.0], weight=0.5) == pytest.approx([1.0, (0.25 * 1 + 0.5 * 2) / 0.75])


def test_draws_with_and_without_validation() -> None:
    steps = [{"step": n, "loss": 5 / n} for n in range(1, 9)]
    plain = draw(steps, title="a run")
    both = draw([*steps, {"step": 4, "validation": 1.5}, {"step": 5, "loss": None}])
    assert plain.startswith(PNG)
    assert both.startswith(PNG)
    assert plain != both


def test_nothing_to_draw_is_an_empty_picture() -> None:
    assert draw([]).startswith(PNG)


def test_updates_of_a_policy_are_drawn_with_and_without_a_judge() -> None:
    names = ("objective/score", "objective/kl", "objective/kl_coef", "policy/entropy")
    records = [{"update": i, **dict.fromkeys(names, i / 3)} for i in range(5)]
    plain = draw_updates([{"step": 1, "loss": 2.0}, *records], title="ppo")
    judged = draw_updates([record | {"judge": 0.1} for record in records], title="ppo")
    assert plain.startswith(b"\x89PNG")
    assert plain != judged
    assert draw_updates([]).startswith(b"\x89PNG")
