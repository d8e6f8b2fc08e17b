"""What prompt lookup gains: the same texts with and without, on texts that copy and on texts that do not.

    python benchmarks/speculation.py [--size gpt2] [--dtypes int8,bfloat16,float32] [--threads 2] [--rounds 9]
                                     [--texts F.txt …] [--out F.json]

The model's weights are random, of a released model's shape, so its texts are given: each token is computed
and drawn as ever, then replaced by the one of a text of three kinds, made from the files named (by default a
page of the documentation). "edit" gives a passage back with every 20th word replaced, "summary" every third
sentence of it, "other" a passage that has nothing to do with the prompt. What a trained model gains depends
on how much it copies; what guessing costs where it does not pay, the last kind says. Both ways take turns,
round after round; figures are medians of rounds, and of ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from decode import random_checkpoint

import inkfish.engine
from inkfish.backends import Backend, native
from inkfish.config import SIZES
from inkfish.engine import Engine, Request, Token
from inkfish.sampling import Sampling
from inkfish.tokenizer import Tokenizer

WORDS = 160
PAGE = Path(__file__).parents[1] / "docs" / "starter.md"


class Case(NamedTuple):
    """A prompt and the text that is to follow it."""

    kind: str
    prompt: list[int]
    text: list[int]


def cases(texts: Sequence[str], tokenizer: Tokenizer) -> list[Case]:
    """Make the three kinds of each passage."""
    words = [word for text in texts for word in text.split()]
    passages = [" ".join(words[i : i + WORDS]) for i in range(0, len(words) - WORDS, WORDS)]
    found = []
    for passage, other in zip(passages, [*passages[1:], passages[0]], strict=True):
        edited = [
            w if n % 20 else ("indeed" if w != "indeed" else "so") for n, w in enumerate(passage.split(), 1)
        ]
        sentences = re.split(r"(?<=[.!?;:]) ", passage)
        for kind, cue, text in (
            ("edit", "\n\nEdited:\n\n", " ".join(edited)),
            ("summary", "\n\nTL;DR:\n\n", " ".join(sentences[::3])),
            ("other", "\n\n", other),
        ):
            found.append(Case(kind, tokenizer.encode(passage + cue), tokenizer.encode(text)))
    return found


@contextmanager
def dictated(texts: Sequence[Sequence[int]]) -> Iterator[None]:
    """Let the engine draw as ever, then take the token of the text that a request's sample number names."""
    draw = inkfish.engine.next_token

    def dictate(request: Request, ids: Sequence[int], *rest: Any) -> Token:
        token = draw(request, ids, *rest)
        return replace(token, id=texts[request.sample][len(ids) - len(request.prompt)])

    inkfish.engine.next_token = dictate  # type: ignore[assignment]
    try:
        yield
    finally:
        inkfish.engine.next_token = draw  # type: ignore[assignment]


class Timed(NamedTuple):
    """How a text went."""

    seconds: float
    calls: int


def write(backend: Backend, request: Request, *, speculate: bool) -> Timed:
    """Write a text, its prompt apart."""
    engine = Engine(backend, slots=1, chunk=1024, speculate=speculate)
    engine.submit(request)
    engine.step()
    start, calls = time.perf_counter(), 0
    while engine.busy:
        engine.step()
        calls += 1
    return Timed(time.perf_counter() - start, calls)


def measure(backend: Backend, chosen: Sequence[Case], rounds: int) -> dict[str, dict[str, float]]:
    """Return for each kind: tokens per second without and with, their ratio, tokens in a call."""
    found: dict[str, dict[str, list[float]]] = {}
    texts = [case.text for case in chosen]
    sampling = Sampling(temperature=0.8, top_p=0.95)
    with dictated(texts):
        for number in range(rounds + 1):
            for sample, case in enumerate(chosen):
                request = Request(case.prompt, len(case.text), sampling, sample=sample)
                plain, looked = (write(backend, request, speculate=on) for on in (False, True))
                if number == 0:  # the first round fills caches
                    continue
                values = found.setdefault(case.kind, {})
                tokens = len(case.text) - 1
                for name, value in (
                    ("without", tokens / plain.seconds),
                    ("with", tokens / looked.seconds),
                    ("ratio", plain.seconds / looked.seconds),
                    ("tokens a call", tokens / looked.calls),
                ):
                    values.setdefault(name, []).append(value)
    return {
        kind: {name: float(np.median(numbers)) for name, numbers in values.items()}
        for kind, values in found.items()
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="gpt2", choices=sorted(SIZES))
    parser.add_argument("--dtypes", default=",".join(native.DTYPES))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--passages", type=int, default=2)
    parser.add_argument("--texts", type=Path, nargs="+", default=[PAGE])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not native.available():
        sys.exit("the native library was not built")
    checkpoint = random_checkpoint(SIZES[arguments.size])
    chosen = cases([path.read_text() for path in arguments.texts], Tokenizer.gpt2())[: 3 * arguments.passages]
    result = {}
    for dtype in arguments.dtypes.split(","):
        backend = native.load(checkpoint, dtype=dtype, threads=arguments.threads)
        result[dtype] = measure(backend, chosen, arguments.rounds)
        for kind, row in result[dtype].items():
            print(f"{dtype:10}{kind:10}" + "".join(f"{name}: {value:8.2f}   " for name, value in row.items()))
    if arguments.out:
        arguments.out.write_text(json.dumps({"size": arguments.size, "lookup": result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
