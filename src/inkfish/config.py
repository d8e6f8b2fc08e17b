"""The shape of a GPT-2: its layers, heads, channels, positions and vocabulary entries. No torch, no numpy."""

from __future__ import annotations

from dataclasses import dataclass

from inkfish.errors import ModelError

__all__ = ["SIZES", "ModelConfig", "exact_div"]

LIMITS = {
    "n_layer": 512,
    "n_head": 512,
    "n_embd": 65_536,
    "n_inner": 262_144,
    "n_positions": 1_048_576,
    "vocab_size": 4_194_304,
}
"""Upper bounds: far beyond any GPT-2, small enough that a lying file can't make us allocate."""


def exact_div(a: int, b: int) -> int:
    """Return a / b, asserting that nothing is left over."""
    quotient, remainder = divmod(a, b)
    assert remainder == 0, f"{a} is not a multiple of {b}"
    return quotient


@dataclass(frozen=True)
class ModelConfig:
    """The shape of one GPT-2. Field names are those of Hugging Face's `config.json`."""

    n_layer: int = 12
    """Number of transformer blocks."""
    n_head: int = 12
    """Attention heads in each block; divides n_embd."""
    n_embd: int = 768
    """Channels of the residual stream."""
    n_positions: int = 1024
    """Context: the most tokens that the model can see."""
    vocab_size: int = 50_257
    """Rows of the token embedding."""
    n_inner: int | None = None
    """Channels of the MLP's hidden layer; None is 4 × n_embd."""
    layer_norm_epsilon: float = 1e-5
    """Added to the variance in every layer norm."""

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            value = getattr(self, name)
            if value is None and name == "n_inner":
                continue
            if type(value) is not int or not 1 <= value <= limit:
                raise ModelError(
                    f"{name} is {value!r:.40}; it must be a whole number from 1 to {limit:,}", param=name
                )
        if self.n_embd % self.n_head:
            raise ModelError(
                f"n_embd is {self.n_embd} and n_head {self.n_head}; n_embd must be a multiple of n_head",
                param="n_head",
            )
        if not 0 < self.layer_norm_epsilon < 1:
            raise ModelError(
                f"layer_norm_epsilon is {self.layer_norm_epsilon!r:.40}; it must be between 0 and 1",
                param="layer_norm_epsilon",
            )

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return exact_div(self.n_embd, self.n_head)

    @property
    def inner_size(self) -> int:
        """Channels of the MLP's hidden layer."""
        return self.n_inner if self.n_inner is not None else 4 * self.n_embd

    @property
    def parameters(self) -> int:
        """Number of parameters, the tied head counted once: 124,439,808 for the smallest released GPT-2."""
        c, inner = self.n_embd, self.inner_size
        block = (c * 3 * c + 3 * c) + (c * c + c) + (c * inner + inner) + (inner * c + c) + 4 * c
        return self.vocab_size * c + self.n_positions * c + self.n_layer * block + 2 * c

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of a checkpoint by its name, with its shape (matrices are input × output)."""
        c, inner = self.n_embd, self.inner_size
        shapes: dict[str, tuple[int, ...]] = {
            "wte.weight": (self.vocab_size, c),
            "wpe.weight": (self.n_positions, c),
        }
        for i in range(self.n_layer):
            shapes |= {
                f"h.{i}.ln_1.weight": (c,),
                f"h.{i}.ln_1.bias": (c,),
                f"h.{i}.attn.c_attn.weight": (c, 3 * c),
                f"h.{i}.attn.c_attn.bias": (3 * c,),
                f"h.{i}.attn.c_proj.weight": (c, c),
                f"h.{i}.attn.c_proj.bias": (c,),
                f"h.{i}.ln_2.weight": (c,),
                f"h.{i}.ln_2.bias": (c,),
                f"h.{i}.mlp.c_fc.weight": (c, inner),
                f"h.{i}.mlp.c_fc.bias": (inner,),
                f"h.{i}.mlp.c_proj.weight": (inner, c),
                f"h.{i}.mlp.c_proj.bias": (c,),
            }
        return shapes | {"ln_f.weight": (c,), "ln_f.bias": (c,)}


SIZES = {
    "gpt2": ModelConfig(n_layer=12, n_head=12, n_embd=768),
    "gpt2-medium": ModelConfig(n_layer=24, n_head=16, n_embd=1024),
    "gpt2-large": ModelConfig(n_layer=36, n_head=20, n_embd=1280),
    "gpt2-xl": ModelConfig(n_layer=48, n_head=25, n_embd=1600),
}
"""The four released shapes, Radford et al. 2019, Table 2 (parameters as in the released weights)."""
