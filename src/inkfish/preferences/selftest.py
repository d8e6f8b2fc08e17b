"""Does the machine go the right way? A toy is learned by the very functions a run uses, before the run.

One token pays. Learning must make it likelier; with no reward, the penalty must bring a policy that has moved
back to the reference; and a reward model must prefer what labels prefer. A flipped sign of the reward, of the
KL penalty, of both, or of the labels fails within 50 steps (`test_selftest` flips each).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inkfish.config import ModelConfig
from inkfish.errors import RunError
from inkfish.model import GPT2
from inkfish.preferences import adam, dpo, reward_losses
from inkfish.preferences.experience import Algorithm, Rollout
from inkfish.preferences.policy import Policy
from inkfish.preferences.reward_model import RewardModel
from inkfish.preferences.sequences import Sequences, score_responses, temper

__all__ = ["Findings", "check_algorithm", "check_dpo", "check_reward_learning", "choice_targets"]

TOY = ModelConfig(n_layer=1, n_head=2, n_embd=16, n_positions=8, vocab_size=8)
PAYS = 3
LENGTH = 4
EPISODES = 64
STEPS = 50
TEMPERATURE = 0.7


@dataclass(frozen=True)
class Findings:
    """What the toy showed of an algorithm."""

    before: float
    """Share of tokens that pay, in the beginning."""
    after: float
    """That share after learning with the reward alone."""
    moved: float
    """Nats from the reference after that."""
    returned: float
    """Nats from the reference after learning without reward, with the penalty alone."""


def choice_targets(choice: int | None, n: int, *, tied: tuple[int, ...] = ()) -> list[float]:
    """Return the probability that each of n candidates is the best, as a label says it.

    Args:
        choice: the best one; None where `tied` says.
        n: how many there are.
        tied: those that are equally good.
    """
    best = tied if choice is None else (choice,)
    assert best, "a label names at least one candidate"
    return [1 / len(best) if i in best else 0.0 for i in range(n)]


def check_algorithm(algorithm: Algorithm, *, seed: int = 0) -> Findings:
    """Learn the toy.

    Args:
        algorithm: made with temperature 0.7; all responses of the toy are to the same query.
        seed: of the toy's weights and draws; torch's own generator is left as it is.

    Raises:
        RunError: it goes the wrong way.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy, reference = Policy(GPT2(TOY)), GPT2(TOY)
        reference.load_state_dict(policy.trunk.state_dict())
        before = pay_rate(policy)
        learn(policy, reference, algorithm, coefficient=0.0, reward=1.0, enough=0.6)
        after, moved = pay_rate(policy), divergence(policy, reference)
        learn(policy, reference, algorithm, coefficient=1.0, reward=0.0)
        found = Findings(before, after, moved, divergence(policy, reference))
    if found.after < found.before + 0.1:
        raise RunError(
            f"self-test of {algorithm.name}: a token that pays went from {found.before:.0%} to "
            f"{found.after:.0%} of the text; it must rise: the reward's sign is wrong, or learning is broken"
        )
    if found.returned > 0.5 * found.moved:
        raise RunError(
            f"self-test of {algorithm.name}: with the KL penalty alone the divergence went from "
            f"{found.moved:.2f} to {found.returned:.2f} nats; it must fall: the penalty's sign is wrong, or "
            "learning is broken"
        )
    return found


def learn(
    policy: Policy,
    reference: GPT2,
    algorithm: Algorithm,
    *,
    coefficient: float,
    reward: float,
    enough: float = 2.0,
) -> None:
    """Take up to STEPS steps on the toy, one for each rollout, until the share of what pays is `enough`.

    A policy that always says the same could not be brought back: its responses are all equally good.
    """
    optimizer = adam.make("tf-adam", policy, lr=2e-2)
    for _ in range(STEPS):
        with torch.no_grad():
            sequences = play(policy.trunk)
            judged = policy(sequences, temperature=TEMPERATURE)
            scored = score_responses(reference, sequences, temperature=TEMPERATURE)
        pays = (sequences.responses == PAYS).float().mean(1)
        if float(pays.mean()) >= enough:
            return
        rollout = Rollout(
            sequences, reward * pays, judged.logprobs, scored.logprobs, judged.values, judged.entropy
        )
        update = algorithm.loss(policy, algorithm.experience(rollout, coefficient))
        (update.loss / update.actions).backward()
        optimizer.step(1.0)


@torch.no_grad()
def play(model: GPT2) -> Sequences:
    """Sample responses to the query 0, with the toy's own small sampler."""
    ids = torch.zeros(EPISODES, 1, dtype=torch.int64)
    for _ in range(LENGTH):
        p = temper(model(ids)[:, -1], TEMPERATURE).exp()
        ids = torch.cat([ids, torch.multinomial(p, 1)], 1)
    return Sequences(ids, torch.ones_like(ids, dtype=torch.bool), LENGTH)


@torch.no_grad()
def pay_rate(policy: Policy) -> float:
    """Return the probability of the token that pays, over all its places in sampled texts."""
    ids = play(policy.trunk).ids
    return float(temper(policy.trunk(ids[:, :-1]), TEMPERATURE).exp()[..., PAYS].mean())


@torch.no_grad()
def divergence(policy: Policy, reference: GPT2) -> float:
    """Return the exact KL of the distributions along sampled texts, nats a text."""
    ids = play(policy.trunk).ids[:, :-1]
    p, q = temper(policy.trunk(ids), TEMPERATURE), temper(reference(ids), TEMPERATURE)
    return float((p.exp() * (p - q)).sum((1, 2)).mean())


def check_reward_learning(*, seed: int = 0) -> float:
    """Let a toy reward model learn labels that prefer the token that pays; return its accuracy on new ones.

    Raises:
        RunError: it learns the contrary.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RewardModel(GPT2(TOY))
        optimizer = adam.make("tf-adam", model, lr=1e-2)
        for _ in range(STEPS):
            ids, targets = labelled()
            reward_losses.best_of_n_loss(toy_scores(model, ids), targets).mean().backward()
            optimizer.step(1.0)
        ids, targets = labelled()
        with torch.no_grad():
            right = toy_scores(model, ids).argmax(-1) == targets.argmax(-1)
    accuracy = float(right.float().mean())
    if accuracy < 0.5:
        raise RunError(
            f"self-test of the reward model: it agrees with {accuracy:.0%} of the labels, chance is 25%: "
            "labels are read the wrong way round, or learning is broken"
        )
    return accuracy


def labelled() -> tuple[Tensor, Tensor]:
    """Return items of four texts (EPISODES, 4, T), one with the token that pays, and what a label says."""
    ids = torch.randint(0, PAYS, (EPISODES, 4, LENGTH))
    best = torch.randint(0, 4, (EPISODES,))
    ids[torch.arange(EPISODES), best, torch.randint(0, LENGTH, (EPISODES,))] = PAYS
    return ids, torch.tensor([choice_targets(int(i), 4) for i in best])


def toy_scores(model: RewardModel, ids: Tensor) -> Tensor:
    """Score items of four texts, (EPISODES, 4)."""
    flat = ids.flatten(0, 1)
    return model(flat, torch.ones_like(flat, dtype=torch.bool)).view(ids.shape[:2])


def check_dpo(*, seed: int = 0) -> float:
    """Let the toy learn from labels directly; return how much likelier the token that pays became.

    Raises:
        RunError: it became less likely.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy, reference = Policy(GPT2(TOY)), GPT2(TOY)
        reference.load_state_dict(policy.trunk.state_dict())
        before = pay_rate(policy)
        optimizer = adam.make("tf-adam", policy.trunk, lr=1e-2)
        for _ in range(STEPS):
            ids, targets = labelled()
            now = summed(policy.trunk, ids)
            with torch.no_grad():
                then = summed(reference, ids)
            dpo.best_of_n_dpo_loss(now, then, targets, beta=0.5).mean().backward()
            optimizer.step(1.0)
        after = pay_rate(policy)
    if after < before + 0.1:
        raise RunError(
            f"self-test of dpo: a token that labels prefer went from {before:.0%} to {after:.0%} of the "
            "text; it must rise: labels are read the wrong way round, or learning is broken"
        )
    return after - before


def summed(model: GPT2, ids: Tensor) -> Tensor:
    """Return the log-probabilities of items of four texts, each after the query 0, (EPISODES, 4)."""
    flat = torch.cat([torch.zeros(EPISODES * 4, 1, dtype=torch.int64), ids.flatten(0, 1)], 1)
    sequences = Sequences(flat, torch.ones_like(flat, dtype=torch.bool), LENGTH)
    return score_responses(model, sequences, temperature=TEMPERATURE).logprobs.sum(1).view(ids.shape[:2])
