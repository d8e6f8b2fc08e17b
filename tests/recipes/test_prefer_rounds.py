"""Rounds of sampling, labelling and learning: stopped anywhere they go on, with people or a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.errors import ModelError, RunError, SettingError
from inkfish.labels.queue import answer, next_item
from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Store
from inkfish.recipes.prefer import learning, optimize, report, reward, rounds, sample
from inkfish.training import curve
from inkfish.training.metrics import read_metrics
from inkfish.weights import hub

TEXT = "".join(
    f"The {n}th fox met {n * 7 % 13} hens. It saw {n % 5} dogs and ate {n % 7} eggs. " for n in range(2500)
)
SHAPE = ModelConfig(n_layer=1, n_head=2, n_embd=8, n_positions=32, vocab_size=280)
SMALL: dict[str, Any] = {
    "query_tokens": 20,
    "tokens": 6,
    "threads": 1,
    "per_document": 4000,
    "episodes": 64,
    "batch": 16,
    "minibatch": 16,
    "at_once": 8,
    "epochs": 2,
    "lr": 5e-3,
    "kl": 0.02,
    "kl_target": 0.0,
    "save_every": 2,
    "sample_every": 0,
    "rounds": 2,
    "count": 120,
    "held_out": 0.3,
    "reward_lr": 1e-2,
    "reward_batch": 8,
    "reward_epochs": 12,
    "agreement": 1.0,
}


def loved(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    return [response.count("e") + 0.01 * len(response) for response in responses]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "draw_updates", lambda records, *, title="": b"")  # it takes a second


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, write_base: Callable[..., None]) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("rounds")
    write_base(folder, TEXT, SHAPE)
    sys.modules["likings"] = likings = ModuleType("likings")
    likings.__dict__["loved"] = loved
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)
    del sys.modules["likings"]


def config(base: Path, out: Path, **changes: Any) -> rounds.Config:
    return rounds.Config((base / "text.txt",), model=str(base / "base"), out=out, **SMALL | changes)


def value_weight(folder: Path) -> bytes:
    place = hub.find(str(folder))
    return (place / "heads.safetensors").read_bytes()


def people(store: Path, name: str = "ann") -> int:
    """Label all that is open as somebody who loves e's."""
    given = 0
    with Store(store) as opened:
        while shown := next_item(opened, name):
            scores = loved([], [candidate.text for candidate in shown.item.candidates])
            best = scores.index(max(scores))
            request = f"{name}-{shown.item.key[:20]}"
            answer(opened, Label(request, shown.item.key, name, "best", (best,), order=shown.order))
            given += 1
    return given


@pytest.mark.slow
def test_rounds_by_a_program(base: Path, tmp_path: Path) -> None:
    settings = config(base, tmp_path / "r", labels="python:likings:loved")
    done = rounds.run(settings)
    assert (done.done, done.policy) == (2, tmp_path / "r" / "round-2" / "policy")
    with Store(settings.labelled) as store:
        items = store.items()
        assert len(store.labels()) == 240
    first, second = items[:120], items[120:]
    assert {len({c.origin["model"] for c in item.candidates}) for item in first} == {1}
    assert all(len({c.origin["model"] for c in item.candidates}) == 2 for item in second)
    assert not {item.query for item in first} & {item.query for item in second}
    found = [json.loads((tmp_path / "r" / f"round-{n}" / "round.json").read_text()) for n in (1, 2)]
    assert "preferred" not in found[0]
    assert 0 < found[1]["preferred"]["mean"] < 1
    # the second reward model has read both rounds' labels, and begins where the first did
    reports = [
        json.loads((tmp_path / "r" / f"round-{n}" / "reward" / "reward.json").read_text()) for n in (1, 2)
    ]
    assert [r["labels"] + r["held_out"] for r in reports] == [120, 240]
    # the second policy goes on from the first one, and is measured from the beginning
    begun = read_metrics(tmp_path / "r" / "round-2" / "policy" / "metrics.jsonl")[0]
    assert abs(begun["objective/kl"]) > 1e-3
    counted = report.run(report.Config(store=settings.labelled, model=str(tmp_path / "r/round-1/policy")))
    assert counted["labelled"] == 240
    before = value_weight(tmp_path / "r" / "round-2" / "policy")
    assert rounds.run(settings).done == 2
    assert value_weight(tmp_path / "r" / "round-2" / "policy") == before


@pytest.mark.slow
def test_people_are_waited_for_and_an_interrupted_round_goes_on(
    base: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(base, tmp_path / "r")
    assert (rounds.run(settings).done, rounds.run(settings).done) == (0, 0)
    assert f"120 texts wait for labels: inkfish prefer label --store {settings.labelled}" in (
        capsys.readouterr().out
    )
    assert people(settings.labelled) == 120
    plain, calls = optimize.run, []

    def broken(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(optimize, "run", broken)
    with pytest.raises(KeyboardInterrupt):
        rounds.run(settings)
    done = rounds.run(settings)  # the first round to its end, then the second round's texts
    assert (done.done, done.policy) == (1, tmp_path / "r" / "round-1" / "policy")
    assert people(settings.labelled) == 120
    assert rounds.run(settings).done == 2


def test_a_policy_goes_on_from_another_and_refuses_other_shapes(base: Path, tmp_path: Path) -> None:
    plain: dict[str, Any] = {k: v for k, v in SMALL.items() if hasattr(learning.Config, k)}
    plain |= {"model": str(base / "base"), "reward": "python:likings:loved"}
    data = (base / "text.txt",)
    optimize.run(learning.Config(data, **plain, out=tmp_path / "one"))
    brief = plain | {"start": str(tmp_path / "one"), "lr": 0.0, "episodes": 16}
    optimize.run(learning.Config(data, **brief, out=tmp_path / "two"))
    ends = [weights.read(hub.find(str(tmp_path / name))).tensors for name in ("one", "two")]
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])
    assert value_weight(tmp_path / "one") == value_weight(tmp_path / "two")
    (record,) = read_metrics(tmp_path / "two" / "metrics.jsonl")
    assert abs(record["objective/kl"]) > 1e-3
    with pytest.raises(ModelError, match="starter has another shape than the model"):
        optimize.run(learning.Config(data, **plain | {"start": "starter"}, out=tmp_path / "three"))


def test_two_models_write_half_each(base: Path, tmp_path: Path) -> None:
    plain: dict[str, Any] = {"query_tokens": 20, "tokens": 6, "threads": 1, "count": 5}
    data, name = (base / "text.txt",), str(base / "base")
    sample.run(sample.Config(data, **plain, model=name, other=f"{name}/", store=tmp_path / "s"))
    with Store(tmp_path / "s") as store:
        (origins,) = {tuple(c.origin["model"] for c in item.candidates) for item in store.items()}
    assert origins == (name, name, f"{name}/", f"{name}/")
    with pytest.raises(SettingError, match="n is 3; two models write equally many, so it must be even"):
        sample.Config(data, other="starter", n=3)
    with pytest.raises(ModelError, match="and starter have different vocabularies"):
        sample.run(sample.Config(data, **plain, model=name, other="starter", store=tmp_path / "t"))


def test_what_everybody_skipped_is_not_waited_for(base: Path, tmp_path: Path) -> None:
    settings = config(base, tmp_path / "r")
    one, two = (Item("pair", query, (Candidate("a"), Candidate("b"))) for query in "qr")
    with Store(settings.labelled, create=True) as store:
        store.add([one, two], [Label("1", one.key, "ann", "skip")])
        assert not rounds.labelled(settings)
        store.add([], [Label("2", two.key, "ann", "best", (0,))])
        assert rounds.labelled(settings)


def test_rounds_that_can_not_be(base: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="algorithm is 'best-of-n', which learns nothing from round"):
        config(base, tmp_path / "r", algorithm="best-of-n")
    given = {"store": Path("s"), "reward": "vader", "start": "starter"}
    for name, value in given.items():
        words = f"{name} is '{value}', but rounds make their own in .*; leave it out"
        with pytest.raises(SettingError, match=words):
            config(base, tmp_path / "r", **{name: value})


def test_rounds_of_dpo_need_no_reward_model(base: Path, tmp_path: Path, capsys: Any) -> None:
    small: dict[str, Any] = {"algorithm": "dpo", "count": 60, "batch": 8, "episodes": 32, "lr": 2e-3}
    settings = config(base, tmp_path / "r", labels="python:likings:loved", **small)
    assert rounds.run(settings).done == 2
    assert not (tmp_path / "r" / "round-1" / "reward").exists()
    found = json.loads((tmp_path / "r" / "round-2" / "round.json").read_text())
    assert {"held_out/accuracy", "objective/kl", "preferred"} <= found.keys()
    assert "round 2: held-out accuracy " in capsys.readouterr().out


def test_a_reward_model_that_was_refused_is_made_anew(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small: dict[str, Any] = {"rounds": 1, "count": 200, "labels": "python:likings:loved", "episodes": 16}
    poor = config(base, tmp_path / "r", **small, reward_lr=0.0)
    with monkeypatch.context() as patch:  # a model that has learned nothing may be right by luck
        patch.setattr(reward, "better_than_chance", lambda *args: False)
        with pytest.raises(RunError, match="it is not handed on; label more, or look"):
            rounds.run(poor)
    better = replace(poor, reward_lr=1e-2)
    with pytest.raises(RunError, match=r"was begun with other settings \(lr"):
        rounds.run(better)
    assert rounds.run(replace(better, fresh=True)).done == 1
    with Store(poor.labelled) as store:
        assert len(store.labels()) == 200
    # a round that is over stays as it is
    before = value_weight(tmp_path / "r" / "round-1" / "policy")
    assert rounds.run(replace(better, fresh=True)).done == 1
    assert value_weight(tmp_path / "r" / "round-1" / "policy") == before
