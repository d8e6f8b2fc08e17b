"""The losses of RLOO and DPO against numbers that TRL's own trainers gave on the same weights and tokens."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.preferences.dpo import best_of_n_dpo_loss, dpo_loss
from inkfish.preferences.experience import Rollout, rloo_algorithm
from inkfish.preferences.policy import Policy
from inkfish.preferences.sequences import Sequences, score_responses

TESTS = Path(__file__).parents[1]
TRL: dict[str, Any] = json.loads((TESTS / "fixtures" / "trl-losses.json").read_text())


def model(seed: int, config: ModelConfig) -> GPT2:
    spec = importlib.util.spec_from_file_location("weights_of_tests", TESTS / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    net = GPT2(config)
    net.load_tensors(made.random_tensors(config, seed=seed))
    return net


def sequences(rows: list[list[int]]) -> Sequences:
    ids = torch.tensor(rows)
    return Sequences(ids, torch.ones_like(ids, dtype=torch.bool), 5)


def test_rloo_is_trls(tiny_config: ModelConfig) -> None:
    known = TRL["rloo"]
    seen = sequences(known["ids"])._replace(group=4)
    policy, old, reference = Policy(model(0, tiny_config)), model(1, tiny_config), model(2, tiny_config)
    with torch.no_grad():
        then, there = (score_responses(m, seen, temperature=1.0).logprobs for m in (old, reference))
    torch.testing.assert_close(then.sum(1), torch.tensor(known["logprobs_old"]), rtol=1e-5, atol=1e-4)
    nothing = torch.zeros_like(then)
    rollout = Rollout(seen, torch.tensor(known["scores"]), then, there, nothing, nothing)
    algorithm = rloo_algorithm(temperature=1.0, samples=4)
    experience = algorithm.experience(rollout, known["beta"])
    expected = torch.tensor(known["advantages"])
    torch.testing.assert_close(experience.advantages[:, 0], expected, rtol=1e-4, atol=1e-4)
    update = algorithm.loss(policy, experience)
    (update.loss / update.actions).backward()
    assert float(update.loss.detach()) / 8 == pytest.approx(known["loss"], rel=1e-4, abs=1e-5)
    assert 0 < update.clipped < 8
    gradient = policy.trunk.wte.weight.grad
    assert gradient is not None
    assert float(gradient.norm()) == pytest.approx(known["gradient"], rel=1e-3)


def test_dpo_is_trls(tiny_config: ModelConfig) -> None:
    known = TRL["dpo"]
    policy, reference = model(0, tiny_config), model(2, tiny_config)
    sides = [sequences(known["chosen"]), sequences(known["rejected"])]
    now = [score_responses(policy, side, temperature=1.0).logprobs.sum(1) for side in sides]
    with torch.no_grad():
        then = [score_responses(reference, side, temperature=1.0).logprobs.sum(1) for side in sides]
    loss = dpo_loss(*now, *then, beta=known["beta"]).mean()
    assert float(loss.detach()) == pytest.approx(known["loss"], rel=1e-4)
    best = torch.tensor([[1.0, 0.0]]).expand(len(now[0]), 2)
    whole = best_of_n_dpo_loss(torch.stack(now, 1), torch.stack(then, 1), best, beta=known["beta"]).mean()
    torch.testing.assert_close(whole, loss)
    loss.backward()
    assert policy.wte.weight.grad is not None
    assert float(policy.wte.weight.grad.norm()) == pytest.approx(known["gradient"], rel=1e-3)
