"""Which of two models writes what a judge prefers: both answer the same held-out prompts.

    inkfish prefer compare held-out.jsonl --model runs/policy --other starter --judge vader

The judge is a program here; for people, --store writes the texts, models hidden, to be labelled on the page,
and inkfish prefer report counts what they said. With --task chat both reply to messages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inkfish import weights
from inkfish.errors import DataError, ModelError, SettingError
from inkfish.labels.records import Candidate, Item
from inkfish.labels.store import Store
from inkfish.metrics.diversity import distinct, repetition
from inkfish.model import GPT2
from inkfish.preferences.gold import Judge
from inkfish.preferences.kl import best_of_n_kl
from inkfish.preferences.rollout import respond
from inkfish.preferences.sequences import join, score_responses
from inkfish.recipes.display import Display, display
from inkfish.recipes.limits import check_out, check_real, check_whole
from inkfish.recipes.prefer.judges import find_judge
from inkfish.recipes.prefer.queries import Query
from inkfish.recipes.prefer.replies import items_of_replies, messages, replies
from inkfish.recipes.prefer.report import sentence, verdict
from inkfish.recipes.prefer.rewards import find_reward, in_pieces
from inkfish.recipes.prefer.running import backend_of
from inkfish.recipes.prefer.settings import Prompting
from inkfish.tokenizer import Tokenizer
from inkfish.training.resources import cores
from inkfish.weights import hub

__all__ = ["Config", "run"]

AT_ONCE = 16
"""Responses scored together."""


@dataclass(frozen=True)
class Config(Prompting):
    """Settings of a comparison."""

    _: KW_ONLY
    other: str = "starter"
    """What the model is compared with."""
    judge: tuple[str, ...] = ("vader",)
    """Who decides (repeatable), as for simulate: vader, reward:FOLDER, python:MODULE:FUNCTION and so on."""
    count: int = 1024
    """Prompts."""
    skip: int = 0
    """Prompts left out at the beginning of the order."""
    best_of: int = 1
    """Let the model write so many responses and the reward choose one; of a frontier, the most."""
    reward: str | None = None
    """What chooses where best_of is above 1; of a frontier, the reward that was learned from."""
    frontier: tuple[Path, ...] = ()
    """Draw reward over divergence for the checkpoints that these runs have left (repeatable; as many as their
    keep says), and best-of-n, instead."""
    tie: float = 0.0
    """Scores that differ by no more than this are a tie."""
    out: Path | None = None
    """Write the report and every pair to this JSON file; a frontier with a picture and a table beside it."""
    store: Path | None = None
    """Also put the texts into this label store, for people; inkfish prefer report counts what they say."""
    each: int = 1
    """Responses of each model to a prompt: 1 makes pairs, 2 two and two; whose is the best of them wins."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, {"count": (1, 10**7), "skip": (0, 10**9), "best_of": (1, 4096), "each": (1, 8)})
        check_real(self, {"tie": (0, 1e9)})
        if self.best_of > 1 and self.reward is None:
            raise SettingError("best_of needs a reward to choose by; name it", param="reward")
        if self.best_of > 1 and self.each > 1:
            raise SettingError("best_of and each are both above 1; leave one of them out", param="each")
        if self.best_of > 1 and self.task == "chat":
            raise SettingError(
                "best_of chooses among continuations, not in a chat; leave it out", param="best_of"
            )
        if self.frontier and self.reward is None:
            raise SettingError("a frontier needs the reward that was learned from; name it", param="reward")
        if not self.judge:
            raise SettingError("there is no judge; name one", param="judge")


class System:
    """A model that answers prompts."""

    def __init__(self, name: str) -> None:
        folder = hub.find(name)
        base = weights.read(folder)
        self.name, self.config = name, base.config
        self.tokenizer = Tokenizer.load(folder, vocab_size=base.config.vocab_size)
        self.model = GPT2(base.config).eval().requires_grad_(False)
        self.model.load_tensors(base.tensors)

    def answer(self, config: Prompting, queries: Sequence[Query], *, samples: int) -> list[list[int]]:
        """Return responses; those to one prompt stand together."""
        found = respond(
            backend_of(self.model, device="cpu", threads=config.threads),
            [query.prompt for query in queries],
            length=config.tokens,
            temperature=config.temperature,
            seed=config.seed,
            samples=samples,
        )
        answers: list[list[int]] = found.tolist()
        return answers


def run(config: Config) -> dict[str, Any]:
    """Let both answer, let the judges decide, and return the report.

    Raises:
        InkfishError: what the user can put right, in one line.
    """
    judges = {name: find_judge(name) for name in config.judge}
    if config.out is not None:
        check_out(config.out)
    if config.store is not None:
        Store(config.store, create=True).close()
    with display() as screen, cores(config.threads, side_by_side=True) as workers:
        answered = replied(config) if config.task == "chat" else responded(config, screen, workers)
        decided = {}
        for name, judge in judges.items():
            best = [best_by(judge, answered.asked, side, config.each) for side in answered.texts]
            scores = np.array([scores for _, scores in best])  # (2, prompts)
            decided[name] = judged(scores, config.tie, [texts for texts, _ in best])
            screen.say(f"{name}: {sentence(decided[name])}; {averages(decided[name])}")
        report: dict[str, Any] = {
            "model": config.model,
            "other": config.other,
            "prompts": len(answered.asked),
            "judges": decided,
            **answered.figures,
        }
        if "kl" in report:
            most = "at most " if config.best_of > 1 else ""
            screen.say(f"KL of the one from the other {most}{report['kl']['mean']:.2f} nats a response")
    if config.out is not None:
        sides = [grouped(side, config.each) for side in answered.texts]
        rows = [{"query": q, "model": a, "other": b} for q, a, b in zip(answered.asked, *sides, strict=True)]
        whole = report | {"settings": plain(asdict(config)), "pairs": rows}
        config.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if config.store is not None:
        with Store(config.store, create=True) as store:
            store.add(answered.items)
    return report


@dataclass(frozen=True)
class Answered:
    """What both wrote."""

    asked: list[str]
    """The prompts."""
    texts: list[list[str]]
    """Of each model, its responses; those to one prompt stand together."""
    items: list[Item]
    """To be labelled."""
    figures: dict[str, Any]
    """What there is to say of them besides."""


def replied(config: Config) -> Answered:
    """Let both reply to messages as in a chat."""
    said = messages(config, skip=config.skip, count=config.count)
    names = (config.model, config.other)
    texts = [list(replies(name, said, config, each=config.each)) for name in names]
    return Answered(said, texts, items_of_replies(names, said, texts, each=config.each), {})


def responded(config: Config, screen: Display, workers: Executor | None) -> Answered:
    """Let both answer prompts, and measure by how much they differ."""
    ours, theirs = System(config.model), System(config.other)
    if ours.tokenizer.fingerprint != theirs.tokenizer.fingerprint:
        raise ModelError(f"{config.model} and {config.other} have different vocabularies")
    rule = config.truncation(ours.tokenizer)
    queries = config.queries(ours.tokenizer, ours.config, screen.say)[config.skip :][: config.count]
    if len(queries) < config.count:
        raise DataError(f"the data give {len(queries):,} prompts, not {config.count:,}", param="count")
    answers = ours.answer(config, queries, samples=max(config.best_of, config.each))
    drawn = answers[:: max(config.best_of, config.each)]
    if config.best_of > 1:
        answers = chosen(config, ours.tokenizer, queries, answers, workers)
    pair = [answers, theirs.answer(config, queries, samples=config.each)]
    shown = [[rule.cut(answer) if rule else answer for answer in side] for side in pair]
    texts = [[ours.tokenizer.decode(answer) for answer in side] for side in shown]
    kl = divergence(config, ours.model, theirs.model, queries, drawn, workers) + best_of_n_kl(config.best_of)
    found = {
        "kl": {"mean": float(kl.mean()), "error": float(kl.std(correction=0)) / len(kl) ** 0.5},
        "texts": {name: figures(side) for name, side in zip(("model", "other"), shown, strict=True)},
    }
    return Answered([query.text for query in queries], texts, items_of(config, queries, shown, texts), found)


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as JSON takes them."""
    return {name: json.loads(json.dumps(value, default=str)) for name, value in settings.items()}


def judged(scores: Any, tie: float, texts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return wins, ties and losses of the first row of scores, with intervals, test and length control."""
    margin = scores[0] - scores[1]
    points = np.where(np.abs(margin) <= tie, 0.5, (margin > 0).astype(float)).tolist()
    longer = [len(one) - len(other) for one, other in zip(*texts, strict=True)]
    means = {"mean": float(scores[0].mean()), "other_mean": float(scores[1].mean())}
    return verdict(points, longer) | means


def grouped(texts: Sequence[str], each: int) -> Sequence[Any]:
    """Return texts as they are, or in lists of those to one prompt."""
    return texts if each == 1 else [list(texts[i : i + each]) for i in range(0, len(texts), each)]


def best_by(
    judge: Judge, asked: Sequence[str], texts: Sequence[str], each: int
) -> tuple[list[str], NDArray[np.float64]]:
    """Return of each prompt's texts the one that a judge likes best, and its score (prompts,)."""
    repeated = [query for query in asked for _ in range(each)]
    scores = np.asarray(judge(repeated, texts), np.float64).reshape(len(asked), each)
    places = np.arange(len(asked)) * each + scores.argmax(1)
    return [texts[int(place)] for place in places], scores.max(1)


def averages(found: dict[str, Any]) -> str:
    """Return the mean scores for people."""
    return f"scores {found['mean']:.3f} against {found['other_mean']:.3f}"


def chosen(
    config: Config,
    tokenizer: Tokenizer,
    queries: Sequence[Query],
    answers: Sequence[list[int]],
    workers: Executor | None,
) -> list[list[int]]:
    """Return of each prompt's responses the one of the highest reward."""
    assert config.reward is not None, "the settings demand it"
    reward = find_reward(
        config.reward,
        tokenizer,
        truncation=config.truncation(tokenizer),
        at_once=AT_ONCE,
        workers=workers,
        device="cpu",
    )
    repeated = [query for query in queries for _ in range(config.best_of)]
    scores = np.array(reward(repeated, answers)).reshape(len(queries), config.best_of)
    return [answers[i * config.best_of + int(best)] for i, best in enumerate(scores.argmax(1))]


def divergence(
    config: Config,
    model: GPT2,
    reference: GPT2,
    queries: Sequence[Query],
    answers: Sequence[list[int]],
    workers: Executor | None,
) -> torch.Tensor:
    """Return the log-ratio of each response under the two models, (B,)."""
    sequences = join([query.prompt for query in queries], answers, length=config.tokens)

    def piece(rows: slice) -> torch.Tensor:
        part = sequences.rows(rows)
        with torch.no_grad():
            now, then = (
                score_responses(m, part, temperature=config.temperature).logprobs.sum(1)
                for m in (model, reference)
            )
        return now - then

    pieces = in_pieces(len(queries), AT_ONCE)
    return torch.cat(list(map(piece, pieces) if workers is None else workers.map(piece, pieces)))


def figures(answers: Sequence[list[int]]) -> dict[str, float]:
    """Return how varied texts are."""
    return {
        "repetition": sum(repetition(answer, 3) for answer in answers) / len(answers),
        "distinct_1": distinct(answers, 1),
        "distinct_2": distinct(answers, 2),
        "tokens": sum(map(len, answers)) / len(answers),
    }


def items_of(
    config: Config, queries: Sequence[Query], shown: Sequence[list[list[int]]], texts: Sequence[list[str]]
) -> list[Item]:
    """Return items to be labelled: pairs, or several responses of each model."""
    names, n = (config.model, config.other), config.each
    return [
        Item(
            "pair" if n == 1 else "best",
            query.text,
            tuple(
                Candidate(texts[side][i], tuple(shown[side][i]), {"model": names[side]})
                for side in (0, 1)
                for i in range(number * n, number * n + n)
            ),
            query.ids,
            meta={"asked": query.asked} if query.asked else {},
        )
        for number, query in enumerate(queries)
    ]
