"""What watches a run that nobody watches: limits on its vital signs, and what each breach means.

In 2019 a refactoring flipped the signs of reward and KL penalty at once; all night the run went on towards
the worst texts, fluent as ever. No number showed it. So: several signs, a stop at the first that is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inkfish.metrics.winrate import upper_tail

__all__ = [
    "LEVEL",
    "Limits",
    "Signs",
    "alarms",
    "better_than_chance",
    "check_first_step",
    "worse_than_chance",
]

LEVEL = 0.05
"""Probability of calling an accuracy better than chance that is not."""


@dataclass(frozen=True)
class Signs:
    """The vital signs of one update."""

    score: float
    """Mean reward of the responses, before the KL penalty."""
    score_error: float
    """Standard error of that mean."""
    kl: float
    """Mean nats a response from the reference."""
    entropy: float
    """Mean nats a token."""
    ratio: float
    """Largest probability now / when sampled."""
    repetition: float
    """Share of n-grams that stood in the same response before."""
    distinct: float
    """Share of different n-grams in all responses."""
    length: float
    """Mean tokens until the response's end."""
    judge: float | None = None
    """Mean score by a second judge that is not learned from."""
    judge_error: float = 0.0
    """Standard error of that mean."""
    surprise: float = 0.0
    """Mean of -log p - entropy over the sampled tokens, nats; 0 on average if they were drawn from that p."""
    surprise_error: float = 0.0
    """Standard error of that mean."""
    tokens: int = 0
    """How many were sampled."""


@dataclass(frozen=True)
class Limits:
    """When to stop."""

    kl: float
    """Most nats a response."""
    ratio: float = 10.0
    """Largest ratio of probabilities."""
    entropy: float = 0.1
    """Least entropy, as a share of the first update's."""
    repetition: float = 0.3
    """Most repetition above the first update's."""
    distinct: float = 0.25
    """Fewest different n-grams, as a share of the first update's."""
    length: float = 2.0
    """Most growth of the length, as a multiple of the first update's."""
    errors: float = 4.0
    """Standard errors that reward and judge must have moved, the reward up and the judge down."""
    window: int = 5
    """Updates averaged at the beginning and now, where noise is to be told from trend."""
    rarest: float = 12.0
    """Most nats by which a single token is taken to surprise."""
    sure: float = 20.0
    """Sampling is called wrong where chance would give as much once in e to this many updates."""


def alarms(history: Sequence[Signs], limits: Limits) -> list[str]:
    """Return what is wrong after the last update, one sentence each with its number and its limit."""
    first, last = history[0], history[-1]
    numbers = [last.score, last.kl, last.entropy, last.ratio]
    if not all(map(math.isfinite, numbers)):
        return [f"a number is not finite (score {last.score}, KL {last.kl}, ratio {last.ratio})"]
    checks = [
        (
            last.kl > limits.kl,
            f"KL ran away to {last.kl:.1f} nats, limit {limits.kl:.1f}; raise the KL coefficient "
            "or lower the learning rate",
        ),
        (
            last.ratio > limits.ratio,
            f"a probability changed {last.ratio:.1f}-fold in one update, limit {limits.ratio:g}; "
            "lower the learning rate or the epochs",
        ),
        (
            last.entropy < limits.entropy * first.entropy,
            f"entropy fell to {last.entropy:.2f} nats a token from {first.entropy:.2f}: the texts become "
            "all the same; raise the KL coefficient",
        ),
        (
            last.repetition > first.repetition + limits.repetition,
            f"repetition rose to {last.repetition:.2f} from {first.repetition:.2f}: the reward is being "
            "fooled; raise the KL coefficient, or label such texts",
        ),
        (
            last.distinct < limits.distinct * first.distinct,
            f"different n-grams fell to {last.distinct:.3f} from {first.distinct:.3f}: the texts become "
            "all the same; raise the KL coefficient",
        ),
        (
            last.length > limits.length * first.length,
            f"responses grew to {last.length:.1f} tokens from {first.length:.1f}: the reward may be length; "
            "normalise it by length, or label such texts",
        ),
        (
            mismatch(history, limits),
            f"KL is {last.kl:.2f}, below 0: sampling and training disagree about the distribution; "
            "temperature and precision must be the same in both",
        ),
    ]
    return [text for wrong, text in checks if wrong] + surprised(history, limits) + diverging(history, limits)


def mismatch(history: Sequence[Signs], limits: Limits) -> bool:
    """Whether the mean divergence has been clearly negative for a whole window, which no distribution has."""
    recent = history[-limits.window :]
    return len(recent) == limits.window and all(signs.kl < -0.5 for signs in recent)


def surprised(history: Sequence[Signs], limits: Limits) -> list[str]:
    """Return a sentence if what was sampled is not what the policy says it writes, over a window of updates.

    Whatever the policy, -log p of a token drawn from it is its entropy on average; so sampling at another
    temperature, or with old weights, shows. The bound is that of Maurer and Pontil 2009, theorem 4.
    """
    recent = [signs for signs in history[-limits.window :] if signs.tokens]
    n = sum(signs.tokens for signs in recent)
    if not n:
        return []
    mean = sum(signs.surprise * signs.tokens for signs in recent) / n
    error = math.sqrt(sum((signs.surprise_error * signs.tokens) ** 2 for signs in recent)) / n
    bound = math.sqrt(2 * limits.sure) * error + 7 * limits.rarest * limits.sure / (3 * n)
    if abs(mean) <= bound:
        return []
    return [
        f"tokens are {abs(mean):.2f} nats {'less' if mean > 0 else 'more'} likely than if the policy had "
        f"written them, limit {bound:.2f}: sampling and training disagree about the distribution; weights, "
        "temperature and precision must be the same in both"
    ]


def diverging(history: Sequence[Signs], limits: Limits) -> list[str]:
    """Return a sentence if the reward has risen while the second judge's score fell, both beyond noise."""
    judged = [signs for signs in history if signs.judge is not None]
    if len(judged) < 2 * limits.window:
        return []
    first, last = judged[: limits.window], judged[-limits.window :]
    up, up_error = change([(s.score, s.score_error) for s in first], [(s.score, s.score_error) for s in last])
    judges = [[(s.judge or 0.0, s.judge_error) for s in part] for part in (first, last)]
    down, down_error = change(*judges)
    if up <= limits.errors * up_error or down >= -limits.errors * down_error:
        return []
    return [
        f"the reward rose by {up:.2f} while the second judge's score fell by {-down:.2f}: the policy learns "
        "what is wrong with the reward, or a sign is flipped"
    ]


def change(
    before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Return the difference of the means of two windows of (mean, standard error), with its own error."""
    means = [sum(value for value, _ in part) / len(part) for part in (before, after)]
    variances = [sum(error**2 for _, error in part) / len(part) ** 2 for part in (before, after)]
    return means[1] - means[0], math.sqrt(sum(variances))


def check_first_step(ratios: tuple[float, float, float], kl: float) -> str | None:
    """Return what is wrong before anything was learned, None where ratio is 1 and KL 0.

    Args:
        ratios: smallest, mean and largest ratio of the first minibatch.
        kl: largest absolute divergence of a token between policy and reference in the first rollout.
    """
    worst = max(abs(ratios[0] - 1), abs(ratios[2] - 1))
    if worst > 1e-3:
        return (
            f"before the first step probabilities are {1 + worst:.4f} times those sampled, not once: "
            "dropout, temperature or precision differ between sampling and training"
        )
    if kl > 1e-3:
        return (
            f"before the first step the policy is {kl:.4f} nats a token from the reference, not 0: "
            "they are not the same model"
        )
    return None


def better_than_chance(correct: int, count: int, chance: float, *, level: float = LEVEL) -> bool:
    """Whether an accuracy is above chance by the exact one-sided binomial test.

    Args:
        correct: how many were right.
        count: of how many.
        chance: probability of being right by chance; the mean where it differs, which is the careful side
            (Hoeffding 1956).
        level: probability of calling chance better than it is.
    """
    return count > 0 and upper_tail(correct, count, chance) <= level


def worse_than_chance(correct: int, count: int, chance: float, *, level: float = 1e-3) -> bool:
    """Whether an accuracy is below chance, likewise; the level is for what is asked again and again."""
    return better_than_chance(count - correct, count, 1 - chance, level=level)
