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


def test_learning_from_labels_shows_how_far_it_is(open_page: Any, workplace: Path) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    run = workplace / "runs" / "direct"
    (run / "samples").mkdir(parents=True)
    (run / "config.toml").write_text('model = "starter"\nalgorithm = "dpo"\nsteps = 8\n')
    (run / "samples" / "8.txt").write_text("[KL 2.10] He sat.⟶ He smiled.\n")
    lines: list[dict[str, Any]] = [{"step": 0, "held_out/accuracy": 0.25, "objective/kl": 0.0}]
    for step in range(1, 9):
        lines.append({"step": step, "loss": 1.4 - step / 20, "lr": 1e-5, "tokens": step, "seconds": step})
        if step % 4 == 0:
            lines.append({"step": step, "held_out/accuracy": step / 16, "objective/kl": step / 4})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = open_page("/train#direct")
    expect(page.locator("#numbers")).to_contain_text("prefers what held-out labels do 50.0 % of the time")
    expect(page.locator("#numbers")).to_contain_text("step 8 of 8 · loss 1.000 · ")
    expect(page.locator("#curve-caption")).to_contain_text("the better it tells what labels prefer")
    expect(page.locator("#divergence-caption")).to_contain_text("Divergence 0.00 → 2.00 nats")
    expect(page.locator("#samples")).to_contain_text("[KL 2.10] He sat.⟶ He smiled.")
