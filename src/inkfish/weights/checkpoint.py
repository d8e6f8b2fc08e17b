"""What a model folder holds once it is read, whatever its layout: the shape, the tensors, the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.untrusted import shown
from inkfish.weights.generation_config import GenerationDefaults

__all__ = ["Checkpoint", "check_finite", "check_shapes"]

FAULTS = 100
"""Tensors that a message names: six layers too many or too few."""


@dataclass(frozen=True)
class Checkpoint:
    """A GPT-2 as it was read from a folder."""

    config: ModelConfig
    """The model's shape."""
    tensors: Mapping[str, NDArray[Any]]
    """Named and shaped as `config.tensor_shapes()` says; where possible read-only views of the file."""
    dtype: str
    """What the file holds the token embedding in: float64, float32, float16 or bfloat16 (read as float32)."""
    eos: int | None = None
    """The token that ends a text, None where the vocabulary has none."""
    generation: GenerationDefaults = field(default_factory=GenerationDefaults)
    """Sampling defaults that the folder asks for."""


def check_shapes(
    config: ModelConfig, found: Mapping[str, tuple[int, ...]], *, source: str, other: Iterable[str] = ()
) -> None:
    """Compare the tensors of a file with those of the model.

    Args:
        config: the model's shape.
        found: name → shape in the file.
        source: where they were found, for the message.
        other: further faults to list in the same message.

    Raises:
        ModelError: one line that lists every missing, extra and misshapen tensor, up to FAULTS.
    """
    expected = config.tensor_shapes()
    faults = [f"{name} {shape} is missing" for name, shape in expected.items() if name not in found]
    faults += [
        f"{name} is {shown(shape)}, expected {expected[name]}"
        for name, shape in found.items()
        if name in expected and shape != expected[name]
    ]
    faults += [
        f"{shown(name)} {shown(shape)} is extra" for name, shape in found.items() if name not in expected
    ]
    faults += other
    if faults:
        points = "1 point" if len(faults) == 1 else f"{len(faults):,} points"
        listed = "; ".join(faults[:FAULTS]) + "; …" * (len(faults) > FAULTS)
        raise ModelError(f"{source} does not fit its config in {points}: {listed}")


def check_finite(checkpoint: Checkpoint) -> None:
    """Read every weight once; done when a model is fetched or imported, not at each start.

    Raises:
        ModelError: one line that lists tensors with NaN or infinite values and how many each has.
    """
    counts = {name: int((~np.isfinite(tensor)).sum()) for name, tensor in checkpoint.tensors.items()}
    faults = [f"{name} has {count:,}" for name, count in counts.items() if count]
    if faults:
        listed = "; ".join(faults[:10]) + "; …" * (len(faults) > 10)
        raise ModelError(f"the weights are damaged: values that are not finite ({listed})")
