"""How much of a generated text is copied: its longest run of tokens that stands in the training text.

The training text is read once, in chunks. Hashes find where runs of `seed` tokens agree; each place is then
compared token by token, so what is reported is exact. Runs shorter than the seed count as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["longest_copies", "places_copied", "window_hashes"]

Ids = NDArray[np.integer]
MULTIPLIER = 0x9E3779B97F4A7C15
"""An odd 64-bit number (2^64 / golden ratio): it scrambles the ids and is the base of the polynomial."""


def window_hashes(ids: Ids, width: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every window of `width` ids, (len(ids) - width + 1,).

    Equal windows have equal hashes; different ones have different hashes but for one pair in 2^64.
    """
    assert width >= 1, "a window has at least one id"
    if len(ids) < width:
        return np.zeros(0, np.uint64)
    base = np.uint64(MULTIPLIER)
    scrambled = ids.astype(np.uint64) + np.uint64(1)
    scrambled *= base
    scrambled ^= scrambled >> np.uint64(29)
    hashes = np.zeros(len(ids) - width + 1, np.uint64)
    for i in range(width):  # Horner's rule over the window, all windows at once; arithmetic is modulo 2^64
        hashes *= base
        hashes += scrambled[i : i + len(hashes)]
        hashes ^= hashes >> np.uint64(32)
    return hashes


def longest_copies(
    texts: Sequence[Ids], training: Ids, *, seed: int = 12, chunk: int = 4_000_000
) -> list[int]:
    """Return for each text the length of its longest run of ids that also stands in the training text.

    Args:
        texts: generated ids, each (T,).
        training: (N,) the training text's ids, may be memory-mapped.
        seed: runs below this length are reported as 0.
        chunk: training ids that are read at a time.
    """
    starts = [window_hashes(np.asarray(text), seed) for text in texts]
    owner = np.repeat(np.arange(len(texts)), [len(hashes) for hashes in starts])
    offset = np.concatenate([np.arange(len(hashes)) for hashes in starts] or [np.zeros(0, np.int64)])
    hashes = np.concatenate(starts or [np.zeros(0, np.uint64)])
    order = np.argsort(hashes, kind="stable")
    hashes, owner, offset = hashes[order], owner[order], offset[order]
    longest = [0] * len(texts)
    for begin in range(0, max(len(training) - seed + 1, 0), chunk):
        block = window_hashes(np.asarray(training[begin : begin + chunk + seed - 1]), seed)
        first, last = np.searchsorted(hashes, block, "left"), np.searchsorted(hashes, block, "right")
        for place in np.nonzero(last > first)[0]:
            for match in range(first[place], last[place]):
                number = int(owner[match])
                length = common_run(texts[number], int(offset[match]), training, begin + int(place))
                longest[number] = max(longest[number], length if length >= seed else 0)
    return longest


def places_copied(text: Ids, training: Ids, *, width: int = 8, chunk: int = 4_000_000) -> NDArray[np.bool_]:
    """Say of each id whether it stands in a run of `width` ids that the training text has too, (T,).

    Args:
        text: generated ids, (T,).
        training: (N,) the training text's ids, may be memory-mapped.
        width: shortest run that counts.
        chunk: training ids that are read at a time.
    """
    hashes = window_hashes(np.asarray(text), width)
    known = np.zeros(len(hashes), np.bool_)
    for begin in range(0, max(len(training) - width + 1, 0), chunk):
        known |= np.isin(
            hashes, window_hashes(np.asarray(training[begin : begin + chunk + width - 1]), width)
        )
    places = np.zeros(len(text), np.bool_)
    for offset in range(width):
        places[offset : offset + len(known)] |= known
    return places


def common_run(text: Ids, start: int, training: Ids, place: int) -> int:
    """Return how many ids agree from text[start] and training[place] on."""
    a, b = np.asarray(text[start:]), np.asarray(training[place : place + len(text) - start])
    differ = np.nonzero(a[: len(b)] != b)[0]
    return int(differ[0]) if len(differ) else len(b)
