"""The loss curve of a run as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["draw", "draw_together", "draw_updates", "smooth"]


def smooth(values: Sequence[float], weight: float = 0.98) -> list[float]:
    """Return exponential means, without the bias to the start (Kingma and Ba 2015, section 3)."""
    means, mean = [], 0.0
    for count, value in enumerate(values, start=1):
        mean = weight * mean + (1 - weight) * value
        means.append(mean / (1 - weight**count))
    return means


def draw(records: Sequence[dict[str, Any]], *, title: str = "") -> bytes:
    """Return a PNG of training loss and validation over the steps.

    Args:
        records: lines of metrics.jsonl.
        title: over the picture.
    """
    from matplotlib.figure import Figure  # here: it takes a second to import

    steps = [record for record in records if record.get("loss") is not None]
    scores = [record for record in records if record.get("validation") is not None]
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="step", ylabel="loss, nats a token")
    losses = [record["loss"] for record in steps]
    numbers = [record["step"] for record in steps]
    axes.plot(numbers, losses, color="#9db4c0", linewidth=0.6)
    axes.plot(numbers, smooth(losses), color="#253237", label="training loss")
    if losses:
        axes.set_ylim(min(losses) * 0.9, sorted(losses)[int(0.98 * len(losses))] * 1.1)
    if scores:
        right = axes.twinx()
        right.set_ylabel("validation, bits a byte")
        right.plot(
            [record["step"] for record in scores],
            [record["validation"] for record in scores],
            "o-",
            color="#c8553d",
            markersize=3,
            label="validation",
        )
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def draw_together(curves: Mapping[str, Mapping[int, float]]) -> bytes:
    """Return a PNG of several runs' held-out bits a byte.

    Args:
        curves: by the run's name, scores by step.
    """
    from matplotlib.figure import Figure  # here: it takes a second to import

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="validation, bits a byte")
    for name, scores in curves.items():
        axes.plot(list(scores), list(scores.values()), "o-", markersize=3, label=name)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


PANELS = (
    ("reward", ("objective/score", "judge")),
    ("divergence, nats a response", ("objective/kl",)),
    ("KL coefficient", ("objective/kl_coef",)),
    ("entropy, nats a token", ("policy/entropy",)),
)
"""What is drawn of learning from preferences."""


def draw_updates(records: Sequence[dict[str, Any]], *, title: str = "") -> bytes:
    """Return a PNG of reward, divergence, its coefficient and entropy over the updates of a policy.

    Args:
        records: lines of metrics.jsonl.
        title: over the picture.
    """
    from matplotlib.figure import Figure  # here: it takes a second to import

    updates = [record for record in records if "objective/score" in record]
    figure = Figure(figsize=(9, 6), dpi=120, layout="constrained")
    figure.suptitle(title)
    for axes, (label, names) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        axes.set(xlabel="update", ylabel=label)
        for name, colour in zip(names, ("#253237", "#c8553d"), strict=False):
            points = [(record["update"], record[name]) for record in updates if record.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1, label=name)
        if len(axes.lines) > 1:
            axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
