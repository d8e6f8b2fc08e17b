"""Exports: each file is read back by a program of somebody else, and says the same."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from numpy.typing import NDArray

from inkfish import weights
from inkfish.backends import reference
from inkfish.config import ModelConfig
from inkfish.errors import MissingExtraError, ModelError
from inkfish.tokenizer import Tokenizer
from inkfish.weights import export_onnx, openai
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.export import to_huggingface, to_openai
from inkfish.weights.export_gguf import gguf_name, to_gguf
from inkfish.weights.export_onnx import to_onnx
from inkfish.weights.facts import describe, licence, memory_to_train, memory_to_write
from inkfish.weights.importing import carried, import_folder

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gpt-2-simple" / "checkpoint" / "run1"
IDS = [72, 101, 276, 0, 5, 260, 33]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return openai.read(FIXTURE)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(FIXTURE, vocab_size=277)


def logits(model: Checkpoint, ids: list[int]) -> NDArray[np.float32]:
    backend = reference.load(model.config, model.tensors)
    return backend.prefill(backend.allocate(), ids, every=True)


def test_hugging_face(checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path) -> None:
    import torch
    import transformers

    out = tmp_path / "out"
    to_huggingface(checkpoint, tokenizer, out, name="poems", dtype="float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    with torch.no_grad():
        theirs = model(torch.tensor([IDS])).logits[0].numpy()
    assert np.abs(theirs - logits(checkpoint, IDS)).max() < 1e-4
    assert model.config.eos_token_id == 276
    theirs_tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert theirs_tokenizer.encode("the ghost and") == tokenizer.encode("the ghost and")
    card = (out / "README.md").read_text()
    data: Any = huggingface_hub.ModelCard(card).data
    assert data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["gpt2", "inkfish"],
    }
    assert "# poems\n\nA GPT-2 with 2,790 parameters: 2 layers of 6 channels and 3 heads" in card


def test_a_card_and_its_licence_are_kept(
    checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(FIXTURE, tmp_path / "source"))
    (source / "README.md").write_text("---\nlicense: mit\n---\nMine.")
    (source / "heads.safetensors").write_bytes(b"heads")
    out = tmp_path / "out"
    to_huggingface(checkpoint, tokenizer, out, name="poems", dtype="bfloat16", beside=carried(source))
    assert (out / "heads.safetensors").read_bytes() == b"heads"
    assert (tmp_path / "out" / "README.md").read_text() == "---\nlicense: mit\n---\nMine."
    assert licence(tmp_path / "out") == "mit"


def test_openai(checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """TensorFlow reads such files: tests/weights/test_bundle.py compares them with its own byte for byte."""
    to_openai(checkpoint, tokenizer, tmp_path / "out")
    again = openai.read(tmp_path / "out")
    assert again.config == checkpoint.config
    assert all(np.array_equal(again.tensors[name], checkpoint.tensors[name]) for name in again.tensors)
    assert Tokenizer.load(tmp_path / "out", vocab_size=277).fingerprint == tokenizer.fingerprint
    assert json.loads((tmp_path / "out" / "hparams.json").read_text())["n_head"] == 3


def test_openai_can_not_say_everything(tokenizer: Tokenizer, tmp_path: Path) -> None:
    config = ModelConfig(n_layer=1, n_head=1, n_embd=2, n_positions=8, vocab_size=277, n_inner=5)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    with pytest.raises(
        ModelError, match=r"n_inner is 5 and layer_norm_epsilon 1e-05; in OpenAI's layout they are 8"
    ):
        to_openai(Checkpoint(config, zeros, "float32"), tokenizer, tmp_path / "out")


def test_openai_has_no_added_words(checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path) -> None:
    from dataclasses import replace

    worded = Tokenizer(replace(tokenizer.vocabulary, words={"Ishmael": 276}, specials={}))
    with pytest.raises(ModelError, match="has added words, which OpenAI's layout has not; export to hf"):
        to_openai(checkpoint, worded, tmp_path / "out")


def field(reader: Any, name: str) -> Any:
    return reader.fields[name].contents()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gguf(checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path, dtype: str) -> None:
    import gguf

    to_gguf(checkpoint, tokenizer, tmp_path / "m.gguf", name="poems", dtype=dtype)
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    said = {key: field(reader, key) for key in reader.fields if not key.startswith("GGUF.")}
    assert said["general.architecture"] == "gpt2"
    assert (said["gpt2.block_count"], said["gpt2.attention.head_count"]) == (2, 3)
    assert (said["gpt2.context_length"], said["gpt2.feed_forward_length"]) == (16, 24)
    assert said["gpt2.attention.layer_norm_epsilon"] == pytest.approx(1e-5)
    assert said["tokenizer.ggml.eos_token_id"] == 276
    assert said["tokenizer.ggml.add_bos_token"] is False
    assert said["tokenizer.ggml.tokens"][276] == "<|endoftext|>"
    assert said["tokenizer.ggml.tokens"][256] == "Ġt"
    assert said["tokenizer.ggml.merges"][:2] == ["Ġ t", "Ġ a"]
    assert said["tokenizer.ggml.token_type"][275:] == [1, 3]
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(found) == len(checkpoint.tensors)
    for name, ours in checkpoint.tensors.items():
        theirs = found[gguf_name(name)]
        expected = ours.T if ".c_" in name and ours.ndim == 2 else ours
        narrow = dtype == "float16" and (".c_" in name or name == "wte.weight") and ours.ndim == 2
        assert theirs.dtype == (np.float16 if narrow else np.float32)
        assert np.array_equal(theirs, expected.astype(theirs.dtype))


def test_gguf_names_padding(checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path) -> None:
    import gguf

    config = ModelConfig(n_layer=1, n_head=1, n_embd=2, n_positions=8, vocab_size=280)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    to_gguf(Checkpoint(config, zeros, "float32"), tokenizer, tmp_path / "m", name="x", dtype="float32")
    reader = gguf.GGUFReader(tmp_path / "m")
    assert field(reader, "tokenizer.ggml.tokens")[277:] == ["[PAD277]", "[PAD278]", "[PAD279]"]
    assert field(reader, "tokenizer.ggml.token_type")[276:] == [3, 5, 5, 5]


def test_gguf_refusals(checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="dtype is bfloat16; GGUF export has float32 and float16"):
        to_gguf(checkpoint, tokenizer, tmp_path / "m", name="x", dtype="bfloat16")
    with pytest.raises(ModelError, match="is a folder; name a file"):
        to_gguf(checkpoint, tokenizer, tmp_path, name="x", dtype="float16")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match=r"can't write .*m.gguf: (Not a directory|File exists)"):
        to_gguf(checkpoint, tokenizer, tmp_path / "file" / "m.gguf", name="x", dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_packages_that_are_not_installed(
    checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"GGUF export needs the extra \[export\]"):
        to_gguf(checkpoint, tokenizer, tmp_path / "m", name="x", dtype="float16")
    with pytest.raises(MissingExtraError, match=r"ONNX export needs the extra \[export\]"):
        to_onnx(checkpoint, tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_onnx_takes_any_batch_and_length(checkpoint: Checkpoint, tmp_path: Path) -> None:
    import onnxruntime

    to_onnx(checkpoint, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    random = np.random.default_rng(1)
    for batch, length in ((1, 1), (1, 16), (2, 7), (5, 3)):
        ids = random.integers(0, 277, (batch, length))
        (found,) = session.run(None, {"input_ids": ids})
        for row, theirs in zip(ids.tolist(), found, strict=True):
            assert np.abs(theirs - logits(checkpoint, row)).max() < 1e-4


@pytest.mark.slow
def test_onnx_of_a_large_model_has_its_weights_in_a_second_file(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(export_onnx, "LIMIT", 100)
    to_onnx(checkpoint, tmp_path / "m.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (found,) = session.run(None, {"input_ids": np.array([IDS])})
    assert np.abs(found[0] - logits(checkpoint, IDS)).max() < 1e-4


def test_facts(tmp_path: Path) -> None:
    import_folder(FIXTURE, "poems", store=tmp_path)
    folder = tmp_path / "poems"
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\ntags: []\n---\nHello.\nlicense: other\n")
    (folder / "source.json").write_text('{"repository": "someone/poems", "revision": "abc"}')
    facts = describe("poems", folder)
    assert facts["source"] == "someone/poems@abc"
    assert (facts["licence"], facts["card"]) == ("cc-by-4.0", str(folder / "README.md"))
    assert (facts["parameters"], facts["stored_as"], facts["end_token"]) == (2790, "float32", 276)
    assert facts["bytes_to_write"] == 4 * 2790 + 2 * 2 * 16 * 6 * 4 + 4 * 277
    (folder / "generation_config.json").write_text('{"num_beams": 4, "top_k": 5, "bos_token_id": 3}')
    facts = describe("poems", folder)
    assert (facts["defaults"], facts["settings_not_used"]) == ({"top_k": 5, "do_sample": True}, ["num_beams"])
    (folder / "source.json").write_text("[")
    (folder / "README.md").write_text("no front matter\nlicense: mit\n")
    facts = describe("poems", folder)
    assert facts["source"] is None
    assert facts["licence"] is None


def test_memory_of_the_released_sizes() -> None:
    """Orders of magnitude that users can plan with: 0.6 GB to write with gpt2, 3 GB to fine-tune it."""
    small = ModelConfig()
    assert memory_to_write(small) == pytest.approx(0.57e9, rel=0.02)
    assert memory_to_train(small) == pytest.approx(3.0e9, rel=0.1)


def test_memory_to_train_is_what_autograd_keeps() -> None:
    """Estimated activations against the storages that a forward pass leaves, plus the logits' gradient."""
    import torch

    from inkfish.model import GPT2

    config = ModelConfig(n_layer=3, n_head=2, n_embd=64, n_positions=64, vocab_size=500)
    model, kept = GPT2(config), {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.zeros(2, 64, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
    measured = sum(kept.values()) + 4 * 2 * 64 * 500
    estimated = memory_to_train(config, batch=2) - 16 * config.parameters
    assert estimated == pytest.approx(measured, rel=0.15)


def test_weights_of_any_layout_are_exported(
    tmp_path: Path, tokenizer: Tokenizer, checkpoint: Checkpoint
) -> None:
    to_huggingface(checkpoint, tokenizer, tmp_path / "a", name="x", dtype="float16")
    half = weights.read(tmp_path / "a")
    to_openai(half, tokenizer, tmp_path / "b")
    assert np.array_equal(
        weights.read(tmp_path / "b").tensors["wte.weight"], half.tensors["wte.weight"].astype(np.float32)
    )
