# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fine-tune GPT-2 on your own texts
#
# From a file to a model that writes like it: on [Colab](https://colab.research.google.com) (choose *Runtime →
# Change runtime type → GPU* first), or on your own computer, which nothing leaves and which needs no network.
# Run the cells from top to bottom.

# %%
import importlib.util

if importlib.util.find_spec("inkfish") is None:
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install -q 'inkfish[train,documents]'")

# %% [markdown]
# ## What to train, and on what
#
# `starter` is a small model that comes with inkfish. `gpt2` knows far more English and wants a GPU, or
# patience; `inkfish models pull gpt2` fetches it once. Put your file beside this notebook (on Colab: the
# folder at the left), name it here, and take many more steps: ten minutes are a good beginning.

# %% tags=["parameters"]
model = "starter"
steps = 30
data = "my-texts.txt"  # also .docx, .odt, .epub, .pdf, .html, .csv, .xlsx, .jsonl, or a folder
run = "runs/notebook"

# %% [markdown]
# Without a file of that name, this one is written, so that there is something to see.

# %%
from pathlib import Path

if not Path(data).exists():
    verse = (
        "The {} keeps a lamp of {},\nand nobody asks why.\n"
        "It lights it when the {} comes\nand lets the {} go by.\n"
    )
    things = ["fox", "miller", "moon", "sailor", "crow", "widow", "river", "clerk", "winter", "baker"]
    stuffs = ["brass", "glass", "horn", "bone", "tin"]
    poems = [
        verse.format(a, b, c, d)
        for n, a in enumerate(things)
        for b, c, d in zip(stuffs, things[n:] + things, things[n + 3 :] + things, strict=False)
    ]
    Path(data).write_text("<|endoftext|>".join(poems), encoding="utf-8")

# %% [markdown]
# ## What training will see
#
# The text is cut into tokens; `<|endoftext|>` stands between documents.

# %%
from tempfile import TemporaryDirectory

import inkfish
from inkfish.data.prepare import prepare
from inkfish.data.preview import preview

before = inkfish.load(model)
with TemporaryDirectory() as place:
    found = prepare([data], before.tokenizer, Path(place))
    print(
        f"{found.documents:,} documents, {found.words:,} words, {len(found.train.ids):,} tokens to train on"
    )
    print("|".join(preview(found.train, before.tokenizer, windows=1, length=80)[0].texts))

# %% [markdown]
# ## Train
#
# Stop the cell at any moment and run it again: it goes on where it was. With more `steps` it goes on from its
# end. For `gpt2` on a small GPU add `train="lora"`.

# %%
from inkfish.recipes import finetune

result = finetune.run(
    finetune.Config((Path(data),), model=model, out=Path(run), steps=steps, batch=4, evaluate_every=10)
)

# %%
from IPython.display import Image

Image(str(result.folder / "curve.png"))

# %% [markdown]
# ## Before and after

# %%
after = inkfish.load(run)
for prompt in ("The fox", "And nobody"):
    for name, writer in (("before", before), ("after", after)):
        text = writer.generate(prompt, max_tokens=40, seed=1, temperature=0.8).text
        print(f"--- {name} ---\n{prompt}{text}\n")

# %% [markdown]
# How surprised each is by a line of yours (perplexity: lower is less surprised):

# %%
line = "The crow keeps a lamp of glass,\nand nobody asks why."
for name, writer in (("before", before), ("after", after)):
    print(name, round(writer.score(line, from_start=True).perplexity, 1))

# %% [markdown]
# ## Keep it
#
# The folder is the model: `inkfish write --model runs/notebook` on your computer, or `transformers`. On Colab
# the next cell makes one file of it; download that from the folder at the left, as the machine forgets it.

# %%
import shutil

from inkfish.weights import hub

print(shutil.make_archive(f"{run}-model", "zip", hub.find(run)))
