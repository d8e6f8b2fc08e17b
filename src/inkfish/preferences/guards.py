"""What watches a run that nobody watches: limits on its vital signs, and what each breach means.

In 2019 a refactoring flipped the signs of reward and KL penalty at once; all night the run went on towards
the worst texts, fluent as ever. No number showed it. So: several signs, a stop at the first that is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Limits", "Signs", "alarms", "better_than_chance", "check_first_step"]


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
    return [text for wrong, text in checks if wrong] + diverging(history, limits)


def mismatch(history: Sequence[Signs], limits: Limits) -> bool:
    """Whether the mean divergence has been clearly negative for a whole window, which no distribution has."""
    recent = history[-limits.window :]
    return len(recent) == limits.window and all(signs.kl < -0.5 for signs in recent)


def diverging(history: Sequence[Signs], limits: Limits) -> list[str]:
    """Return a sentence if the reward has risen while the second judge's score fell, both beyond noise."""
    judged = [signs for signs in history if signs.judge is not None]
    if len(judged) < 2 * limits.window:
        return []
    first, last = judged[: limits.window], judged[-limits.window :]
    up, up_error = change([(s.score, s.score_error) for s in first], [(s.score, s.score_error) for s in last])
    judges = [[(s.judge or 0.0, s.judge_error) for s in part] for part in (first, last)]
    down, down_error = change(*judges)
    if up < limits.errors * up_error or down > -limits.errors * down_error:
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


def better_than_chance(correct: float, count: int, chance: float, *, errors: float = 1.645) -> bool:
    """Whether an accuracy is above chance by a one-sided test (normal approximation, 5 % by default).

    Args:
        correct: how many were right; a tie may count for a part.
        count: of how many.
        chance: probability of being right by chance.
        errors: standard errors that are demanded.
    """
    if count == 0:
        return False
    return correct / count - chance > errors * math.sqrt(chance * (1 - chance) / count)
