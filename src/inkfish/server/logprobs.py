"""Tokens with their log-probabilities and alternatives, as OpenAI's completions list them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inkfish.generate import LanguageModel, ScoredToken, TextAlternative, TextToken

__all__ = ["FLOOR", "Listed", "chat_listing", "listing"]

FLOOR = -9999.0
"""Stands for the logarithm of 0, which JSON has no number for."""
Listed = ScoredToken | TextToken
"""A token of a prompt, or one that was written."""


def listing(tokens: Sequence[Listed], top: int, model: LanguageModel, offset: int = 0) -> dict[str, Any]:
    """Return tokens as OpenAI lists them: texts, log-probabilities, alternatives, places."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [None if token.logprob is None else max(token.logprob, FLOOR) for token in tokens],
        "top_logprobs": [alternatives(token, model) if top else None for token in tokens],
        "text_offset": offsets,
    }


def alternatives(token: Listed, model: LanguageModel) -> dict[str, float] | None:
    """Return the likeliest tokens and the one that stands there."""
    if token.logprob is None:
        return None
    own = TextAlternative(token.id, model.tokenizer.decode([token.id]), token.logprob)
    return {
        label(each, model): max(each.logprob, FLOOR)
        for each in sorted({*token.top, own}, key=lambda each: -each.logprob)
    }


def label(token: TextAlternative, model: LanguageModel) -> str:
    """Return a token's text; bytes that are not whole characters as OpenAI writes them."""
    content = model.tokenizer.token_bytes(token.id)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


def chat_listing(tokens: Sequence[TextToken], model: LanguageModel) -> dict[str, Any]:
    """Return tokens as OpenAI's chat lists them."""
    content = []
    for token in tokens:
        own = TextAlternative(token.id, model.tokenizer.decode([token.id]), token.logprob)
        content.append(
            chat_entry(own, model) | {"top_logprobs": [chat_entry(each, model) for each in token.top]}
        )
    return {"content": content, "refusal": None}


def chat_entry(token: TextAlternative, model: LanguageModel) -> dict[str, Any]:
    """Return one token with its bytes."""
    return {
        "token": label(token, model),
        "logprob": max(token.logprob, FLOOR),
        "bytes": list(model.tokenizer.token_bytes(token.id)),
    }
