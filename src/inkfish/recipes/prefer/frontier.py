"""How much reward is had for how much divergence: all checkpoints of runs, beside best-of-n, over √KL.

    inkfish prefer compare held-out/ --frontier runs/policy --frontier runs/rloo --reward runs/reward \
        --best-of 64 --out frontier.json

The reward that was learned from (proxy) rises for as long as one lets it; what the judges want (gold) rises
and then falls (Gao et al. 2022, section 3). Beside the JSON file a picture and a table of the same name are
written. A run keeps its two newest checkpoints: give it a larger --keep to see its way.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkfish.errors import DataError, ModelError
from inkfish.metrics.diversity import repetition
from inkfish.preferences.gold import Judge
from inkfish.preferences.kl import best_of_n_kl
from inkfish.recipes.display import display
from inkfish.recipes.limits import check_out
from inkfish.recipes.prefer.compare import AT_ONCE, Config, System, divergence, plain
from inkfish.recipes.prefer.judges import find_judge
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.rewards import Reward, find_reward
from inkfish.training.resources import cores

__all__ = ["Point", "draw", "run", "table"]

BEST = "best of n"
"""Name of the curve of best-of-n."""


@dataclass(frozen=True)
class Point:
    """A policy: how far it is from where it began, and what its responses are worth on average."""

    run: str
    """Folder of its run, or BEST."""
    step: int
    """Of the checkpoint; for BEST the n."""
    kl: float
    """Nats a response; for BEST the most it can be."""
    kl_error: float
    """Standard error of that."""
    proxy: float
    """By the reward that was learned from."""
    gold: dict[str, float]
    """By each judge."""
    score: dict[str, float]
    """By each judge, wins + ties/2 against a response of the beginning to the same prompt, 0 to 1."""
    repetition: float
    """Share of a response's 3-grams that stood in it before."""


@dataclass(frozen=True)
class Scale:
    """What responses are measured with."""

    reward: Reward
    judges: Mapping[str, Judge]
    queries: Sequence[Query]
    beginning: System
    against: Mapping[str, NDArray[np.float64]]
    """By each judge, scores of the beginning's responses, (Q,)."""


def run(config: Config) -> list[Point]:
    """Measure all checkpoints and best-of-n, and write table and picture.

    Raises:
        InkfishError: what the user can put right, in one line.
    """
    places = [(folder, place) for folder in config.frontier for place in checkpoints_of(folder)]
    out = config.out or Path("frontier.json")
    check_out(out, out.with_suffix(".md"), out.with_suffix(".png"))
    with display() as screen, cores(config.threads, side_by_side=True) as workers:
        base = System(config.other)
        queries = config.queries(base.tokenizer, base.config, screen.say)[config.skip :][: config.count]
        if len(queries) < config.count:
            raise DataError(f"the data give {len(queries):,} prompts, not {config.count:,}", param="count")
        scale = scale_of(config, base, queries, workers)
        screen.say(f"{config.best_of * config.count:,} responses for best of n, {len(places)} checkpoints")
        points = best_of(config, scale)
        screen.say(f"best of 1 to {points[-1].step} measured on {len(queries):,} prompts")
        for number, (folder, place) in enumerate(places, start=1):
            points.append(measured(config, scale, str(folder), place, workers))
            screen.say(f"{number} of {len(places)} checkpoints: {place}, KL {points[-1].kl:.2f}")
        text = table(points)
        screen.say(text)
    whole = {"points": [asdict(point) for point in points], "settings": plain(asdict(config))}
    out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    out.with_suffix(".png").write_bytes(draw(points))
    screen.say(f"written: {out}, and a picture (.png) and a table (.md) beside it")
    return points


def checkpoints_of(folder: Path) -> list[Path]:
    """Return a run's checkpoints in their order.

    Raises:
        ModelError: there is none.
    """
    found = [place for place in (folder / "checkpoints").glob("*") if place.name.isdigit()]
    if not found:
        raise ModelError(f"{folder} holds no checkpoints; name the folder of a run")
    return sorted(found, key=lambda place: int(place.name))


def scale_of(config: Config, base: System, queries: Sequence[Query], workers: Executor | None) -> Scale:
    """Return what responses are measured with."""
    assert config.reward is not None, "the settings demand one"
    reward = find_reward(
        config.reward,
        base.tokenizer,
        truncation=config.truncation(base.tokenizer),
        at_once=AT_ONCE,
        workers=workers,
        device="cpu",
    )
    judges = {name: find_judge(name) for name in config.judge}
    answers = base.answer(config, queries, samples=1)
    return Scale(reward, judges, queries, base, judged(config, base, judges, queries, answers))


def judged(
    config: Config,
    system: System,
    judges: Mapping[str, Judge],
    queries: Sequence[Query],
    answers: Sequence[list[int]],
) -> dict[str, NDArray[np.float64]]:
    """Return each judge's scores of responses, as their reader sees them."""
    rule = config.truncation(system.tokenizer)
    texts = [system.tokenizer.decode(rule.cut(answer) if rule else answer) for answer in answers]
    asked = [query.text for query in queries]
    return {name: np.array(judge(asked, texts)) for name, judge in judges.items()}


def points_won(scores: NDArray[np.float64], others: NDArray[np.float64], tie: float) -> float:
    """Return wins + ties/2 as a share."""
    margin = scores - others
    return float(np.where(np.abs(margin) <= tie, 0.5, margin > 0).mean())


def measured(config: Config, scale: Scale, name: str, place: Path, workers: Executor | None) -> Point:
    """Return the point of a checkpoint."""
    system = System(str(place))
    if system.tokenizer.fingerprint != scale.beginning.tokenizer.fingerprint:
        raise ModelError(f"{place} and {config.other} have different vocabularies")
    answers = system.answer(config, scale.queries, samples=1)
    kl = divergence(config, system.model, scale.beginning.model, scale.queries, answers, workers)
    gold = judged(config, system, scale.judges, scale.queries, answers)
    return Point(
        name,
        int(place.name),
        float(kl.mean()),
        float(kl.std(correction=0)) / len(kl) ** 0.5,
        float(np.mean(scale.reward(scale.queries, answers))),
        {judge: float(scores.mean()) for judge, scores in gold.items()},
        {judge: points_won(scores, scale.against[judge], config.tie) for judge, scores in gold.items()},
        float(np.mean([repetition(answer, 3) for answer in answers])),
    )


def best_of(config: Config, scale: Scale) -> list[Point]:
    """Return the points of best-of-n for n = 1, 2, 4 up to `best_of`; each n uses all samples, in groups."""
    most = 1 << (config.best_of.bit_length() - 1)
    answers = scale.beginning.answer(config, scale.queries, samples=most)
    asked = [query for query in scale.queries for _ in range(most)]
    proxy = np.array(scale.reward(asked, answers))
    repeated = np.array([repetition(answer, 3) for answer in answers])
    gold = judged(config, scale.beginning, scale.judges, asked, answers)
    return [
        Point(
            BEST,
            n,
            best_of_n_kl(n),
            0.0,
            float(proxy[best].mean()),
            {judge: float(scores[best].mean()) for judge, scores in gold.items()},
            {
                judge: points_won(scores[best], np.repeat(scale.against[judge], most // n), config.tie)
                for judge, scores in gold.items()
            },
            float(repeated[best].mean()),
        )
        for n, best in chosen(proxy, most)
    ]


def chosen(proxy: NDArray[np.float64], most: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield n and the places of those chosen, for n = 1, 2, 4 up to `most`, a power of two.

    Args:
        proxy: (Q · most,), the responses to a prompt together.
        most: responses to each prompt.
    """
    for n in (1 << power for power in range(most.bit_length())):
        groups = proxy.reshape(-1, n)
        yield n, np.arange(len(groups)) * n + groups.argmax(1)


def table(points: Sequence[Point]) -> str:
    """Return the points as a table in Markdown."""
    judges = list(points[0].gold)
    heads = ["run", "step or n", "KL", "√KL", "proxy"]
    heads += [head for judge in judges for head in (judge, f"{judge}: wins + ties/2")] + ["repetition"]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for point in points:
        figures = [f"{point.step:,}", f"{point.kl:.2f}", f"{root(point):.2f}", f"{point.proxy:.2f}"]
        for judge in judges:
            figures += [f"{point.gold[judge]:.2f}", f"{point.score[judge]:.1%}"]
        lines.append([point.run, *figures, f"{point.repetition:.1%}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def root(point: Point) -> float:
    """Return √KL; an estimate below 0 is that of no divergence."""
    return math.sqrt(max(0.0, point.kl))


def draw(points: Sequence[Point]) -> bytes:
    """Return a PNG: reward, each judge's score and repetition over √KL, a curve for each run."""
    from matplotlib.figure import Figure  # here: it takes a second to import

    panels: list[tuple[str, Any]] = [("reward learned from (proxy)", lambda point: point.proxy)]
    panels += [(f"{j} (gold)", lambda point, j=j: point.gold[j]) for j in points[0].gold]
    panels.append(("repeated 3-grams", lambda point: point.repetition))
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(9, 3.6 * rows + 0.5), dpi=110, layout="constrained")
    names = list(dict.fromkeys(point.run for point in points))
    short = {name: Path(name).name for name in names}
    labels = short if len(set(short.values())) == len(names) else dict(zip(names, names, strict=True))
    for number, (title, value) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, 2, number, title=title, xlabel="√KL of a response")
        axes.grid(color="#e5e5e5")
        for name in names:
            curve = [point for point in points if point.run == name]
            style = "k--" if name == BEST else "o-"
            label = labels[name] if number == 1 else None
            axes.plot(list(map(root, curve)), list(map(value, curve)), style, markersize=4, label=label)
    figure.legend(loc="outside lower center", ncols=min(4, len(names)), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
