"""The logits along several texts after one prompt, which is read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Backend
from inkfish.engine import Kept
from inkfish.generate.jobs import Prompt

__all__ = ["continuation_logits"]


def continuation_logits(
    backend: Backend, prompt: Prompt, continuations: Sequence[Sequence[int]], *, kept: Kept | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield for each continuation of T ids the logits before each of them and after the last (T + 1, V).

    Args:
        backend: the model.
        prompt: ids to continue, at least one; the continuations take its last segment.
        continuations: ids, at least one each; prompt and the longest fit the context.
        kept: what the prompt shares with the last sequence that used it is not read again.
    """
    ids, segments = list(prompt.ids), prompt.segments
    slot, held = (backend.allocate(), 0) if kept is None else kept.lend(ids, segments)
    try:
        first = backend.prefill(slot, ids[held:], None if segments is None else segments[held:])[None]
        for continuation in continuations:
            spoken = None if segments is None else [segments[-1]] * len(continuation)
            rest = backend.prefill(slot, list(continuation), spoken, every=True)
            backend.truncate(slot, len(ids))
            yield np.concatenate([first, rest])
    finally:
        if kept is None:
            backend.free(slot)
        else:
            held = min(backend.length(slot), len(ids))
            kept.give_back(slot, ids[:held], None if segments is None else segments[:held])
