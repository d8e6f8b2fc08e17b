"""What must not pass: each link between settings, labels, reward and learning is broken once, and is seen."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.errors import ContextError, DataError, ModelError, RunError, SettingError
from inkfish.labels.queue import answer, next_item
from inkfish.labels.records import Candidate, Item, Label
from inkfish.labels.store import Store
from inkfish.model import GPT2
from inkfish.preferences.experience import Algorithm, Rollout, ppo_algorithm
from inkfish.preferences.policy import Policy
from inkfish.preferences.reward_model import RewardModel
from inkfish.preferences.sequences import Scored, Sequences, join, score_responses
from inkfish.preferences.truncation import Truncation
from inkfish.recipes.prefer import (
    agreement,
    choose,
    compare,
    comparisons,
    direct,
    doctor,
    judges,
    learning,
    onpolicy,
    optimize,
    reward,
    rewards,
    sample,
    simulate,
)
from inkfish.recipes.prefer.queries import Query
from inkfish.tokenizer import Tokenizer
from inkfish.training import curve
from inkfish.training.files import Disk
from inkfish.training.metrics import read_metrics
from inkfish.weights import heads, hub

TEXT = "".join(
    f"The {n}th fox met {n * 7 % 13} hens. It saw {n % 5} dogs and ate {n % 7} eggs. " for n in range(1000)
)
SHAPE = ModelConfig(n_layer=2, n_head=2, n_embd=8, n_positions=32, vocab_size=300)
SMALL: dict[str, Any] = {"query_tokens": 20, "tokens": 6, "threads": 1, "per_document": 1000}
REWARD: dict[str, Any] = {
    "batch": 8,
    "lr": 1e-2,
    "epochs": 8,
    "held_out": 0.3,
    "threads": 1,
    "precision": "float32",
    "reference": 32,
}
POLICY: dict[str, Any] = SMALL | {
    "episodes": 48,
    "batch": 16,
    "minibatch": 8,
    "at_once": 4,
    "epochs": 1,
    "lr": 3e-3,
    "sample_every": 0,
    "kl_target": 1.0,
}


def loved(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    return [response.count("e") + 0.01 * len(response) for response in responses]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    likings = ModuleType("likings")
    likings.__dict__["loved"] = loved
    monkeypatch.setitem(sys.modules, "likings", likings)
    monkeypatch.setattr(curve, "draw_updates", lambda records, *, title="": title.encode())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_base: Callable[..., None]) -> Path:
    """A tiny model with its vocabulary, a text, a store of labels and a reward model."""
    folder = tmp_path_factory.mktemp("guards")
    write_base(folder, TEXT, SHAPE)
    sys.modules["likings"] = likings = ModuleType("likings")
    likings.__dict__["loved"] = loved
    base: dict[str, Any] = {"model": str(folder / "base")}
    sample.run(sample.Config((folder / "text.txt",), **SMALL, **base, store=folder / "s", count=400))
    simulate.run(simulate.Config(store=folder / "s", judge="python:likings:loved", agreement=1.0))
    reward.run(reward.Config(**REWARD, **base, store=folder / "s", out=folder / "reward"))
    del sys.modules["likings"]
    return folder


def policy(made: Path, out: Path, **changes: Any) -> learning.Config:
    settings = POLICY | {"model": str(made / "base"), "out": out, "reward": str(made / "reward")} | changes
    return learning.Config((made / "text.txt",), **settings)


def rewarding(made: Path, out: Path, **changes: Any) -> reward.Config:
    return reward.Config(**REWARD | {"model": str(made / "base"), "store": made / "s", "out": out} | changes)


def weights_of(folder: Path) -> bytes:
    return (hub.find(str(folder)) / "model.safetensors").read_bytes()


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    return [
        {k: v for k, v in record.items() if not k.startswith(("seconds", "episodes_per"))}
        for record in read_metrics(folder / "metrics.jsonl")
    ]


# what samples and what learns must be the same


def test_sampling_at_another_temperature_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large: dict[str, Any] = {"batch": 256, "minibatch": 64, "at_once": 32, "episodes": 512}
    optimize.run(policy(made, tmp_path / "fine", **large))
    plain = onpolicy.__dict__["respond"]
    monkeypatch.setattr(onpolicy, "respond", lambda *a, **k: plain(*a, **k | {"temperature": 2.0}))
    words = (
        r"stopped after update [12]: tokens are [0-9.]+ nats less likely than if the policy had written them"
    )
    with pytest.raises(RunError, match=words):
        optimize.run(policy(made, tmp_path / "hot", **large))
    monkeypatch.setattr(onpolicy, "respond", lambda *a, **k: plain(*a, **k | {"temperature": 0.3}))
    with pytest.raises(RunError, match="nats more likely than if the policy had written them"):
        optimize.run(policy(made, tmp_path / "cold", **large))


def test_sampling_with_old_weights_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    plain = onpolicy.__dict__["backend_of"]

    def stale(*args: Any, **settings: Any) -> Any:
        if not kept:
            kept.append(plain(*args, **settings))
        return kept[0]

    large: dict[str, Any] = {"batch": 256, "minibatch": 32, "at_once": 32, "episodes": 256 * 12}
    large |= {"lr": 1e-2, "kl": 0.0, "kl_target": 0.0}
    # the engine shares its memory with the policy where it can: a copy stays as it was
    monkeypatch.setattr(GPT2, "tensors", copying(GPT2.tensors))
    monkeypatch.setattr(onpolicy, "backend_of", stale)
    with pytest.raises(RunError, match="nats less likely than if the policy had written them"):
        optimize.run(policy(made, tmp_path / "stale", **large))


def copying(plain: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **settings: {k: np.array(v) for k, v in plain(self).items()}


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "dpo", "best-of-n"])
def test_everything_is_sampled_as_the_settings_say(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    place: ModuleType = {"dpo": direct, "best-of-n": choose}.get(algorithm, onpolicy)
    seen: list[dict[str, Any]] = []
    plain: Callable[..., Any] = place.__dict__["respond"]

    def noted(*args: Any, **settings: Any) -> Any:
        seen.append(settings)
        return plain(*args, **settings)

    monkeypatch.setattr(place, "respond", noted)
    changes: dict[str, Any] = {"algorithm": algorithm, "store": made / "s", "temperature": 0.9, "seed": 7}
    optimize.run(policy(made, tmp_path / "p", **changes, episodes=16))
    assert {(s["temperature"], s["length"], s["seed"]) for s in seen} == {(0.9, 6, 7)}
    assert all(s.get("samples", 1) == (4 if algorithm in {"rloo", "best-of-n"} else 1) for s in seen)


# labels, and the reward that is made of them, must point the same way


def turned(choice: int | None, n: int, *, tied: tuple[int, ...] = ()) -> list[float]:
    """What a label says, turned round: all but what it names is best."""
    best = tied if choice is None else (choice,)
    return [0.0 if i in best else 1 / (n - len(best)) for i in range(n)]


def test_labels_read_the_wrong_way_round_make_no_reward_model(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "choice_targets", turned)
    with pytest.raises(
        RunError, match="it is not handed on; label more, or look whether labels are read the"
    ):
        reward.run(rewarding(made, tmp_path / "r"))
    assert not (tmp_path / "r" / "reward.json").exists()
    assert not (tmp_path / "r" / agreement.EXAMPLES).exists()


def test_dpo_does_not_learn_labels_read_the_wrong_way_round(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"algorithm": "dpo", "store": made / "s", "lr": 1e-2, "episodes": 480}
    changes |= {"sample_every": 5}
    optimize.run(policy(made, tmp_path / "fine", **changes))
    monkeypatch.setattr(comparisons, "choice_targets", turned)
    with pytest.raises(
        RunError, match=r"it prefers what labels do on \d+ of \d+ (held-out|learned) labels, chance is 25%"
    ):
        optimize.run(policy(made, tmp_path / "turned", **changes))
    steps = [record["step"] for record in read_metrics(tmp_path / "turned" / "metrics.jsonl")]
    assert max(steps) < 50


def rated_store(made: Path, path: Path, *, upside: bool = True) -> Path:
    """A store in which each response of the store has been rated by how much of what is loved it has."""
    with Store(made / "s") as store:
        texts = [(item.query, item.query_ids, c) for item in store.items() for c in item.candidates]
    scores = np.array(loved([], [candidate.text for _, _, candidate in texts]))
    ranks = scores.argsort().argsort() * 7 // len(scores) + 1
    with Store(path, create=True) as store:
        items = [Item("rating", query, (candidate,), ids) for query, ids, candidate in texts]
        unique = {item.key: (item, rank) for item, rank in zip(items, ranks, strict=True)}
        store.add(
            [item for item, _ in unique.values()],
            [
                Label(f"r{n}", item.key, "ann", "rating", rating=float(rank if upside else 8 - rank))
                for n, (item, rank) in enumerate(unique.values())
            ],
        )
    return path


@pytest.mark.slow
def test_ratings_read_the_wrong_way_round_make_no_reward_model(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = rated_store(made, tmp_path / "s")
    settings: dict[str, Any] = {"loss": "ratings", "store": store, "lr": 3e-3, "epochs": 8}
    found = reward.run(rewarding(made, tmp_path / "fine", **settings)).report
    assert found is not None
    assert found["accuracy"] > 0.6
    plain = comparisons.comparison
    monkeypatch.setattr(
        comparisons,
        "comparison",
        lambda *args: replace(one := plain(*args), targets=(8 - one.targets[0],)),
    )
    with pytest.raises(RunError, match=r"held-out labels, chance is 50.0%: it is not handed on"):
        reward.run(rewarding(made, tmp_path / "turned", **settings))


@pytest.mark.parametrize("algorithm", ["ppo", "best-of-n"])
def test_a_reward_model_turned_round_is_refused_before_anything_is_learned(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, capsys: Any
) -> None:
    optimize.run(policy(made, tmp_path / "fine", algorithm=algorithm, episodes=16))
    assert "the reward agrees with" in capsys.readouterr().out
    plain = rewards.score
    monkeypatch.setattr(rewards, "score", lambda *args, **settings: [-x for x in plain(*args, **settings)])
    words = (
        r"the reward scores the best-labelled candidate highest on \d+ of \d+ labels, chance is 2\d%: a sign"
    )
    with pytest.raises(RunError, match=words):
        optimize.run(policy(made, tmp_path / "turned", algorithm=algorithm, episodes=16))
    assert not (tmp_path / "turned" / "checkpoints").exists()
    assert not list((tmp_path / "turned").glob("best*"))


def test_a_reward_is_asked_about_ratings_too(made: Path, tmp_path: Path, capsys: Any) -> None:
    judged = policy(made, tmp_path / "p", reward="python:likings:loved", episodes=16)
    optimize.run(judged)
    assert "nothing says whether this reward has the right sign" in capsys.readouterr().out
    optimize.run(replace(judged, out=tmp_path / "q", store=rated_store(made, tmp_path / "s")))
    said = capsys.readouterr().out
    assert re.search(r"the reward agrees with (\d+) of \1 labels, chance is 50%", said)  # of pairs
    turned_round = rated_store(made, tmp_path / "t", upside=False)
    with pytest.raises(RunError, match=r"the reward puts pairs of ratings in order on \d+ of \d+ labels"):
        optimize.run(replace(judged, out=tmp_path / "r", store=turned_round))


def test_the_labels_beside_a_reward_model_are_those_it_was_tested_on(made: Path, tmp_path: Path) -> None:
    report = json.loads((made / "reward" / "reward.json").read_text())
    found = agreement.read_examples(made / "reward")
    assert len(found) == report["held_out"]
    model = rewards.read_reward_model(made / "reward")
    queries = [one.query for one in found for _ in one.responses]
    scores = rewards.score(model, queries, [r for one in found for r in one.responses], at_once=8)
    agreed = agreement.agreement(found, np.array(scores).reshape(-1, 4))
    assert agreed.correct == report["correct"]
    assert agreed.chance == pytest.approx(report["chance"])
    (tmp_path / agreement.EXAMPLES).write_text('{"query": [1]}\n')
    with pytest.raises(
        ModelError, match=r"held-out\.jsonl is damaged; train the reward model again, or remove"
    ):
        agreement.read_examples(tmp_path)


def test_agreement_by_hand() -> None:
    def one(best: tuple[int, ...] = (), rating: float | None = None) -> comparisons.Comparison:
        return comparisons.Comparison(Query((1,), ""), ((1,), (2,)), (), "", "", best, rating)

    def wide(best: tuple[int, ...]) -> comparisons.Comparison:
        return comparisons.Comparison(Query((1,), ""), ((1,), (2,), (3,), (4,)), (), "", "", best)

    labels = [one((0,)), one((1,)), one((0, 1)), one((0,))]
    found = agreement.agreement(labels, np.array([[2, 1], [2, 1], [0, 5], [4, 4]]))
    # what ties altogether says nothing, nor do equal scores of the best and of others
    assert (found.answers, found.correct, found.count) == ([True, False, None, None], 1, 2)
    assert found.chance == 0.5
    (three,) = agreement.agreement([four := wide((0, 2))], np.array([[3, 1, 3, 2]])).answers
    assert three
    assert agreement.chance_of([four]) == 0.5
    assert agreement.agreement([four], np.array([[1, 1, 0, 0]])).answers == [None]
    rated = [one(rating=value) for value in (7, 1, 3, 3, 2, 5, 4)]  # a pair of equal ones, and one left over
    found = agreement.agreement(rated, np.array([[9], [1], [0], [1], [3], [3], [8]]))
    assert (found.answers, found.chance) == ([True, None], 0.5)


# the self-tests are asked


@pytest.mark.parametrize(
    ("place", "name", "algorithm"),
    [
        (onpolicy, "check_algorithm", "ppo"),
        (onpolicy, "check_algorithm", "rloo"),
        (onpolicy, "check_algorithm", "grpo"),
        (onpolicy, "check_reward", "ppo"),
        (direct, "check_dpo", "dpo"),
        (choose, "check_reward", "best-of-n"),
        (reward, "check_reward_learning", "reward"),
    ],
)
def test_a_failed_self_test_stops_a_run_before_its_first_step(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: ModuleType, name: str, algorithm: str
) -> None:
    def failed(*args: Any, **settings: Any) -> None:
        raise RunError("self-test failed")

    monkeypatch.setattr(place, name, failed)

    def begun() -> None:
        if algorithm == "reward":
            reward.run(rewarding(made, tmp_path / "p"))
        else:
            optimize.run(policy(made, tmp_path / "p", algorithm=algorithm, store=made / "s"))

    with pytest.raises(RunError, match="self-test failed"):
        begun()
    assert not read_metrics(tmp_path / "p" / "metrics.jsonl")
    assert not (tmp_path / "p" / "checkpoints").exists()


# settings arrive


def outcome(algorithm: Algorithm) -> dict[str, Any]:
    """What an algorithm makes of a fixed rollout, and of a policy that has moved since."""
    torch.manual_seed(5)
    trunk = GPT2(SHAPE)
    acting = Policy(trunk)
    with torch.no_grad():
        acting.value.weight.normal_(std=0.5)
    ids = torch.randint(0, 280, (8, 4))
    sequences = join([[1, 2]] * 8, ids.tolist(), length=4)
    then = acting(sequences, temperature=0.7)
    noise = [torch.randn(8, 4) * 0.5 for _ in range(3)]
    rollout = Rollout(
        sequences,
        torch.randn(8),
        (then.logprobs + noise[0]).detach(),
        (then.logprobs + noise[1]).detach(),
        (then.values + noise[2]).detach(),
        then.entropy,
    )
    experience = algorithm.experience(rollout, 0.3)
    update = algorithm.loss(acting, experience)
    figures = {name: getattr(update, name) for name in ("policy", "value", "clipped", "value_clipped")}
    figures["loss"] = float(update.loss.detach())
    figures["advantages"], figures["returns"] = experience.advantages.tolist(), experience.returns.tolist()
    return figures


@pytest.mark.parametrize(
    ("setting", "value", "argument", "passed", "changed"),
    [
        ("gamma", 0.5, "gamma", 0.5, "advantages"),
        ("lam", 0.3, "lam", 0.3, "advantages"),
        ("no_whitening", True, "whiten_rewards", False, "returns"),
        ("clip", 0.05, "clip", 0.05, "policy"),
        ("value_clip", 0.05, "value_clip", 0.05, "value"),
        ("value_weight", 0.7, "value_weight", 0.7, "loss"),
        ("temperature", 1.3, "temperature", 1.3, "policy"),
    ],
)
def test_each_setting_of_ppo_arrives(
    setting: str, value: Any, argument: str, passed: Any, changed: str
) -> None:
    plain = learning.Config((Path("x"),))
    defaults: dict[str, Any] = {"temperature": 0.7, "gamma": 1.0, "lam": 0.95, "whiten_rewards": True}
    defaults |= {"clip": 0.2, "value_clip": 0.2, "value_weight": 0.1}
    before = outcome(learning.algorithm_of(plain))
    assert before == outcome(ppo_algorithm(**defaults))
    change: dict[str, Any] = {setting: value}
    after = outcome(learning.algorithm_of(replace(plain, **change)))
    assert after == outcome(ppo_algorithm(**defaults | {argument: passed}))
    assert after[changed] != before[changed]


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_each_setting_of_group_algorithms_arrives(name: Any) -> None:
    plain = learning.Config((Path("x"),), algorithm=name)
    found = outcome(learning.algorithm_of(plain))
    pairs = learning.algorithm_of(replace(plain, samples=2))
    assert outcome(pairs)["advantages"] != found["advantages"]
    changes: list[dict[str, Any]] = [{"clip": 0.01}, {"temperature": 1.3}]
    for change in changes:
        assert outcome(learning.algorithm_of(replace(plain, **change)))["loss"] != found["loss"]
    assert learning.algorithm_of(plain).name == name


@pytest.mark.parametrize("algorithm", ["ppo", "dpo"])
def test_the_optimizer_is_the_one_that_is_named(made: Path, tmp_path: Path, algorithm: str) -> None:
    config = policy(made, tmp_path / "tf", algorithm=algorithm, store=made / "s", episodes=16)
    optimize.run(config)
    optimize.run(replace(config, out=tmp_path / "torch", optimizer="adam"))
    assert weights_of(tmp_path / "tf") != weights_of(tmp_path / "torch")


def test_ppo_teaches_the_value_head_and_the_others_leave_it(made: Path, tmp_path: Path) -> None:
    def value(algorithm: str) -> float:
        optimize.run(policy(made, tmp_path / algorithm, algorithm=algorithm))
        found = heads.read(hub.find(str(tmp_path / algorithm)))["value"]
        return float(sum(np.abs(part).sum() for part in found.values()))

    assert value("ppo") > 0
    assert value("rloo") == value("grpo") == 0


# what the reader sees is what is scored


def test_rewards_and_judges_read_what_the_reader_sees(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = Tokenizer.load(made / "base")
    (stop,), (word,) = vocabulary.encode("."), vocabulary.encode("e")
    ending, endless = [word, word, stop, word, word, word], [word] * 6
    read: dict[str, set[str]] = {"reward": set(), "judge": set()}

    def reader(name: str) -> Callable[[Sequence[str], Sequence[str]], list[float]]:
        def judge(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
            read[name].update(responses)
            return [float(len(response)) for response in responses]

        return judge

    sys.modules["likings"].__dict__.update(reward=reader("reward"), judge=reader("judge"))
    written = np.array([ending if n % 4 else endless for n in range(16)])  # a quarter does not end
    monkeypatch.setattr(onpolicy, "respond", lambda *args, **settings: written)
    monkeypatch.setattr(onpolicy, "alarms", lambda *args: [])  # all the same, and hardly sampled
    rule: dict[str, Any] = {"truncate": ".", "not_before": 1, "penalty": -2.0}
    config = policy(
        made,
        tmp_path / "p",
        reward="python:likings:reward",
        judge="python:likings:judge",
        episodes=16,
        **rule,
    )
    optimize.run(config)
    assert read["judge"] == {"ee.", "eeeeee"}
    assert read["reward"] == {"ee.", "eeeeee"}
    (record,) = read_metrics(tmp_path / "p" / "metrics.jsonl")
    assert record["frac_penalised"] == 0.25
    assert record["objective/score"] == pytest.approx(0.75 * 3 - 0.25 * 2)
    assert record["text/length"] == pytest.approx(0.75 * 3 + 0.25 * 6)


def test_a_learned_reward_reads_what_the_reader_sees(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Tokenizer.load(made / "base")
    (stop,), (word,) = vocabulary.encode("."), vocabulary.encode("e")
    rule = Truncation(stop, 1, -2.0)
    settings: dict[str, Any] = {"at_once": 2, "workers": None, "device": "cpu"}
    cut = rewards.find_reward(str(made / "reward"), vocabulary, truncation=rule, **settings)
    plain = rewards.find_reward(str(made / "reward"), vocabulary, truncation=None, **settings)
    query = Query((word,), "e")
    whole, short, endless = [word, stop, word, word], [word, stop], [word, word]
    assert cut([query] * 2, [whole, short]) == plain([query] * 2, [short, short])
    assert cut([query] * 2, [whole, endless])[1] == -2.0
    assert plain([query], [whole]) != plain([query], [short])


def test_a_reward_model_is_normalised_before_and_after(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    plain = RewardModel.normalise

    def noted(self: RewardModel, scores: torch.Tensor) -> None:
        plain(self, scores)
        seen.append((float(self.gain.detach()), len(read_metrics(tmp_path / "r" / "metrics.jsonl"))))

    monkeypatch.setattr(RewardModel, "normalise", noted)
    reward.run(rewarding(made, tmp_path / "r"))
    (first, before), (last, after) = seen
    assert before == 0 < after
    assert first not in {1.0, last}


# pauses


def test_a_reward_model_is_paused_and_goes_on_bit_for_bit(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    reward.run(rewarding(made, tmp_path / "whole"))
    plain = reward.scores_of

    def pausing(*args: Any) -> Any:
        (tmp_path / "cut" / "pause").touch()
        return plain(*args)

    monkeypatch.setattr(reward, "scores_of", pausing)
    stopped = reward.run(rewarding(made, tmp_path / "cut"))
    assert (stopped.report, stopped.stopped) == (None, None)
    assert "paused: saved after step 1; the same command goes on" in capsys.readouterr().out
    monkeypatch.setattr(reward, "scores_of", plain)
    assert reward.run(rewarding(made, tmp_path / "cut")).report is not None
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")


def test_dpo_measures_whenever_it_samples(made: Path, tmp_path: Path, capsys: Any) -> None:
    config = policy(
        made,
        tmp_path / "d",
        algorithm="dpo",
        store=made / "s",
        judge="python:likings:loved",
        batch=8,
        episodes=64,
        sample_every=3,
    )
    optimize.run(config)
    found = [record for record in read_metrics(tmp_path / "d" / "metrics.jsonl") if "objective/kl" in record]
    assert [record["step"] for record in found] == [0, 3, 6, 8]
    assert [record["held_out/labels"] for record in found][:2] == [16, 16]  # two for each label of a step
    assert found[0]["objective/kl"] == 0
    assert found[-1]["objective/kl"] != 0
    names = {
        "held_out/accuracy",
        "policy/entropy",
        "policy/surprise",
        "text/repetition",
        "text/length",
        "judge",
    }
    assert all(names <= record.keys() for record in found)
    assert sorted(path.name for path in (tmp_path / "d" / "samples").iterdir()) == ["3.txt", "6.txt", "8.txt"]
    assert (tmp_path / "d" / "samples" / "8.txt").read_text().startswith("[KL ")
    assert (tmp_path / "d" / "curve.png").read_text() == "d: dpo"
    with pytest.raises(RunError, match=r"stopped after step \d+: KL ran away to [0-9.]+ nats, limit 0.0"):
        optimize.run(replace(config, out=tmp_path / "far", stop_kl=0.01, lr=1e-2))
    assert (tmp_path / "far" / "last").exists()


def test_dpo_that_does_not_begin_at_its_reference_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = score_responses

    def moved(model: GPT2, sequences: Sequences, *, temperature: float) -> Scored:
        """The reference, which learns nothing, is another model."""
        found = plain(model, sequences, temperature=temperature)
        learns = next(model.parameters()).requires_grad
        return found if learns else found._replace(logprobs=found.logprobs - 0.1)

    monkeypatch.setattr(direct, "score_responses", moved)
    with pytest.raises(
        RunError, match=r"before the first step the policy is .* nats a token from the reference"
    ):
        optimize.run(policy(made, tmp_path / "d", algorithm="dpo", store=made / "s"))


# best-of-n


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / choose.FILE).read_text().splitlines()]


def test_best_of_n_stops_and_goes_on(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(choose, "AT_ONCE", 4)
    settings: dict[str, Any] = {"algorithm": "best-of-n", "reward": "python:likings:loved", "episodes": 10}
    settings |= {"truncate": ".", "not_before": 1}
    optimize.run(policy(made, tmp_path / "whole", **settings))
    assert len(rows_of(tmp_path / "whole")) == 10
    assert all(
        row["response"].find(".") in {-1, len(row["response"]) - 1} for row in rows_of(tmp_path / "whole")
    )

    def pausing(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
        (tmp_path / "cut" / "pause").touch()
        return loved(queries, responses)

    sys.modules["likings"].__dict__["loved"] = pausing
    assert optimize.run(policy(made, tmp_path / "cut", **settings)).episodes == 4
    assert "paused: 4 prompts are written down; the same command goes on" in capsys.readouterr().out
    sys.modules["likings"].__dict__["loved"] = loved
    with (tmp_path / "cut" / choose.FILE).open("a") as file:
        file.write('{"query": "a torn li')
    assert optimize.run(policy(made, tmp_path / "cut", **settings)).episodes == 10
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    # more prompts are added, other settings are refused, and --fresh begins anew
    assert optimize.run(policy(made, tmp_path / "cut", **settings | {"episodes": 12})).episodes == 12
    assert rows_of(tmp_path / "cut")[:10] == rows_of(tmp_path / "whole")
    with pytest.raises(RunError, match="was begun with other settings"):
        optimize.run(policy(made, tmp_path / "cut", **settings, temperature=0.9))
    optimize.run(policy(made, tmp_path / "cut", **settings, temperature=0.9, fresh=True))
    assert rows_of(tmp_path / "cut") != rows_of(tmp_path / "whole")
    capsys.readouterr()
    everything = optimize.run(policy(made, tmp_path / "all", **settings | {"episodes": 1000, "samples": 2}))
    assert f"the data give {everything.episodes} prompts, not 1,000: all are taken" in capsys.readouterr().out


def test_a_full_disk_keeps_what_best_of_n_has_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "AT_ONCE", 4)
    config = policy(made, tmp_path / "b", algorithm="best-of-n", reward="python:likings:loved", episodes=8)
    plain, calls = Disk.append, []

    def full(self: Disk, path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        plain(self, path, content)

    monkeypatch.setattr(Disk, "append", full)
    with pytest.raises(
        RunError, match=r"can't write .*best-of-n\.jsonl: No space left on device; free space"
    ):
        optimize.run(config)
    assert len(rows_of(tmp_path / "b")) == 4
    assert optimize.run(config).episodes == 8


def test_batches_are_of_what_has_batches(made: Path) -> None:
    learning.Config((Path("x"),), algorithm="best-of-n", episodes=3)
    learning.Config((Path("x"),), algorithm="dpo", store=Path("s"), batch=10, episodes=30)
    with pytest.raises(
        SettingError, match="minibatch is 64 and batch 10; batch must be a multiple of minibatch"
    ):
        learning.Config((Path("x"),), batch=10, episodes=30)


# rewards that are none


def test_rewards_that_are_not_there(made: Path, tmp_path: Path) -> None:
    words = (
        "there is no reward model nowhere; inkfish prefer reward makes one, or take a judge, such as vader"
    )
    with pytest.raises(ModelError, match=words):
        optimize.run(policy(made, tmp_path / "p", reward="nowhere"))


def test_a_reward_model_of_a_shorter_context_says_so(made: Path, tmp_path: Path) -> None:
    short = replace(SHAPE, n_positions=16)
    model = RewardModel(GPT2(short))
    with pytest.raises(
        ContextError, match="prompts of 12 tokens and responses of 6 do not fit the context of 16"
    ):
        rewards.score(model, [Query(tuple(range(12)), "")], [[1] * 6], at_once=1)


def test_a_judge_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taste_of_mine.py").write_text(
        "def short(queries, responses):\n    return [-len(r) for r in responses]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    try:
        judge = judges.find_judge("python:taste_of_mine:short")
        assert judge(["", ""], ["ab", "c"]) == [-2, -1]
    finally:
        sys.modules.pop("taste_of_mine", None)


# the dry run is of the real settings


def test_the_doctor_tries_what_will_be_run(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(sample, "run", lambda config: seen.update(sample=config))
    monkeypatch.setattr(optimize, "run", lambda config: seen.update(optimize=config))
    monkeypatch.setattr(compare, "run", lambda config: seen.update(compare=config))
    asked: dict[str, Any] = SMALL | {
        "model": str(made / "base"),
        "split": "train",
        "whole": True,
        "cut_after": ".",
        "task": "summarize",
        "before": "Now: ",
        "after": " Well,",
        "field": "story",
        "truncate": ".",
        "not_before": 2,
        "penalty": -3.0,
        "temperature": 0.9,
        "seed": 5,
    }
    stages = doctor.stages(doctor.Config((made / "text.txt",), **asked), tmp_path)
    for name in ("sample", "ppo", "compare"):
        stages[name]()
    for name, config in seen.items():
        differing = {key for key, value in asked.items() if getattr(config, key) != value}
        assert differing == ({"model"} if name == "compare" else set())


def test_a_reward_model_says_how_much_memory_it_takes(made: Path, tmp_path: Path, capsys: Any) -> None:
    reward.run(rewarding(made, tmp_path / "r"))
    assert re.search(r"^memory about [0-9.]+ GiB$", capsys.readouterr().out, re.MULTILINE)


def test_a_store_of_people_is_asked_first_and_foremost(made: Path, tmp_path: Path, capsys: Any) -> None:
    with Store(tmp_path / "s", create=True) as store, Store(made / "s") as old:
        store.add(old.items()[:60])
        while shown := next_item(store, "ann"):
            scores = loved([], [candidate.text for candidate in shown.item.candidates])
            best = (scores.index(min(scores)),)
            answer(store, Label(shown.item.key, shown.item.key, "ann", "best", best, order=shown.order))
    with pytest.raises(RunError, match=r"highest on \d of 60 labels"):
        optimize.run(policy(made, tmp_path / "p", store=tmp_path / "s"))


def test_a_store_without_labels_says_nothing_of_a_reward(made: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "s", create=True) as store:
        store.add([Item("best", "q", (Candidate("a"), Candidate("b")))])
    with pytest.raises(DataError, match="holds no choices; inkfish prefer label or simulate makes them"):
        optimize.run(policy(made, tmp_path / "p", store=tmp_path / "s"))


def test_a_reward_that_is_always_the_same_is_none(made: Path, tmp_path: Path) -> None:
    sys.modules["likings"].__dict__["same"] = lambda queries, responses: [0.5 for _ in responses]
    config = policy(made, tmp_path / "p", reward="python:likings:same", store=made / "s")
    with pytest.raises(RunError, match="the reward gives each of 800 candidates the same score"):
        optimize.run(config)


def test_the_penalty_is_no_answer_of_the_reward(made: Path, tmp_path: Path, capsys: Any) -> None:
    """Imported labels put the chosen text first: equal penalties would agree with all of them."""
    items = [Item("pair", f"It saw {n} dogs.", (Candidate(f"eee{n}."), Candidate(f"{n}"))) for n in range(40)]
    with Store(tmp_path / "s", create=True) as store:
        store.add(items, [Label(one.key, one.key, "ann", "best", (0,)) for one in items])
    rule: dict[str, Any] = {"truncate": "x", "not_before": 1, "store": tmp_path / "s", "episodes": 16}
    sys.modules["likings"].__dict__["hated"] = lambda queries, texts: [-x for x in loved(queries, texts)]
    optimize.run(policy(made, tmp_path / "p", reward="python:likings:hated", **rule))
    assert "nothing says whether this reward has the right sign" in capsys.readouterr().out
    with pytest.raises(RunError, match="on 0 of 40 labels, chance is 50%"):
        optimize.run(policy(made, tmp_path / "q", reward="python:likings:hated", **rule | {"truncate": None}))


def test_few_labels_are_no_reason_to_refuse(made: Path, tmp_path: Path, capsys: Any) -> None:
    with Store(tmp_path / "s", create=True) as store, Store(made / "s") as old:
        items = old.items()[:2]
        keys = {item.key for item in items}
        store.add(items, [label for label in old.labels() if label.item in keys][:1])
    optimize.run(
        policy(made, tmp_path / "p", reward="python:likings:loved", store=tmp_path / "s", episodes=16)
    )
    assert "the reward agrees with 1 of 1 labels: too few to say" in capsys.readouterr().out


def test_a_reward_model_that_learns_on_is_none_until_it_is_finished(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"epochs": 2, "lr": 2e-2}
    out = tmp_path / "r"
    reward.run(rewarding(made, out, **quick))
    (out / agreement.EXAMPLES).unlink()  # as of an older version
    reward.run(rewarding(made, out, **quick))
    assert len(agreement.read_examples(out)) > 50
    plain = reward.scores_of

    def pausing(*args: Any) -> Any:
        (out / "pause").touch()
        return plain(*args)

    monkeypatch.setattr(reward, "scores_of", pausing)
    assert reward.run(rewarding(made, out, **quick | {"epochs": 4}, force=True)).report is None
    assert not (out / "reward.json").exists()
    assert not (out / agreement.EXAMPLES).exists()


def test_best_of_n_takes_over_no_rows_of_unknown_settings(made: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / choose.FILE).write_text('{"query": "q", "response": "r", "score": 1.0}\n' * 9)
    config = policy(made, tmp_path / "b", algorithm="best-of-n", reward="python:likings:loved", episodes=4)
    assert optimize.run(config).episodes == 4
    assert all(row["query"] != "q" for row in rows_of(tmp_path / "b"))


def test_dpo_from_another_policy_may_disagree_with_labels_at_first(made: Path, tmp_path: Path) -> None:
    """A policy that has learned the contrary is measured as it is, and goes on."""
    changes: dict[str, Any] = {"algorithm": "dpo", "store": made / "s", "sample_every": 2}
    with Store(tmp_path / "s", create=True) as store, Store(made / "s") as old:
        worst = [loved([], [c.text for c in item.candidates]) for item in old.items()]
        choices = [(scores.index(min(scores)),) for scores in worst]
        labels = [
            Label(item.key, item.key, "ann", "best", best)
            for item, best in zip(old.items(), choices, strict=True)
        ]
        store.add(old.items(), labels)
    optimize.run(policy(made, tmp_path / "c", **changes | {"store": tmp_path / "s"}, lr=1e-2, episodes=320))
    optimize.run(policy(made, tmp_path / "d", **changes, start=str(tmp_path / "c"), lr=1e-5))
    found = [r for r in read_metrics(tmp_path / "d" / "metrics.jsonl") if "held_out/accuracy" in r]
    assert found[0]["step"] == 0
    assert found[0]["held_out/accuracy"] < 0.25
    assert found[0]["objective/kl"] > 0
