"""What a finished fine-tuning run leaves beside its weights: a model card, and openings before and after.

RUN/README.md            what was trained on what, how well it does, how to write with it
RUN/before-after.html    openings of own texts continued by both models, copied words underlined
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

import inkfish
from inkfish.data.store import TokenStore
from inkfish.generate import load
from inkfish.generate.jobs import SamplingSettings
from inkfish.metrics.copying import places_copied
from inkfish.recipes.corpus import Corpus
from inkfish.recipes.settings import Training
from inkfish.tokenizer import Tokenizer
from inkfish.training.metrics import read_metrics
from inkfish.training.run import Run

__all__ = ["OPENINGS", "Account", "Comparison", "compare", "conclude", "leave", "marks", "perplexities"]

OPENINGS = 6
"""Beginnings that both models continue."""
OPENING_TOKENS, CONTINUED_TOKENS = 12, 80
COPIED = 8
"""Tokens in a row that count as copied."""
STYLE = """
:root { color-scheme: light dark; }
body { font: 17px/1.5 Georgia, serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: .6rem .8rem; border-top: 1px solid #8886; }
td { white-space: pre-wrap; overflow-wrap: break-word; }
b { font-weight: 600; }
u { text-decoration: underline; text-decoration-thickness: 2px; text-underline-offset: 3px; }
p, th { font-family: system-ui, sans-serif; }
"""


@dataclass(frozen=True)
class Comparison:
    """One opening and what both models make of it."""

    opening: str
    """The beginning of an own text."""
    before: str
    """How the base model goes on."""
    after: tuple[tuple[str, bool], ...]
    """How the tuned model goes on, in pieces: text, and whether it stands in the training text."""


@dataclass(frozen=True)
class Account:
    """What page and card say of a run in words, beside the comparisons."""

    shown: str
    """What stands in the page's rows, bold, and what was done with it."""
    steps: str
    """How long it was trained."""
    measured: str | None
    """How well the held-out part is known before and after; None where nothing was held out."""
    command: str
    """How to use the model."""


def conclude(config: Training, model: str, corpus: Corpus, here: Run) -> list[str]:
    """Write the card and the page of a finished run; return lines about how well it went.

    Args:
        config: with everything filled in.
        model: name or folder of the base model.
        corpus: the texts.
        here: the run.
    """
    assert config.sequence is not None, "the length of a sequence is filled in"
    openings = openings_of(corpus, max(1, min(OPENING_TOKENS, config.sequence // 4)))
    sampling: SamplingSettings = {
        "temperature": config.temperature,
        "top_k": config.top_k,
        "top_p": config.top_p,
    }
    found = compare(model, str(config.out), openings, corpus, seed=config.seed, **sampling)
    scores = perplexities(config, corpus, here)
    measured = None
    if scores is not None:
        measured = f"held-out perplexity a token: {scores[0]:,.1f} before, {scores[1]:,.1f} after"
    once = found[0].opening.splitlines()[0] if found else "Once"
    account = Account(
        shown="Beginnings of own texts (bold), continued",
        steps=f"{here.progress.step:,} steps of {config.batch} sequences of {config.sequence} tokens",
        measured=measured,
        command=f"inkfish write {shlex.quote(once)} --model {config.out.name}",
    )
    return leave(config, model, here, found, account)


def leave(
    config: Training, model: str, here: Run, found: Sequence[Comparison], account: Account
) -> list[str]:
    """Write card and page; return lines about how well it went."""
    here.write("before-after.html", page(found, title=config.out.name, model=model, account=account).encode())
    here.write("README.md", card(config, model, found, account).encode())
    lines = [] if account.measured is None else [account.measured]
    share = copied_share(found)
    if share > 0:
        lines.append(f"{share:.0%} of what it writes stands in runs of {COPIED} tokens in the training text")
    return [*lines, f"before and after, side by side: {config.out / 'before-after.html'}"]


def openings_of(corpus: Corpus, length: int) -> list[str]:
    """Return the first `length` tokens of some documents, of those held out where there are any."""
    store = corpus.held[0][1] if corpus.held else corpus.train
    special = set(corpus.tokenizer.specials.values())
    numbers = np.linspace(0, len(store) - 1, min(len(store), 4 * OPENINGS)).astype(int)
    found: dict[str, None] = {}
    for number in dict.fromkeys(numbers.tolist()):
        ids = [i for i in store[number][: length + 1].tolist() if i not in special]
        text = corpus.tokenizer.decode(ids[:length]).rstrip()
        whole_words = re.sub(r"\s+\S*$", "", text) if len(ids) > length else text
        if len(whole_words) > 2:
            found[whole_words] = None
    return list(found)[:OPENINGS]


def compare(
    before: str,
    after: str,
    openings: Sequence[str],
    corpus: Corpus,
    *,
    seed: int,
    **sampling: Unpack[SamplingSettings],
) -> list[Comparison]:
    """Let two models, named or in folders, go on with each opening; only one is in memory at a time."""

    def written(name: str) -> list[str]:
        model = load(name)
        most = min(CONTINUED_TOKENS, model.config.n_positions // 2)
        return [
            model.generate(opening, max_tokens=most, seed=seed, **sampling).samples[0].text
            for opening in openings
        ]

    marked = [marks(corpus.tokenizer, text, corpus.train) for text in written(after)]
    return [Comparison(*each) for each in zip(openings, written(before), marked, strict=True)]


def marks(tokenizer: Tokenizer, text: str, store: TokenStore) -> tuple[tuple[str, bool], ...]:
    """Return a text in pieces that stand in the training text and pieces that do not."""
    ids = np.array(tokenizer.encode(text), np.int64)
    places: NDArray[np.bool_] = places_copied(ids, store.ids, width=COPIED)
    borders = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(ids)]
    return tuple(
        (tokenizer.decode(ids[start:stop].tolist()), bool(places[start]))
        for start, stop in pairwise(borders)
        if stop > start
    )


def copied_share(found: Sequence[Comparison]) -> float:
    """Return the share of the tuned model's characters that stand in copied runs."""
    pieces = [piece for each in found for piece in each.after]
    whole = sum(len(text) for text, _ in pieces)
    return sum(len(text) for text, copied in pieces if copied and text.strip()) / max(1, whole)


def perplexities(config: Training, corpus: Corpus, here: Run) -> tuple[float, float] | None:
    """Return the perplexity a token of held-out text before training and at its best, if it was measured."""
    records = [r for r in read_metrics(here.metrics.path) if r.get("validation") is not None]
    first = [r["validation"] for r in records if r["step"] == 0]
    later = [r["validation"] for r in records if r["step"] > 0]
    if not first or not later:
        return None
    assert config.sequence is not None, "the length of a sequence is filled in"
    held = corpus.held_out(
        vocab_size=corpus.train.vocab_size, length=config.sequence, windows=config.evaluate_windows
    )
    bytes_a_token = sum(part.bytes for part in held) / sum(part.counted for part in held)
    return 2 ** (first[0] * bytes_a_token), 2 ** (min(later) * bytes_a_token)


def page(found: Sequence[Comparison], *, title: str, model: str, account: Account) -> str:
    """Return the comparison as a page that needs nothing else and runs no script."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    rows = "\n".join(
        f"<tr><td><b>{html.escape(each.opening)}</b>{html.escape(each.before)}</td>"
        f"<td><b>{html.escape(each.opening)}</b>{underlined(each.after)}</td></tr>"
        for each in found
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{digest}'">
<title>{html.escape(title)}: before and after</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}: before and after</h1>
<p>{account.shown} before and after training. Underlined: at least {COPIED}
tokens in a row that stand so in the training text.</p>
<table>
<tr><th>Before: {html.escape(model)}</th><th>After: {html.escape(title)}</th></tr>
{rows}
</table>
</body>
</html>
"""


def underlined(pieces: Sequence[tuple[str, bool]]) -> str:
    """Return pieces as HTML, the white space around those that are copied left plain."""
    found = []
    for text, copied in pieces:
        words = text.strip() if copied else ""
        before, _, after = text.partition(words) if words else (text, "", "")
        found.append(f"{before}<u>{html.escape(words)}</u>{after}" if words else html.escape(before))
    return "".join(found)


def card(config: Training, model: str, found: Sequence[Comparison], account: Account) -> str:
    """Return the model card: front matter as model hubs read it, then what a reader wants to know."""
    name = config.out.name
    front = {
        "library_name": "inkfish",
        "pipeline_tag": "text-generation",
        "base_model": model,
        "tags": ["gpt2", "inkfish"],
    }
    yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    measured = f"{account.measured[:1].upper()}{account.measured[1:]}.\n\n" if account.measured else ""
    files = ", ".join(Path(path).name for path in config.data)
    samples = "\n\n".join(
        quoted(each.opening + "".join(text for text, _ in each.after)) for each in found[:3]
    )
    return f"""---
{yaml}
---

# {name}

{model}, fine-tuned on {files} with inkfish {inkfish.__version__}: {account.steps}.
All settings are in `config.toml`, the loss is drawn in `curve.png`.

{measured}{copied_share(found):.0%} of what it wrote for `before-after.html` stands in runs of {COPIED} tokens
and more in the training text. It can repeat the texts that it has learned, and what base model and texts
say: before it is given away, look at both, and say here whose texts they are and how they may be used.

```
{account.command}
```

## Unedited samples

{samples}
"""


def quoted(text: str) -> str:
    """Return a text as a quotation in Markdown, its lines kept."""
    return "\n".join(f"> {html.escape(line, quote=False)}  " if line else ">" for line in text.splitlines())
