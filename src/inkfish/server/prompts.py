"""Prompts of completions: one or several, as text or ids, and whether they can fit."""

from __future__ import annotations

from collections.abc import Sequence

from inkfish.engine import check_ids
from inkfish.errors import ContextError
from inkfish.generate import LanguageModel

__all__ = ["check_size", "fits_alone", "split_prompts"]


def split_prompts(prompt: str | list[str] | list[int] | list[list[int]] | None) -> list[str | list[int]]:
    """Return prompts one by one."""
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    if isinstance(prompt[0], int):
        return [[i for i in prompt if isinstance(i, int)]]
    return [each for each in prompt if not isinstance(each, int)]


def check_size(prompt: str | list[int], model: LanguageModel) -> None:
    """Refuse a text that can't fit the context, before it is made into tokens.

    Raises:
        ContextError: it has too many bytes for any tokens.
    """
    context, longest = model.config.n_positions, model.tokenizer.longest_token_bytes
    size = len(prompt) if isinstance(prompt, str) else 0  # characters: no more than bytes
    if size > context * longest:
        raise ContextError(
            f"a prompt of {size:,} characters has more than {size // longest:,} tokens, which do not fit "
            f"this model's context of {context:,}; shorten it",
            param="prompt",
        )


def fits_alone(ids: Sequence[int], model: LanguageModel) -> None:
    """Refuse a prompt to be scored that is longer than the context.

    Raises:
        ContextError: says both lengths.
    """
    check_ids(ids, model.config, param="prompt")
    if len(ids) > model.config.n_positions:
        raise ContextError(
            f"a prompt of {len(ids):,} tokens does not fit this model's context of "
            f"{model.config.n_positions:,}; shorten it",
            param="prompt",
        )
