"""Make a model write what is preferred: PPO, RLOO or GRPO on a reward, DPO on labels, or best-of-n.

    inkfish prefer optimize stories/ --reward runs/reward --out runs/policy
    inkfish prefer optimize stories/ --reward vader --store labels.sqlite --out runs/cheerful
    inkfish prefer optimize stories/ --algorithm dpo --store labels.sqlite --out runs/dpo

Before it learns, a reward is asked about labels: those of --store, or those a reward model was tested on.
Stopped at any moment and started again by the same command, a run goes on where it was, bit for bit. A file
named `pause` in the run folder, which the label page writes too, stops it after the update at hand. Several
processes share the work under torchrun (`inkfish.recipes.prefer.together`).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import inkfish
from inkfish import weights
from inkfish.errors import DataError, ModelError, SettingError
from inkfish.labels.store import Store
from inkfish.model import GPT2
from inkfish.preferences.policy import Policy
from inkfish.recipes.display import Display
from inkfish.recipes.prefer import choose, direct, onpolicy
from inkfish.recipes.prefer.learning import MAY_CHANGE, Beginning, Config
from inkfish.recipes.prefer.memory import count_of, memory_sentence
from inkfish.recipes.prefer.queries import Query, fingerprint
from inkfish.recipes.prefer.together import check_shares, led, run_folder
from inkfish.tokenizer import Tokenizer
from inkfish.training.files import Disk, kill_at
from inkfish.training.ranks import Ranks, joined
from inkfish.training.resources import cores, keep_freed_memory, memory_advice
from inkfish.training.run import Run, machine
from inkfish.training.settings import git_version
from inkfish.training.signals import stop_on_signals
from inkfish.weights import heads, hub
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["Config", "Result", "run"]


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    """The run folder, which `inkfish.load` takes."""
    episodes: int
    """Responses learned from altogether."""
    stopped: int | None
    """Number of the signal that stopped it; None where it was finished or paused."""
    leads: bool = True
    """Whether this process is the one that speaks for the run."""


def run(config: Config) -> Result:
    """Learn.

    Raises:
        InkfishError: what the user can put right, or a guard that stopped the run; what was saved stays.
    """
    keep_freed_memory()
    with joined(os.environ) as ranks:
        return begun(config, ranks)
    return Result(config.out, 0, None, leads=False)


def begun(config: Config, ranks: Ranks) -> Result:
    """Learn as one of the processes of a run."""
    with run_folder(config.out, ranks, fresh=config.fresh) as screen:
        led(ranks, lambda: prepare(config, ranks))
        folder = hub.find(config.model)
        base = weights.read(folder)
        tokenizer = Tokenizer.load(folder, vocab_size=base.config.vocab_size)
        begin = Beginning(base, tokenizer, "cuda" if torch.cuda.is_available() else "cpu")
        if config.algorithm == "best-of-n":
            return choose_best(config, begin, screen)
        return learn(config, begin, screen, ranks)


def prepare(config: Config, ranks: Ranks) -> None:
    """Take an old pause back, and refuse what processes can't share.

    Raises:
        SettingError: which number.
    """
    (config.out / "pause").unlink(missing_ok=True)
    if config.fresh:
        (config.out / choose.FILE).unlink(missing_ok=True)
    if ranks.size == 1:
        return
    if config.algorithm == "best-of-n":
        raise SettingError("best-of-n learns nothing; run it as one process", param="algorithm")
    if config.algorithm == "dpo":
        check_shares(ranks, batch=config.batch)
    else:
        pieces = {"minibatch / at_once": config.minibatch // config.at_once}
        check_shares(ranks, **pieces, **{"batch / samples": config.batch // config.group})


def choose_best(config: Config, begin: Beginning, screen: Display) -> Result:
    """Choose for the prompts that are left."""
    here = Run(config.out, disk=Disk(kill_at(os.environ.get("INKFISH_FAILPOINT", ""))), say=screen.say)
    with stop_on_signals() as stop, memory_advice(f"take --samples {config.samples // 2 or 1}"):
        queries = prompts(config, begin, screen)
        if len(queries) < config.episodes:
            screen.say(f"the data give {len(queries):,} prompts, not {config.episodes:,}: all are taken")
        kept = settings(config, begin, fingerprint(queries))
        if not (config.out / "config.toml").exists():  # what is there is of nobody knows which settings
            (config.out / choose.FILE).unlink(missing_ok=True)
        here.begin(kept, may_change=(*MAY_CHANGE, "episodes", "at_once"), force=config.force)
        done = choose.run(config, queries[: config.episodes], begin, here, screen, stop)
    return Result(config.out, done, int(stop.signal) if stop.signal is not None else None)


def prompts(config: Config, begin: Beginning, screen: Display) -> list[Query]:
    """Return the prompts that are answered, in their order.

    Raises:
        DataError: none is left.
    """
    queries = config.queries(begin.tokenizer, begin.base.config, screen.say)[config.skip :]
    if not queries:
        raise DataError(f"--skip {config.skip:,} leaves no prompt; skip fewer", param="skip")
    return queries


def learn(config: Config, begin: Beginning, screen: Display, ranks: Ranks) -> Result:
    """Make policy and reference, open the run, and hand over to the algorithm's loop."""
    torch.manual_seed(config.seed)
    policy, reference = Policy(GPT2(begin.base.config)), GPT2(begin.base.config)
    for model in (policy.trunk, reference):
        model.load_tensors(begin.base.tensors)
    if config.start is not None:
        begin_from(policy, config.start)
    policy.to(begin.device)
    reference.to(begin.device).eval().requires_grad_(False)
    coefficient = torch.tensor(config.kl, dtype=torch.float64)
    here = Run(
        config.out,
        disk=Disk(kill_at(os.environ.get("INKFISH_FAILPOINT", ""))),
        say=screen.say,
        keep=config.keep,
        tokenizer=begin.tokenizer,
        eos=begin.tokenizer.end,
        generation=begin.base.generation,
        heads={"value": policy.value},
        state={"kl_coefficient": coefficient},
    )
    loop = direct.train if config.algorithm == "dpo" else onpolicy.train
    with (
        stop_on_signals() as stop,
        cores(config.threads, side_by_side=begin.device == "cpu" and ranks.size == 1) as workers,
        memory_advice(f"take --at-once {config.at_once // 2 or 1}"),
    ):
        queries = prompts(config, begin, screen)
        kept = settings(config, begin, fingerprint(queries))
        led(ranks, lambda: here.begin(kept, may_change=MAY_CHANGE, force=config.force))
        screen.say(memory(config, policy, begin))
        episodes = loop(
            config, policy, reference, queries, coefficient, begin, here, screen, stop, workers, ranks
        )
    return Result(config.out, episodes, int(stop.signal) if stop.signal is not None else None, ranks.leads)


def begin_from(policy: Policy, name: str) -> None:
    """Bring a policy to a model of the same shape, with its value head where it has one.

    Raises:
        ModelError: it has another shape.
    """
    folder = hub.find(name)
    found = weights.read(folder)
    if found.config != policy.trunk.config:
        raise ModelError(f"{name} has another shape than the model; a policy goes on from its own kind")
    policy.trunk.load_tensors(found.tensors)
    value = heads.read(folder).get("value")
    if value is not None:
        policy.value.load_tensors(value)


def memory(config: Config, policy: Policy, begin: Beginning) -> str:
    """Return an estimate of the memory, in a sentence."""
    count = count_of(policy)
    return memory_sentence(
        begin.base.config,
        count,
        rows=config.at_once,
        length=config.query_tokens + config.tokens,
        threads=config.threads,
        kept=count if config.algorithm == "dpo" else 2 * count,  # the reference, and a reward model
        responses=config.tokens,
    )


def settings(config: Config, begin: Beginning, prompts: str) -> dict[str, Any]:
    """Return all that the weights depend on; prompts, reward and labels by their hashes."""
    chosen = {name: value for name, value in asdict(config).items() if name not in {"force", "fresh"}}
    chosen = {name: value for name, value in chosen.items() if value or name not in {"pairwise", "majority"}}
    hashes = {"prompts": prompts, "model": tensors_digest(begin.base)}
    if config.start is not None:
        hashes["start"] = tensors_digest(weights.read(hub.find(config.start)))
    if config.algorithm != "dpo":
        hashes["reward"] = reward_digest(config.reward)
    if config.algorithm == "dpo" and config.store is not None:  # others only look at them before they begin
        hashes["labels"] = labels_digest(config.store)
    return chosen | {
        "steps": steps_of(config),
        "hashes": hashes,
        "machine": machine(),
        "program": {"version": inkfish.__version__, "git": git_version()},
    }


def steps_of(config: Config) -> int:
    """Return how many steps a run takes."""
    updates = config.episodes // config.batch
    return (
        updates if config.algorithm == "dpo" else updates * config.epochs * (config.batch // config.minibatch)
    )


def tensors_digest(base: Checkpoint) -> str:
    """Return the SHA-256 of a model's weights."""
    digest = hashlib.sha256()
    for name in base.config.tensor_shapes():
        digest.update(base.tensors[name].tobytes())
    return digest.hexdigest()


def reward_digest(name: str) -> str:
    """Return what tells whether a reward has changed: a judge's name, or the hash of a model's files."""
    if not Path(name).exists():
        return name
    place = hub.find(name)
    digest = hashlib.sha256()
    for file in ("model.safetensors", "heads.safetensors"):
        if (place / file).is_file():
            digest.update((place / file).read_bytes())
    return digest.hexdigest()


def labels_digest(path: Path) -> str:
    """Return the SHA-256 of what a store's labels say."""
    with Store(path) as store:
        labels = [(label.request, label.item, label.verdict, label.best) for label in store.labels()]
    return hashlib.sha256(repr(labels).encode()).hexdigest()
