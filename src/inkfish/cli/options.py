"""Options that several commands share, each defined once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from inkfish.errors import SettingError

__all__ = ["GenerationOptions", "ModelOptions", "examples"]

MODEL = Group("Model", sort_key=1)
GENERATION = Group("Generation", sort_key=2)

MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_#<>[]!|~"})


def examples(*lines: str, about: str = "") -> str:
    """Return the end of a help page: a sentence or two, then example command lines to be copied."""
    listing = "\\\n".join(["Examples:", *(line.translate(MARKDOWN) for line in lines)])
    return f"{about}\n\n{listing}" if about else listing


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is run."""

    model: Annotated[str, Parameter(alias="-m")] = "starter"
    """A model's name (see `inkfish models list`) or its folder."""
    dtype: Literal["auto", "int8", "int4", "bfloat16", "float16", "float32"] | None = None
    """Type that the weights are held in. auto, the default for writing: the fastest that changes predictions
    too little to matter (see `inkfish models show`). float32 is the default for measuring. int4 is faster
    than int8 and predicts a little worse; preparing it takes a minute, once."""
    backend: Literal["native", "reference", "torch"] | None = None
    """What computes: native (fast, CPU), reference (numpy), torch (GPU); by default the best there is."""
    threads: int | None = None
    """CPU threads; by default one for each core."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where it runs: cpu, the default; cuda, a GPU, by torch; auto, a GPU if there is one."""
    speculate: bool | None = None
    """Guess tokens by looking them up in prompt and text, which makes texts that repeat faster and changes
    none. By default where it changes no bit: with the native back end."""

    def given(self) -> dict[str, Any]:
        """The options that were set, but for the model's name, as keyword arguments of `inkfish.load`."""
        return {
            field.name: value
            for field in fields(self)
            if field.name != "model" and (value := getattr(self, field.name)) is not None
        }


def parse_bias(pairs: Sequence[str]) -> dict[int, float]:
    """Return `ID=VALUE` pairs as a mapping.

    Raises:
        SettingError: a pair of another form.
    """
    bias = {}
    for pair in pairs:
        token, _, value = pair.partition("=")
        try:
            bias[int(token)] = float(value)
        except ValueError:
            raise SettingError(
                f'--logit-bias is "{pair}"; it must be ID=VALUE, such as 50256=-5', param="logit_bias"
            ) from None
    return bias


@Parameter(name="*", group=GENERATION)
@dataclass(frozen=True)
class GenerationOptions:
    """How tokens are chosen and when a text ends. None leaves the choice to the model's own defaults."""

    max_tokens: int | None = None
    """Most tokens to write; by default 200, or what the context has room for."""
    min_tokens: int | None = None
    """Fewest tokens to write before the text may end."""
    temperature: float | None = None
    """Above 1 more surprising, below 1 tamer; 0 always takes the likeliest token."""
    top_k: int | None = None
    """Choose among the k likeliest tokens only; 0 is all of them."""
    top_p: float | None = None
    """Choose among the likeliest tokens that together have this probability; 1 is all of them."""
    top_p_rule: Literal["keep", "openai"] | None = None
    """Whether the token that crosses top-p is kept, or dropped as in OpenAI's released code."""
    min_p: float | None = None
    """Drop tokens less likely than this share of the likeliest one's probability."""
    repetition_penalty: float | None = None
    """Above 1 makes tokens that stand in the text already less likely."""
    presence_penalty: float | None = None
    """Subtracted from the logit of each token that was written already."""
    frequency_penalty: float | None = None
    """Subtracted from a token's logit as often as it was written already."""
    no_repeat_ngram: int | None = None
    """Never write the same run of this many tokens twice; 0 allows it."""
    logit_bias: tuple[str, ...] = ()
    """Add to a token's logit: ID=VALUE, such as 50256=-5 (repeatable)."""
    seed: int | None = None
    """Same seed, same text; by default a new one each time, shown with the text."""
    stop: tuple[str, ...] = ()
    """End before this text (repeatable)."""
    end_at_sentence: bool | None = None
    """Late in the text (from three quarters of the most tokens on) end with the sentence."""
    mask_words: bool = False
    """Show slurs and sexual words as asterisks."""
    slide: bool = False
    """Write on past the model's context: the last half of it is read again each time it is full."""

    def given(self) -> dict[str, Any]:
        """The options that were set, as keyword arguments of `LanguageModel.generate`."""
        chosen: dict[str, Any] = {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
        if self.logit_bias:
            chosen["logit_bias"] = parse_bias(self.logit_bias)
        return chosen
