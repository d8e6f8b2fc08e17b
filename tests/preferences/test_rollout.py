from __future__ import annotations

import numpy as np
import pytest
import torch

from inkfish.backends.torch import TorchBackend
from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.preferences.rollout import respond

TINY = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17)


@pytest.fixture
def backend() -> TorchBackend:
    torch.manual_seed(0)
    return TorchBackend(GPT2(TINY).eval(), "float32")


def test_responses_have_the_length_and_do_not_depend_on_company(backend: TorchBackend) -> None:
    queries = [[1, 2], [3], [4, 5, 6]]
    whole = respond(backend, queries, length=5, temperature=0.7, seed=3, first=10, samples=2)
    assert whole.shape == (6, 5)
    alone = respond(backend, queries[1:2], length=5, temperature=0.7, seed=3, first=11, samples=2)
    assert np.array_equal(whole[2:4], alone)
    assert not np.array_equal(whole[2], whole[3])
    other = respond(backend, queries, length=5, temperature=0.7, seed=4, first=10, samples=2)
    assert not np.array_equal(whole, other)


def test_the_frequencies_are_those_of_the_model_at_the_temperature(backend: TorchBackend) -> None:
    found = respond(backend, [[1, 2]], length=1, temperature=0.5, seed=0, samples=4000)[:, 0]
    logits = backend.model(torch.tensor([[1, 2]]))[0, -1].detach()
    expected = torch.softmax(logits / 0.5, -1).numpy()
    counts = np.bincount(found, minlength=17) / 4000
    # chi-squared with 16 degrees of freedom exceeds 46 once in ten thousand; the seed is fixed besides
    assert float((4000 * (counts - expected) ** 2 / expected).sum()) < 46


def test_a_failing_back_end_is_not_hidden(backend: TorchBackend) -> None:
    with torch.no_grad():
        backend.model.ln_f.weight.fill_(float("nan"))
    with pytest.raises(Exception, match="finite"):
        respond(backend, [[1]], length=2, temperature=1.0, seed=0)
