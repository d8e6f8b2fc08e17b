from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2DoubleHeadsModel

from inkfish.config import ModelConfig
from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.training.batches import IGNORED
from inkfish.training.double_heads import Candidates, choice_scores, dialogues, double_loss
from inkfish.training.optimise import accumulated_loss

SHAPE = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17)


def example() -> Candidates:
    torch.manual_seed(1)
    ids, segments = torch.randint(0, 17, (4, 7)), torch.randint(0, 17, (4, 7))
    targets = torch.full((4, 7), IGNORED)
    targets[1, 3:6] = ids[1, 4:7]
    targets[3, 2:4] = ids[3, 3:5]
    return Candidates(ids, targets, segments, torch.tensor([[5, 6], [3, 4]]), cursor=2)


@pytest.mark.parametrize(("lm_coef", "mc_coef"), [(1.0, 1.0), (2.0, 0.5), (1.0, 0.0)])
def test_as_transformers_computes_it(lm_coef: float, mc_coef: float) -> None:
    torch.manual_seed(0)
    model, head, batch = GPT2(SHAPE), ScalarHead(12), example()
    other: Any = GPT2DoubleHeadsModel(
        GPT2Config(  # type: ignore[call-arg]  # num_labels is one of any config's
            n_layer=2,
            n_head=3,
            n_embd=12,
            n_positions=32,
            vocab_size=17,
            bos_token_id=0,
            eos_token_id=0,
            num_labels=1,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            summary_first_dropout=0.0,
        )
    )
    missing = other.transformer.load_state_dict(
        {name: torch.from_numpy(np.array(value)) for name, value in model.tensors().items()}, strict=False
    )
    assert not missing.missing_keys
    other.multiple_choice_head.summary.weight.data.copy_(head.weight[None])
    other.multiple_choice_head.summary.bias.data.zero_()
    found = other(
        batch.ids.view(2, 2, 7),
        token_type_ids=batch.segments.view(2, 2, 7),
        mc_token_ids=batch.ends,
    )
    logits, scores = found.logits.view(4, 7, 17), found.mc_logits
    words = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
    choice = F.cross_entropy(scores, torch.tensor([1, 1]))
    ours = double_loss(head, lm_coef=lm_coef, mc_coef=mc_coef)(model, batch) / dialogues(batch)
    assert ours.item() == pytest.approx((lm_coef * words + mc_coef * choice).item(), rel=1e-5)
    hidden = model.hidden(batch.ids, segments=batch.segments)
    assert torch.allclose(choice_scores(hidden, batch.ends, head), scores, atol=1e-5)


def test_a_step_is_the_mean_of_its_batches() -> None:
    torch.manual_seed(0)
    model, head, batch = GPT2(SHAPE), ScalarHead(12), example()
    parameters = [*model.parameters(), *head.parameters()]
    loss = double_loss(head)
    once = accumulated_loss(model, [batch], parameters, loss=loss, count=dialogues)
    gradient = head.weight.grad
    assert gradient is not None
    twice = accumulated_loss(model, [batch, batch], parameters, loss=loss, count=dialogues)
    assert once == pytest.approx(twice, rel=1e-6)
    assert head.weight.grad is not None
    assert torch.allclose(gradient, head.weight.grad, atol=1e-7)
    assert batch.name == "examples 0 to 1"


def test_half_precision_is_near() -> None:
    torch.manual_seed(0)
    model, head, batch = GPT2(SHAPE), ScalarHead(12), example()
    exact = double_loss(head)(model, batch).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert double_loss(head)(model, batch).item() == pytest.approx(exact, rel=0.02)
