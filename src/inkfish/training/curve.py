"""The loss curve of a run as a picture."""

from __future__ import annotations

import io
import math
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
    ("held-out accuracy", ("held_out/accuracy",)),
    ("divergence, nats a response", ("objective/kl",)),
    ("KL coefficient", ("objective/kl_coef",)),
    ("entropy, nats a token", ("policy/entropy",)),
    ("repeated 3-grams", ("text/repetition",)),
)
"""What is drawn of learning from preferences, as far as there is anything of it."""


def draw_updates(records: Sequence[dict[str, Any]], *, title: str = "") -> bytes:
    """Return a PNG of reward or held-out accuracy, divergence, entropy and so on over a policy's updates.

    Args:
        records: lines of metrics.jsonl.
        title: over the picture.
    """
    from matplotlib.figure import Figure  # here: it takes a second to import

    updates = [record for record in records if "objective/kl" in record]
    number = "update" if any("update" in record for record in updates) else "step"
    found = [
        (label, {name: points for name in names if (points := series(updates, number, name))})
        for label, names in PANELS
    ]
    # where there is no reward, its panel is that of the second judge alone
    panels = [
        ("second judge" if list(lines) == ["judge"] else label, lines) for label, lines in found if lines
    ]
    figure = Figure(figsize=(9, 3 * math.ceil(max(2, len(panels)) / 2)), dpi=120, layout="constrained")
    figure.suptitle(title)
    for place, (label, lines) in enumerate(panels, start=1):
        axes = figure.add_subplot(math.ceil(len(panels) / 2), 2, place, xlabel=number, ylabel=label)
        for (name, points), colour in zip(lines.items(), ("#253237", "#c8553d"), strict=False):
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1, label=name)
        if len(axes.lines) > 1:
            axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def series(records: Sequence[dict[str, Any]], number: str, name: str) -> list[tuple[int, float]]:
    """Return the points of a figure over the updates or steps that have it."""
    return [(record[number], record[name]) for record in records if record.get(name) is not None]
