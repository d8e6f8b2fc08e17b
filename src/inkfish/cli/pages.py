"""How continuations look: prompt and text as they come, the line about them, and the same as JSON."""

from __future__ import annotations

from typing import Any

from inkfish.cli.output import Output, note
from inkfish.generate import Completion, Sample, Stream, TextToken

__all__ = ["completion_json", "drain", "show", "summary", "tell"]


def token_json(token: TextToken) -> dict[str, Any]:
    """Return a generated token; `top` only where alternatives were asked for."""
    value: dict[str, Any] = {"id": token.id, "text": token.text, "logprob": token.logprob}
    if token.top:
        value["top"] = [alternative._asdict() for alternative in token.top]
    return value


def sample_json(sample: Sample, *, tokens: bool) -> dict[str, Any]:
    """Return one continuation, with or without its tokens; `slid` only where the context was left."""
    value: dict[str, Any] = {"text": sample.text, "finish_reason": sample.finish_reason}
    if sample.slid:
        value["slid"] = sample.slid
    if tokens:
        value["tokens"] = [token_json(token) for token in sample.tokens]
    return value


def completion_json(completion: Completion, *, tokens: bool) -> dict[str, Any]:
    """Return what `--json` prints, with or without the tokens of each sample."""
    usage, timings = completion.usage, completion.timings
    return {
        "model": completion.model,
        "prompt": completion.prompt,
        "seed": completion.seed,
        "samples": [sample_json(sample, tokens=tokens) for sample in completion.samples],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
        },
        "timings": {
            "first_token": timings.first_token,
            "total": timings.total,
            "tokens_per_second": timings.tokens_per_second,
        },
    }


def drain(stream: Stream, output: Output | None = None) -> bool:
    """Run a stream to its end, and write the first sample's text to `output` as it comes.

    Returns:
        Whether it came to its end; Ctrl-C stops it, and what was written until then stays in the stream.
    """
    try:
        for piece in stream:
            if output is not None and piece.sample == 0:
                output.write(piece.text)
    except KeyboardInterrupt:
        stream.close()
        return False
    return True


def show(stream: Stream, output: Output, *, prompt: str, live: bool) -> bool:
    """Write all samples of a stream, each after the prompt, and return whether it came to its end.

    The first one is written as it comes if `live`, the others when all are complete.
    """
    several = len(stream.completion.samples) > 1
    begin(output, prompt, title="sample 1" if several else "")
    complete = drain(stream, output if live else None)
    first, *others = stream.completion.samples
    if not live:
        output.write(first.text)
    for number, sample in enumerate(others, 2):
        begin(output, prompt, title=f"sample {number}")
        output.write(sample.text)
    output.end_line()
    return complete


def begin(output: Output, prompt: str, *, title: str) -> None:
    """Write what stands before a continuation: a title, where there are several, and the prompt, bold."""
    if title:
        output.end_line()
        output.write(f"=== {title} ===\n")
    output.write(prompt, bold=True)


def summary(completion: Completion, *, context: int) -> str:
    """Return the line about a completion: its seed, size and speed, and what the context did to it."""
    usage, samples = completion.usage, completion.samples
    parts = [
        f"seed {completion.seed}",
        f"{usage.completion_tokens:,} tokens",
        f"{completion.timings.tokens_per_second:,.0f} tok/s",
    ]
    slides = sum(len(sample.slid) for sample in samples)
    longest = usage.prompt_tokens + max(len(sample.tokens) for sample in samples)
    if slides:
        parts.append(f"context full {slides} ×, each time its last half was read again")
    elif longest >= context and any(sample.finish_reason == "length" for sample in samples):
        parts.append(f"the context of {context:,} tokens is full, --slide writes on")
    if any(sample.finish_reason == "cancelled" for sample in samples):
        parts.append("stopped")
    return " · ".join(parts)


def tell(stream: Stream, *, context: int) -> None:
    """Print the line about a stream on standard error."""
    note(summary(stream.completion, context=context))
