"""LoRA adapters as peft saves them (Hu et al. 2021), read and added to their base model, without torch.

    W + s·(B·A)ᵀ        W (in, out) as Hugging Face keeps it, A (r, in), B (out, r), s = α/r or α/√r

Left out: DoRA, biases, embeddings, and every setting under which the sum above is not what peft computes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.untrusted import member, read_object, shown
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.tensor_file import FLOATS, StoredTensor, map_file

__all__ = ["CONFIG", "LAYERS", "PLAIN", "WEIGHTS", "Adapter", "Update", "merged", "read"]

LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
"""The linear layers of a block, as peft's target_modules names them."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NAME = re.compile(
    rf"(?:base_model\.model\.)?(?:transformer\.)?(h\.\d{{1,3}}\.(?:{'|'.join(map(re.escape, LAYERS))}))"
    r"\.lora_([AB])\.weight"
)
RANK_LIMIT = 65_536
"""The largest rank: none of a larger one fits a matrix."""

PLAIN: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False,),
    "use_rslora": (False, True),
    "bias": ("none",),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None,),
    "layer_replication": (None,),
    "alora_invocation_tokens": (None,),
    "use_qalora": (False,),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
"""Settings and the values of them that leave the sum as it is, the first being the default. The methods to
initialise that are not here change the base model too."""


@dataclass(frozen=True)
class Update:
    """What an adapter adds to one matrix."""

    a: NDArray[np.float32]
    """(r, in)"""
    b: NDArray[np.float32]
    """(out, r)"""
    scale: float
    """s above."""

    def product(self) -> NDArray[np.float32]:
        """Return the summand, (in, out)."""
        return np.float32(self.scale) * (self.a.T @ self.b.T)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter."""

    updates: Mapping[str, Update]
    """By layer, such as "h.0.attn.c_attn"."""
    dropout: float
    """Probability with which training drops an input of an update."""
    base: str | None
    """What the file says its base model is called."""


def read(folder: Path) -> Adapter:
    """Read adapter_config.json and adapter_model.safetensors.

    Raises:
        ModelError: a file is missing or damaged, or the adapter is one of those that are left out.
    """
    config_path, path = member(folder, CONFIG), member(folder, WEIGHTS)
    if config_path is None:
        raise ModelError(f"{folder} has no {CONFIG}; name the folder of a LoRA adapter")
    config = read_config(config_path)
    if path is None:
        raise ModelError(f"{folder} has no {WEIGHTS}; copy the adapter again (a pickle is not read)")
    parts: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, tensor in map_file(path).items():
        match = NAME.fullmatch(name)
        if match is None or tensor.dtype not in FLOATS:
            raise ModelError(f"{path}: {shown(name)} is no update of a linear layer of a GPT-2's block")
        parts.setdefault(match[1], {})[match[2]] = matrix(name, tensor, path)
    if not parts:
        raise ModelError(f"{path} holds no updates; copy the adapter again")
    base = config.get("base_model_name_or_path")
    return Adapter(
        {layer: update(layer, found, config, path) for layer, found in parts.items()},
        dropout=config["lora_dropout"],
        base=shown(base) if isinstance(base, str) and base else None,
    )


def read_config(path: Path) -> Mapping[str, Any]:
    """Return the settings of an adapter, checked."""
    config = read_object(path)
    faults = [
        f"{name} is {shown(repr(config[name]))}, only {' or '.join(map(repr, allowed))} is supported"
        for name, allowed in PLAIN.items()
        if name in config and not any(type(config[name]) is type(v) and config[name] == v for v in allowed)
    ]
    config.setdefault("lora_dropout", 0.0)
    patterns = [config.get(name) or {} for name in ("rank_pattern", "alpha_pattern")]
    if not all(isinstance(p, dict) and all(re.fullmatch(r"[\w.]+", key) for key in p) for p in patterns):
        faults.append("rank_pattern and alpha_pattern must have layers' names, no regular expressions")
        patterns = [{}, {}]
    ranks = [config.get("r"), *patterns[0].values()]
    if not all(type(rank) is int and 0 < rank <= RANK_LIMIT for rank in ranks):
        faults.append(f"r must be a whole number from 1 to {RANK_LIMIT:,}")
    alphas = [config.get("lora_alpha"), *patterns[1].values()]
    if not all(type(alpha) in {int, float} and 0 <= alpha <= 1e6 for alpha in alphas):
        faults.append("lora_alpha must be a number from 0 to 1,000,000")
    if type(config["lora_dropout"]) not in {int, float} or not 0 <= config["lora_dropout"] <= 1:
        faults.append("lora_dropout must be a number from 0 to 1")
    if faults:
        raise ModelError(f"{path}: {'; '.join(faults)}")
    return config


def matrix(name: str, tensor: StoredTensor, path: Path) -> NDArray[np.float32]:
    """Return the values of a tensor that must be a finite matrix."""
    values = np.array(tensor.array(), np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ModelError(f"{path}: {name} {values.shape} must be a matrix of finite numbers")
    return values


def update(
    layer: str, parts: Mapping[str, NDArray[np.float32]], config: Mapping[str, Any], path: Path
) -> Update:
    """Return the update of a layer from its two matrices."""
    rank = of_layer(config.get("rank_pattern"), layer, config["r"])
    alpha = of_layer(config.get("alpha_pattern"), layer, config["lora_alpha"])
    if set(parts) != {"A", "B"} or not len(parts["A"]) == parts["B"].shape[1] == rank:
        found = ", ".join(f"lora_{part} {values.shape}" for part, values in sorted(parts.items()))
        raise ModelError(f"{path}: {layer} has {found}; expected lora_A ({rank}, in), lora_B (out, {rank})")
    return Update(parts["A"], parts["B"], alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def of_layer(pattern: Mapping[str, Any] | None, layer: str, default: Any) -> Any:
    """Return what a pattern says of a layer: its first key that the layer's full name ends with."""
    name = f".transformer.{layer}"
    return next((value for key, value in (pattern or {}).items() if name.endswith(f".{key}")), default)


def merged(base: Checkpoint, adapter: Adapter, *, source: Path) -> Checkpoint:
    """Return a base model with an adapter's updates added, in float32; other tensors are the base's own.

    Args:
        base: the model that the adapter was trained on.
        adapter: what `read` returned.
        source: the adapter's folder, for messages.

    Raises:
        ModelError: the adapter is of a model of another shape (all points in one line).
    """
    check_fit(base.config, adapter, source)
    tensors = dict(base.tensors)
    for layer, part in adapter.updates.items():
        tensors[f"{layer}.weight"] = part.product() + tensors[f"{layer}.weight"]
    return replace(base, tensors=tensors)


def check_fit(config: ModelConfig, adapter: Adapter, source: Path) -> None:
    """Refuse an adapter whose matrices are not those of a model."""
    shapes = config.tensor_shapes()
    wanted = {layer: shapes.get(f"{layer}.weight") for layer in adapter.updates}
    faults = [
        f"{layer} is {(part.a.shape[1], len(part.b))}, expected {wanted[layer] or 'none'}"
        for layer, part in adapter.updates.items()
        if wanted[layer] != (part.a.shape[1], len(part.b))
    ]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ModelError(
            f"the adapter {source} is of another model than this base: {'; '.join(faults[:5])}{more}"
        )
