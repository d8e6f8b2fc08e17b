"""The settings of learning from a reward or from labels, and the formulas that they choose."""

# No `from __future__ import annotations`: the command line reads the types of the fields.

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal, get_args

from inkfish.errors import SettingError
from inkfish.preferences import adam
from inkfish.preferences.experience import Algorithm, grpo_algorithm, ppo_algorithm, rloo_algorithm
from inkfish.recipes.limits import check_choices, check_real, check_whole
from inkfish.recipes.prefer.settings import Prompting
from inkfish.tokenizer import Tokenizer
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["MAY_CHANGE", "Beginning", "Config", "algorithm_of"]

AlgorithmName = Literal["ppo", "rloo", "grpo", "dpo", "best-of-n"]
WHOLE = {
    "episodes": (1, 10**9),
    "limit": (1, 10**9),
    "batch": (1, 10**6),
    "minibatch": (1, 10**6),
    "at_once": (1, 10**6),
    "epochs": (1, 1000),
    "samples": (2, 4096),
    "skip": (0, 10**9),
    "save_every": (1, 10**9),
    "sample_every": (0, 10**9),
    "keep": (2, 10**6),
}
REAL = {
    "lr": (0, 10),
    "kl": (0, 1e6),
    "horizon": (1, 1e12),
    "gamma": (0, 1),
    "lam": (0, 1),
    "clip": (1e-6, 100),
    "value_clip": (1e-6, 1e6),
    "value_weight": (0, 1e6),
    "beta": (1e-6, 1e6),
    "stop_kl": (0.01, 1e9),
}
MAY_CHANGE: tuple[str, ...] = (
    "data",
    "split",
    "out",
    "threads",
    "save_every",
    "sample_every",
    "keep",
    "program",
    "machine",
    "model",
)
MAY_CHANGE += (
    "steps",
    "task",
    "before",
    "after",
    "cut_after",
    "start",
    "reward",
    "judge",
    "store",
    "stop_kl",
)
"""What may differ at a resume; prompts, reward and labels are compared by their hashes."""


@dataclass(frozen=True)
class Config(Prompting):
    """Settings of learning from a reward or from labels."""

    _: KW_ONLY
    algorithm: AlgorithmName = "ppo"
    """ppo, rloo and grpo learn from a reward, dpo from labels; best-of-n learns nothing, it chooses."""
    reward: str = "runs/reward"
    """A reward model's folder, or a judge as for simulate: vader, rouge:ROWS, python:MODULE:FUNCTION."""
    store: Path | None = None
    """Label store: what dpo learns from; the others check on it that the reward prefers what people did.
    A reward model brings labels of its own for that; give it for every other reward."""
    judge: str | None = None
    """A second judge that is not learned from: the run stops where it falls while the reward (for dpo the
    held-out accuracy) rises."""
    start: str | None = None
    """A policy to go on from, such as the last round's; divergence is still measured from the model."""
    out: Path = Path("runs/policy")
    """Run folder; one that is there is gone on with."""
    episodes: int = 10_000
    """Responses altogether; for dpo labels, for best-of-n prompts."""
    batch: int = 256
    """Responses of an update; for dpo labels of a step."""
    minibatch: int = 64
    """Responses of a step, a divisor of batch."""
    at_once: int = 16
    """Responses computed at once, a divisor of minibatch: fewer take less memory."""
    epochs: int = 4
    """How often an update reads its responses."""
    samples: int = 4
    """Responses to each prompt for rloo, grpo and best-of-n."""
    skip: int = 0
    """Prompts left out at the beginning of the order."""
    lr: float = 1e-5
    """Peak learning rate; falls to 0 in a line."""
    optimizer: Literal["tf-adam", "adam"] = "tf-adam"
    """Adam with TensorFlow's epsilon, or torch's."""
    kl: float = 0.15
    """Reward that a nat of divergence from the beginning costs; changes where kl_target is set."""
    kl_target: float | None = 6.0
    """Nats of divergence a response to steer to; 0 leaves kl as it is."""
    horizon: float = 10_000.0
    """Episodes over which kl follows."""
    gamma: float = 1.0
    """Discount of later rewards."""
    lam: float = 0.95
    """λ of generalised advantage estimates."""
    clip: float = 0.2
    """A ratio of probabilities counts up to 1 ± this."""
    value_clip: float = 0.2
    """A value counts up to the old one ± this."""
    value_weight: float = 0.1
    """Of the value's loss."""
    no_whitening: bool = False
    """Leave the rewards' deviation as it is."""
    beta: float = 0.1
    """For dpo: how dear divergence is."""
    pairwise: bool = False
    """For dpo: learn from pairs, the best against each other one, as published; else from whole labels."""
    limit: int | None = None
    """For dpo: most labels; by default all."""
    majority: bool = False
    """For dpo and rounds: each item counts once, as more than half of its labellers say, or is left out."""
    stop_kl: float | None = None
    """Divergence at which the run stops; by default three times the target, or 100 without one."""
    save_every: int = 5
    """Updates between checkpoints."""
    sample_every: int = 10
    """Updates between samples, by which dpo also measures how far it is; 0 writes none."""
    keep: int = 2
    """Newest checkpoints that stay."""
    force: bool = False
    """Go on although settings, prompts, reward or labels have changed."""
    fresh: bool = False
    """Remove the run that is in the folder and begin anew."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, WHOLE)
        check_real(self, {name: x for name, x in REAL.items() if getattr(self, name) is not None})
        if self.kl_target is not None:
            check_real(self, {"kl_target": (0, 1e6)})
        check_choices(self, {"algorithm": get_args(AlgorithmName), "optimizer": adam.NAMES})
        for small, large in self.multiples:
            if getattr(self, large) % getattr(self, small):
                raise SettingError(
                    f"{small} is {getattr(self, small)} and {large} {getattr(self, large)}; "
                    f"{large} must be a multiple of {small}",
                    param=small,
                )
        if self.algorithm != "best-of-n" and self.episodes < self.batch:
            raise SettingError(
                f"episodes is {self.episodes} and a batch has {self.batch}; there must be one batch at least",
                param="episodes",
            )
        self.check_sources()

    def check_sources(self) -> None:
        """Refuse an algorithm that lacks what it learns from.

        Raises:
            SettingError: which.
        """
        if self.algorithm == "dpo" and self.store is None:
            raise SettingError("dpo learns from labels; name their --store", param="store")

    @property
    def multiples(self) -> list[tuple[str, str]]:
        """Names of settings of which the first must divide the second; only learning from rewards has any."""
        if self.algorithm in {"dpo", "best-of-n"}:
            return []
        shared = [("samples", "at_once")] if self.algorithm in {"rloo", "grpo"} else []
        return [("at_once", "minibatch"), ("minibatch", "batch"), *shared]

    @property
    def group(self) -> int:
        """Responses to each prompt."""
        return self.samples if self.algorithm in {"rloo", "grpo"} else 1

    @property
    def most_kl(self) -> float:
        """Divergence at which the run stops."""
        return self.stop_kl or 3 * (self.kl_target or 0) or 100.0


@dataclass(frozen=True)
class Beginning:
    """What a run starts from."""

    base: Checkpoint
    tokenizer: Tokenizer
    device: str
    """cpu or cuda."""


def algorithm_of(config: Config, *, temperature: float | None = None) -> Algorithm:
    """Return the formulas of an algorithm that learns from a reward."""
    heat = config.temperature if temperature is None else temperature
    if config.algorithm == "rloo":
        return rloo_algorithm(temperature=heat, samples=config.samples, clip=config.clip)
    if config.algorithm == "grpo":
        return grpo_algorithm(temperature=heat, samples=config.samples, clip=config.clip)
    return ppo_algorithm(
        temperature=heat,
        gamma=config.gamma,
        lam=config.lam,
        whiten_rewards=not config.no_whitening,
        clip=config.clip,
        value_clip=config.value_clip,
        value_weight=config.value_weight,
    )
