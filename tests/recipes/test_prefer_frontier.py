"""Reward over divergence: best-of-n by hand, checkpoints as `compare` measures them, table and picture."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inkfish.config import ModelConfig
from inkfish.errors import DataError, ModelError, SettingError
from inkfish.recipes.prefer import compare, frontier, learning, optimize

TEXT = "".join(f"The {n}th fox met {n * 7 % 13} hens. It saw {n % 5} dogs and ate eggs. " for n in range(300))
SHAPE = ModelConfig(n_layer=2, n_head=2, n_embd=8, n_positions=32, vocab_size=300)
SMALL: dict[str, Any] = {"query_tokens": 20, "tokens": 6, "threads": 1, "per_document": 500}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_base: Callable[..., None]) -> Path:
    """A tiny model and a run of it with two checkpoints."""
    folder = tmp_path_factory.mktemp("frontier")
    write_base(folder, TEXT, SHAPE)
    optimize.run(
        learning.Config(
            (folder / "text.txt",),
            **SMALL,
            model=str(folder / "base"),
            out=folder / "run",
            reward="length:1-3",
            episodes=64,
            batch=16,
            minibatch=8,
            at_once=4,
            epochs=2,
            lr=3e-3,
            save_every=2,
        )
    )
    return folder


def settings(made: Path, **changes: Any) -> compare.Config:
    given: dict[str, Any] = SMALL | {
        "other": str(made / "base"),
        "frontier": (made / "run",),
        "reward": "length:1-3",
        "judge": ("length:1-3", "descriptive"),
        "count": 24,
        "best_of": 5,
    }
    return compare.Config((made / "text.txt",), **(given | changes))


def test_points_table_and_picture(made: Path, tmp_path: Path) -> None:
    config = settings(made, out=tmp_path / "new" / "f.json")
    points = frontier.run(config)
    assert [(point.run, point.step) for point in points] == [
        *((frontier.BEST, n) for n in (1, 2, 4)),
        *((str(made / "run"), step) for step in (8, 16)),
    ]
    # the reward is the judge here; the best of more responses is never worse
    assert all(point.proxy == pytest.approx(point.gold["length:1-3"]) for point in points)
    assert points[0].proxy <= points[1].proxy <= points[2].proxy
    assert [round(point.kl, 4) for point in points[:3]] == [0.0, 0.1931, 0.6363]
    # a checkpoint's point is what compare says of it
    report = compare.run(
        settings(made, frontier=(), best_of=1, model=str(made / "run" / "checkpoints" / "16"))
    )
    last = points[-1]
    assert (last.kl, last.kl_error) == pytest.approx((report["kl"]["mean"], report["kl"]["error"]))
    for judge, found in report["judges"].items():
        assert (last.gold[judge], last.score[judge]) == (found["mean"], found["score"]["mean"])
    assert last.repetition == pytest.approx(report["texts"]["model"]["repetition"])
    written = json.loads((tmp_path / "new" / "f.json").read_text())
    assert [point["kl"] for point in written["points"]] == [point.kl for point in points]
    rows = (tmp_path / "new" / "f.md").read_text().splitlines()
    assert len(rows) == 2 + len(points)
    assert len({row.count("|") for row in rows}) == 1
    assert rows[4].startswith("| best of n | 4 | 0.64 | 0.80 |")
    assert (tmp_path / "new" / "f.png").read_bytes().startswith(b"\x89PNG")


def test_groups_of_best_of_n_by_hand() -> None:
    found = dict(frontier.chosen(np.array([1.0, 4.0, 3.0, 2.0, 5.0, 0.0, 6.0, 7.0]), 4))
    assert {n: best.tolist() for n, best in found.items()} == {
        1: [0, 1, 2, 3, 4, 5, 6, 7],
        2: [1, 2, 4, 7],
        4: [1, 7],
    }


def test_ties_are_halves() -> None:
    assert frontier.points_won(np.array([1.0, 2.0, 3.0, 9.0]), np.array([1.0, 2.5, 4.0, 0.0]), 0.5) == 0.5


def test_a_curve_for_each_run() -> None:
    from matplotlib.image import imread

    points = [
        frontier.Point(run, step, step - 0.01, 0.1, 1.0 * step, {"vader": 0.1 * step}, {"vader": 0.5}, 0.0)
        for run in ("a", frontier.BEST)
        for step in range(3)  # the first KL is below 0, as estimates may be
    ]
    picture = imread(io.BytesIO(frontier.draw(points)))
    assert picture.shape[:2] == (847, 990)
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 50


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"reward": None, "best_of": 1}, SettingError, "a frontier needs the reward that was learned from"),
        ({"frontier": (Path("nowhere"),)}, ModelError, "nowhere holds no checkpoints; name the folder of a"),
        ({"count": 100_000}, DataError, "prompts, not 100,000"),
        ({"other": "starter"}, ModelError, "have different vocabularies"),
    ],
)
def test_frontiers_that_can_not_be(
    made: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        frontier.run(settings(made, out=tmp_path / "f.json", **changes))
