"""The recipes of Ziegler et al. 2019 at 124M: the published settings, shapes that fit, each stage small."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from inkfish.config import SIZES, ModelConfig
from inkfish.errors import ContextError, RunError
from inkfish.labels.store import Store
from inkfish.model import GPT2
from inkfish.recipes import tokenizer
from inkfish.recipes.prefer import compare, learning, optimize, reward, sample, simulate
from inkfish.recipes.prefer.comparisons import batch_of, read_comparisons, split
from inkfish.recipes.prefer.queries import Query, fitted, framing
from inkfish.tokenizer import Tokenizer
from inkfish.training import curve
from inkfish.training.metrics import read_metrics
from inkfish.weights import huggingface

FOLDER = Path(__file__).parents[2] / "recipes"
STYLE = ("sentiment", "descriptiveness")
NAMES = (*STYLE, "tldr", "cnndm")
SHAPE = ModelConfig(n_layer=1, n_head=2, n_embd=32, n_positions=1024, vocab_size=300)
TEXT = "".join(
    f"The {n}th fox met {n * 7 % 13} hens.\nIt saw {n % 5} dogs and ate {n % 7} eggs. " for n in range(1500)
)

PUBLISHED: dict[str, dict[str, Any]] = {
    "sentiment": {
        "lr": 1e-5,
        "batch": 512,
        "kl": 0.15,
        "kl_target": 6.0,
        "temperature": 0.7,
        "no_whitening": False,
    },
    "tldr": {"lr": 2e-6, "batch": 32, "kl": 0.03, "kl_target": 0.0, "temperature": 0.7, "no_whitening": True},
    "cnndm": {
        "lr": 2e-6,
        "batch": 32,
        "kl": 0.01,
        "kl_target": 0.0,
        "temperature": 0.5,
        "no_whitening": True,
    },
}
PUBLISHED["descriptiveness"] = PUBLISHED["sentiment"]
"""launch.py of openai/lm-human-preferences."""
EVERYWHERE = {
    "algorithm": "ppo",
    "episodes": 1_000_000,
    "epochs": 4,
    "optimizer": "tf-adam",
    "gamma": 1.0,
    "lam": 0.95,
    "clip": 0.2,
    "value_clip": 0.2,
    "value_weight": 0.1,
    "penalty": -1.0,
    "horizon": 10_000.0,
}
LENGTHS = {"style": (64, 24, ".", 16), "summaries": (500, 75, "\n", 55)}
REWARDS = {"style": (5e-5, 32), "summaries": (2.5e-5, 16)}


def kind(name: str) -> str:
    return "style" if name in STYLE else "summaries"


def tables(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((FOLDER / f"124m-{name}.toml").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_those_that_were_published(name: str) -> None:
    settings = learning.Config((Path("texts"),), **tables(name)["optimize"])
    assert {key: getattr(settings, key) for key in EVERYWHERE} == EVERYWHERE
    assert {key: getattr(settings, key) for key in PUBLISHED[name]} == PUBLISHED[name]
    assert settings.minibatch == settings.batch
    rewarded = reward.Config(**tables(name)["reward"])
    assert (rewarded.lr, rewarded.batch, rewarded.epochs) == (*REWARDS[kind(name)], 1)
    sampled = sample.Config((Path("texts"),), **tables(name)["sample"])
    compared = compare.Config((Path("texts"),), **tables(name)["compare"])
    for one in (settings, sampled, compared):
        assert (one.query_tokens, one.tokens, one.truncate, one.not_before) == LENGTHS[kind(name)]
        assert (one.before, one.after, one.temperature) == (
            sampled.before,
            sampled.after,
            settings.temperature,
        )
    assert (sampled.n, sampled.filter) == (4, True)
    framed = framing(Tokenizer.gpt2(), before=settings.before, after=settings.after, task="complete")
    longest = len(framed(Query((1,) * settings.query_tokens, "")).prompt) + settings.tokens
    assert longest <= SIZES["gpt2"].n_positions


def test_the_rule_ends_at_the_published_tokens() -> None:
    found = {name: tables(name)["sample"]["truncate"] for name in NAMES}
    ids = {name: Tokenizer.gpt2().encode(text) for name, text in found.items()}
    assert ids == {"sentiment": [13], "descriptiveness": [13], "tldr": [198], "cnndm": [198]}


def loved(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    return [response.count("e") + 0.01 * len(response) for response in responses]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "draw_updates", lambda records, *, title="": b"")  # it takes a second


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny model that likes to end sentences and lines, and the judge's module."""
    folder = tmp_path_factory.mktemp("papers")
    vocabulary = Tokenizer(tokenizer.train([TEXT], vocab_size=300))
    torch.manual_seed(3)
    model = GPT2(SHAPE)
    with torch.no_grad():
        model.wte.weight.mul_(4)
        for text in (".", "\n"):
            (end,) = vocabulary.encode(text)
            row = model.wte.weight[end]
            model.ln_f.bias.add_(6 * row / row.norm() ** 2)
    huggingface.write(folder / "base", SHAPE, model.tensors(), tokenizer=vocabulary, eos=vocabulary.end)
    lines = TEXT.split("\n")
    texts = ["\n".join(lines[i : i + 30]) for i in range(0, 240, 3)]
    rows = [json.dumps({"content": text, "article": text}) for text in texts]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    (folder / "book.txt").write_text(TEXT)
    sys.modules["tastes"] = tastes = ModuleType("tastes")
    tastes.__dict__["loved"] = loved
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)
    del sys.modules["tastes"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_stage_runs_small(base: Path, tmp_path: Path, name: str) -> None:
    found, data = tables(name), (base / ("book.txt" if name in STYLE else "rows.jsonl"),)
    small: dict[str, Any] = {"model": str(base / "base"), "threads": 1}
    store = tmp_path / "labels"
    sample.run(sample.Config(data, **found["sample"] | small | {"count": 40, "store": store}))
    simulate.run(simulate.Config(store=store, judge="python:tastes:loved", agreement=1.0))
    learned = {
        "lr": 5e-3,
        "epochs": 4,
        "batch": 4,
        "at_once": 4,
        "limit": 40,
        "held_out": 0.3,
        "save_every": 1,
        "reference": 16,
    }
    settings = reward.Config(**found["reward"] | small | learned | {"store": store, "out": tmp_path / "r"})
    with suppress(RunError):  # forty labels need not beat chance
        reward.run(settings)
    (tmp_path / "r" / "reward.json").write_text("{}")
    brief: dict[str, Any] = {"episodes": 16, "batch": 8, "minibatch": 8, "at_once": 4, "skip": 0}
    brief |= {"reward": str(tmp_path / "r"), "out": tmp_path / "p", "sample_every": 1}
    assert optimize.run(learning.Config(data, **found["optimize"] | small | brief)).episodes == 16
    first = read_metrics(tmp_path / "p" / "metrics.jsonl")[0]
    assert first["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert 0 <= first["frac_penalised"] < 1
    few: dict[str, Any] = {"model": str(tmp_path / "p"), "other": str(base / "base"), "count": 6}
    judged = {"judge": ("python:tastes:loved",), "threads": 1}
    assert compare.run(compare.Config(data, **found["compare"] | few | judged))["prompts"] == 6


@pytest.fixture
def framed(base: Path, tmp_path: Path) -> Path:
    config = sample.Config(
        (base / "rows.jsonl",),
        whole=True,
        field="article",
        query_tokens=40,
        cut_after="\n",
        before="Article:\n\n",
        after="\n\nTL;DR:",
        tokens=6,
        model=str(base / "base"),
        threads=1,
        count=20,
        store=tmp_path / "s",
    )
    sample.run(config)
    return tmp_path / "s"


def test_neither_labellers_nor_the_reward_read_what_asks(base: Path, framed: Path) -> None:
    vocabulary = Tokenizer.load(base / "base")
    with Store(framed) as store:
        items = store.items()
        store.add([], [])
    assert all("TL;DR" not in item.query and item.query.endswith("\n") for item in items)
    asked = [vocabulary.decode(item.meta["asked"]) for item in items]
    assert asked == [f"Article:\n\n{item.query}\n\nTL;DR:" for item in items]
    assert items[0].candidates[0].origin["truncate"] is None
    simulate.run(simulate.Config(store=framed, judge="length:1-2", agreement=1.0))
    with Store(framed) as store:
        found = read_comparisons(store, vocabulary, ratings=False, limit=None)
    rewarded, written = batch_of(found[:2]), batch_of(found[:2], asked=True)
    frame = len(vocabulary.encode("Article:\n\n")) + len(vocabulary.encode("\n\nTL;DR:"))
    assert int(written.mask.sum() - rewarded.mask.sum()) == 8 * frame


def test_samples_for_normalising_are_as_the_labelled_ones(base: Path, framed: Path) -> None:
    simulate.run(simulate.Config(store=framed, judge="length:1-2", agreement=1.0))
    vocabulary = Tokenizer.load(base / "base")
    plain = reward.Config(store=framed, model=str(base / "base"), reference=8, threads=1)
    with Store(framed) as store:
        found = read_comparisons(store, vocabulary, ratings=False, limit=None)
        config = reward.as_sampled(plain, store.items()[0])
    assert (config.tokens, config.temperature, config.truncate) == (6, 0.7, None)
    data = reward.Data(*split(found, 0.3, 1), vocabulary)
    first = [query.prompt for query in reward.reference_samples(config, data)[0]]
    assert all(vocabulary.decode(ids).endswith("TL;DR:") for ids in first)
    ended = reward.Config(
        store=framed, model=str(base / "base"), reference=8, threads=1, tokens=6, truncate="\n", not_before=0
    )
    config = reward.as_sampled(ended, found_item(framed))
    (end,) = vocabulary.encode("\n")
    cut = reward.reference_samples(config, data)[1]
    assert any(len(response) < 6 for response in cut)
    assert all(end not in response[:-1] for response in cut)


def found_item(path: Path) -> Any:
    with Store(path) as store:
        return store.items()[0]


def test_tasks_ask_in_their_form() -> None:
    text, vocabulary = "A fox met a hen.", Tokenizer.gpt2()
    asked = {
        task: vocabulary.decode(framing(vocabulary, before="", after="", task=task)(query).prompt)
        for task in ("complete", "summarize", "moral", "chat")
        if (query := Query(tuple(vocabulary.encode(text)), text))
    }
    assert asked == {
        "complete": text,
        "summarize": f"{text}\nTL;DR:",
        "moral": f"{text}\n\nMoral:",
        "chat": f"A: {text}\nB:",
    }


def test_long_documents_are_cut_or_left_out() -> None:
    vocabulary = Tokenizer.gpt2()
    text = "One fox.\nTwo hens and three eggs.\nFour dogs."
    query = Query(tuple(vocabulary.encode(text)), text)
    assert fitted(query, vocabulary, 100, "\n") == query
    assert fitted(query, vocabulary, 8, None) == query
    assert fitted(query, vocabulary, 8, "\n").text == "One fox.\n"
    assert fitted(query, vocabulary, 8, "").ids == query.ids[:8]
    assert fitted(query, vocabulary, 8, "?") == query


def test_a_frame_that_does_not_fit_is_refused(base: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model": str(base / "base"), "query_tokens": 1000, "tokens": 24}
    config = sample.Config((base / "book.txt",), **settings, after="x" * 60, count=1, store=tmp_path / "s")
    with pytest.raises(ContextError, match=r"responses of 24 do not fit the context of 1,024"):
        sample.run(config)
