"""A process that trains three steps as its argument says, and prints the estimate and its peak of memory."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch._dynamo  # noqa: F401 - torch's optimizers import it when they are first used

from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.training import lora, optimizers
from inkfish.training.batches import Windows, batches
from inkfish.training.measure import peak_memory
from inkfish.training.memory import Load, load_of
from inkfish.training.optimise import optimise
from inkfish.training.resources import cores, keep_freed_memory

SHAPE = ModelConfig(n_layer=6, n_head=8, n_embd=512, n_positions=512, vocab_size=20_000)


def main(settings: dict[str, Any]) -> None:
    """Train with a `Load` of these settings."""
    keep_freed_memory()
    before = peak_memory()
    load = Load(SHAPE, 512, settings.pop("at_once", 2), **settings)
    model = GPT2(SHAPE, dropout=0.1 * load.dropout, checkpointing=load.checkpointing).train()
    if load.rank:
        lora.adapt(model, rank=load.rank, alpha=16)
    load = load_of(model, load)
    ids = np.random.default_rng(0).integers(0, SHAPE.vocab_size, 20_000).astype(np.uint16)
    with cores(2, side_by_side=load.workers > 1) as workers:
        steps = optimise(
            model,
            batches(Windows(ids, load.tokens), size=load.at_once, seed=0),
            optimizers.make(load.optimizer, model, lr=1e-4, weight_decay=0.1),
            schedule=lambda step: 1.0,
            steps=3,
            accumulate=load.groups,
            precision="bfloat16" if load.bfloat16 else "float32",
            workers=workers,
        )
        for _ in steps:
            lora.merged(model)  # as a checkpoint does
    print(json.dumps([before + load.total, peak_memory()]))


main(json.loads(sys.argv[1]))
