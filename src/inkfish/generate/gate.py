"""Which type weights are held in on a CPU: the shortest that changes predictions too little to matter.

The measure is the Kullback-Leibler divergence of the short type's next-token distribution from float32's,
averaged over text that the model draws itself. On such text a divergence of d raises the perplexity by the
factor e^d on average, and because whole distributions are compared, a few hundred places are enough. It is
measured once for each model and kept beside its converted weights. What was measured: docs/decisions.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Backend, native
from inkfish.backends.native.convert import LAYOUT, MAX_INT8_INPUTS
from inkfish.config import ModelConfig
from inkfish.sampling import uniform
from inkfish.weights.checkpoint import Checkpoint

__all__ = ["LIMITS", "SMALL", "choose", "decide", "divergence", "open_native", "recall"]

LIMITS = {"int8": 0.005, "bfloat16": 0.001}
"""Divergence in nats up to which a type is taken, in the order in which they are tried: a perplexity that is
0.5 % and 0.1 % higher. Four bits stay above them, so int4 is only taken when it is asked for."""

SMALL = 1_000_000
"""Parameters below which float32 stays: they lie in a core's own cache, and calls take longer than sums."""

SEQUENCES, LENGTH = 4, 64
"""How much text the measure looks at."""


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-softmax over the last axis."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def divergence(checkpoint: Checkpoint, backend: Backend) -> float:
    """Return how far a back end's predictions are from float32's, in nats per token.

    The text is drawn with the back end, always with the same random numbers; numpy works out float32's
    distributions on it.
    """
    from inkfish.backends import reference  # here: most starts have a verdict already

    config, start = checkpoint.config, checkpoint.eos or 0
    length = min(LENGTH, config.n_positions)
    ids = np.full((SEQUENCES, length + 1), start)
    found = np.empty((SEQUENCES, length, config.vocab_size), np.float32)
    slots = [backend.allocate() for _ in range(SEQUENCES)]
    for t in range(length):
        found[:, t] = backend.decode(slots, ids[:, t].tolist())
        ids[:, t + 1] = draw(found[:, t], position=t)
    for slot in slots:
        backend.free(slot)
    exact, total = reference.load(config, checkpoint.tensors), 0.0
    for row in range(SEQUENCES):
        slot = exact.allocate()
        wanted = log_probabilities(exact.prefill(slot, ids[row, :-1].tolist(), every=True))
        exact.free(slot)
        total += float((np.exp(wanted) * (wanted - log_probabilities(found[row]))).sum())
    return total / (SEQUENCES * length)


def draw(logits: NDArray[np.float32], *, position: int) -> NDArray[np.intp]:
    """Draw a token from each row's distribution, with random numbers of seed 0."""
    sums = np.exp(logits - logits.max(-1, keepdims=True)).cumsum(-1, dtype=np.float64)  # (B, V)
    limits = [uniform(0, row, position) * sums[row, -1] for row in range(len(logits))]
    return (sums > np.array(limits)[:, None]).argmax(-1)


def candidates(config: ModelConfig) -> list[str]:
    """Return the short types that this machine runs faster than float32, shortest first."""
    if config.parameters < SMALL:
        return []
    fits = max(config.n_embd, config.inner_size) <= MAX_INT8_INPUTS
    has_bfloat16 = native.supported()[-1] == "amx"
    return ["int8"] * fits + ["bfloat16"] * has_bfloat16


def decide(config: ModelConfig, known: Mapping[str, float]) -> str | None:
    """Return the type to use, by the divergences that are known; None if another must be measured first."""
    for dtype in candidates(config):
        if dtype not in known:
            return None
        if known[dtype] <= LIMITS[dtype]:
            return dtype
    return "float32"


def choose(
    folder: Path, checkpoint: Checkpoint, *, cache: Path | None, threads: int | None = None
) -> native.NativeBackend:
    """Return a model's native back end, in the shortest type that passes.

    Args:
        folder: the model's.
        checkpoint: what was read from it.
        cache: where converted weights and verdicts are kept; None keeps nothing and measures each time.
        threads: as for `inkfish.backends.native.load`.

    Raises:
        SettingError: no such number of threads here.
        ModelError: a tensor holds numbers that are not finite.
    """
    known = recall(folder, cache)
    while (dtype := decide(checkpoint.config, known)) is None:
        untried = next(one for one in candidates(checkpoint.config) if one not in known)
        backend = open_native(folder, checkpoint, dtype=untried, cache=cache, threads=threads)
        known = {**known, untried: divergence(checkpoint, backend)}
        remember(folder, known, cache)
        if known[untried] <= LIMITS[untried]:
            return backend
    return open_native(folder, checkpoint, dtype=dtype, cache=cache, threads=threads)


def open_native(
    folder: Path, checkpoint: Checkpoint, *, dtype: str, cache: Path | None, threads: int | None = None
) -> native.NativeBackend:
    """Return a model's native back end in one type, from the converted file where there is one.

    Models of fewer than `SMALL` parameters are converted in memory each time.

    Raises:
        SettingError: no such type or number of threads here.
        ModelError: a tensor holds numbers that are not finite.
    """
    place = None if cache is None or checkpoint.config.parameters < SMALL else cache.expanduser()
    return native.load_folder(folder, lambda _: checkpoint, cache=place, dtype=dtype, threads=threads)


def verdict_file(folder: Path, cache: Path) -> Path:
    """Return where the verdict on a model is kept: beside its converted weights."""
    return cache.expanduser() / f"{native.cache_name(folder)}.json"


def recall(folder: Path, cache: Path | None) -> dict[str, float]:
    """Return the divergence of each type that was measured on these very weights; nothing where none was."""
    if cache is None:
        return {}
    try:
        said = json.loads(verdict_file(folder, cache).read_text(encoding="utf-8"))
        if [said["layout"], said["source"]] == [LAYOUT, native.fingerprint(folder)]:
            return {name: float(said["divergence"][name]) for name in LIMITS if name in said["divergence"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # there is none, or somebody else wrote it: measured once more
    return {}


def remember(folder: Path, known: Mapping[str, float], cache: Path | None) -> None:
    """Keep a verdict, where that is possible, and drop what belongs to models that are gone."""
    if cache is None:
        return
    path = verdict_file(folder, cache)
    said = {
        "folder": str(folder.resolve()),
        "source": native.fingerprint(folder),
        "layout": LAYOUT,
        "divergence": dict(known),
    }
    draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        draft.replace(path)
        sweep(path.parent)
    except OSError:  # measured again next time
        with suppress(OSError):
            draft.unlink()


def sweep(cache: Path) -> None:
    """Remove converted weights whose model folder is no more."""
    for verdict in cache.glob("*.json"):
        try:
            gone = not Path(json.loads(verdict.read_text(encoding="utf-8"))["folder"]).is_dir()
        except (OSError, ValueError, KeyError, TypeError):
            gone = True
        if gone:
            for path in cache.glob(f"{verdict.stem}*"):
                path.unlink(missing_ok=True)
