"""OpenAI's layout and old runs: fixtures of real TensorFlow, with transformers' logits on their weights."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from inkfish import weights
from inkfish.backends import reference
from inkfish.config import SIZES, ModelConfig
from inkfish.errors import ModelError
from inkfish.tokenizer import Tokenizer
from inkfish.weights import bundle, openai
from inkfish.weights.bundle_writer import write_bundle

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASED, RUN = FIXTURES / "openai", FIXTURES / "gpt-2-simple" / "checkpoint" / "run1"
CONFIG = ModelConfig(n_layer=2, n_head=3, n_embd=6, n_positions=16, vocab_size=277)
IDS = [72, 101, 276, 0, 5, 260, 33]


def formula(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """The values of tests/fixtures/make_openai.py, by Python's integers."""
    start = zlib.crc32(f"{seed} {name}".encode())
    bits = [(start + i) * 2654435761 % 65536 for i in range(int(np.prod(shape)))]
    values = np.array(bits, np.float32).reshape(shape) / np.float32(65536) - np.float32(0.5)
    return values + np.float32(name.endswith("/g"))


def expected_logits(seed: int) -> NDArray[np.float32]:
    """Logits (T, V) of IDS by transformers, its weights set from the formula by its own names."""
    shape = transformers.GPT2Config(n_layer=2, n_head=3, n_embd=6, n_positions=16, vocab_size=277)
    model = transformers.GPT2LMHeadModel(shape)
    letters = {"weight": "w", "bias": "b"}
    model.train(False)
    with torch.no_grad():
        for name, parameter in model.transformer.named_parameters():
            *path, kind = name.removeprefix("h.").split(".")
            letter = {"weight": "g"}.get(kind, "b") if "ln_" in name else letters[kind]
            place = "/".join(["model", *(["h" + path[0]] if name.startswith("h.") else path[:1]), *path[1:]])
            source = place if path[0] in {"wte", "wpe"} else f"{place}/{letter}"
            parameter.copy_(torch.from_numpy(formula(source, tuple(parameter.shape), seed)))
        return model(torch.tensor([IDS])).logits[0].numpy()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(RUN, tmp_path / "run1"))


@pytest.mark.parametrize(("folder", "seed"), [(RELEASED, 1), (RUN, 2)])
def test_logits_are_those_of_transformers(folder: Path, seed: int) -> None:
    checkpoint = openai.read(folder)
    assert (checkpoint.config, checkpoint.dtype, checkpoint.eos) == (CONFIG, "float32", None)
    assert list(checkpoint.tensors) == list(CONFIG.tensor_shapes())
    backend = reference.load(checkpoint.config, checkpoint.tensors)
    ours = backend.prefill(backend.allocate(), IDS, every=True)
    assert np.abs(ours - expected_logits(seed)).max() < 1e-4


def test_values_are_equal_bit_for_bit() -> None:
    tensors = openai.read(RUN).tensors
    assert np.array_equal(tensors["h.1.attn.c_attn.weight"], formula("model/h1/attn/c_attn/w", (6, 18), 2))
    assert np.array_equal(tensors["ln_f.weight"], formula("model/ln_f/g", (6,), 2))
    assert np.array_equal(tensors["wte.weight"], formula("model/wte", (277, 6), 2))


def test_any_layout_is_read_by_one_call() -> None:
    assert weights.read(RUN).config == CONFIG
    with pytest.raises(
        ModelError, match=r"gpt-2-simple holds runs and is none; name one of them: .*checkpoint/run1"
    ):
        weights.read(FIXTURES / "gpt-2-simple")
    with pytest.raises(ModelError, match=r"checkpoint holds runs and is none; name one of them: .*/run1"):
        weights.read(FIXTURES / "gpt-2-simple" / "checkpoint")


def test_the_vocabulary_beside_it_is_read() -> None:
    tokenizer = Tokenizer.load(RUN, vocab_size=277)
    assert tokenizer.decode(tokenizer.encode("the strange and then")) == "the strange and then"
    assert tokenizer.end == 276


def test_the_meta_file_is_never_opened(run: Path) -> None:
    (run / "model-7.meta").mkdir()
    assert openai.read(run).config == CONFIG


@pytest.mark.parametrize("name", SIZES)
def test_a_run_of_nshepperd_has_the_heads_of_its_released_size(tmp_path: Path, name: str) -> None:
    """Such a run has no hparams.json; what its index says is enough."""
    entries = {
        openai.variable(tensor): bundle.Entry(1, shape, 0, 0, 0, 0, False)
        for tensor, shape in SIZES[name].tensor_shapes().items()
    }
    assert openai.hparams(tmp_path, entries, None) == SIZES[name]
    assert openai.hparams(tmp_path, entries, 2).n_head == 2


def test_an_unknown_size_without_hparams_needs_them(run: Path) -> None:
    (run / "hparams.json").unlink()
    with pytest.raises(
        ModelError, match=r"2 layers of 6 channels are no released size.*copy hparams.json from"
    ):
        openai.read(run)
    assert openai.read(run, n_head=3).config == CONFIG


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_the_pointer_decides_and_its_path_does_not_matter(run: Path, separator: str) -> None:
    for path in list(run.glob("model-7.*")):
        shutil.copy(path, run / path.name.replace("-7", "-19"))
    (run / "model-19.index").write_bytes(b"newer and damaged")
    said = separator.join(["..", "..", "etc", "model-7"])
    (run / "checkpoint").write_text(f'model_checkpoint_path: "{said}"\n')
    assert openai.read(run).config == CONFIG
    (run / "checkpoint").unlink()
    with pytest.raises(ModelError, match=r"model-19.index is not a sound TensorFlow checkpoint"):
        openai.read(run)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda f: (f / "model-7.index").unlink(),
            r"checkpoint names model-7, and model-7.index is not there",
        ),
        (
            lambda f: (f / "checkpoint").write_text("hello"),
            'has no line model_checkpoint_path: "…"; delete it',
        ),
        (
            lambda f: (f / "checkpoint").write_text('model_checkpoint_path: "/"'),
            "names , and .index is not there|must be a plain name",
        ),
        (
            lambda f: (f / "hparams.json").write_text("{}"),
            "n_vocab, n_ctx, n_embd, n_head, n_layer must be whole",
        ),
        (lambda f: (f / "hparams.json").write_text('{"n_vocab": NaN}'), "NaN is no JSON number"),
    ],
)
def test_damaged_folders(run: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(run)
    with pytest.raises(ModelError, match=words):
        openai.read(run)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("n_embd", 10**9, "n_embd is 1000000000; it must be a whole number from 1 to 65,536"),
        ("n_vocab", -1, "vocab_size is -1; it must be"),
        ("n_layer", 1.5, "n_layer must be whole numbers"),
        ("n_layer", 3, r"in 12 points: h.2.ln_1.weight \(6,\) is missing"),
        ("n_layer", 1, r"in 12 points: model/h1/attn/c_attn/b \(18,\) is extra"),
        ("n_ctx", 17, r"in 1 point: wpe.weight is \(16, 6\), expected \(17, 6\)"),
    ],
)
def test_hparams_that_do_not_fit(run: Path, field: str, value: object, words: str) -> None:
    path = run / "hparams.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ModelError, match=words) as caught:
        openai.read(run)
    assert "\n" not in str(caught.value)


def test_folders_without_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "hparams.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no model.ckpt.index or model-STEP.index; copy the checkpoint"):
        weights.read(tmp_path)
    write_bundle(tmp_path / "model.ckpt", {"dense/kernel": np.zeros((3, 4), np.float32)})
    (tmp_path / "hparams.json").unlink()
    with pytest.raises(
        ModelError, match="holds no GPT-2: model/wte and model/wpe are not among its variables"
    ):
        weights.read(tmp_path)


def test_types_and_parts_that_are_not_supported(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bundle.read_index

    def odd(path: Path) -> bundle.Index:
        index = real(path)
        entries = dict(index.entries)
        entries["model/wpe"] = replace(entries["model/wpe"], dtype=3)
        entries["model/ln_f/b"] = replace(entries["model/ln_f/b"], sliced=True)
        return bundle.Index(index.shards, entries)

    monkeypatch.setattr(openai, "read_index", odd)
    with pytest.raises(
        ModelError, match=r"ln_f/b is stored in parts \(not supported\); model/wpe is stored as .* 3,"
    ):
        openai.read(run)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("wte.weight", "model/wte"),
        ("h.11.ln_1.weight", "model/h11/ln_1/g"),
        ("h.0.ln_2.bias", "model/h0/ln_2/b"),
        ("h.3.attn.c_attn.weight", "model/h3/attn/c_attn/w"),
        ("h.3.mlp.c_proj.bias", "model/h3/mlp/c_proj/b"),
        ("ln_f.weight", "model/ln_f/g"),
    ],
)
def test_names(ours: str, theirs: str) -> None:
    assert openai.variable(ours) == theirs
