"""Attention weights against transformers' own, whatever back end runs the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import inkfish
from inkfish.backends import native
from inkfish.errors import ContextError, SettingError
from inkfish.generate import LanguageModel
from inkfish.generate.attention import LONGEST, attentions
from inkfish.weights import hub, native_folder, read_model


def theirs(folder: Path, ids: list[int]) -> np.ndarray:
    """Return the weights (layers, H, T, T) as transformers computes them, eagerly and in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    peer = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        found = peer(torch.tensor([ids]), output_attentions=True).attentions
    return torch.cat(found).numpy()


def test_as_transformers_has_them(model: LanguageModel, byte_folder: Path) -> None:
    ids = list(b"the hat sat on the cat")
    ours = np.stack(list(attentions(model, ids)))
    assert ours.shape == (2, 3, len(ids), len(ids))
    assert ours.dtype == np.float32
    assert np.allclose(ours, theirs(byte_folder, ids), atol=1e-4)
    assert np.allclose(ours.sum(-1), 1, atol=1e-5)
    assert not np.triu(ours, 1).any()


def test_of_the_starter_whatever_runs_it() -> None:
    starter = inkfish.load("starter")
    ids = starter.tokenizer.encode("Once upon a time there was a fox, and the fox could not lie.")
    ours = np.stack(list(attentions(starter, ids)))
    assert np.allclose(ours, theirs(hub.find("starter"), ids), atol=1e-4)


def test_what_can_not_be_looked_at(model: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="nothing to look at"):
        attentions(model, [])
    with pytest.raises(SettingError, match="holds the id 257"):
        attentions(model, [257])
    with pytest.raises(ContextError, match="the text has 65 tokens; attention is shown for at most 64"):
        attentions(model, [1] * 65)
    starter = inkfish.load("starter")
    with pytest.raises(ContextError, match=f"at most {LONGEST}"):
        attentions(starter, [1] * (LONGEST + 1))


@pytest.mark.skipif(not native.available(), reason="the native back end was not built")
def test_a_model_that_was_exported_to_write_with(byte_folder: Path, tmp_path: Path) -> None:
    found = read_model(byte_folder)
    native_folder.write(found.checkpoint, found.tokenizer, tmp_path / "small", dtype="float32")
    with pytest.raises(SettingError, match="exported for the native back end alone"):
        attentions(inkfish.load(tmp_path / "small"), [1, 2])
