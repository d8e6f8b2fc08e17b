"""What the loops of learning write down of an update: figures of its texts, samples, and the vital signs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from inkfish.metrics.diversity import distinct, repetition
from inkfish.preferences.guards import Signs
from inkfish.recipes.display import Display
from inkfish.training.run import Run

__all__ = ["SHOWN", "sample_text", "signs_of", "surprise_record", "text_figures", "write_samples"]

SHOWN = 4
"""Samples written down at a time."""


def surprise_record(logprobs: Tensor, entropy: Tensor) -> dict[str, Any]:
    """Return how far sampled tokens are what the policy says it writes.

    Args:
        logprobs: of the sampled tokens, nats.
        entropy: of the distributions that they are said to be drawn from, of the same shape.
    """
    surprise = -(logprobs + entropy).double()
    return {
        "policy/surprise": float(surprise.mean()),
        "policy/surprise_error": float(surprise.std(correction=0)) / math.sqrt(surprise.numel()),
        "policy/tokens": surprise.numel(),
    }


def text_figures(responses: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return how varied and how long responses are, as their reader sees them."""
    return {
        "text/repetition": sum(repetition(r, 3) for r in responses) / len(responses),
        "text/distinct": distinct(responses, 2),
        "text/length": sum(map(len, responses)) / len(responses),
    }


def signs_of(record: dict[str, Any]) -> Signs:
    """Return the vital signs in a line of metrics.jsonl; of learning from labels the score is accuracy."""

    def number(name: str, missing: float = math.nan) -> float:
        value = record.get(name, missing)
        return math.nan if value is None else float(value)

    name = "objective/score" if "objective/score" in record else "held_out/accuracy"
    return Signs(
        score=number(name),
        score_error=number(f"{name}_error"),
        kl=number("objective/kl"),
        entropy=number("policy/entropy"),
        ratio=number("ratio/max", 1.0),
        repetition=number("text/repetition"),
        distinct=number("text/distinct"),
        length=number("text/length"),
        judge=record.get("judge"),
        judge_error=record.get("judge_error") or 0.0,
        surprise=number("policy/surprise", 0.0),
        surprise_error=number("policy/surprise_error", 0.0),
        tokens=record.get("policy/tokens", 0),
    )


def sample_text(head: str, query: str, response: str) -> str:
    """Return a sample for people: what is known of it, the prompt, and what was written after the arrow."""
    return f"[{head}] {query.strip()}⟶{response}"


def write_samples(texts: Sequence[str], here: Run, screen: Display, number: int, *, aloud: bool) -> None:
    """Write an update's samples down, and to the screen where they are to be seen at once."""
    if aloud:
        screen.say("\n".join(texts))
    here.write(f"samples/{number}.txt", ("\n\n".join(texts) + "\n").encode())
