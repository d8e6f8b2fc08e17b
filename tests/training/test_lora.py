"""LoRA against peft: the same files, the same logits, the same merged weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.model import GPT2
from inkfish.training import lora
from inkfish.weights import huggingface

SHAPE = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17)
IDS = torch.arange(10).reshape(2, 5) % 17


def model(*layers: str) -> GPT2:
    """An adapted model whose B is not zero."""
    torch.manual_seed(1)
    made = GPT2(SHAPE).eval()
    lora.adapt(made, rank=3, alpha=5, layers=layers or lora.LAYERS)
    with torch.no_grad():
        for layer in lora.adapted(made).values():
            layer.lora_B.normal_(0, 0.5)
    return made


def test_an_update_begins_as_nothing_and_alone_is_trained() -> None:
    plain = GPT2(SHAPE).eval()
    expected = plain(IDS)
    lora.adapt(plain, rank=2, alpha=4)
    torch.testing.assert_close(plain(IDS), expected, rtol=0, atol=0)
    trained = [name for name, p in plain.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 4 * 2
    assert all(".lora_" in name for name in trained)


def test_merging_gives_the_same_logits_and_a_plain_model() -> None:
    tuned = model()
    expected = tuned(IDS)
    tensors = lora.merged(tuned)
    assert {name: t.shape for name, t in tensors.items()} == SHAPE.tensor_shapes()
    plain = GPT2(SHAPE).eval()
    plain.load_tensors(tensors)
    torch.testing.assert_close(plain(IDS), expected, rtol=1e-5, atol=1e-6)
    lora.merge(tuned)
    assert not lora.adapted(tuned)
    assert all(p.requires_grad for p in tuned.parameters())
    torch.testing.assert_close(tuned(IDS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_peft_reads_what_is_written_and_the_other_way_round(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    from transformers import GPT2LMHeadModel

    tuned = model("attn.c_attn", "mlp.c_proj")
    base = {name: value for name, value in tuned.tensors().items() if ".lora_" not in name}
    huggingface.write(tmp_path / "base", SHAPE, base)
    lora.write(tmp_path / "ours", tuned)
    plain: Any = GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(plain.eval(), tmp_path / "ours")
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, tuned(IDS), rtol=1e-4, atol=1e-5)
    theirs.save_pretrained(tmp_path / "theirs")
    again = GPT2(SHAPE).eval()
    again.load_tensors(base)
    lora.attach(tmp_path / "theirs", again)
    torch.testing.assert_close(again(IDS), tuned(IDS), rtol=0, atol=0)
    weight = theirs.merge_and_unload().transformer.h[1].mlp.c_proj.weight.detach().numpy()
    np.testing.assert_allclose(lora.merged(tuned)["h.1.mlp.c_proj.weight"], weight, rtol=1e-5, atol=1e-6)


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tuned = model()
    with pytest.raises(ModelError, match=r"has no adapter_config.json; name the folder"):
        lora.attach(tmp_path, GPT2(SHAPE))
    lora.write(tmp_path / "a", tuned)
    config = json.loads((tmp_path / "a" / lora.CONFIG).read_text())
    for change, message in [
        ({"use_dora": True}, "use_dora is True, only False is supported"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3', only 'LORA' is supported"),
        ({"alpha_pattern": {"mlp.c_fc": 1}}, "has updates of several ranks or scales, and training takes"),
        ({"r": "x"}, "r must be a whole number from 1 to"),
    ]:
        (tmp_path / "a" / lora.CONFIG).write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=message):
            lora.attach(tmp_path / "a", GPT2(SHAPE))
    (tmp_path / "a" / lora.CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"does not fit this model: .* is extra"):
        lora.load(tmp_path / "a", model("attn.c_attn"))
    wide = ModelConfig(n_layer=2, n_head=3, n_embd=24, n_positions=32, vocab_size=17)
    with pytest.raises(ModelError, match=r"h\.0\.attn\.c_attn\.lora_A is \(3, 12\), expected \(3, 24\)"):
        lora.attach(tmp_path / "a", GPT2(wide))
    path = tmp_path / "a" / lora.WEIGHTS
    tensors = load_file(path)
    save_file({"base_model.model.transformer.wte.lora_A.weight": torch.zeros(3, 17)}, path)
    with pytest.raises(ModelError, match="is no update of a linear layer of a GPT-2"):
        lora.attach(tmp_path / "a", GPT2(SHAPE))
    path.unlink()
    with pytest.raises(ModelError, match=r"has no adapter_model.safetensors; copy the adapter again"):
        lora.attach(tmp_path / "a", GPT2(SHAPE))
    assert len(tensors) == 16
