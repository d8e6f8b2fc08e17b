"""LoRA adapters that peft wrote: merged as peft itself merges them, everything else refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.tokenizer import Tokenizer
from inkfish.weights import adapter, huggingface
from inkfish.weights.importing import import_folder, opened

SHAPE = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=277)
FIXTURE = Path(__file__).parents[1] / "fixtures" / "gpt-2-simple" / "checkpoint" / "run1"
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights with a vocabulary."""
    random = np.random.default_rng(3)
    folder: Path = tmp_path_factory.mktemp("base") / "model"
    tensors = {
        name: random.normal(0, 0.2, shape).astype(np.float32) for name, shape in SHAPE.tensor_shapes().items()
    }
    huggingface.write(folder, SHAPE, tensors, tokenizer=Tokenizer.load(FIXTURE, vocab_size=277), eos=276)
    return folder


def made_by_peft(base: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    """Save an adapter of peft's whose updates are not zero, and return the state that peft's merge gives."""
    import peft
    from transformers import GPT2LMHeadModel

    torch.manual_seed(5)
    config: Any = peft.LoraConfig
    plain: Any = GPT2LMHeadModel.from_pretrained(base)
    settings = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 24, "lora_dropout": 0.1, **settings}
    tuned: Any = peft.get_peft_model(plain, config(**settings))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3)
    tuned.save_pretrained(folder)
    return {name: value.numpy() for name, value in tuned.merge_and_unload().transformer.state_dict().items()}


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["c_attn"]},
        {"target_modules": ["attn.c_proj", "c_fc"], "use_rslora": True},
        {"target_modules": ["c_attn", "c_proj"], "rank_pattern": {"mlp.c_proj": 2, "h.0.attn.c_attn": 3}},
        {"target_modules": ["c_attn", "c_fc"], "alpha_pattern": {"c_fc": 7}, "layers_to_transform": [1]},
        {"target_modules": "all-linear", "init_lora_weights": "gaussian"},
    ],
)  # fmt: skip
def test_merged_as_peft_merges(base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    theirs = made_by_peft(base, tmp_path / "adapter", **settings)
    ours = opened(tmp_path / "adapter", base).checkpoint
    plain = weights.read(base)
    changed = 0
    for name, tensor in ours.tensors.items():
        np.testing.assert_allclose(tensor, theirs[name], rtol=1e-5, atol=1e-6)
        changed += not np.array_equal(tensor, plain.tensors[name])
    assert changed >= 1
    assert ours.config == plain.config


def test_an_import_is_a_plain_model(base: Path, tmp_path: Path) -> None:
    theirs = made_by_peft(base, tmp_path / "adapter", target_modules=["c_attn"])
    (tmp_path / "adapter" / "LICENSE").write_text("mine")
    target = import_folder(tmp_path / "adapter", "mine", base=base, store=tmp_path / "store")
    assert (tmp_path / "adapter" / "README.md").exists()
    assert not (target / "README.md").exists(), "the card of an adapter is not that of a whole model"
    assert (target / "LICENSE").read_text() == "mine"
    read = weights.read(target)
    name = "h.1.attn.c_attn.weight"
    np.testing.assert_allclose(read.tensors[name], theirs[name], rtol=1e-5, atol=1e-6)
    assert read.eos == 276


def test_a_base_belongs_to_an_adapter(base: Path, tmp_path: Path) -> None:
    made_by_peft(base, tmp_path / "a", target_modules=["c_attn"])
    with pytest.raises(ModelError, match=rf"is a LoRA adapter; say --base MODEL, .*\({base}\)"):
        opened(tmp_path / "a")
    with pytest.raises(ModelError, match=r"is no LoRA adapter, which has adapter_config.json alone;"):
        opened(base, base)
    with pytest.raises(ModelError, match=r"it holds a LoRA adapter: inkfish models import FOLDER --base"):
        weights.read(tmp_path / "a")


def change(folder: Path, **values: object) -> None:
    path = folder / adapter.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', only 'LORA' is supported"),
        ({"use_dora": True}, "use_dora is True, only False is supported"),
        ({"use_rslora": 1}, "use_rslora is 1, only False or True is supported"),
        ({"bias": "all"}, "bias is 'all', only 'none' is supported"),
        ({"modules_to_save": ["wte"]}, "modules_to_save is ['wte'], only None or [] is supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', only True or False or 'gaussian'"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is [1], only None is supported"),
        ({"layer_replication": [[0, 1]]}, "layer_replication is [[0, 1]], only None is supported"),
        ({"r": 0}, "r must be a whole number from 1 to 65,536"),
        ({"r": 1 << 62}, "r must be a whole number from 1 to 65,536"),
        ({"r": True}, "r must be a whole number"),
        ({"lora_alpha": "x"}, "lora_alpha must be a number from 0 to 1,000,000"),
        ({"lora_alpha": -1}, "lora_alpha must be a number from 0 to 1,000,000"),
        ({"lora_dropout": 2}, "lora_dropout must be a number from 0 to 1"),
        ({"rank_pattern": {"(a+)+$": 3}}, "must have layers' names, no regular expressions"),
        ({"alpha_pattern": [1]}, "must have layers' names, no regular expressions"),
        ({"rank_pattern": {"c_attn": "x"}}, "r must be a whole number"),
        ({"r": 5}, "lora_A (4, 12), lora_B (36, 4); expected lora_A (5, in), lora_B (out, 5)"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(base: Path, tmp_path: Path, values: dict[str, object], words: str) -> None:
    made_by_peft(base, tmp_path / "a", target_modules=["c_attn"])
    change(tmp_path / "a", **values)
    with pytest.raises(ModelError) as caught:
        adapter.read(tmp_path / "a")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tensors_that_are_refused(base: Path, tmp_path: Path) -> None:
    made_by_peft(base, tmp_path / "a", target_modules=["c_attn"])
    path = tmp_path / "a" / adapter.WEIGHTS
    sound = load_file(path)
    first = next(iter(sound))
    cases = {
        "is no update of a linear layer": {"transformer.wte.lora_A.weight": sound[first]},
        r"must be a matrix of finite numbers": sound | {first: sound[first] * torch.nan},
        r"has lora_A \(4, 12\); expected": {first: sound[first]},
        "holds no updates": {},
    }  # fmt: skip
    for words, tensors in cases.items():
        save_file(tensors, path)
        with pytest.raises(ModelError, match=words):
            adapter.read(tmp_path / "a")
    path.unlink()
    with pytest.raises(ModelError, match=r"has no adapter_model.safetensors; copy the adapter again"):
        adapter.read(tmp_path / "a")
    (tmp_path / "a" / adapter.CONFIG).unlink()
    with pytest.raises(ModelError, match=r"has no adapter_config.json; name the folder"):
        adapter.read(tmp_path / "a")


def test_an_adapter_of_another_model(base: Path, tmp_path: Path) -> None:
    made_by_peft(base, tmp_path / "a", target_modules=["c_attn"])
    small = ModelConfig(n_layer=1, n_head=3, n_embd=6, n_positions=32, vocab_size=277)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in small.tensor_shapes().items()}
    found = adapter.read(tmp_path / "a")
    with pytest.raises(
        ModelError,
        match=r"another model than this base: h.0.attn.c_attn is \(12, 36\), expected \(6, 18\); h.1.attn",
    ):
        adapter.merged(weights.Checkpoint(small, zeros, "float32"), found, source=tmp_path / "a")
