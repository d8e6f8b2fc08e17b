"""From a file of poems to a model that has read them: prepare, fine-tune a little, write before and after.

Usage: python examples/poems.py [MODEL].
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import inkfish
from inkfish.recipes import finetune, prepare

POEMS = """\
The Kettle

The kettle hums, the window weeps,
the cat upon the sofa sleeps.

And all the rain that fell today
goes down the drain and far away.


The Key

I keep a key that fits no door,
I do not know what it was for.
"""

model = sys.argv[1] if len(sys.argv) > 1 else "starter"
with TemporaryDirectory() as place:
    text, rows, run = (Path(place) / name for name in ("poems.txt", "poems.jsonl", "run"))
    text.write_text(POEMS, encoding="utf-8")
    made = prepare.poems(prepare.Poems((text,), out=rows))
    print(f"{made.rows} poems; the first:\n{made.sample}\n")
    finetune.run(finetune.Config((rows,), model=model, out=run, steps=8, batch=2, sample_every=0))
    for name in (model, run):
        line = inkfish.load(name).generate("The Lamp\n\n", max_tokens=30, seed=1)
        print(f"\n{name}:\n{line.prompt}{line.text}")
