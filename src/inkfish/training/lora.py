"""LoRA: a frozen matrix and a trained update of low rank (Hu et al. 2021, section 4.1), in peft's files.

    y = x·Wᵀ + b + α/r · dropout(x)·Aᵀ·Bᵀ        A (r, in) drawn as peft does, B (out, r) zero at the start

Left out: DoRA and adapters on embeddings; folders that need them are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from inkfish.errors import ModelError
from inkfish.model import GPT2
from inkfish.weights import adapter
from inkfish.weights.adapter import CONFIG, LAYERS, WEIGHTS
from inkfish.weights.files import aside

__all__ = [
    "CONFIG",
    "LAYERS",
    "WEIGHTS",
    "LoRALinear",
    "adapt",
    "adapted",
    "attach",
    "merge",
    "merged",
    "write",
]


class LoRALinear(nn.Module):
    """A linear layer whose own weights are frozen, with an update of low rank beside them."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.rank, self.alpha, self.drop = rank, alpha, nn.Dropout(dropout)
        self.lora_A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        update = F.linear(F.linear(self.drop(x), self.lora_A), self.lora_B)
        return F.linear(x, self.weight, self.bias) + self.alpha / self.rank * update

    def product(self) -> Tensor:
        """Return the whole matrix, update included, (out, in)."""
        return self.weight + self.alpha / self.rank * (self.lora_B @ self.lora_A)


def adapt(
    model: GPT2, *, rank: int, alpha: float, dropout: float = 0.0, layers: Sequence[str] = LAYERS
) -> None:
    """Freeze a model and give its linear layers updates of low rank; A is drawn from torch's generator.

    Args:
        model: changed in place.
        rank: r, at least 1.
        alpha: α; the update is scaled by α/r.
        dropout: probability of dropping an input of the update.
        layers: some of `LAYERS`.
    """
    assert rank > 0, "an update has at least rank 1"
    assert set(layers) <= set(LAYERS), f"{layers} are not all linear layers of a block"
    model.requires_grad_(False)
    for block in model.h:
        for layer in layers:
            place, name = layer.split(".")
            parent = block.get_submodule(place)
            base = parent.get_submodule(name)
            assert isinstance(base, nn.Linear), "this layer is adapted already"
            setattr(parent, name, LoRALinear(base, rank=rank, alpha=alpha, dropout=dropout))


def adapted(model: GPT2) -> dict[str, LoRALinear]:
    """Return the layers that have updates by name, such as "h.0.attn.c_attn"; none in a plain model."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}


@torch.no_grad()
def merged(model: GPT2) -> dict[str, NDArray[np.float32]]:
    """Return checkpoint tensors as `GPT2.tensors` does, updates included."""
    layers = adapted(model)
    tensors = {name: value for name, value in model.tensors().items() if ".lora_" not in name}
    for name, layer in layers.items():
        tensors[f"{name}.weight"] = np.ascontiguousarray(layer.product().T.float().cpu().numpy())
    return tensors


@torch.no_grad()
def merge(model: GPT2) -> None:
    """Add all updates to the matrices and leave a plain model, everything trainable."""
    for block in model.h:
        for layer in LAYERS:
            place, name = layer.split(".")
            parent = block.get_submodule(place)
            found = parent.get_submodule(name)
            if isinstance(found, LoRALinear):
                plain = nn.Linear(found.weight.shape[1], found.weight.shape[0])
                plain.weight, plain.bias = nn.Parameter(found.product()), found.bias
                setattr(parent, name, plain)
    model.requires_grad_(True)


def write(folder: Path, model: GPT2, *, base: str = "") -> None:
    """Write the updates as peft's two files, adapter_config.json and adapter_model.safetensors.

    Args:
        folder: where; all or nothing.
        model: has updates.
        base: name of the model that they belong to.
    """
    layers = adapted(model)
    assert layers, "the model has no updates"
    first = next(iter(layers.values()))
    config = {
        **{name: values[0] for name, values in adapter.PLAIN.items()},
        "rank_pattern": {},
        "alpha_pattern": {},
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": first.drop.p,
        "target_modules": sorted({name.split(".", 2)[2] for name in layers}),
        "fan_in_fan_out": True,  # Hugging Face's GPT-2 keeps its matrices input × output
        "inference_mode": True,
    }
    tensors = {
        f"base_model.model.transformer.{name}.lora_{part}.weight": value.detach().cpu().contiguous()
        for name, layer in layers.items()
        for part, value in (("A", layer.lora_A), ("B", layer.lora_B))
    }
    with aside(folder) as draft:
        (draft / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
        save_file(tensors, draft / WEIGHTS, metadata={"format": "pt"})


def attach(folder: Path, model: GPT2) -> None:
    """Give a plain model the updates that `inkfish.weights.adapter.read` finds in a folder.

    Raises:
        ModelError: not an adapter of this model, or its updates differ in rank or scale.
    """
    found = adapter.read(folder)
    kinds = {(len(update.a), update.scale) for update in found.updates.values()}
    if len(kinds) > 1:
        raise ModelError(
            f"{folder} has updates of several ranks or scales, and training takes one; make a model of it: "
            "inkfish models import FOLDER --base MODEL --name NAME"
        )
    ((rank, scale),) = kinds
    layers = [layer for layer in LAYERS if f"h.0.{layer}" in found.updates]
    adapt(model, rank=rank, alpha=rank * scale, dropout=found.dropout, layers=layers)
    load(folder, model)


@torch.no_grad()
def load(folder: Path, model: GPT2) -> None:
    """Bring the updates that a model has to the values in a folder.

    Raises:
        ModelError: tensors that are missing, extra or misshapen.
    """
    wanted = {name: p for name, p in model.named_parameters() if ".lora_" in name}
    updates = adapter.read(folder).updates
    found = {f"{layer}.lora_A": update.a for layer, update in updates.items()}
    found |= {f"{layer}.lora_B": update.b for layer, update in updates.items()}
    faults = [f"{name} is missing" for name in wanted if name not in found]
    faults += [f"{name} is extra" for name in found if name not in wanted]
    faults += [
        f"{name} is {found[name].shape}, expected {tuple(p.shape)}"
        for name, p in wanted.items()
        if name in found and found[name].shape != tuple(p.shape)
    ]
    if faults:
        raise ModelError(f"the adapter {folder} does not fit this model: {'; '.join(faults[:5])}")
    for name, parameter in wanted.items():
        parameter.copy_(torch.from_numpy(found[name]))
