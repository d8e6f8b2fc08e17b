"""Sampling defaults of a model folder: the fields of `generation_config.json` that inkfish knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inkfish.errors import ModelError
from inkfish.sampling import RANGES
from inkfish.untrusted import shown

__all__ = ["GenerationDefaults"]

BOUNDS: dict[str, tuple[type, float, float]] = {
    **{name: (float, *RANGES[name]) for name in ("temperature", "top_p", "min_p", "repetition_penalty")},
    "top_k": (int, 0, 1 << 31),
    "no_repeat_ngram_size": (int, 0, 1 << 20),
    "max_new_tokens": (int, 1, 1 << 31),
}
"""Each known field with its type, its smallest and its largest value: those that `Sampling` takes."""
SWITCHES = ("do_sample", "end_at_sentence")


@dataclass(frozen=True)
class GenerationDefaults:
    """How a model wants to be sampled. None leaves a setting to the program; names are Hugging Face's."""

    temperature: float | None = None
    """Divides the logits; 0 takes the most likely token. `do_sample: false` in the file reads as 0."""
    top_k: int | None = None
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float | None = None
    """Keep the most likely tokens whose probabilities sum to p."""
    min_p: float | None = None
    """Keep tokens at least this fraction as likely as the most likely one."""
    repetition_penalty: float | None = None
    """Keskar et al. 2019, section 4.1; 1 is none."""
    no_repeat_ngram_size: int | None = None
    """Never repeat an n-gram of this length; 0 is off."""
    max_new_tokens: int | None = None
    """The most tokens to write."""
    end_at_sentence: bool | None = None
    """Whether a text that nears its most tokens ends with a sentence; inkfish's own field."""
    eos_token_ids: tuple[int, ...] = ()
    """Tokens that end a text; empty leaves it to config.json."""
    other: Mapping[str, Any] = field(default_factory=dict)
    """Fields that inkfish does not know, kept for writing."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> GenerationDefaults:
        """Read the fields of a `generation_config.json`.

        Raises:
            ModelError: one line that lists every known field outside its limits.
        """
        known = {name: values[name] for name in BOUNDS if values.get(name) is not None}
        faults = [
            f"{name} is {shown(repr(value))}, {limits(name)}"
            for name, value in known.items()
            if bad(name, value)
        ]
        eos = values.get("eos_token_id")
        ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
        if not all(type(token) is int and token >= 0 for token in ids):
            faults.append(f"eos_token_id is {shown(repr(eos))}, it must be a token id or a list of them")
        faults += [
            f"{name} is {shown(repr(values[name]))}, it must be true or false"
            for name in SWITCHES
            if not isinstance(values.get(name, True), bool)
        ]
        if faults:
            raise ModelError(f"{source}: {'; '.join(faults)}: change it in that file")
        if values.get("do_sample") is False:
            known["temperature"] = 0.0
        numbers = {name: BOUNDS[name][0](value) for name, value in known.items()}
        other = {
            name: value
            for name, value in values.items()
            if name not in BOUNDS and name not in {"eos_token_id", *SWITCHES}
        }
        ends = values.get("end_at_sentence")
        return cls(**numbers, end_at_sentence=ends, eos_token_ids=tuple(ids), other=other)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of a `generation_config.json` that says the same to `transformers`."""
        values = {name: getattr(self, name) for name in BOUNDS if getattr(self, name) is not None}
        if values.get("temperature") == 0:
            del values["temperature"]
            values["do_sample"] = False
        elif set(values) - {"max_new_tokens"}:
            values["do_sample"] = True
        if self.end_at_sentence is not None:
            values["end_at_sentence"] = self.end_at_sentence
        if self.eos_token_ids:
            values["eos_token_id"] = (
                list(self.eos_token_ids) if len(self.eos_token_ids) > 1 else self.eos_token_ids[0]
            )
        return dict(self.other) | values


def bad(name: str, value: object) -> bool:
    """Whether a value is outside the limits of its field."""
    kind, low, high = BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        return True
    return not low <= value <= high


def limits(name: str) -> str:
    """Say what a field must be."""
    kind, low, high = BOUNDS[name]
    noun = "a whole number" if kind is int else "a number"
    return f"it must be {noun} from {low:g} to {high:,g}"
