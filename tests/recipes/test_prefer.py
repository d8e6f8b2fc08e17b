"""Every stage of preference learning on a tiny model: what it does, resumed bit for bit, every refusal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import inkfish
from inkfish.config import ModelConfig
from inkfish.errors import ContextError, DataError, InkfishError, ModelError, RunError, SettingError
from inkfish.labels.dashboard import dashboard
from inkfish.labels.queue import next_item
from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Store
from inkfish.model import GPT2
from inkfish.preferences.kl import best_of_n_kl
from inkfish.preferences.rollout import respond
from inkfish.recipes.prefer import (
    compare,
    direct,
    doctor,
    learning,
    optimize,
    reward,
    rewards,
    sample,
    simulate,
)
from inkfish.recipes.prefer.comparisons import read_comparisons, split
from inkfish.recipes.prefer.queries import held_out, sentence_ends, stretches
from inkfish.tokenizer import Tokenizer
from inkfish.training import curve
from inkfish.training.metrics import read_metrics
from inkfish.weights import hub, huggingface

TEXT = "".join(
    f"The {n}th fox met {n * 7 % 13} hens. It saw {n % 5} dogs and ate {n % 7} eggs. " for n in range(500)
)
SHAPE = ModelConfig(n_layer=2, n_head=2, n_embd=8, n_positions=32, vocab_size=300)
LOVED = "e"


def loved(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    """How many of a response's characters are the one that is loved, and its length for what is left."""
    return [response.count(LOVED) + 0.01 * len(response) for response in responses]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    judges = ModuleType("judges")
    judges.__dict__.update(
        loved=loved,
        hated=lambda q, r: [-value for value in loved(q, r)],
        broken=lambda q, r: [float("nan") for _ in r],
        short=lambda q, r: [1.0],
        words=lambda q, r: ["good" for _ in r],
    )
    monkeypatch.setitem(sys.modules, "judges", judges)
    monkeypatch.setattr(curve, "draw_updates", lambda records, *, title="": title.encode())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_base: Callable[..., None]) -> Path:
    """A tiny model with its vocabulary, a text, a store of labels and a reward model, made once."""
    folder = tmp_path_factory.mktemp("prefer")
    write_base(folder, TEXT, SHAPE)
    sys.modules["judges"] = judges = ModuleType("judges")
    judges.__dict__["loved"] = loved
    sample.run(sample.Config((folder / "text.txt",), **SMALL, **at(folder), store=folder / "s", count=200))
    simulate.run(simulate.Config(store=folder / "s", judge="python:judges:loved", agreement=1.0))
    reward.run(reward.Config(**REWARD, store=folder / "s", model=str(folder / "base"), out=folder / "reward"))
    del sys.modules["judges"]
    return folder


SMALL: dict[str, Any] = {"query_tokens": 20, "tokens": 6, "threads": 1, "per_document": 500}
REWARD: dict[str, Any] = {
    "batch": 8,
    "at_once": 4,
    "lr": 5e-3,
    "epochs": 4,
    "held_out": 0.3,
    "tokens": 6,
    "threads": 1,
    "precision": "float32",
    "reference": 32,
}
POLICY: dict[str, Any] = SMALL | {
    "episodes": 96,
    "batch": 16,
    "minibatch": 8,
    "at_once": 4,
    "epochs": 2,
    "lr": 3e-3,
    "save_every": 2,
    "sample_every": 2,
    "kl_target": 1.0,
}


def at(folder: Path) -> dict[str, Any]:
    return {"model": str(folder / "base")}


def policy(folder: Path, out: Path, **changes: Any) -> learning.Config:
    settings = POLICY | at(folder) | {"out": out, "reward": "python:judges:loved"} | changes
    return learning.Config((folder / "text.txt",), **settings)


def weights_of(folder: Path) -> dict[str, bytes]:
    place = hub.find(str(folder))
    return {name: (place / name).read_bytes() for name in ("model.safetensors", "heads.safetensors")}


def records(folder: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    return [
        {k: v for k, v in record.items() if not k.startswith(("seconds", "episodes_per"))}
        for record in read_metrics(folder / "metrics.jsonl")
    ]


def test_prompts_begin_and_end_with_sentences(made: Path) -> None:
    vocabulary = Tokenizer.load(made / "base")
    ends = sentence_ends(vocabulary, 300)
    ids = vocabulary.encode(TEXT)
    found = list(stretches(ids, ends, length=24, gap=5))
    texts = [vocabulary.decode(part) for part in found]
    assert len(texts) > 10
    assert all(text.lstrip().startswith(("The", "It")) and text.endswith(".") for text in texts)
    assert all(12 <= len(part) <= 24 for part in found)
    assert not list(stretches([], ends, length=24, gap=5))


def test_stretches_by_hand() -> None:
    ends = np.zeros(10, np.bool_)
    ends[9] = True
    ids = [1, 2, 9, 3, 4, 9, 5, 9, 6, 7, 8, 9, 1, 9]
    # after the first end: from 3 up to four tokens, so "3 4 9" (the next end would be the fifth); gap of one
    assert list(stretches(ids, ends, length=4, gap=1)) == [(3, 4, 9), (6, 7, 8, 9)]


def test_candidates_are_sampled_once_and_reproducibly(made: Path, tmp_path: Path) -> None:
    config = sample.Config((made / "text.txt",), **SMALL, **at(made), store=tmp_path / "s", count=8, n=3)
    assert (sample.run(config).added, sample.run(config).added) == (8, 0)
    again = replace(config, store=tmp_path / "t", count=3, skip=2)
    sample.run(again)
    with Store(tmp_path / "s") as one, Store(tmp_path / "t") as two:
        items = one.items()
        assert [i.key for i in two.items()] == [i.key for i in items[2:5]]
    assert all(len(c.ids or ()) == 6 for item in items for c in item.candidates)
    assert items[0].candidates[1].origin == {**items[0].candidates[0].origin, "sample": 1}
    assert items[0].candidates[0].origin["temperature"] == 0.7
    assert sample.run(replace(config, count=10)).added == 2  # it goes on where it stopped
    with Store(tmp_path / "s") as one:
        assert [i.key for i in one.items()[:8]] == [i.key for i in items]
        assert len({i.query_ids for i in one.items()}) == 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"temperature": 1.0},
            r"temperature is 1\.0, and \S+ was sampled with 0\.7; give that, or another --st",
        ),
        ({"n": 2}, "n is 2, and .* was sampled with 3"),
        ({"seed": 2}, "seed is 2, and .* was sampled with 1"),
        ({"tokens": 5}, "tokens is 5, and .* was sampled with 6"),
        ({"truncate": ".", "not_before": 2}, r"truncate is '\.', and .* was sampled with None"),
        ({"model": "other"}, "model is '.*/other', and .* was sampled with '.*/base'"),
        (
            {"before": "The fox"},
            "task, before or after differs from what .* was sampled with; give another --st",
        ),
    ],
)
def test_a_store_is_sampled_in_one_way(
    made: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    config = sample.Config((made / "text.txt",), **SMALL, **at(made), store=tmp_path / "s", count=2, n=3)
    sample.run(config)
    before = (tmp_path / "s").read_bytes()
    (tmp_path / "other").symlink_to(made / "base")
    if "model" in changes:
        changes = {"model": str(tmp_path / "other")}
    with pytest.raises(DataError, match=words):
        sample.run(replace(config, **changes, count=4))
    assert (tmp_path / "s").read_bytes() == before
    if "model" in changes:  # to other prompts another model may write, as in rounds
        assert sample.run(replace(config, **changes, skip=2)).added == 2


def test_a_kept_draw_can_be_drawn_again(made: Path, tmp_path: Path) -> None:
    end = frequent(made)
    config = sample.Config((made / "text.txt",), **SMALL, **at(made), store=tmp_path / "s", count=100, n=1)
    sample.run(replace(config, truncate=end, not_before=1, filter=True))
    with Store(tmp_path / "s") as store:
        items = store.items()
    origins = [item.candidates[0].origin for item in items]
    assert max(origin["try"] for origin in origins) > 0
    model = inkfish.load(str(made / "base"), dtype="float32", threads=1)
    rule = replace(config, truncate=end, not_before=1).truncation(model.tokenizer)
    assert rule is not None
    for item, origin in zip(items, origins, strict=True):
        (again,) = respond(
            model.backend,
            [item.query_ids or ()],
            length=6,
            temperature=0.7,
            seed=origin["seed"] + origin["try"] * 2**32,
            first=origin["prompt"],
        ).tolist()
        assert tuple(rule.cut(again)) == item.candidates[0].ids


def test_samples_that_can_not_be(tmp_path: Path) -> None:
    data = (tmp_path / "none.txt",)
    with pytest.raises(
        SettingError, match="other is starter, as the model is, and would write the same; name"
    ):
        sample.Config(data, other="starter")
    with pytest.raises(
        SettingError, match="filter is on, and there is no truncate that could end a candidate"
    ):
        sample.Config(data, filter=True)
    with pytest.raises(SettingError, match="n is 3; two models write equally many"):
        sample.Config(data, other="gpt2", n=3)
    for text in (None, ""):
        if text is not None:
            data[0].write_text(text)
        with pytest.raises(InkfishError):
            sample.run(sample.Config(data, store=tmp_path / "s"))
        assert not (tmp_path / "s").exists()


def frequent(folder: Path) -> str:
    """The text of the token that the tiny model writes most often, if it is one token by itself."""
    vocabulary = Tokenizer.load(folder / "base")
    with Store(folder / "s") as store:
        counts = Counter(i for item in store.items() for c in item.candidates for i in c.ids or ())
    return next(
        text
        for i, _ in counts.most_common()
        if vocabulary.encode(text := vocabulary.decode([i])) == [i] and text.isprintable()
    )


def test_filtered_candidates_end_as_the_rule_says(made: Path, tmp_path: Path, capsys: Any) -> None:
    end = frequent(made)
    config = sample.Config((made / "text.txt",), **SMALL, **at(made), store=tmp_path / "s", count=100, n=1)
    sample.run(replace(config, truncate=end, not_before=1, filter=True))
    with Store(tmp_path / "s") as store:
        found = [c.ids or () for item in store.items() for c in item.candidates]
    last = Tokenizer.load(made / "base").encode(end)[0]
    assert 0 < len(found) <= 100
    strict = replace(config, store=tmp_path / "t", truncate=end, not_before=5, filter=True, n=64, count=2)
    assert sample.run(strict).added == 0
    assert "to 2 prompts too few candidates pass the filter; they are left out" in capsys.readouterr().out
    assert all(ids[-1] == last and last not in ids[1:-1] for ids in found)
    assert len(set(map(len, found))) > 1


def test_documents_as_prompts(made: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"t": "The fox met"}\n{"t": "It saw dogs and ate eggs at once."}\n')
    settings = SMALL | {"query_tokens": 6} | at(made)
    config = sample.Config(
        (tmp_path / "rows.jsonl",), **settings, whole=True, field="t", store=tmp_path / "s", count=1
    )
    sample.run(config)
    with Store(tmp_path / "s") as store:
        (item,) = store.items()
    assert item.query == "The fox met"


def test_a_simulated_labeller_has_the_noise_one_wants(made: Path, tmp_path: Path) -> None:
    config = sample.Config((made / "text.txt",), **SMALL, **at(made), store=tmp_path / "s", count=40)
    sample.run(config)
    labeller = simulate.Config(store=tmp_path / "s", judge="python:judges:loved", agreement=0.5)
    found = simulate.run(labeller)
    assert found.labelled == 40
    assert found.agreement == pytest.approx(0.5)
    assert found.noise > 0
    assert simulate.run(labeller).labelled == 0
    with Store(tmp_path / "s") as store:
        assert {label.labeller for label in store.labels()} == {"simulated"}
        assert all(label.slot is not None for label in store.labels())


def test_a_reward_model_learns_and_is_normalised(made: Path) -> None:
    report = json.loads((made / "reward" / "reward.json").read_text())
    planned = tomllib.loads((made / "reward" / "config.toml").read_text())["steps"]
    taken = read_metrics(made / "reward" / "metrics.jsonl")[-1]["step"]
    assert taken == planned  # the page says that it is finished
    assert report["accuracy"] > 0.35
    assert report["accuracy_low"] < report["accuracy"] < report["accuracy_high"]
    assert report["by_labeller"] == {"simulated": pytest.approx(report["accuracy"])}
    assert report["chance"] == 0.25
    config = reward.Config(**REWARD, store=made / "s", model=str(made / "base"), out=made / "reward")
    with Store(made / "s") as store:
        vocabulary = Tokenizer.load(made / "base")
        found = read_comparisons(store, vocabulary, ratings=False, limit=None)
        config = reward.as_sampled(config, store.items()[0])
    data = reward.Data(*split(found, 0.3, 1), vocabulary)
    queries, responses = reward.reference_samples(config, data)
    model = rewards.read_reward_model(made / "reward")
    scores = np.array(rewards.score(model, queries, responses, at_once=8))
    assert scores.mean() == pytest.approx(0, abs=0.1)
    assert scores.std() == pytest.approx(1, abs=0.1)
    judged = [(one.query, r) for one in data.held for r in one.responses]
    again = rewards.score(model, [query for query, _ in judged], [r for _, r in judged], at_once=8)
    characters = [len(vocabulary.decode(list(r))) for _, r in judged]
    assert report["length_correlation"] == pytest.approx(np.corrcoef(again, characters)[0, 1], abs=1e-4)
    assert abs(report["length_correlation"]) > 1e-3


def test_a_finished_reward_model_stays_as_it_is(made: Path) -> None:
    before = weights_of(made / "reward")
    config = reward.Config(**REWARD, store=made / "s", model=str(made / "base"), out=made / "reward")
    assert reward.run(config).report is not None
    assert weights_of(made / "reward") == before


@pytest.mark.slow
def test_a_killed_reward_model_goes_on_bit_for_bit(made: Path, tmp_path: Path) -> None:
    whole = reward.Config(
        **REWARD, store=made / "s", model=str(made / "base"), out=tmp_path / "whole", save_every=5
    )
    reward.run(whole)
    code = (
        "from pathlib import Path; from inkfish.recipes.prefer import reward; import torch; "
        f"reward.run(reward.Config(**{REWARD!r}, store=Path({str(made / 's')!r}), "
        f"model={str(made / 'base')!r}, out=Path({str(tmp_path / 'cut')!r}), save_every=5))"
    )
    command = [sys.executable, "-c", code]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    killed = subprocess.run(
        command, env=environment | {"INKFISH_FAILPOINT": "append done metrics.jsonl#23"}, capture_output=True
    )
    assert killed.returncode == -9
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


@pytest.mark.parametrize("loss", ["pairs", "best"])
def test_ties_and_pairs_are_learned_from(made: Path, tmp_path: Path, loss: str) -> None:
    with Store(tmp_path / "s", create=True) as store, Store(made / "s") as given:
        labels = [
            replace(label, verdict="tie", best=(label.best[0], (label.best[0] + 1) % 4))
            if i % 5 == 0
            else label
            for i, label in enumerate(given.labels())
        ]
        store.add(given.items(), labels)
    config = reward.Config(
        **(REWARD | {"loss": loss, "epochs": 8}),
        store=tmp_path / "s",
        model=str(made / "base"),
        out=tmp_path / "r",
    )
    report = reward.run(config).report
    assert report is not None
    assert report["chance"] > 0.25


def test_an_item_counts_once_by_its_majority_and_a_second_answer_not_at_all(
    made: Path, tmp_path: Path, capsys: Any
) -> None:
    votes = {"ann": (0, 0, 0), "bob": (0, 1, 1), "cat": (0, 1, 2)}
    with Store(tmp_path / "s", create=True) as store, Store(made / "s") as given:
        items = given.items()[:3]
        labels = [
            Label(f"{who}{i}", items[i].key, who, "best", (choice,))
            for who, choices in votes.items()
            for i, choice in enumerate(choices)
        ]
        again = [Label(f"again{i}", one.key, "ann", "best", (3,), repeat=True) for i, one in enumerate(items)]
        store.add(items, labels + again)
        vocabulary, said = Tokenizer.load(made / "base"), list[str]()
        each = read_comparisons(store, vocabulary, ratings=False, limit=None)
        once = read_comparisons(store, vocabulary, ratings=False, limit=None, majority=True, say=said.append)
    assert [one.targets.index(1.0) for one in each] == [0, 0, 0, 0, 1, 1, 0, 1, 2]
    assert [(one.item, one.targets.index(1.0), one.labeller) for one in once] == [
        (items[0].key, 0, "majority"),
        (items[1].key, 1, "majority"),
    ]
    assert said == ["2 of 3 items count, once each; the others have no majority for a choice"]
    out: dict[str, Any] = {"store": tmp_path / "s", "model": str(made / "base"), "majority": True}
    with pytest.raises(DataError, match=r"2 labels give . to learn from"):
        reward.run(reward.Config(**REWARD, **out, out=tmp_path / "r"))
    assert said[0] in capsys.readouterr().out
    with pytest.raises(DataError, match="2 labels are too few for a batch of 16"):
        optimize.run(policy(made, tmp_path / "p", algorithm="dpo", store=tmp_path / "s", majority=True))
    assert said[0] in capsys.readouterr().out


def test_ratings_are_learned_from(made: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "s", create=True) as store, Store(made / "s") as given:
        items = [
            Item("rating", item.query, (c,), item.query_ids)
            for item in given.items()
            for c in item.candidates
        ]
        values = [7.0 if (item.candidates[0].ids or (0,))[-1] < 150 else 1.0 for item in items]
        store.add(
            items,
            [
                Label(f"r{i}", item.key, "ann", "rating", rating=value)
                for i, (item, value) in enumerate(zip(items, values, strict=True))
            ],
        )
    config = reward.Config(
        **(REWARD | {"loss": "ratings", "lr": 1e-2}),
        store=tmp_path / "s",
        model=str(made / "base"),
        out=tmp_path / "r",
    )
    report = reward.run(config).report
    assert report is not None
    assert report["pearson"] > 0.2


def test_shuffled_labels_are_not_handed_on(made: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "s", create=True) as store, Store(made / "s") as given:
        draw = np.random.default_rng(0)
        store.add(given.items(), [replace(x, best=(int(draw.integers(4)),)) for x in given.labels()])
    config = reward.Config(**REWARD, store=tmp_path / "s", model=str(made / "base"), out=tmp_path / "r")
    with pytest.raises(RunError, match=r"held-out labels, chance is 25\.0%: it is not handed on"):
        reward.run(config)
    with pytest.raises(ModelError, match="holds no finished reward model"):
        optimize.run(policy(made, tmp_path / "p", reward=str(tmp_path / "r")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "lr", "episodes"), [("ppo", 8e-3, 320), ("rloo", 5e-3, 480), ("grpo", 5e-3, 480)]
)
def test_the_reward_rises(made: Path, tmp_path: Path, algorithm: str, lr: float, episodes: int) -> None:
    result = optimize.run(
        policy(made, tmp_path / "p", algorithm=algorithm, episodes=episodes, lr=lr, kl=0.02, stop_kl=50.0)
    )
    assert result.episodes == episodes
    found = read_metrics(tmp_path / "p" / "metrics.jsonl")
    assert len(found) == episodes // 16
    first = found[0]
    scores = [record["objective/score"] for record in found]
    # means of five updates of 16 responses: three standard errors of their difference
    noise = 3 * first["objective/score_error"] * (2 / 5) ** 0.5
    assert sum(scores[-5:]) / 5 > sum(scores[:5]) / 5 + noise
    assert first["objective/kl"] == pytest.approx(0, abs=1e-5)
    assert first["policy/clipfrac"] < 0.5
    assert {"val/var_explained", "returns/var", "text/repetition", "seconds/learn"} <= set(first)
    shown = re.findall(r"^\[score .*?\] (.*?)⟶", (tmp_path / "p" / "samples" / "2.txt").read_text(), re.M)
    assert len(set(shown)) == len(shown) == 4  # of different prompts
    assert inkfish.load(tmp_path / "p", backend="reference").generate("The fox", max_tokens=3)


def test_a_learned_reward_and_a_second_judge(made: Path, tmp_path: Path) -> None:
    config = policy(
        made, tmp_path / "p", reward=str(made / "reward"), judge="python:judges:loved", store=made / "s"
    )
    optimize.run(replace(config, episodes=32))
    found = read_metrics(tmp_path / "p" / "metrics.jsonl")
    assert len(found) == 2
    assert found[0]["judge_error"] > 0


def test_the_controller_steers(made: Path, tmp_path: Path) -> None:
    optimize.run(policy(made, tmp_path / "p", horizon=16.0, episodes=64))
    coefficients = [r["objective/kl_coef"] for r in read_metrics(tmp_path / "p" / "metrics.jsonl")]
    # the first divergence is 0, below the target of 1: the coefficient falls by 20 %
    assert coefficients[:2] == pytest.approx([0.15, 0.12])
    optimize.run(policy(made, tmp_path / "q", kl_target=0.0, episodes=64))
    assert {r["objective/kl_coef"] for r in read_metrics(tmp_path / "q" / "metrics.jsonl")} == {0.15}


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_paused_and_gone_on_is_the_same_bit_for_bit(
    made: Path, tmp_path: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimize.run(policy(made, tmp_path / "whole", algorithm=algorithm))
    calls = []

    def pausing(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
        calls.append(1)
        if len(calls) in (1, 4):  # in the first and in the third update (which is done again)
            (tmp_path / "cut" / "pause").touch()
        return loved(queries, responses)

    monkeypatch.setattr(sys.modules["judges"], "loved", pausing)
    config = policy(made, tmp_path / "cut", algorithm=algorithm)
    done = [optimize.run(config).episodes for _ in range(3)]
    assert done == [16, 64, 96]
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "point"),
    [
        ("ppo", "append done metrics.jsonl#3"),
        ("ppo", "rename done 16"),
        ("ppo", "replace 2.txt"),
        ("rloo", "append done metrics.jsonl#4"),
        ("grpo", "append done metrics.jsonl#4"),
        ("dpo", "append done metrics.jsonl#5"),
    ],
)
def test_killed_and_gone_on_is_the_same_bit_for_bit(
    made: Path, tmp_path: Path, algorithm: str, point: str
) -> None:
    settings = {k: v for k, v in POLICY.items() if k != "kl_target"} | at(made) | {"algorithm": algorithm}
    if algorithm == "dpo":
        settings |= {"store": str(made / "s"), "batch": 8, "minibatch": 8, "episodes": 64}

    def code(out: str) -> str:
        return (
            "from pathlib import Path; from inkfish.recipes.prefer import learning, optimize; "
            f"s = {settings!r}; s['store'] = Path(s['store']) if s.get('store') else None; "
            f"optimize.run(learning.Config((Path({str(made / 'text.txt')!r}),), **s, "
            f"reward={str(made / 'reward')!r}, out=Path({str(tmp_path / out)!r})))"
        )

    environment = dict(os.environ, OMP_NUM_THREADS="1")
    for out, failpoint, status in (("whole", "", 0), ("cut", point, -9), ("cut", "", 0)):
        done = subprocess.run(
            [sys.executable, "-c", code(out)],
            env=environment | {"INKFISH_FAILPOINT": failpoint},
            capture_output=True,
        )
        assert done.returncode == status, done.stderr
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


def test_dpo_learns_from_labels_and_goes_on(made: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "algorithm": "dpo",
        "store": made / "s",
        "batch": 8,
        "minibatch": 8,
        "episodes": 96,
    }
    config = policy(made, tmp_path / "d", **changes, lr=1e-2)
    optimize.run(config)
    last = read_metrics(tmp_path / "d" / "metrics.jsonl")[-1]
    assert last["held_out/accuracy"] > 0.25
    assert last["objective/kl"] > 3 * last["objective/kl_error"] > 0
    before = weights_of(tmp_path / "d")
    optimize.run(config)
    assert weights_of(tmp_path / "d") == before
    optimize.run(replace(config, out=tmp_path / "pairs", pairwise=True))
    assert read_metrics(tmp_path / "pairs" / "metrics.jsonl")[-1]["held_out/accuracy"] > 0.25
    assert weights_of(tmp_path / "pairs") != before
    with pytest.raises(DataError, match="4 labels are too few for a batch of 8"):
        optimize.run(replace(config, out=tmp_path / "few", limit=4))


def test_dpo_pauses_and_goes_on_bit_for_bit(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"algorithm": "dpo", "store": made / "s", "batch": 8, "minibatch": 8}
    optimize.run(policy(made, tmp_path / "whole", **changes, episodes=48, lr=2e-3))
    loss_of = direct.loss_of

    def pausing(config: learning.Config, reference: GPT2) -> Any:
        (config.out / "pause").touch()  # once it is clear that there are steps to take
        return loss_of(config, reference)

    config = policy(made, tmp_path / "cut", **changes, episodes=48, lr=2e-3)
    monkeypatch.setattr(direct, "loss_of", pausing)
    assert optimize.run(config).episodes == 8
    monkeypatch.setattr(direct, "loss_of", loss_of)
    assert optimize.run(config).episodes == 48
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")


def test_a_reward_model_of_another_vocabulary_is_refused(made: Path) -> None:
    with pytest.raises(ModelError, match="has another vocabulary than the model that learns; make one from"):
        rewards.find_reward(
            str(made / "reward"), Tokenizer.gpt2(), truncation=None, at_once=4, workers=None, device="cpu"
        )


def test_best_of_n_chooses(made: Path, tmp_path: Path) -> None:
    config = policy(made, tmp_path / "b", algorithm="best-of-n", samples=4, episodes=16)
    assert optimize.run(config).episodes == 16
    rows = [json.loads(line) for line in (tmp_path / "b" / "best-of-n.jsonl").read_text().splitlines()]
    single = policy(made, tmp_path / "c", algorithm="best-of-n", samples=2, episodes=16)
    optimize.run(single)
    others = [json.loads(line) for line in (tmp_path / "c" / "best-of-n.jsonl").read_text().splitlines()]
    assert sum(row["score"] for row in rows) > sum(row["score"] for row in others)
    assert [row["query"] for row in rows] == [row["query"] for row in others]


def test_truncated_responses_without_an_end_are_penalised(made: Path, tmp_path: Path) -> None:
    config = policy(made, tmp_path / "p", truncate=frequent(made), not_before=1, penalty=-2.0, episodes=16)
    optimize.run(config)
    (record,) = read_metrics(tmp_path / "p" / "metrics.jsonl")
    assert 0 < record["frac_penalised"] < 1
    assert record["text/length"] < config.tokens  # what the reader sees


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"reward": "python:judges:hated", "store": "s"},
            "a sign is wrong, or it is not the reward of these",
        ),
        ({"stop_kl": 0.01, "lr": 0.05}, "stopped after update 2: KL ran away"),
    ],
)
def test_guards_stop_the_run(made: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    if "store" in changes:
        changes = changes | {"store": made / "s"}
    with pytest.raises(RunError, match=words):
        optimize.run(policy(made, tmp_path / "p", **changes))


def test_a_reward_that_is_no_number_stops_the_run(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "judge python:judges:broken must give one finite number for each response; for 16 it gave 0"
    with pytest.raises(SettingError, match=words):
        optimize.run(policy(made, tmp_path / "p", reward="python:judges:broken"))
    monkeypatch.setattr(rewards, "score", lambda model, queries, *_, **__: [float("nan") for _ in queries])
    with pytest.raises(
        RunError, match="the reward must give one finite number for each response, and does not"
    ):
        optimize.run(policy(made, tmp_path / "q", reward=str(made / "reward")))


def test_a_run_away_is_saved_with_its_samples(made: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="saved in"):
        optimize.run(policy(made, tmp_path / "p", stop_kl=0.01, lr=0.05))
    assert (tmp_path / "p" / "last").read_text() == "8\n"
    assert (tmp_path / "p" / "samples" / "2.txt").exists()
    assert (tmp_path / "p" / "curve.png").read_text() == "p: ppo"


@pytest.mark.parametrize("signed", ["policy", "reference"])
def test_a_first_step_that_is_no_first_step_is_refused(
    made: Path, tmp_path: Path, signed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inkfish.recipes.prefer import onpolicy

    plain = onpolicy.Writer.scored

    def wrong(self: Any, *args: Any) -> Any:
        responses, rollout = plain(self, *args)
        name = "logprobs" if signed == "policy" else "reference"
        return responses, rollout._replace(**{name: getattr(rollout, name) + 0.1})

    monkeypatch.setattr(onpolicy.Writer, "scored", wrong)
    with pytest.raises(RunError, match="before the first step"):
        optimize.run(policy(made, tmp_path / "p"))


def test_changed_settings_prompts_and_labels_are_refused(made: Path, tmp_path: Path) -> None:
    optimize.run(policy(made, tmp_path / "p", episodes=16))
    for change in ({"clip": 0.3}, {"query_tokens": 19}, {"reward": str(made / "reward")}):
        with pytest.raises(RunError, match="was begun with other settings"):
            optimize.run(policy(made, tmp_path / "p", **({"episodes": 16} | change)))
    optimize.run(policy(made, tmp_path / "p", episodes=16, force=True, clip=0.3))
    optimize.run(policy(made, tmp_path / "p", episodes=16, fresh=True, query_tokens=19))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"at_once": 3},
            SettingError,
            "at_once is 3 and minibatch 8; minibatch must be a multiple of at_once",
        ),
        ({"minibatch": 12, "at_once": 4}, SettingError, "minibatch is 12 and batch 16"),
        ({"algorithm": "rloo", "samples": 3}, SettingError, "samples is 3 and at_once 4"),
        ({"algorithm": "a2c"}, SettingError, "choose one of ppo, rloo, grpo, dpo, best-of-n"),
        ({"algorithm": "dpo"}, SettingError, "dpo learns from labels; name their --store"),
        ({"episodes": 4}, SettingError, "episodes is 4 and a batch has 16"),
        ({"temperature": 0.0}, SettingError, "temperature is 0.0; it must be a number from 0.01 to 2"),
        ({"kl_target": -1.0}, SettingError, "kl_target is -1.0"),
        ({"truncate": "e", "not_before": 6}, SettingError, "not_before is 6 and a response has 6 tokens"),
        (
            {"truncate": "no such token", "not_before": 1},
            SettingError,
            "tokens of this vocabulary; it must be one",
        ),
        ({"reward": "python:judges:gone"}, SettingError, "judge python:judges:gone is not there"),
        ({"judge": "nobody"}, SettingError, "judge is 'nobody'; choose vader, afinn, descriptive"),
        ({"judge": "length:9-3"}, SettingError, "judge is 'length:9-3'"),
        ({"reward": "nowhere"}, InkfishError, "nowhere"),
        ({"skip": 100_000}, DataError, "--skip 100,000 leaves no prompt; skip fewer"),
        (
            {"query_tokens": 30},
            ContextError,
            "prompts of 30 tokens and responses of 6 do not fit the context of 32",
        ),
    ],
)
def test_settings_that_can_not_be(
    made: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        optimize.run(policy(made, tmp_path / "p", **changes))


def test_no_data_and_no_prompts(made: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="there are no data; name at least one text file"):
        learning.Config(())
    (tmp_path / "short.txt").write_text("No end")
    config = policy(made, tmp_path / "p")
    with pytest.raises(DataError, match=r"there is no prompt of up to 20 tokens .* or --whole"):
        optimize.run(replace(config, data=(tmp_path / "short.txt",)))
    few = sample.Config((made / "text.txt",), **SMALL, **at(made), store=tmp_path / "s", count=100_000)
    with pytest.raises(DataError, match=r"prompts, not 100,000; give more text, a smaller --count"):
        sample.run(few)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "holds no items; inkfish prefer sample writes them"),
        (
            [Item("pair", "q", (Candidate("a"), Candidate("b"))), Item("best", "q", (Candidate("a"),) * 3)],
            "items have unequal numbers of candidates; label them apart",
        ),
    ],
)
def test_stores_that_can_not_be_simulated_on(tmp_path: Path, items: list[Item], words: str) -> None:
    with Store(tmp_path / "s", create=True) as store:
        store.add(items)
    with pytest.raises(InkfishError, match=words):
        simulate.run(simulate.Config(store=tmp_path / "s", judge="python:judges:loved", agreement=1.0))


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ("judges:broken", r"judges:broken must give one finite number for each response; for 2 it gave 0$"),
        ("judges:short", r"judges:short must give one finite number for each response; for 2 it gave 1$"),
        ("judges:words", r"judges:words failed: ValueError: could not convert string to float: 'good'$"),
        ("os:getcwd", r"os:getcwd failed: TypeError: .*getcwd\(\) takes no arguments \(2 given\)$"),
        ("os:sep", r"os:sep failed: TypeError: 'str' object is not callable$"),
        ("judges:gone", r"judges:gone is not there: module 'judges' has no attribute 'gone'$"),
        ("crooked:judge", r"crooked:judge is not there: expected ':' \(crooked.py, line 1\)$"),
    ],
)
def test_judges_that_are_none(
    tmp_path: Path, judge: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crooked.py").write_text("if so\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Store(tmp_path / "s", create=True) as store:
        store.add([Item("pair", "q", (Candidate("a"), Candidate("b")))])
    with pytest.raises(SettingError, match=f"^judge python:{words}"):
        simulate.run(simulate.Config(store=tmp_path / "s", judge=f"python:{judge}", agreement=1.0))


def test_ratings_are_simulated_with_the_same_noise(tmp_path: Path) -> None:
    single = [Item("rating", "q", (Candidate("e" * n),)) for n in range(70)]
    two = Item("pair", "q", (Candidate("a"), Candidate("ee")))
    config = simulate.Config(store=tmp_path / "s", judge="python:judges:loved", agreement=1.0)
    with Store(tmp_path / "s", create=True) as store:
        store.add([*single, two])
        assert simulate.run(config).labelled == 71
        *ratings, choice = store.labels()
        assert Counter(label.rating for label in ratings) == dict.fromkeys(map(float, range(1, 8)), 10)
        assert [label.rating for label in ratings] == sorted(label.rating or 0 for label in ratings)
        assert (choice.verdict, choice.best, choice.rating) == ("best", (1,), None)
    with Store(tmp_path / "t", create=True) as store:
        store.add(single)
    noisy = replace(config, store=tmp_path / "t", agreement=0.5, repeat_every=1)
    found = simulate.run(noisy)
    assert found.agreement == pytest.approx(0.5, abs=1e-6)
    with Store(tmp_path / "t") as store:
        (person,) = dashboard(store)["labellers"]
    assert person["steady"]["low"] < 0.5 < person["steady"]["high"]


def test_why_there_is_nothing_to_label_for_a_program(tmp_path: Path, capsys: Any) -> None:
    def said(name: str, **changes: Any) -> str:
        config = simulate.Config(
            store=tmp_path / "s", judge="python:judges:loved", agreement=1.0, labeller=name
        )
        simulate.run(replace(config, **changes))
        return str(capsys.readouterr().out.splitlines()[-1])

    with Store(tmp_path / "s", create=True) as store:
        store.add([Item("pair", f"q{n}", (Candidate("a"), Candidate("e"))) for n in range(3)])
        said("ann")
        assert said("ann") == "ann has labelled every item; another name labels them once more"
        assert said("bob") == "every item has its 1 label; --overlap 2 lets bob see them"
        said("bob", overlap=2, count=2)
        next_item(store, "cat")
        assert said("eve") == "what is left is with others; come again in 600 seconds"
        said("cat")
        assert said("eve") == "every item has its 2 labels; --overlap 3 lets eve see them"
        said("eve", overlap=3, count=1)
        assert store.settings.overlap == 3
        store.set(replace(store.settings, overlap=2))
        assert said("eve") == "every other item has its 2 labels; --overlap 3 lets eve see them"


def test_labels_that_can_not_be_learned_from(made: Path, tmp_path: Path) -> None:
    plain: dict[str, Any] = REWARD | {"model": str(made / "base"), "out": tmp_path / "r"}
    with Store(tmp_path / "s", create=True) as store:
        config = reward.Config(**plain, store=tmp_path / "s")
        with pytest.raises(DataError, match="holds no choices; inkfish prefer label or simulate makes them"):
            reward.run(config)
        two = Item("pair", "The fox", (Candidate("a"), Candidate("b")))
        three = Item("best", "The fox", (Candidate("a"), Candidate("b"), Candidate("c")))
        store.add([two, three], [Label("1", two.key, "a", "best", (0,))])
        with pytest.raises(DataError, match=r"1 labels give . to learn from, . held out; a batch has 8"):
            reward.run(config)
        store.add([], [Label("2", three.key, "a", "best", (0,))])
        with pytest.raises(DataError, match="items have from 2 to 3 candidates"):
            reward.run(config)
        with pytest.raises(DataError, match="holds no ratings"):
            reward.run(replace(config, loss="ratings"))
    with Store(tmp_path / "t", create=True) as store:
        foreign = Item(
            "pair", "The fox", (Candidate("a", (999,)), Candidate("b", (1,))), (7,), meta={"asked": [8]}
        )
        store.add([foreign], [Label("1", foreign.key, "a", "best", (0,))])
        vocabulary = Tokenizer.load(made / "base")
        (found,) = read_comparisons(store, vocabulary, ratings=False, limit=None)
    assert [vocabulary.decode(ids) for ids in (found.query.prompt, *found.responses)] == ["The fox", "a", "b"]
    with pytest.raises(SettingError, match="majority is of choices; leave it out, or take --loss best"):
        reward.Config(majority=True, loss="ratings")
    with pytest.raises(SettingError, match="at_once is 3 and batch 4; batch must be a multiple"):
        reward.Config(batch=4, at_once=3)


def test_a_model_without_a_reward_head_is_no_reward_model(made: Path, tmp_path: Path) -> None:
    vocabulary = Tokenizer.load(made / "base")
    huggingface.write(tmp_path / "m", SHAPE, GPT2(SHAPE).tensors(), tokenizer=vocabulary, eos=vocabulary.end)
    (tmp_path / "m" / "reward.json").write_text("{}")
    with pytest.raises(ModelError, match="has no reward head; inkfish prefer reward makes one"):
        rewards.read_reward_model(tmp_path / "m")


def test_a_comparison_counts_and_reports(made: Path, tmp_path: Path) -> None:
    optimize.run(policy(made, tmp_path / "p", episodes=320, lr=8e-3, kl=0.02, stop_kl=50.0))
    plain: dict[str, Any] = SMALL | {"model": str(tmp_path / "p"), "other": str(made / "base"), "count": 40}
    judges = ("python:judges:loved", f"reward:{made / 'reward'}")
    config = compare.Config(
        (made / "text.txt",), **plain, judge=judges, out=tmp_path / "r.json", store=tmp_path / "s"
    )
    report = compare.run(config)
    found = report["judges"][judges[0]]
    assert found["wins"] + found["ties"] + found["losses"] == 40
    assert found["score"]["mean"] > 0.6
    assert found["mean"] > found["other_mean"]
    assert report["kl"]["mean"] > 0
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["judges"] == report["judges"]
    assert len(written["pairs"]) == 40
    with Store(tmp_path / "s") as store:
        assert store.progress().items == 40
        assert {c.origin["model"] for i in store.items() for c in i.candidates} == {
            config.model,
            config.other,
        }
    assert compare.run(config)["judges"] == report["judges"]


def test_a_model_against_itself_is_a_tie_and_best_of_n_is_not(made: Path) -> None:
    plain: dict[str, Any] = SMALL | at(made) | {"other": str(made / "base"), "count": 30}
    config = compare.Config((made / "text.txt",), **plain, judge=("python:judges:loved",))
    found = compare.run(config)["judges"]["python:judges:loved"]
    assert (found["ties"], found["p"]) == (30, 1)
    best = compare.run(replace(config, best_of=8, reward=str(made / "reward")))
    assert best["judges"]["python:judges:loved"]["score"]["mean"] > 0.5
    assert best["kl"]["mean"] == pytest.approx(best_of_n_kl(8))
    tied = compare.run(replace(config, best_of=8, reward=str(made / "reward"), tie=100.0))
    assert tied["judges"]["python:judges:loved"]["ties"] == 30


def test_comparisons_that_can_not_be(made: Path, tmp_path: Path) -> None:
    data = (made / "text.txt",)
    with pytest.raises(SettingError, match="best_of needs a reward to choose by"):
        compare.Config(data, best_of=4)
    with pytest.raises(SettingError, match="there is no judge; name one"):
        compare.Config(data, judge=())
    plain: dict[str, Any] = SMALL | at(made)
    with pytest.raises(ModelError, match="have different vocabularies"):
        compare.run(compare.Config(data, **plain, other="starter", judge=("python:judges:loved",)))
    with pytest.raises(DataError, match="prompts, not 100,000"):
        compare.run(
            compare.Config(
                data, **plain, other=str(made / "base"), count=100_000, judge=("python:judges:loved",)
            )
        )


@pytest.mark.slow
def test_the_doctor_goes_through_everything(made: Path) -> None:
    found = doctor.run(doctor.Config((made / "text.txt",), **SMALL, **at(made)))
    stages = ["self-test", "sample", "simulate", "exchange", "reward", "ppo", "rloo", "grpo", "dpo"]
    assert list(found) == [*stages, "best-of-n", "compare"]


def test_held_out_texts_are_never_learned_from(made: Path, tmp_path: Path) -> None:
    story = "It saw dogs. The {}th fox met {} hens. It ate {} eggs. The end."
    text = "".join(json.dumps({"text": story.format(n, n % 13, n % 5)}) + "\n" for n in range(200))
    shared = json.dumps({"text": "Who stands everywhere? It saw dogs and ate eggs. The end."}) + "\n"
    (tmp_path / "rows.jsonl").write_text(text + shared * 3)
    (tmp_path / "more.jsonl").write_text(shared + "".join(reversed(text.splitlines(keepends=True)[:100])))

    def asked(split: str, file: str = "rows.jsonl", **changes: Any) -> set[tuple[int, ...]]:
        settings: dict[str, Any] = SMALL | at(made) | {"split": split} | changes
        config = compare.Config((tmp_path / file,), **settings)
        vocabulary = Tokenizer.load(made / "base")
        found = config.queries(vocabulary, SHAPE, lambda line: None)
        assert len(set(found)) == len(found)
        return {query.ids for query in found}

    for whole in (False, True):
        settings: dict[str, Any] = {"whole": whole, "query_tokens": 26}
        train, held, every = (asked(split, **settings) for split in ("train", "held-out", "all"))
        assert train | held == every
        assert not train & held
        if whole:
            assert 15 < len(held) < 70  # 40 of 201 expected, deviation 5.7
            # the same text is on the same side in other company, and whatever the seed
            assert asked("held-out", "more.jsonl", seed=2, **settings) <= held
    with pytest.raises(SettingError, match="split is 'test'; choose one of all, train, held-out"):
        asked("test")
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": "It ate hens."}) + "\n")
    other = "train" if held_out("It ate hens.") else "held-out"
    with pytest.raises(DataError, match=f"there is no {other} prompt of up to 20 tokens"):
        asked(other, "one.jsonl", whole=True)
