"""`inkfish score`: how likely a model finds a text, token by token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from cyclopts import App

from inkfish.cli.options import ModelOptions, examples
from inkfish.cli.output import Output, as_json, note, quoted
from inkfish.cli.texts import find_text
from inkfish.errors import SettingError
from inkfish.generate import Score, ScoredToken, load

__all__ = ["app"]

Shade = tuple[float, int, str]
"""A limit, a colour of the 256-colour palette, and what the legend calls it."""

PROBABILITY: list[Shade] = [
    (0.5, 157, "≥ 50 %"),
    (0.1, 193, "≥ 10 %"),
    (0.01, 229, "≥ 1 %"),
    (0.001, 216, "≥ 0.1 %"),
    (0.0, 210, "less"),
]
"""A token takes the first colour whose limit its probability reaches."""
RANK: list[Shade] = [
    (1, 157, "likeliest"),
    (10, 193, "top 10"),
    (100, 229, "top 100"),
    (1000, 216, "top 1000"),
    (math.inf, 210, "beyond"),
]
"""A token takes the first colour whose limit its rank does not exceed (as Gehrmann et al. 2019, GLTR)."""

app = App(
    name="score",
    help_epilogue=examples(
        'inkfish score "The cat sat on the mat."',
        "inkfish score --file chapter.txt --color rank",
        "inkfish score --file chapter.txt | sort -t$'\\t' -k4 -g | head",
        "cat chapter.txt | inkfish score --json --from-start --model runs/poems",
        about="On a terminal the text is coloured; in a pipe each token is a line of a table. "
        "The first token has nothing before it and no probability, unless --from-start.",
    ),
)


def shade(token: ScoredToken, color: str) -> int | None:
    """Return the colour behind a token; None for the first one, which has no probability."""
    if token.logprob is None or token.rank is None:
        return None
    if color == "rank":
        return next(number for limit, number, _ in RANK if token.rank <= limit)
    probability = math.exp(token.logprob)
    return next(number for limit, number, _ in PROBABILITY if probability >= limit)


def write_colours(score: Score, output: Output, *, color: str) -> None:
    """Write the text with a colour behind each token, and what the colours mean."""
    for token in score.tokens:
        for number, part in enumerate(token.text.split("\n")):
            output.write("\n" * (number > 0))
            output.write(part, background=shade(token, color))
    output.write("\n\n")
    for _, number, label in RANK if color == "rank" else PROBABILITY:
        output.write(f" {label} ", background=number)
    output.write("\n")


def write_table(score: Score, output: Output) -> None:
    """Write one line of tab-separated values a token; what the first token lacks is empty."""
    output.write("id\ttoken\trank\tlogprob\tprobability\talternatives\n")
    for token in score.tokens:
        found = ", ".join(f"{quoted(each.text)} {each.logprob:.4f}" for each in token.top)
        numbers = "\t\t"
        if token.logprob is not None:
            numbers = f"{token.rank}\t{token.logprob:.6f}\t{math.exp(token.logprob):.4g}"
        output.write(f"{token.id}\t{quoted(token.text)}\t{numbers}\t{found}\n")


def score_json(score: Score, model: str) -> dict[str, Any]:
    """Return what `--json` prints."""
    tokens = [
        {
            "id": token.id,
            "text": token.text,
            "logprob": token.logprob,
            "rank": token.rank,
            "top": [alternative._asdict() for alternative in token.top],
        }
        for token in score.tokens
    ]
    return {
        "model": model,
        "tokens": tokens,
        "total_logprob": score.total_logprob,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "bytes": score.bytes,
        "stride": score.stride,
    }


def summary(score: Score, *, context: int) -> str:
    """Return the line about a whole text; the stride where the text did not fit the context."""
    parts = [f"{len(score.tokens):,} tokens", f"log-probability {score.total_logprob:,.2f}"]
    if score.perplexity is not None:
        parts.append(f"perplexity {score.perplexity:,.2f}")
    if score.bits_per_byte is not None:
        parts.append(f"{score.bits_per_byte:.3f} bits per byte")
    if len(score.tokens) > context:
        parts.append(f"stride {score.stride} in a context of {context:,}")
    return " · ".join(parts)


@app.default
def score(
    text: str | None = None,
    /,
    *,
    file: Path | None = None,
    out: Path | None = None,
    top: int | None = None,
    from_start: bool = False,
    stride: int | None = None,
    color: Literal["probability", "rank"] = "probability",
    table: bool = False,
    json: bool = False,
    model: ModelOptions = ModelOptions(),  # noqa: B008  # frozen
) -> None:
    """Show how likely a model finds a text, token by token.

    Args:
        text: The text, taken as it is; - reads it from a pipe.
        file: Read the text from this file (- is a pipe).
        out: Write to this file instead of the terminal.
        top: How many of the likeliest tokens to list at each place; 5 in a table or JSON.
        from_start: Score the first token too, as the beginning of a document.
        stride: How far the window moves in a text longer than the context: smaller is slower and gives each
            token more to look back on; by default half the context.
        color: What the colours show: each token's probability, or its rank among all tokens.
        table: Write a table on a terminal too; so does --top.
        json: Print JSON.
        model: Which model, and how it is run.
    """
    content = find_text(text, file, name="TEXT")
    if content is None:
        raise SettingError('there is no text to score; give "TEXT", --file FILE or -', param="text")
    with Output(out) as output:
        reader = load(model.model, **{"dtype": "float32", **model.given()})  # a measure is of the model
        listed = table or json or top is not None or not output.guarded
        chosen = top if top is not None else 5 * listed
        result = reader.score(content, from_start=from_start, top=chosen, stride=stride)
        if json:
            output.write(as_json(score_json(result, model.model)) + "\n")
        elif listed:
            write_table(result, output)
        else:
            write_colours(result, output, color=color)
        tell = note if listed else lambda line: output.write(f"{line}\n")
        tell(summary(result, context=reader.config.n_positions))
