"""What labellers said of two models: wins, ties and losses over prompts, whoever labelled.

    inkfish prefer compare held-out/ --model runs/policy --other starter --store pairs.sqlite
    inkfish prefer label --store pairs.sqlite          (or simulate)
    inkfish prefer report --store pairs.sqlite --model runs/policy

Works for pairs, and for items with several candidates of each model, such as two and two: there a vote is for
the model whose the best candidate is. What more than half of an item's labellers say counts; a tie of both
models' texts, no good candidate and no majority count as a tie.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from inkfish.errors import DataError
from inkfish.labels.dashboard import dashboard
from inkfish.labels.records import Item, Label
from inkfish.labels.store import Store
from inkfish.labels.votes import JUDGED, by_item, first_answers, majority
from inkfish.metrics.winrate import compare, length_controlled, wilson
from inkfish.recipes.display import display
from inkfish.recipes.limits import check_out

__all__ = ["Config", "run", "verdict"]


@dataclass(frozen=True)
class Config:
    """Settings of a report."""

    _: KW_ONLY
    store: Path = Path("labels.sqlite")
    """The label store."""
    model: str | None = None
    """Whose wins are counted; by default the one that stands first in the store."""
    out: Path | None = None
    """Write the report to this JSON file."""


def run(config: Config) -> dict[str, Any]:
    """Count, and return the report.

    Raises:
        DataError: there are no labels of two models.
    """
    with display() as screen, Store(config.store) as store:
        items = {item.key: item for item in store.items()}
        sides = two_models(items.values(), config)
        said = by_item(first_answers(label for label in store.labels() if label.verdict in JUDGED))
        if not said:
            raise DataError(
                f"{config.store} holds no labels yet; inkfish prefer label or simulate makes them",
                param="store",
            )
        chosen = [items[key] for key in said]
        voted = [votes(items[key], labels, sides[0]) for key, labels in said.items()]
        points = [0.5 if one["majority"] is None else one["majority"] for one in voted]
        report: dict[str, Any] = {"model": sides[0], "other": sides[1], "items": len(items)}
        report |= {"labelled": len(said), "labels": sum(map(len, said.values()))}
        report |= {"undecided": sum(one["majority"] is None for one in voted)}
        report |= {"voters": spread([len(labels) for labels in said.values()])}
        report |= verdict(points, [longer(item, sides[0]) for item in chosen])
        report |= {"slots": slots(list(said.values())), "labellers": each_labeller(items, said, sides[0])}
        report |= {"agreement": dashboard(store)["agreement"], "votes": voted}
        screen.say(f"{sides[0]} against {sides[1]}: {sentence(report)}")
        for line in further(report):
            screen.say(line)
    if config.out is not None:
        check_out(config.out)
        config.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def two_models(items: Any, config: Config) -> tuple[str, str]:
    """Return the two models whose texts stand in the store, the one whose wins are counted first.

    Raises:
        DataError: there are not two, or not this one.
    """
    names = list(dict.fromkeys(c.origin.get("model") for item in items for c in item.candidates))
    if None in names:
        raise DataError(
            f"{config.store} does not say which model wrote each text, as labels from other programs do not; "
            "a report is about two models: inkfish prefer compare --store makes such a store",
            param="store",
        )
    if len(names) != 2:
        raise DataError(
            f"{config.store} holds texts of {len(names)} models ({', '.join(names) or 'none'}); a report is "
            "about two: inkfish prefer compare --store makes such a store",
            param="store",
        )
    if config.model is not None and config.model not in names:
        raise DataError(f"{config.store} holds texts of {' and '.join(names)}, not of {config.model}")
    first = config.model or names[0]
    return first, names[1 - names.index(first)]


def point(item: Item, label: Label, model: str) -> float:
    """Return 1 where a model's text was best, 0 where the other's was, 1/2 for a tie of both and all bad."""
    whose = {item.candidates[i].origin.get("model") == model for i in label.best}
    return float(whose.pop()) if len(whose) == 1 else 0.5


def votes(item: Item, labels: Sequence[Label], model: str) -> dict[str, Any]:
    """Return the votes on an item, as given and as points, and the point that more than half of them give."""
    points = [point(item, label, model) for label in labels]
    given = [
        {"labeller": label.labeller, "verdict": label.verdict, "best": list(label.best), "point": value}
        for label, value in zip(labels, points, strict=True)
    ]
    return {"item": item.key, "majority": majority(points), "votes": given}


def spread(counts: Sequence[int]) -> dict[str, float]:
    """Return mean, least and most."""
    return {"mean": mean(counts), "least": min(counts), "most": max(counts)}


def longer(item: Item, model: str) -> float:
    """Return by how many characters a model's texts of an item are longer than the other's, on average."""
    lengths: dict[bool, list[float]] = {True: [], False: []}
    for candidate in item.candidates:
        lengths[candidate.origin.get("model") == model].append(len(candidate.text))
    return mean(lengths[True]) - mean(lengths[False]) if all(lengths.values()) else 0.0


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def verdict(points: Sequence[float], differences: Sequence[float]) -> dict[str, Any]:
    """Return wins, ties and losses with intervals, the exact test, and the share at equal length.

    Args:
        points: 1, 0 or in between for each prompt.
        differences: by how much the first system's text is longer.
    """
    found = compare(points)
    return {
        "wins": found.wins,
        "ties": found.ties,
        "losses": found.losses,
        "score": found.score._asdict(),
        "decided": found.decided._asdict(),
        "p": found.p,
        "longer_by": mean(differences),
        "at_equal_length": length_controlled(points, differences)._asdict(),
    }


def slots(said: Sequence[Sequence[Label]]) -> dict[str, Any] | None:
    """Return how often what stood first was chosen, and how often it would be by chance."""
    known = [label for labels in said for label in labels if label.slot is not None]
    if not known:
        return None
    first = wilson(sum(label.slot == 0 for label in known), len(known))
    return {"first": first._asdict(), "chance": mean([1 / len(label.order) for label in known])}


def each_labeller(
    items: Mapping[str, Item], said: Mapping[str, Sequence[Label]], model: str
) -> dict[str, float]:
    """Return each labeller's share of points for a model."""
    people: dict[str, list[float]] = defaultdict(list)
    for key, labels in said.items():
        for label in labels:
            people[label.labeller].append(point(items[key], label, model))
    return {name: mean(found) for name, found in sorted(people.items())}


def sentence(found: Mapping[str, Any]) -> str:
    """Return a verdict for people."""
    score, decided, equal = found["score"], found["decided"], found["at_equal_length"]
    return (
        f"{found['wins']:,} wins, {found['ties']:,} ties, {found['losses']:,} losses: wins + ties/2 "
        f"{score['mean']:.1%} ({score['low']:.1%} to {score['high']:.1%}), without ties "
        f"{decided['mean']:.1%} ({decided['low']:.1%} to {decided['high']:.1%}), "
        f"sign test p {found['p']:.2g}, at equal length {equal['mean']:.1%}"
    )


def further(report: Mapping[str, Any]) -> list[str]:
    """Return what else there is to say of labels."""
    voters = report["voters"]
    lines = [
        f"{voters['mean']:.1f} labellers voted per item ({voters['least']} to {voters['most']}); "
        f"{report['undecided']:,} items have no majority and count as ties"
    ]
    if report["slots"] is not None:
        first = report["slots"]["first"]
        lines.append(
            f"what stood first was chosen {first['mean']:.1%} of the time ({first['low']:.1%} to "
            f"{first['high']:.1%}), by chance {report['slots']['chance']:.1%}"
        )
    if len(report["labellers"]) > 1:
        lines.append(", ".join(f"{name} {value:.1%}" for name, value in report["labellers"].items()))
    agreed = report["agreement"]
    if agreed is not None:
        lines.append(f"{agreed['percent']:.1%} agreement, Krippendorff's alpha {agreed['alpha']:.2f}")
    if report["labelled"] < report["items"]:
        lines.append(f"{report['items'] - report['labelled']:,} of {report['items']:,} have no label yet")
    return lines
