"""How much memory a training run needs, worked out from the model's shape and the settings before it starts.

The sum of what exists at the fullest moment of a step: weights, the optimizer's moments, gradients, what the
forward pass keeps for the way back, and logits. The number of bytes a token in a block follows from which
tensors `inkfish.model` keeps; measured against real runs (tests/training/test_memory.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from inkfish.config import ModelConfig
from inkfish.model import GPT2, is_matrix
from inkfish.training.loss import ROWS

__all__ = ["Load", "Remedy", "fitting", "load_of", "remedies"]

STATE = {"adamw": 8, "muon": 8, "sgd": 4, "adafactor": 0}
"""Bytes of the optimizer's state for each trained number; Muon keeps 4 of a block's matrices."""
CUDA_CONTEXT = 700 << 20
"""What a process takes on a GPU before the first tensor."""
ARENA = 128 << 20
"""What a second thread that allocates takes beside what it needs."""


@dataclass(frozen=True)
class Load:
    """What a run puts into memory, as numbers."""

    shape: ModelConfig
    """The model's."""
    tokens: int
    """Tokens of a sequence."""
    at_once: int
    """Sequences computed at once."""
    groups: int = 1
    """Batches whose gradients make a step."""
    workers: int = 1
    """Batches computed side by side."""
    optimizer: str = "adamw"
    """One of `optimizers.NAMES`."""
    bfloat16: bool = False
    """Whether matrix products are in bfloat16."""
    checkpointing: bool = False
    """Whether blocks are computed again on the way back."""
    dropout: bool = False
    """Whether any value is dropped."""
    device: str = "cpu"
    """cpu or cuda."""
    trained: int = 0
    """Numbers that are trained."""
    matrices: int = 0
    """Those of them in the blocks' matrices."""
    embeddings: bool = True
    """Whether the token embedding is trained."""
    blocks: int = 0
    """Blocks that the way back goes through, from the top."""
    rank: int = 0
    """Rank of LoRA's updates; 0 is none."""

    @property
    def program(self) -> int:
        """Bytes of the process itself, beside what was there before training: a GPU's context."""
        return CUDA_CONTEXT if self.device == "cuda" else 0

    @property
    def lasting(self) -> int:
        """Bytes of weights and moments."""
        c, adapted = self.shape.n_embd, self.rank > 0
        state = STATE[self.optimizer] * self.trained
        if self.optimizer == "muon":
            state -= 4 * self.matrices
        if self.optimizer == "adafactor":
            state = 8 * self.shape.n_layer * 20 * c
        return 4 * self.shape.parameters + (4 * self.trained if adapted else 0) + state

    @property
    def block(self) -> int:
        """Bytes that one block keeps of a batch for the way back."""
        return self.at_once * self.tokens * bytes_a_token(self)

    @property
    def activations(self) -> int:
        """Bytes that the forward pass of a batch keeps."""
        stream = 4 * self.at_once * self.tokens * self.shape.n_embd
        blocks = self.block + self.blocks * stream if self.checkpointing else self.blocks * self.block
        return blocks + 2 * stream

    @property
    def logits(self) -> int:
        """Bytes of the loss: logits, or the rows of them that exist at once."""
        rows, v, c = self.at_once * self.tokens, self.shape.vocab_size, self.shape.n_embd
        size = 2 if self.bfloat16 else 4
        if self.device == "cpu":
            kept = 2 * size * v * c if self.embeddings else size * v * c * self.bfloat16
            return min(rows, ROWS) * v * 3 * size + rows * c * 2 * size + kept
        return rows * v * (12 + size)

    @property
    def batch(self) -> int:
        """Bytes at the fullest moment of one batch."""
        v, c = self.shape.vocab_size, self.shape.n_embd
        gradients = 4 * self.trained
        copies = 2 * (self.shape.parameters - self.shape.n_positions * c) if self.bfloat16 else 0
        head = 4 * v * c if self.embeddings else 0
        return copies + max(self.activations + self.block * 3 // 2 + max(self.logits, head), gradients + head)

    @property
    def total(self) -> int:
        """Bytes of a run at its fullest moment, beside what the process had before."""
        side = min(self.workers, self.groups)
        sums = 4 * self.trained * min(2, self.groups - side)
        saving = 4 * self.shape.parameters  # a copy of the weights, in places that nothing else fits into
        return self.program + self.lasting + side * self.batch + sums + saving + (side - 1) * ARENA


def bytes_a_token(load: Load) -> int:
    """Return the bytes that one block keeps of one token for the way back.

    In float32 the two inputs of the layer norms, their outputs, queries, keys and values, the attention's
    output and its copy, the MLP's hidden layer before and after the GELU. In bfloat16 all but the residual
    stream take half; attention on a CPU is written out and keeps copies of queries, keys and values, and its
    weights.
    """
    c, inner = load.shape.n_embd, load.shape.inner_size
    masks = 2 * c if load.dropout else 0
    weights = load.shape.n_head * load.tokens
    if load.bfloat16 and load.device == "cpu":
        return 4 * 2 * c + 2 * (2 * c + 3 * c + c + 2 * inner) + weights * (6 if load.dropout else 2) + masks
    if load.bfloat16:
        return 4 * 2 * c + 2 * (2 * c + 3 * c + 2 * c + 2 * inner) + masks
    written_out = weights * 13 if load.dropout and load.device == "cpu" else 0
    return 4 * (2 * c + 2 * c + 3 * c + 2 * c + 2 * inner) + written_out + masks


def load_of(model: GPT2, load: Load) -> Load:
    """Return a load with what the model says about itself: what is trained, and from which block on."""
    names: Mapping[str, Tensor] = {n: p for n, p in model.named_parameters() if p.requires_grad}
    numbers = [int(name.split(".")[1]) for name in names if name.startswith("h.")]
    low = any(name.startswith(("wte", "wpe")) for name in names)
    return replace(
        load,
        shape=model.config,
        trained=sum(p.numel() for p in names.values()),
        matrices=sum(p.numel() for n, p in names.items() if is_matrix(n) and n.startswith("h.")),
        embeddings="wte.weight" in names,
        blocks=model.config.n_layer if low else model.config.n_layer - min(numbers, default=0),
    )


@dataclass(frozen=True)
class Remedy:
    """Settings that take less memory."""

    options: str
    """As the command line has them."""
    load: Load
    """What they put into memory."""


def remedies(load: Load) -> list[Remedy]:
    """Return settings that take less and less memory, those that change the outcome least first."""
    found = []
    while load.at_once > 1:
        half = load.at_once // 2
        load = replace(load, at_once=half, groups=load.groups * load.at_once // half)
        found.append(Remedy(f"--at-once {half}", load))
    options = f"--at-once {load.at_once}"
    if load.workers > 1:
        load = replace(load, workers=1)
        found.append(Remedy(f"{options} --threads 1", load))
        options = found[-1].options
    if not load.checkpointing:
        load, options = replace(load, checkpointing=True), f"{options} --checkpointing"
        found.append(Remedy(options, load))
    if not load.rank and load.optimizer != "adafactor":
        found.append(Remedy(f"{options} --optimizer adafactor", replace(load, optimizer="adafactor")))
    if load.rank:
        smaller = replace(load, tokens=max(1, load.tokens // 2))
        found.append(Remedy(f"{options} --sequence {smaller.tokens}", smaller))
    else:
        c = load.shape.n_embd
        updates = load.shape.n_layer * 8 * (4 * c + 2 * c + 2 * (c + load.shape.inner_size))
        adapted = replace(load, rank=8, trained=updates, matrices=0, embeddings=False)
        found.append(Remedy(f"{options} --train lora", adapted))
    return found


def fitting(load: Load, available: int) -> Remedy | None:
    """Return the mildest change of settings with which a run fits; None where none does.

    Args:
        load: what does not fit.
        available: bytes.
    """
    return next((remedy for remedy in remedies(load) if remedy.load.total <= available), None)
