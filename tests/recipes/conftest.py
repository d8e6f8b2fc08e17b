"""A tiny model as a folder, for recipes that read one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inkfish.config import ModelConfig
from inkfish.model import GPT2
from inkfish.recipes import tokenizer
from inkfish.tokenizer import Tokenizer
from inkfish.weights import huggingface


@pytest.fixture(scope="session")
def write_base() -> Callable[[Path, str, ModelConfig], None]:
    """What writes a text as `text.txt` and, as `base`, an untrained model with a vocabulary made of it."""

    def write(folder: Path, text: str, shape: ModelConfig) -> None:
        (folder / "text.txt").write_text(text)
        vocabulary = Tokenizer(tokenizer.train([text], vocab_size=shape.vocab_size))
        torch.manual_seed(3)
        model = GPT2(shape)
        with torch.no_grad():
            model.wte.weight.mul_(10)  # so that its tokens differ clearly
        huggingface.write(folder / "base", shape, model.tensors(), tokenizer=vocabulary, eos=vocabulary.end)

    return write
