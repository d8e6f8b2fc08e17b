"""The gate for short types: how much a trained model's perplexity suffers from them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import inkfish
from inkfish.backends import native
from inkfish.sampling import History, Sampling, choose, uniform
from inkfish.tokenizer import Tokenizer
from inkfish.weights import read

STARTER = Path(inkfish.__file__).parent / "starter"
MODEL = Path(os.environ.get("INKFISH_GATE_MODEL", STARTER))
TEXT = os.environ.get("INKFISH_GATE_TEXT")
"""A file of held-out text; without one, the model is measured on what it writes itself."""
LENGTH = 256

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native.available(), reason="the native library was not built"),
    pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="there is no trained model here"),
]


def own_text(backend: native.NativeBackend, start: int, count: int) -> NDArray[np.int_]:
    """Sequences that the model draws from its own distribution (count, LENGTH)."""
    slots = [backend.allocate() for _ in range(count)]
    text = np.full((count, LENGTH), start)
    for position in range(1, LENGTH):
        logits = backend.decode(slots, text[:, position - 1].tolist())
        for row in range(count):
            text[row, position] = choose(logits[row], History(), Sampling(), uniform(0, row, position))
    return text


def read_text(path: Path, tokenizer: Tokenizer) -> NDArray[np.int_]:
    """The first 100 windows of a text."""
    ids = tokenizer.encode(path.read_text(encoding="utf-8")[: LENGTH * 600])
    whole = len(ids) // LENGTH * LENGTH
    return np.array(ids[:whole]).reshape(-1, LENGTH)[:100]


def measure(backend: native.NativeBackend, text: NDArray[np.int_]) -> tuple[float, NDArray[np.intp]]:
    """Mean negative log-likelihood of each token after the first of its window, and the likeliest tokens."""
    slot, losses, best = backend.allocate(), [], []
    for window in text:
        backend.truncate(slot, 0)
        logits = backend.prefill(slot, window.tolist(), every=True)[:-1].astype(np.float64)
        peak = logits.max(1)
        totals = np.log(np.exp(logits - peak[:, None]).sum(1)) + peak
        losses.append(totals - logits[np.arange(LENGTH - 1), window[1:]])
        best.append(logits.argmax(1))
    return float(np.mean(losses)), np.concatenate(best)


def test_perplexity_stays_within_the_gate() -> None:
    """0.1 % for bfloat16, 0.5 % for int8, 2 % for int4; the likeliest token is nearly always the same."""
    checkpoint, tokenizer = read(MODEL), Tokenizer.load(MODEL)
    exact = native.load(checkpoint)
    text = read_text(Path(TEXT), tokenizer) if TEXT else own_text(exact, tokenizer.end or 0, 64)
    base, best = measure(exact, text)
    for dtype, limit, least in (("bfloat16", 0.001, 0.99), ("int8", 0.005, 0.96), ("int4", 0.02, 0.9)):
        loss, found = measure(native.load(checkpoint, dtype=dtype), text)
        assert abs(np.exp(loss - base) - 1) < limit, dtype
        assert np.mean(found == best) > least, dtype
