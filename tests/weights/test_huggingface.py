"""Hugging Face folders: we read what transformers writes, it reads what we write, the rest is refused."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from inkfish.backends import reference
from inkfish.config import ModelConfig
from inkfish.errors import ModelError
from inkfish.tokenizer import Tokenizer
from inkfish.weights import huggingface
from inkfish.weights.checkpoint import Checkpoint, check_finite
from inkfish.weights.generation_config import GenerationDefaults
from inkfish.weights.tensor_file import write_file

Tensors = dict[str, NDArray[Any]]
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 16, 0]


def ours(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Logits (T, V) of IDS by our reference back end."""
    backend = reference.load(checkpoint.config, checkpoint.tensors)
    return backend.prefill(backend.allocate(), IDS, every=True)


def theirs(folder: Path) -> NDArray[np.float32]:
    """Logits (T, V) of IDS by transformers, in float32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy()


def edit(folder: Path, name: str, **values: object) -> None:
    """Change fields of a JSON file."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replace_weights(folder: Path, tensors: Tensors) -> None:
    """Put other tensors into a folder."""
    write_file(
        folder / "model.safetensors", list(tensors.items()), dtype="float32", metadata={"format": "pt"}
    )


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({}, torch.float32),
        ({"n_inner": 40}, torch.float16),
        ({"layer_norm_epsilon": 1e-3}, torch.bfloat16),
        ({"activation_function": "gelu_pytorch_tanh"}, torch.float64),
        ({"reorder_and_upcast_attn": True}, torch.float32),
    ],
)
def test_folders_of_transformers_give_equal_logits(
    tmp_path: Path, settings: dict[str, Any], dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    shape = transformers.GPT2Config(
        n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=17, initializer_range=0.3, **settings
    )
    model = transformers.GPT2LMHeadModel(shape)
    torch.nn.Module.to(model, dtype)
    model.save_pretrained(tmp_path)
    checkpoint = huggingface.read(tmp_path)
    assert checkpoint.dtype == str(dtype).removeprefix("torch.")
    assert list(checkpoint.tensors) == list(checkpoint.config.tensor_shapes())
    assert checkpoint.eos is None, "50256, which transformers writes by default, is not in this vocabulary"
    assert np.abs(ours(checkpoint) - theirs(tmp_path)).max() < 1e-4


def test_bare_models_and_shards_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(1)
    shape = transformers.GPT2Config(n_layer=3, n_head=2, n_embd=32, n_positions=32, vocab_size=50)
    model = transformers.GPT2LMHeadModel(shape)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="30KB")
    model.transformer.save_pretrained(tmp_path / "bare")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) >= 3
    sharded, bare = huggingface.read(tmp_path / "sharded"), huggingface.read(tmp_path / "bare")
    for name in sharded.config.tensor_shapes():
        assert np.array_equal(sharded.tensors[name], bare.tensors[name])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_we_write_transformers_reads(
    tmp_path: Path, config: ModelConfig, tensors: Tensors, dtype: str
) -> None:
    huggingface.write(tmp_path / "out", config, tensors, eos=3, dtype=dtype)
    checkpoint = huggingface.read(tmp_path / "out")
    assert (checkpoint.config, checkpoint.eos, checkpoint.dtype) == (config, 3, dtype)
    assert np.abs(ours(checkpoint) - theirs(tmp_path / "out")).max() < 1e-4
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert str(model.dtype) == f"torch.{dtype}"
    assert model.generation_config.eos_token_id == 3


def test_writing_twice_changes_no_bit(folder: Path, config: ModelConfig) -> None:
    first = (folder / "model.safetensors").read_bytes()
    huggingface.write(folder, config, huggingface.read(folder).tensors, eos=3)
    assert (folder / "model.safetensors").read_bytes() == first


def test_tokenizer_and_defaults_travel_along(tmp_path: Path, config: ModelConfig, tensors: Tensors) -> None:
    large = ModelConfig(n_layer=1, n_head=1, n_embd=2, n_positions=8, vocab_size=50_257)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in large.tensor_shapes().items()}
    defaults = GenerationDefaults(temperature=0.7, top_p=0.9, other={"typical_p": 0.5})
    tokenizer = Tokenizer.gpt2()
    huggingface.write(
        tmp_path / "out", large, zeros, tokenizer=tokenizer, eos=tokenizer.end, generation=defaults
    )
    checkpoint = huggingface.read(tmp_path / "out")
    assert (checkpoint.eos, checkpoint.generation.temperature) == (50256, 0.7)
    assert checkpoint.generation.other["typical_p"] == 0.5
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs.encode("Once upon a time") == tokenizer.encode("Once upon a time")


def test_end_token_of_generation_config_goes_before_that_of_config(folder: Path) -> None:
    edit(folder, "generation_config.json", eos_token_id=[99, 5, 6])
    assert huggingface.read(folder).eos == 5
    (folder / "generation_config.json").unlink()
    assert huggingface.read(folder).eos == 3
    edit(folder, "config.json", eos_token_id=None)
    assert huggingface.read(folder).eos is None


def test_harmless_extras_pass(folder: Path, tensors: Tensors) -> None:
    extras: Tensors = {
        "h.0.attn.bias": np.ones((1, 1, 32, 32), np.float32),
        "h.1.attn.masked_bias": np.array(-1e4, np.float32),
        "lm_head.weight": tensors["wte.weight"],
    }
    replace_weights(folder, tensors | extras)
    assert set(huggingface.read(folder).tensors) == set(tensors)
    edit(folder, "config.json", tie_word_embeddings=False)
    huggingface.read(folder)


def test_all_mismatches_stand_in_one_line(folder: Path, tensors: Tensors) -> None:
    wrong = dict(tensors)
    del wrong["h.1.ln_2.bias"], wrong["ln_f.weight"]
    wrong["h.0.attn.c_attn.weight"] = wrong["h.0.attn.c_attn.weight"].T
    wrong["wte.weight"] = np.zeros((20, 12), np.float32)
    wrong["h.0.attn.rotary"] = np.zeros(3, np.float32)
    wrong["bad\nname"] = np.zeros(3, np.float32)
    replace_weights(folder, wrong)
    with pytest.raises(ModelError) as caught:
        huggingface.read(folder)
    assert str(caught.value) == (
        f"{folder} does not fit its config in 6 points: h.1.ln_2.bias (12,) is missing; "
        "ln_f.weight (12,) is missing; wte.weight is (20, 12), expected (17, 12); "
        "h.0.attn.c_attn.weight is (36, 12), expected (12, 36); h.0.attn.rotary (3,) is extra; "
        r"'bad\nname' (3,) is extra"
    )


@pytest.mark.parametrize(
    ("field", "value"), [("n_layer", 3), ("vocab_size", 18), ("n_embd", 15), ("n_inner", 48)]
)
def test_wrong_shapes_in_the_config(folder: Path, field: str, value: int) -> None:
    edit(folder, "config.json", **{field: value})
    with pytest.raises(ModelError, match=r"does not fit its config in \d+ points?:"):
        huggingface.read(folder)


def test_types_that_are_no_weights_are_listed(folder: Path, tensors: Tensors) -> None:
    from safetensors.numpy import save_file

    wrong = tensors | {
        "wpe.weight": tensors["wpe.weight"].astype(np.int8),
        "ln_f.bias": tensors["ln_f.bias"].astype(np.int64),
    }
    save_file(wrong, folder / "model.safetensors")
    with pytest.raises(
        ModelError, match=r"ln_f.bias is stored as I64, expected F32.*wpe.weight is stored as I8"
    ):
        huggingface.read(folder)


@pytest.mark.parametrize("shape", [(17, 12), (18, 12)])
def test_untied_heads_are_refused(folder: Path, tensors: Tensors, shape: tuple[int, int]) -> None:
    replace_weights(folder, tensors | {"lm_head.weight": np.zeros(shape, np.float32)})
    with pytest.raises(ModelError, match=r"lm_head.weight \(1[78], 12\) differs from wte.weight \(17, 12\)"):
        huggingface.read(folder)


def test_untied_heads_that_are_missing_are_refused(folder: Path) -> None:
    edit(folder, "config.json", tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"tie_word_embeddings is false, lm_head.weight missing"):
        huggingface.read(folder)


def test_a_name_with_and_without_prefix_is_refused(folder: Path, tensors: Tensors) -> None:
    replace_weights(folder, tensors | {"transformer.ln_f.bias": tensors["ln_f.bias"]})
    with pytest.raises(ModelError, match=r"holds ln_f.bias with and without the prefix transformer"):
        huggingface.read(folder)


def test_values_that_are_not_finite_are_counted(folder: Path, tensors: Tensors) -> None:
    check_finite(huggingface.read(folder))
    from safetensors.numpy import save_file

    wrong = {name: tensor.copy() for name, tensor in tensors.items()}
    wrong["wte.weight"][3, 4] = np.nan
    wrong["h.1.mlp.c_fc.bias"][:2] = np.inf
    save_file(wrong, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"not finite \(wte.weight has 1; h.1.mlp.c_fc.bias has 2\)"):
        check_finite(huggingface.read(folder))


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "last.ckpt", "w.pth", "w.pkl"],
)
def test_pickles_are_refused_by_name(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelError) as caught:
        huggingface.read(folder)
    assert f"holds its weights as {name}, a pickle, which can run code when opened" in str(caught.value)
    assert "save_pretrained(out, safe_serialization=True)" in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: shutil.rmtree(f), "there is no folder"),
        (lambda f: (f / "config.json").unlink(), "has no config.json; a model folder has config.json and"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors; fetch or copy"),
        (lambda f: (f / "config.json").write_bytes(b"[" * 200_000), "nested too deeply"),
        (lambda f: edit(f, "generation_config.json", top_p=3), "top_p is 3, it must be a number from 0 to 1"),
    ],
)
def test_damaged_folders(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=words):
        huggingface.read(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [("adapter_config.json", "holds a LoRA adapter"), ("hparams.json", "has OpenAI's TensorFlow layout")],
)
def test_folders_of_other_layouts_are_named(folder: Path, name: str, words: str) -> None:
    (folder / "config.json").rename(folder / name)
    with pytest.raises(ModelError, match=words):
        huggingface.read(folder)


def shard(folder: Path, tensors: Tensors, places: dict[str, str]) -> None:
    """Turn a folder into one of shards."""
    (folder / "model.safetensors").unlink()
    for place in set(places.values()):
        if place.endswith("of-00002.safetensors"):
            held = [(name, tensors[name]) for name in places if places[name] == place]
            write_file(folder / place, held, dtype="float32", metadata={})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def places_of(tensors: Tensors) -> dict[str, str]:
    return {name: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(tensors)}


def test_shards_are_joined(folder: Path, tensors: Tensors) -> None:
    shard(folder, tensors, places_of(tensors))
    checkpoint = huggingface.read(folder)
    assert all(np.array_equal(checkpoint.tensors[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(
    "place", ["../outside.safetensors", "/etc/hostname", "x\0y", "y" * 4096, "a/b", "..", "%2e%2e/x"]
)
def test_shards_outside_the_folder_are_refused(folder: Path, tensors: Tensors, place: str) -> None:
    write_file(folder.parent / "outside.safetensors", list(tensors.items()), dtype="float32", metadata={})
    shard(folder, tensors, places_of(tensors) | {"ln_f.bias": place})
    with pytest.raises(ModelError, match="must be a plain name in the folder"):
        huggingface.read(folder)


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(folder: Path, tensors: Tensors) -> None:
    shard(folder, tensors, places_of(tensors))
    second = folder / "model-00002-of-00002.safetensors"
    second.rename(folder.parent / "elsewhere")
    second.symlink_to("../elsewhere")
    with pytest.raises(ModelError, match="outside the folder"):
        huggingface.read(folder)


def test_shards_that_do_not_fit_their_index(folder: Path, tensors: Tensors) -> None:
    places = places_of(tensors)
    shard(folder, tensors, places)
    index = folder / "model.safetensors.index.json"
    swapped = places | {"ln_f.bias": places["ln_f.weight"]}
    index.write_text(json.dumps({"weight_map": swapped}))
    with pytest.raises(ModelError, match=r"index.json disagree about ln_f.bias"):
        huggingface.read(folder)
    index.write_text(json.dumps({"weight_map": places}))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model-00002-of-00002.safetensors, which"):
        huggingface.read(folder)
    for bad in (None, ["x"], {"ln_f.bias": 3}):
        index.write_text(json.dumps({"weight_map": bad}))
        with pytest.raises(ModelError, match="weight_map must say for each tensor in which file it is"):
            huggingface.read(folder)


def test_wrong_tensors_are_not_written(tmp_path: Path, config: ModelConfig, tensors: Tensors) -> None:
    wrong = dict(tensors)
    del wrong["ln_f.bias"]
    with pytest.raises(ModelError, match=r"the model does not fit its config in 1 point: ln_f.bias \(12,\)"):
        huggingface.write(tmp_path / "out", config, wrong)
    nan = tensors | {"ln_f.bias": np.full(12, np.nan, np.float32)}
    with pytest.raises(ModelError, match=r"ln_f.bias holds values that are not finite"):
        huggingface.write(tmp_path / "out", config, nan)
    assert list(tmp_path.iterdir()) == []


def test_saving_over_a_mapped_folder_leaves_its_readers_unharmed(
    folder: Path, config: ModelConfig, tensors: Tensors
) -> None:
    checkpoint = huggingface.read(folder)
    before = ours(checkpoint)
    for turn in range(10):
        other = {name: tensor + np.float32(turn + 1) for name, tensor in tensors.items()}
        huggingface.write(folder, config, other, dtype="float16")
        assert np.array_equal(ours(checkpoint), before)
    assert not np.array_equal(huggingface.read(folder).tensors["ln_f.bias"], checkpoint.tensors["ln_f.bias"])


def test_a_folder_of_the_size_of_gpt2_is_read_at_once(tmp_path: Path) -> None:
    """Random-looking zeros on a sparse disk: 124,439,808 parameters in float16."""
    config = ModelConfig()
    header: dict[str, Any] = {}
    end = 0
    for name, shape in config.tensor_shapes().items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + end)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    began = time.process_time()
    checkpoint = huggingface.read(tmp_path)
    assert time.process_time() - began < 0.5
    assert sum(tensor.size for tensor in checkpoint.tensors.values()) == 124_439_808
