"""Vocabularies of trained models: what is kept gives the same logits, what is new has its stated row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import inkfish
from inkfish import weights
from inkfish.config import ModelConfig
from inkfish.errors import DataError, ModelError, SettingError
from inkfish.recipes import tokenizer
from inkfish.recipes.surgery import AddTokens, Transplant, add_tokens, transplant
from inkfish.tokenizer import END, Tokenizer
from inkfish.weights import export, huggingface

ENGLISH = "the cat sat on the mat and the rat ran to the other cat, and there it stood " * 4
FRENCH = "le chat et le rat sont dans la maison et le chat dort dans la maison " * 4
ROWS = 300
"""More than the entries: the embedding is padded."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vocabulary = Tokenizer(tokenizer.train([ENGLISH], vocab_size=280, specials=(END, "<|a|>")))
    shape = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=ROWS)
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.3, size).astype("f4") for name, size in shape.tensor_shapes().items()}
    folder = tmp_path_factory.mktemp("models") / "base"
    huggingface.write(folder, shape, tensors, tokenizer=vocabulary, eos=vocabulary.end)
    return folder


def logits(folder: Path, ids: list[int]) -> np.ndarray:
    return np.asarray(inkfish.load(folder, backend="reference").logits(ids))


def test_added_tokens(base: Path, tmp_path: Path) -> None:
    before, old = weights.read(base), Tokenizer.load(base, vocab_size=ROWS)
    made = add_tokens(
        AddTokens(("<|scene|>", "<|act|>"), words=("Gandalf",), model=str(base), out=tmp_path / "new")
    )
    assert made.ids == {"<|scene|>": 280, "<|act|>": 281, "Gandalf": 282}
    after = weights.read(made.folder)
    mean = np.delete(before.tensors["wte.weight"], [280, 281, 282], axis=0).mean(0)
    distance = np.abs(after.tensors["wte.weight"][280:283] - mean)
    assert 0 < distance.max() < 0.5  # noise of a quarter of the embedding's deviation, 0.3
    np.testing.assert_array_equal(after.tensors["wte.weight"][:280], before.tensors["wte.weight"][:280])
    new = Tokenizer.load(made.folder, vocab_size=ROWS)
    assert new.encode("the cat") == old.encode("the cat")
    assert new.encode("the Gandalf") == [*old.encode("the "), 282]
    assert new.specials["<|scene|>"] == 280
    assert new.decode(new.encode("Gandalf <|scene|> the")) == "Gandalf <|scene|> the"
    ids = old.encode("the cat sat")
    np.testing.assert_array_equal(logits(made.folder, ids)[:, :280], logits(base, ids)[:, :280])


def test_more_tokens_than_rows(base: Path, tmp_path: Path) -> None:
    names = tuple(f"<|t{i}|>" for i in range(40))
    made = add_tokens(AddTokens(names, model=str(base), out=tmp_path / "new"))
    assert weights.read(made.folder).config.vocab_size == 320
    assert made.ids["<|t39|>"] == 319
    again = add_tokens(AddTokens(("<|more|>",), model=str(made.folder), out=tmp_path / "again"))
    assert again.ids == {"<|more|>": 320}


def test_transformers_reads_added_tokens(base: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    made = add_tokens(AddTokens(("<|scene|>",), words=("Gandalf",), model=str(base), out=tmp_path / "new"))
    theirs = transformers.AutoTokenizer.from_pretrained(made.folder)
    ids = theirs("the <|scene|>Gandalf cat")["input_ids"]
    assert (280 in ids, 281 in ids) == (True, True)
    model = transformers.AutoModelForCausalLM.from_pretrained(made.folder)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    np.testing.assert_allclose(logits(made.folder, ids), expected, atol=1e-4)


def test_export_of_added_tokens(base: Path, tmp_path: Path) -> None:
    made = add_tokens(AddTokens(("<|scene|>",), model=str(base), out=tmp_path / "new"))
    out = tmp_path / "out"
    tokenizer = Tokenizer.load(made.folder, vocab_size=ROWS)
    export.to_huggingface(weights.read(made.folder), tokenizer, out, name="scenes", dtype="float32")
    assert Tokenizer.load(out, vocab_size=ROWS).specials["<|scene|>"] == 280


def test_a_new_vocabulary(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "fr.txt"
    path.write_text(FRENCH)
    made = transplant(Transplant((path,), model=str(base), out=tmp_path / "fr", vocab_size=282))
    old, new = Tokenizer.load(base, vocab_size=ROWS), Tokenizer.load(made.folder)
    before, after = (weights.read(folder).tensors["wte.weight"] for folder in (base, made.folder))
    assert (made.entries, len(after), weights.read(made.folder).eos) == (282, 282, new.end)
    ranked = old.vocabulary.ranked
    shared = [(ranked[token], i) for token, i in new.vocabulary.ranked.items() if token in ranked]
    shared += [(old.specials[text], i) for text, i in new.specials.items()]
    assert made.kept == len(shared) > 258
    assert set(new.specials) == {END, "<|a|>"}
    there, here = map(list, zip(*shared, strict=True))
    np.testing.assert_array_equal(after[here], before[there])
    ids = there[-12:]
    moved = [dict(shared)[i] for i in ids]
    one, other = logits(base, ids)[:, there], logits(made.folder, moved)[:, here]
    np.testing.assert_allclose(one, other, atol=1e-5)
    token = next(t for t in new.vocabulary.ranked if t == b" dans" or t == b" maison")
    pieces = old.encode(token.decode())
    np.testing.assert_allclose(after[new.vocabulary.ranked[token]], before[pieces].mean(0), atol=1e-6)
    assert made.parts > 1
    assert made.bytes_after > made.bytes_before
    assert new.decode(new.encode(FRENCH)) == FRENCH


def test_how_bytes_alone_are_cut() -> None:
    """As the tokenizer cuts them, where they are text."""
    gpt2 = Tokenizer.gpt2()
    texts = [" maison", "Straße", " Zugehörigkeit", "123456", " 👍", "\n\n"]
    assert list(gpt2.vocabulary.cuts(text.encode() for text in texts)) == gpt2.encode_batch(texts)
    assert list(gpt2.vocabulary.cuts([b"\xc3"])) == [[gpt2.vocabulary.ranked[b"\xc3"]]]


def test_sampling_defaults_lose_ids_of_the_old_vocabulary(base: Path, tmp_path: Path) -> None:
    folder, path = tmp_path / "base", tmp_path / "fr.txt"
    path.write_text(FRENCH)
    found = weights.read(base)
    huggingface.write(folder, found.config, found.tensors, tokenizer=Tokenizer.load(base), eos=0)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(
        json.dumps(config | {"eos_token_id": [299], "pad_token_id": 299, "temperature": 0.7})
    )
    made = transplant(Transplant((path,), model=str(folder), out=tmp_path / "fr"))
    said = json.loads((made.folder / "generation_config.json").read_text())
    end = Tokenizer.load(made.folder).end
    assert said == {"bos_token_id": end, "eos_token_id": end, "temperature": 0.7, "do_sample": True}


def test_refusals(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingError, match="there are no tokens to add; name some, such as"):
        AddTokens(out=out)
    with pytest.raises(SettingError, match=r"special token 'scene' must be written <\|name\|>"):
        AddTokens(("scene",), out=out)
    with pytest.raises(SettingError, match="word ' ' must have 1 to 100 characters"):
        AddTokens(words=(" ",), out=out)
    with pytest.raises(SettingError, match="there are no files; name at least one"):
        Transplant((), out=out)
    for names in (("<|a|>",), ("<|b|>", "<|b|>")):
        with pytest.raises(SettingError, match=r"the vocabulary would have '<\|[ab]\|>' twice; leave it out"):
            add_tokens(AddTokens(names, model=str(base), out=out))
    with pytest.raises(SettingError, match="exists; choose another folder"):
        add_tokens(AddTokens(("<|b|>",), model=str(base), out=base))
    with pytest.raises(ModelError, match="there is no model"):
        add_tokens(AddTokens(("<|b|>",), model="nothing", out=out))
    (tmp_path / "fr.txt").write_text("le chat")
    with pytest.raises(DataError, match="the texts give only"):
        transplant(Transplant((tmp_path / "fr.txt",), model=str(base), out=out, vocab_size=5000))
    assert not out.exists()
