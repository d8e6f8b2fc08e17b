from __future__ import annotations

import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.preferences.policy import Policy
from inkfish.preferences.reward_model import RewardModel, last_real
from inkfish.preferences.sequences import Sequences, join, score_responses
from inkfish.preferences.truncation import Truncation

TINY = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17)


def model() -> GPT2:
    torch.manual_seed(0)
    made = GPT2(TINY)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def test_join_pads_queries_left_and_responses_right() -> None:
    found = join([[1, 2, 3], [4]], [[5, 6], [7]], length=2)
    assert found.ids.tolist() == [[1, 2, 3, 5, 6], [0, 0, 4, 7, 0]]
    assert found.mask.int().tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 0]]
    assert found.responses.tolist() == [[5, 6], [7, 0]]
    assert found.counts.int().tolist() == [[1, 1], [1, 0]]
    assert found.rows(torch.tensor([1])).ids.tolist() == [[0, 0, 4, 7, 0]]


def test_log_probabilities_are_those_of_each_row_alone() -> None:
    net, queries, responses = model(), [[1, 2, 3], [4], [5, 9]], [[5, 6], [7, 7], [8, 1]]
    together = score_responses(net, join(queries, responses, length=2), temperature=0.7)
    for row, (query, response) in enumerate(zip(queries, responses, strict=True)):
        logits = net(torch.tensor([query + response]))[0, len(query) - 1 : -1]
        expected = torch.log_softmax(logits / 0.7, -1)
        chosen = expected[[0, 1], response]
        torch.testing.assert_close(together.logprobs[row], chosen, rtol=1e-4, atol=1e-5)
        entropy = torch.distributions.Categorical(logits=logits / 0.7).entropy()
        torch.testing.assert_close(together.entropy[row], entropy, rtol=1e-4, atol=1e-5)


def pad(ids: list[int], places: list[int], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    row, mask = torch.full((1, width), 11), torch.zeros(1, width, dtype=torch.bool)
    row[0, places], mask[0, places] = torch.tensor(ids), True
    return row, mask


@pytest.mark.parametrize("places", [[0, 1, 2, 3], [3, 4, 5, 6], [0, 1, 5, 6], [1, 2, 4, 6]])
def test_padding_may_stand_anywhere(places: list[int]) -> None:
    net, ids = RewardModel(model()), [3, 1, 4, 15]
    plain = net(torch.tensor([ids]), torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(net(*pad(ids, places, 7)), plain, rtol=1e-4, atol=1e-5)


def test_padding_in_the_middle_changes_no_log_probability() -> None:
    net = model()
    plain = Sequences(torch.tensor([[3, 1, 4, 15]]), torch.ones(1, 4, dtype=torch.bool), 2)
    padded = Sequences(torch.tensor([[9, 3, 9, 1, 4, 15]]), torch.tensor([[0, 1, 0, 1, 1, 1]]).bool(), 2)
    one, two = (score_responses(net, x, temperature=0.5).logprobs for x in (plain, padded))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_a_shared_query_is_read_once_and_nothing_changes() -> None:
    net = model()
    queries = [[1, 2, 3]] * 3 + [[4, 9]] * 3
    responses = [[5, 6], [7, 7], [8], [1, 2], [3], [10, 11]]
    apart, together = (join(queries, responses, length=2, group=group) for group in (1, 3))
    one, two = (score_responses(net, x, temperature=0.7) for x in (apart, together))
    torch.testing.assert_close(one.logprobs, two.logprobs, rtol=1e-4, atol=1e-5)
    judge = RewardModel(net)
    plain = judge(apart.ids, apart.mask)
    gradients = []
    for found in (judge.scores(apart), judge.scores(together)):
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
        found.square().sum().backward()
        assert net.wpe.weight.grad is not None
        gradients.append(net.wpe.weight.grad.clone())
        judge.zero_grad()
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_rows_that_are_no_groups() -> None:
    with pytest.raises(AssertionError, match="3 rows are no groups of 2"):
        score_responses(model(), join([[1]] * 3, [[2]] * 3, length=1, group=2), temperature=1.0)


def test_last_real_token() -> None:
    mask = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0]]).bool()
    assert last_real(mask).tolist() == [1, 2, 0]
    with pytest.raises(AssertionError, match="without a real token"):
        last_real(torch.zeros(1, 3, dtype=torch.bool))


def test_first_values_are_0() -> None:
    policy = Policy(model())
    judged = policy(join([[1, 2]], [[3, 4]], length=2), temperature=1.0)
    assert judged.values.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("response", "end"), [([1, 2, 13, 4], 3), ([13, 2, 13, 13], 3), ([13, 13, 1, 1], None), ([1], None)]
)
def test_truncation(response: list[int], end: int | None) -> None:
    rule = Truncation(13, not_before=2)
    assert rule.end(response) == end
    assert rule.cut(response) == response[:end]
