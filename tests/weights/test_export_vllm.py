"""What vLLM reads of an exported folder, as its own GPT-2 does (vllm/model_executor/models/gpt2.py).

vLLM itself needs a GPU or a build of its own, so what it asserts and looks up is asserted and looked up here,
with the libraries that it uses for it: transformers for config and tokenizer, safetensors for the rest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

import inkfish
from inkfish.weights import export, hub, read_model

TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
"""Stored input × output; vLLM turns them round as it reads them."""


@pytest.fixture(scope="module", params=["float32", "float16", "bfloat16"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter, exported."""
    checkpoint, tokenizer = read_model(hub.find("starter"))
    place = tmp_path_factory.mktemp("exported") / "starter"
    export.to_huggingface(checkpoint, tokenizer, place, name="starter", dtype=request.param)
    return place


def test_the_config_that_vllm_asserts(folder: Path) -> None:
    config = AutoConfig.from_pretrained(folder)
    assert config.architectures == ["GPT2LMHeadModel"]
    assert not config.add_cross_attention
    assert not config.scale_attn_by_inverse_layer_idx
    assert not config.reorder_and_upcast_attn
    assert config.tie_word_embeddings
    assert config.activation_function == "gelu_new"
    assert config.n_inner is None
    assert config.hidden_size % config.num_attention_heads == 0
    assert (config.num_hidden_layers, config.max_position_embeddings, config.vocab_size) == (8, 512, 8192)


def test_every_tensor_has_its_place(folder: Path) -> None:
    config = AutoConfig.from_pretrained(folder)
    wide, inner = config.hidden_size, 4 * config.hidden_size
    expected: dict[str, tuple[int, ...]] = {
        "wte.weight": (config.vocab_size, wide),
        "wpe.weight": (config.n_positions, wide),
    }
    expected |= {f"ln_f.{part}": (wide,) for part in ("weight", "bias")}
    sizes = {"attn.c_attn": (3 * wide, wide), "attn.c_proj": (wide, wide)}
    sizes |= {"mlp.c_fc": (inner, wide), "mlp.c_proj": (wide, inner)}
    for i in range(config.num_hidden_layers):
        expected |= {f"h.{i}.ln_{k}.{part}": (wide,) for k in (1, 2) for part in ("weight", "bias")}
        for name, (outward, inward) in sizes.items():
            expected |= {f"h.{i}.{name}.weight": (outward, inward), f"h.{i}.{name}.bias": (outward,)}
    found = {}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  # it is no mapping
            tensor = file.get_tensor(name)
            turned = tensor.t() if name.endswith(TRANSPOSED) else tensor
            if name != "lm_head.weight":
                found[name.removeprefix("transformer.")] = tuple(turned.shape)
    assert found == expected


def test_vocabulary_and_sampling_defaults(folder: Path) -> None:
    ours, theirs = inkfish.load("starter").tokenizer, AutoTokenizer.from_pretrained(folder)
    for text in ("Once upon a time", "  café 🐙\n\n\tend", "don't  stop… 1234"):
        assert theirs.encode(text) == ours.encode(text)
    defaults = GenerationConfig.from_pretrained(folder)
    assert (defaults.temperature, defaults.top_p, defaults.eos_token_id) == (0.8, 0.95, 0)


def test_the_same_logits_in_transformers(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    ids = inkfish.load("starter").tokenizer.encode("The old lighthouse keeper looked out at the sea")
    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        theirs = peer(torch.tensor([ids])).logits[0].numpy()
    ours = inkfish.load(folder, backend="reference").logits(ids)
    assert np.allclose(ours, theirs, atol=2e-3)
