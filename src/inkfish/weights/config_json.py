"""Hugging Face's `config.json` of a GPT-2: what changes the maths is supported or refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.untrusted import shown

__all__ = ["Description", "parse_config", "written_config"]

ALIASES = {
    "n_positions": ("max_position_embeddings", "n_ctx"),
    "n_embd": ("hidden_size",),
    "n_head": ("num_attention_heads",),
    "n_layer": ("num_hidden_layers",),
}
"""Other names under which transformers knows a field."""

FRACTIONS = {"layer_norm_epsilon"}
"""Fields of the shape that are no whole numbers."""

FIXED: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False, True),
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
}
"""Fields of which one meaning is supported: the values that mean it, the first being the default.

`reorder_and_upcast_attn` scales queries and keys before their product instead of after it: equal in float32.
"""


@dataclass(frozen=True)
class Description:
    """What a config.json says."""

    config: ModelConfig
    """The shape."""
    tied: bool
    """Whether the output matrix is the token embedding."""
    eos_token_ids: tuple[int, ...]
    """The tokens that end a text."""


def parse_config(values: Mapping[str, Any], source: str) -> Description:
    """Read the fields of a config.json; those that are not there have transformers' defaults.

    Raises:
        ModelError: it is not a GPT-2, a shape is outside its limits, or the maths are not GPT-2's (all such
            fields in one line).
    """
    kind = values.get("model_type")
    if kind != "gpt2":
        raise ModelError(f'{source}: model_type is {shown(repr(kind))}; only "gpt2" is supported')
    faults = [
        f"{name} is {shown(repr(values[name]))}, only {' or '.join(map(repr, allowed))} is supported"
        for name, allowed in FIXED.items()
        if name in values and not any(same_value(values[name], value) for value in allowed)
    ]
    if not isinstance(values.get("tie_word_embeddings", True), bool):
        faults.append(
            f"tie_word_embeddings is {shown(repr(values['tie_word_embeddings']))}, it must be true or false"
        )
    faults += contradictions(values)
    faults += [
        f"{name} is {shown(repr(value))}; it must be a {'number' if name in FRACTIONS else 'whole number'}"
        for name, value in shape_fields(values).items()
        if not right_type(name, value)
    ]
    eos = values.get("eos_token_id", 50256)
    ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
    if not all(type(token) is int and token >= 0 for token in ids):
        faults.append(f"eos_token_id is {shown(repr(eos))}, it must be a token id")
    if faults:
        raise ModelError(f"{source}: {'; '.join(faults)}")
    try:
        config = ModelConfig(**shape_fields(values))
    except ModelError as error:
        raise ModelError(f"{source}: {error}", param=error.param) from None
    return Description(config, values.get("tie_word_embeddings", True), tuple(ids))


def same_value(a: object, b: object) -> bool:
    """Whether two JSON values are the same, 1 and true being different."""
    return type(a) is type(b) and a == b


def right_type(name: str, value: object) -> bool:
    """Whether a field of the shape has the type that ModelConfig compares with its limits."""
    if name in FRACTIONS:
        return type(value) is float or type(value) is int
    return type(value) is int or (name == "n_inner" and value is None)


def contradictions(values: Mapping[str, Any]) -> list[str]:
    """List the fields that stand there under two names with two values."""
    return [
        f"{name} is {shown(values[name])} and {alias} {shown(values[alias])}, they must be equal"
        for name, aliases in ALIASES.items()
        for alias in aliases
        if name in values and alias in values and values[name] != values[alias]
    ]


def shape_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the shape under their own names."""
    renamed = {alias: name for name, aliases in ALIASES.items() for alias in aliases if name not in values}
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    found = {renamed.get(name, name): value for name, value in values.items()}
    return {name: value for name, value in found.items() if name in known}


def written_config(config: ModelConfig, *, eos: int | None, dtype: str) -> dict[str, Any]:
    """Return the fields of a config.json as transformers writes them for GPT2LMHeadModel."""
    return dataclasses.asdict(config) | {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "add_cross_attention": False,
        "attn_pdrop": 0.0,
        "bos_token_id": eos,
        "dtype": dtype,
        "embd_pdrop": 0.0,
        "eos_token_id": eos,
        "initializer_range": 0.02,
        "pad_token_id": None,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": 0.0,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "use_cache": True,
    }
