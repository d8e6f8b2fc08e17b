"""What every training recipe lets one set, with its limits, and what the machine fills in.

A recipe's `Config` derives from `Training`, which holds fields and no procedure, gives its own defaults and
adds what it alone has: the command line, TOML files and Python callers see one flat set of settings.
"""

# No `from __future__ import annotations`: a class derived elsewhere inherits types, not names of types.

from dataclasses import KW_ONLY, asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch

import inkfish
from inkfish.config import ModelConfig
from inkfish.errors import SettingError
from inkfish.recipes.corpus import Corpus
from inkfish.recipes.limits import check_choices, check_real, check_whole
from inkfish.training.resources import has_bfloat16
from inkfish.training.run import machine
from inkfish.training.settings import git_version

__all__ = ["MAY_CHANGE", "Training", "kept", "on_this_machine"]

OptimizerName = Literal["muon", "adamw", "sgd", "adafactor"]
ScheduleName = Literal["constant", "linear", "cosine", "trapezoid"]
Precision = Literal["auto", "bfloat16", "float32"]
Device = Literal["auto", "cpu", "cuda"]
Parallel = Literal["ddp", "fsdp"]
CHOICES = {
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(ScheduleName),
    "precision": get_args(Precision),
    "device": get_args(Device),
    "parallel": get_args(Parallel),
}
WHOLE = {
    "steps": (1, 10**9),
    "batch": (1, 65_536),
    "at_once": (1, 65_536),
    "sequence": (1, 1_048_576),
    "warmup": (0, 10**9),
    "threads": (0, 1024),
    "seed": (0, 2**63 - 1),
    "evaluate_every": (1, 10**9),
    "evaluate_windows": (1, 10**6),
    "give_up_after": (0, 10**6),
    "sample_every": (0, 10**9),
    "sample_tokens": (1, 10**6),
    "samples": (1, 100),
    "top_k": (0, 10**6),
    "save_every": (1, 10**9),
    "keep": (2, 10**6),
    "patience": (1, 10**6),
}
REAL = {"lr": (0, 10), "weight_decay": (0, 10), "decay": (0, 1), "clip": (1e-9, 1e9), "dropout": (0, 0.99)}
REAL |= {"temperature": (0, 2), "top_p": (0, 1)}
"""Smallest and largest value of each number."""
MAY_CHANGE: tuple[str, ...] = ("data", "out", "steps", "threads", "evaluate_every", "evaluate_windows")
MAY_CHANGE += ("sample_every", "sample_tokens", "prompts", "save_every", "keep", "patience", "give_up_after")
MAY_CHANGE += ("program", "machine", "parallel", "samples", "temperature", "top_k", "top_p")
"""What may differ at a resume: the data are compared by their hash, the number of threads by the machine."""
NOT_KEPT = {"force", "fresh", "plan"}


@dataclass(frozen=True)
class Training:
    """Settings that mean the same in every recipe that trains; what has no default here has one in each."""

    data: tuple[Path, ...]
    """Texts, documents (docx, odt, epub, pdf, html), tables (csv, tsv, jsonl, parquet), folders, patterns, or
    hf:OWNER/NAME on the Hugging Face hub."""
    _: KW_ONLY
    out: Path
    """Run folder; one that is there is gone on with."""
    encoding: str | None = None
    """Of text files, as Python names it; by default it is detected."""
    field: str = "text"
    """Where the text stands in a row."""
    validation_share: float = 0.05
    """Part of the texts held out, 0 to below 1."""
    steps: int | None
    """Steps of the whole run."""
    batch: int
    """Sequences of a step."""
    at_once: int | None = None
    """Sequences that are computed at once, a divisor of batch: fewer take less memory. By default up to 4."""
    sequence: int | None = None
    """Tokens of a sequence; by default the context, or less where there is less text."""
    optimizer: OptimizerName
    """muon has AdamW for embeddings, biases and gains; adafactor takes the least memory."""
    lr: float | None
    """Peak learning rate."""
    weight_decay: float
    """Share of the learning rate by which matrices shrink each step."""
    schedule: ScheduleName
    """Of the learning rate, after its rise."""
    warmup: int
    """Steps over which the learning rate rises."""
    decay: float = 0.3
    """Share of the steps over which a trapezoid falls, 0 to 1."""
    clip: float = 1.0
    """A longer gradient is shortened to this length."""
    dropout: float = 0.0
    """Probability of dropping a value, in three places of each block."""
    checkpointing: bool = False
    """Compute each block again on the way back: a third slower, far less memory."""
    precision: Precision = "auto"
    """Of matrix products; auto is bfloat16 where the machine has it."""
    device: Device = "auto"
    """auto is the GPU if there is one."""
    parallel: Parallel = "ddp"
    """Under torchrun: each process has the whole model (ddp), or a part where it fills a GPU (fsdp)."""
    threads: int = 0
    """CPU threads; 0 is one for each core."""
    seed: int = 1
    """Of new weights, the order of the data, dropout and noise."""
    evaluate_every: int
    """Steps between validations."""
    evaluate_windows: int = 64
    """Most held-out sequences of a kind in a validation."""
    give_up_after: int = 0
    """Validations without a new best score after which the run ends; 0 goes on."""
    sample_every: int
    """Steps between samples; 0 writes none."""
    sample_tokens: int = 80
    """Most tokens of a sample."""
    prompts: tuple[str, ...] = ("",)
    """Beginnings that samples continue."""
    samples: int = 1
    """Samples of each beginning."""
    temperature: float = 0.8
    """Of samples; as in write, like the next two."""
    top_k: int = 0
    """Of samples; 0 keeps all tokens."""
    top_p: float = 0.95
    """Of samples; 1 keeps all tokens."""
    save_every: int
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints that stay, beside the best; at least 2."""
    patience: int = 10
    """Steps in a row without a finite loss after which the run stops."""
    plan: bool = False
    """Say what would happen, and stop."""
    force: bool = False
    """Go on although settings, data or tokenizer have changed."""
    fresh: bool = False
    """Remove the run that is in the folder and begin anew."""

    def __post_init__(self) -> None:
        check_whole(self, WHOLE)
        check_real(self, {name: limits for name, limits in REAL.items() if getattr(self, name) is not None})
        check_choices(self, CHOICES)
        if not self.data:
            raise SettingError("there are no data; name at least one text file", param="data")
        if self.at_once is not None and self.batch % self.at_once:
            raise SettingError(
                f"at_once is {self.at_once} and batch {self.batch}; batch must be a multiple of at_once",
                param="at_once",
            )

    @property
    def sequences_at_once(self) -> int:
        """Sequences computed at once: at_once, or the largest divisor of batch up to 4."""
        return self.at_once or max(n for n in (1, 2, 3, 4) if self.batch % n == 0)

    @property
    def side_by_side(self) -> bool:
        """Whether batches are computed at the same time, which dropout's random numbers forbid."""
        return self.device == "cpu" and not self.dropout and self.batch > self.sequences_at_once


Settings = TypeVar("Settings", bound=Training)


def on_this_machine(config: Settings, shape: ModelConfig, corpus: Corpus) -> Settings:
    """Return the settings with what depends on machine, shape and data filled in.

    Raises:
        SettingError: a sequence longer than the context.
    """
    if config.sequence is not None and config.sequence > shape.n_positions:
        raise SettingError(
            f"sequence is {config.sequence:,} and the context {shape.n_positions:,} tokens; "
            "choose a shorter sequence or a larger n_positions",
            param="sequence",
        )
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    return replace(
        config,
        device=device,
        precision=precision,
        at_once=config.sequences_at_once,
        sequence=max(1, min(config.sequence or shape.n_positions, len(corpus.train.ids) - 1)),
    )


def kept(config: Training, shape: ModelConfig, **hashes: str) -> dict[str, Any]:
    """Return all that the weights depend on, as it stands in config.toml.

    Args:
        config: settings with everything filled in.
        shape: the model's.
        hashes: of the data, the tokenizer, and whatever else training begins with.
    """
    chosen = {name: value for name, value in asdict(config).items() if name not in NOT_KEPT}
    return chosen | {
        "shape": asdict(shape),
        "hashes": hashes,
        "machine": machine(),
        "program": {"version": inkfish.__version__, "git": git_version()},
    }
