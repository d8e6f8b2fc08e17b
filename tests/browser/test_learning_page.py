"""A run that learns from preferences on the live page: reward, divergence, samples with their scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_updates_are_drawn_and_samples_have_scores(open_page: Any, workplace: Path) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    run = workplace / "runs" / "kind"
    (run / "samples").mkdir(parents=True)
    (run / "config.toml").write_text('model = "starter"\nalgorithm = "ppo"\nsteps = 12\n')
    (run / "samples" / "3.txt").write_text("[score 0.61, KL 1.20, total 0.43] He sat.⟶ He smiled.\n")
    fixed = {"objective/kl_coef": 0.15, "policy/entropy": 2.5, "episodes_per_second": 3.2}
    lines = [
        {
            "step": 4 * n,
            "update": n,
            "objective/score": n / 5,
            "objective/kl": n / 2,
            "judge": 0.1 * n,
            **fixed,
        }
        for n in (1, 2, 3)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = open_page("/train#kind")
    expect(page.locator("#numbers")).to_contain_text("step 12 of 12 · reward 0.600 · second judge 0.300")
    expect(page.locator("#numbers")).to_contain_text("KL 1.50 nats at 0.150")
    expect(page.locator("#curve-caption")).to_contain_text("Reward 0.20 → 0.60: ")
    expect(page.locator("#divergence-caption")).to_contain_text("Divergence 0.50 → 1.50 nats")
    expect(page.locator("#divergence-curve path.smooth")).to_be_visible()
    expect(page.locator("#samples summary")).to_have_text("after update 3")
    expect(page.locator("#samples")).to_contain_text("[score 0.61, KL 1.20, total 0.43] He sat.⟶ He smiled.")
    expect(page.locator("#state")).to_have_text("finished")
