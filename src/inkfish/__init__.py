"""inkfish: the GPT-2 workbench. Write, fine-tune, chat, translate, summarize and learn from preferences.

import inkfish

model = inkfish.load("starter")
print(model.generate("Once upon a time", max_tokens=50))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inkfish.errors import InkfishError

if TYPE_CHECKING:
    from inkfish.generate import LanguageModel

__all__ = ["InkfishError", "__version__", "load"]

__version__ = "0.1.0"


def load(
    name: str | Path = "starter",
    *,
    backend: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    speculate: bool | None = None,
) -> LanguageModel:
    """Return a model, ready to write; `inkfish.generate.load` explains the arguments and what is refused."""
    from inkfish.generate import load as load_model  # here: `inkfish --help` needs no numpy

    return load_model(name, backend=backend, dtype=dtype, threads=threads, device=device, speculate=speculate)
