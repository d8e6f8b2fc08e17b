"""Vocabulary files of every form: written by Hugging Face's libraries and read by ours, and the other way."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from tokenizers import AddedToken

from inkfish.errors import TokenizerError
from inkfish.recipes.tokenizer import train
from inkfish.tokenizer import END, Tokenizer, files
from inkfish.tokenizer.vocabulary import Vocabulary, printable

Document = dict[str, Any]
CHAT = ["<bos>", "<eos>", "<speaker1>", "<speaker2>", "<pad>"]


@pytest.fixture
def folder(small: Tokenizer, tmp_path: Path) -> Path:
    """A folder with the small vocabulary as tokenizer.json."""
    small.save(tmp_path)
    return tmp_path


def edit(folder: Path, change: Callable[[Document], object]) -> None:
    """Change a folder's tokenizer.json."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def as_text(theirs: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Make Hugging Face's tokenizer take special tokens in text for text, as ours always does."""
    theirs.encode_special_tokens = True
    return theirs


def saved(theirs: tokenizers.Tokenizer, folder: Path) -> Tokenizer:
    """Save with Hugging Face's library and load with ours."""
    theirs.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def test_what_we_save_hugging_face_reads(tokenizer: Tokenizer, passage: str, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    theirs = as_text(tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")))
    assert theirs.get_vocab_size() == tokenizer.vocab_size
    assert theirs.encode(passage).ids == tokenizer.encode(passage)
    assert theirs.decode(tokenizer.encode(passage)) == passage
    assert {text: theirs.token_to_id(text) for text in tokenizer.specials} == tokenizer.specials


def test_transformers_reads_the_folder(tokenizer: Tokenizer, passage: str, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    plain = passage.replace("<|", "< |")
    assert theirs(plain).input_ids == tokenizer.encode(plain)
    assert theirs.decode(tokenizer.encode(plain)) == plain
    assert (theirs.eos_token, theirs.eos_token_id) == (END, tokenizer.end)
    assert len(theirs) == tokenizer.vocab_size
    assert theirs("A" + END).input_ids == [*tokenizer.encode("A"), tokenizer.end]


def test_saved_and_loaded_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new" / "folder")
    again = Tokenizer.load(tmp_path / "new" / "folder")
    assert again.vocabulary == tokenizer.vocabulary
    assert again.fingerprint == tokenizer.fingerprint
    again.save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "new" / "folder" / name).read_bytes()


def test_vocabulary_without_end_token(small: Tokenizer, tmp_path: Path) -> None:
    Tokenizer(Vocabulary(small.vocabulary.ranked)).save(tmp_path)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).eos_token is None
    assert Tokenizer.load(tmp_path).end is None


def test_special_tokens_added_at_the_end(
    gpt2: Tokenizer, hugging_face: Callable[[Vocabulary], tokenizers.Tokenizer], passage: str, tmp_path: Path
) -> None:
    """As ConvAI models have them: GPT-2's entries, then five more."""
    theirs = hugging_face(gpt2.vocabulary)
    theirs.add_special_tokens([END, *CHAT])
    ours = saved(theirs, tmp_path)
    assert ours.specials == {text: 50_256 + i for i, text in enumerate([END, *CHAT])}
    assert (ours.vocab_size, ours.end) == (50_262, 50_256)
    text = passage + "<bos>" + "<speaker1>"
    assert ours.encode(text) == gpt2.encode(text) == as_text(theirs).encode(text).ids
    assert ours.decode([50_257, *gpt2.encode(" hi"), 50_260]) == "<bos> hi<speaker2>"


def test_ordinary_added_tokens(
    hugging_face: Callable[[Vocabulary], tokenizers.Tokenizer], passage: str, tmp_path: Path
) -> None:
    """They are found in text before anything else, longest first."""
    theirs = hugging_face(train([passage] * 3, vocab_size=356, specials=()))
    theirs.add_tokens(["wis", "wisdom", "\n", " the age", "(é)", "of"])
    theirs.add_special_tokens(["<|pad|>"])
    theirs.save(str(tmp_path / "tokenizer.json"))
    theirs = as_text(tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")))
    ours = Tokenizer.load(tmp_path)
    assert set(ours.vocabulary.words) == {"wis", "wisdom", "\n", " the age", "(é)", "of"}
    assert list(ours.specials) == ["<|pad|>"]
    rng = random.Random(3)
    for _ in range(300):
        text = "".join(
            rng.choices(["wisdom", "wis", "\n", " the age", "(é)", "of", passage, " ", "<|pad|>"], k=6)
        )
        ids = ours.encode(text)
        assert ids == theirs.encode(text).ids
        assert ours.decode(ids) == text
    ours.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint


def test_ids_in_any_order(folder: Path, small: Tokenizer, passage: str) -> None:
    def shuffle(document: Document) -> None:
        vocab = document["model"]["vocab"]
        ids = [3 * i for i in range(len(vocab))]
        random.Random(4).shuffle(ids)
        document["model"]["vocab"] = dict(zip(vocab, ids, strict=True))
        for token in document["added_tokens"]:
            token["id"] = document["model"]["vocab"][token["content"]]

    edit(folder, shuffle)
    ours = Tokenizer.load(folder)
    theirs = as_text(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))
    assert ours.encode(passage) == theirs.encode(passage).ids != small.encode(passage)
    assert ours.decode(ours.encode(passage)) == passage
    assert ours.specials[END] == theirs.token_to_id(END)
    assert ours.vocab_size == 3 * (small.vocab_size - 1) + 1
    unused = next(i for i in range(ours.vocab_size) if i % 3)
    assert (ours.token_bytes(unused), ours.decode([unused])) == (b"", "")


@pytest.mark.parametrize("names", files.PAIRS)
@pytest.mark.parametrize("header", ["#version: 0.2\n", ""])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_vocabulary_and_merges(
    folder: Path, small: Tokenizer, passage: str, names: tuple[str, str], header: str, line_end: str
) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / names[0]).write_text(json.dumps(model["vocab"]))
    (folder / names[1]).write_text(
        (header + "\n".join(model["merges"]) + "\n").replace("\n", line_end), newline=""
    )
    ours = Tokenizer.load(folder)
    assert ours.fingerprint == small.fingerprint
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": 400}))
    ours = Tokenizer.load(folder)
    assert ours.specials == dict(small.specials) | {"<pad>": 400}
    assert ours.encode(passage + "<pad>") == small.encode(passage + "<pad>")


def test_merges_as_pairs(folder: Path, small: Tokenizer) -> None:
    """As `tokenizers` has written them since 0.20."""
    edit(folder, lambda d: d["model"].update(merges=[m.split(" ") for m in d["model"]["merges"]]))
    assert Tokenizer.load(folder).fingerprint == small.fingerprint


def test_entries_of_old_files_may_be_absent(folder: Path, small: Tokenizer) -> None:
    """GPT-2's own tokenizer.json on the hub has no model.type and no use_regex."""
    edit(folder, lambda d: (d["model"].pop("type"), d["model"].pop("byte_fallback"), d.pop("decoder")))
    edit(folder, lambda d: (d["pre_tokenizer"].pop("use_regex"), d["model"].pop("ignore_merges")))
    assert Tokenizer.load(folder).fingerprint == small.fingerprint


def test_end_token_is_special_whatever_the_file_says(folder: Path, small: Tokenizer) -> None:
    edit(folder, lambda d: d["added_tokens"][0].update(special=False))
    assert Tokenizer.load(folder).fingerprint == small.fingerprint
    edit(folder, lambda d: d.update(added_tokens=[]))
    assert Tokenizer.load(folder).fingerprint == small.fingerprint, "entries without a merge are special"


def test_folder_without_files(gpt2: Tokenizer, tmp_path: Path) -> None:
    assert Tokenizer.load(tmp_path, vocab_size=50_257).fingerprint == gpt2.fingerprint
    for size in (None, 17, 50_304):
        with pytest.raises(TokenizerError, match=f"has no tokenizer.json .* 50257, .* here it is {size}"):
            Tokenizer.load(tmp_path, vocab_size=size)


def save_as_on_the_hub(vocabulary: Vocabulary, folder: Path) -> None:
    """Write what the released model's tokenizer.json holds, byte for byte."""
    vocab = {printable(token): i for token, i in vocabulary.ranked.items()} | dict(vocabulary.specials)
    merges = [f"{printable(left)} {printable(right)}" for left, right in vocabulary.merges()]
    end = {"id": vocabulary.specials[END], "special": True, "content": END}
    alone = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    step = {"type": "ByteLevel", "add_prefix_space": True}
    affixes = dict.fromkeys(("continuing_subword_prefix", "end_of_word_suffix"), "")
    document = {
        **{"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end | alone]},
        **{"normalizer": None, "pre_tokenizer": step | {"add_prefix_space": False, "trim_offsets": True}},
        **{"post_processor": step | {"trim_offsets": False}, "decoder": step | {"trim_offsets": True}},
        "model": {"dropout": None, "unk_token": None, **affixes, "fuse_unk": False}
        | {"vocab": vocab, "merges": merges},
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("form", ["hub", "transformers 5", "ours"])
def test_gpt2s_own_file_is_known_at_once(
    gpt2: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    if form == "ours":
        gpt2.save(tmp_path)
    else:
        save_as_on_the_hub(gpt2.vocabulary, tmp_path)
    if form == "transformers 5":
        path = str(tmp_path / "tokenizer.json")
        tokenizers.Tokenizer.from_file(path).save(path)
    monkeypatch.setattr(files, "from_merges", lambda *_: pytest.fail("the file was taken apart"))
    assert Tokenizer.load(tmp_path).fingerprint == gpt2.fingerprint
    monkeypatch.undo()
    monkeypatch.setattr(files, "GPT2_FILES", frozenset())
    slowly = Tokenizer.load(tmp_path)
    assert slowly.fingerprint == gpt2.fingerprint
    assert slowly.specials == gpt2.specials


def test_gpt2s_vocabulary_with_more_is_taken_apart(gpt2: Tokenizer, tmp_path: Path) -> None:
    gpt2.save(tmp_path)
    edit(tmp_path, lambda d: d["added_tokens"].append({"id": 50257, "content": "<pad>", "special": True}))
    assert Tokenizer.load(tmp_path).specials["<pad>"] == 50_257


@pytest.mark.parametrize("name", [name for names in files.PAIRS for name in names])
def test_half_a_pair(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(TokenizerError, match=rf"has {name} alone; .* belong together"):
        Tokenizer.load(tmp_path, vocab_size=50_257)


def test_padded_embedding(folder: Path, small: Tokenizer) -> None:
    ours = Tokenizer.load(folder, vocab_size=512)
    assert ours.vocab_size == 512
    assert ours.fingerprint == small.fingerprint
    assert (ours.token_bytes(511), ours.decode([511, small.encode("a")[0], 400])) == (b"", "a")
    with pytest.raises(TokenizerError, match="token id 512 is outside the vocabulary, 0 to 511"):
        ours.decode([512])


def test_model_smaller_than_the_tokenizer(folder: Path, small: Tokenizer) -> None:
    edit(folder, lambda d: d["added_tokens"].append({"id": 359, "content": "[PAD]", "special": True}))
    edit(folder, lambda d: d["added_tokens"].append({"id": 360, "content": "wisdom", "special": False}))
    assert Tokenizer.load(folder).specials == dict(small.specials) | {"[PAD]": 359}
    fitted = Tokenizer.load(folder, vocab_size=359)
    assert fitted.fingerprint == small.fingerprint, "added tokens that the model has no row for are left out"
    assert Tokenizer.load(folder, vocab_size=360).specials == dict(small.specials) | {"[PAD]": 359}
    with pytest.raises(
        TokenizerError, match="has ids up to 358 and the model's vocab_size is 358; they do not"
    ):
        Tokenizer.load(folder, vocab_size=358)


def put(name: str, value: object) -> Callable[[Document], None]:
    """A change that sets a value at a dotted name."""

    def change(document: Document) -> None:
        *path, last = name.split(".")
        for key in path:
            document = document[key]
        document[last] = value

    return change


def add(**token: object) -> Callable[[Document], None]:
    """A change that appends an added token."""
    return lambda document: document["added_tokens"].append({"id": 400, "content": "x y", **token})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("model.type", "WordPiece"), "model.type is 'WordPiece', and only \"BPE\" is supported"),
        (put("model.dropout", 0.1), "model.dropout is 0.1, and only 0 is supported"),
        (put("model.end_of_word_suffix", "</w>"), "model.end_of_word_suffix is '</w>', and only \"\" is"),
        (put("model.continuing_subword_prefix", "##"), "model.continuing_subword_prefix is '##', and only"),
        (put("model.byte_fallback", True), "model.byte_fallback is True, and only false is supported"),
        (put("model.ignore_merges", True), "model.ignore_merges is True, and only false is supported"),
        (put("model", 5), "model.vocab must hold texts with ids"),
        (put("normalizer", {"type": "NFC"}), "normalizer is {'type': 'NFC'}, and only null is supported"),
        (put("pre_tokenizer", None), 'pre_tokenizer.type is None, and only "ByteLevel" is supported'),
        (put("pre_tokenizer.type", "Sequence"), "pre_tokenizer.type is 'Sequence', and only"),
        (
            put("pre_tokenizer.add_prefix_space", True),
            "pre_tokenizer.add_prefix_space is True, and only false",
        ),
        (put("pre_tokenizer.use_regex", False), "pre_tokenizer.use_regex is False, and only true is"),
        (put("decoder", {"type": "WordPiece"}), "decoder.type is 'WordPiece', and only \"ByteLevel\""),
        (put("model.vocab", []), "model.vocab must hold texts with ids, whole numbers from 0 to 4,194,303"),
        (put("model.vocab.a", -1), "model.vocab must hold texts with ids"),
        (put("model.vocab.a", 4_194_304), "model.vocab must hold texts with ids"),
        (put("model.vocab.a", True), "model.vocab must hold texts with ids"),
        (put("model.vocab.a", 1.0), "model.vocab must hold texts with ids"),
        (put("model.vocab.a", 10**400), "model.vocab must hold texts with ids"),
        (put("model.vocab.a", None), "model.vocab must hold texts with ids"),
        (put("model.vocab", {}), "the vocabulary lacks 'Ā', which the merges need"),
        (put("model.vocab.b", 10), "two entries have the same id; each needs its own"),
        (put("model.vocab.\ud800", 999), r"the entry '\ud800' is not valid Unicode; remove it"),
        (put("model.merges", None), "the merges are None; they must be a list of pairs"),
        (put("model.merges", {}), "the merges are {}; they must be a list of pairs"),
        (put("model.merges", ["ab"]), "merge 0 is 'ab'; it must be a pair of entries"),
        (put("model.merges", ["a b c"]), "merge 0 is 'a b c'; it must be a pair"),
        (put("model.merges", [["a", 5]]), "merge 0 is ['a', 5]; it must be a pair"),
        (put("model.merges", [5]), "merge 0 is 5; it must be a pair"),
        (put("model.merges", ["qq a"]), "merge 0, 'qq' + 'a', joins an entry that no earlier merge makes"),
        (put("added_tokens", 5), "added_tokens must be objects with a content each, none twice"),
        (put("added_tokens", [5]), "added_tokens must be objects with a content each, none twice"),
        (put("added_tokens", [{"id": 3}]), "added_tokens must be objects with a content each, none twice"),
        (put("added_tokens", [{"content": "x"}]), "added_tokens must hold texts with ids"),
        (add(content=""), "added_tokens must hold texts with ids"),
        (add(content=[]), "added_tokens must be objects with a content each, none twice"),
        (add(content=END), "added_tokens must be objects with a content each, none twice"),
        (add(content="a"), "'a' has two ids, "),
        (add(id=10), "two entries have the same id; each needs its own"),
        (add(lstrip=True), "the added token 'x y' has single_word, lstrip or rstrip; that is supported for"),
        (add(rstrip=True), "the added token 'x y' has single_word, lstrip or rstrip; that is supported for"),
        (
            add(single_word=True),
            "the added token 'x y' has single_word, lstrip or rstrip; that is supported for",
        ),
    ],
)
def test_what_a_tokenizer_json_can_not_be(
    folder: Path, change: Callable[[Document], None], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(TokenizerError) as error:
        Tokenizer.load(folder)
    assert str(error.value).startswith(f"{folder / 'tokenizer.json'}: {message}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is not JSON (Expecting value: line 1 column 1 (char 0)); copy the file again"),
        (b"\xff", "is not UTF-8 at byte 0; copy the file again"),
        (b"[" * 100_000, "is not JSON (nested too deeply); copy the file again"),
        (b'{"a":' * 100_000, "is not JSON (nested too deeply)"),
        (b'{"a": 1, "a": 2}', "is not JSON (a key stands there twice)"),
        (b'{"truncation": NaN}', "is not JSON (NaN is no JSON number)"),
        (b'{"model": {"vocab": {"a": -Infinity}}}', "is not JSON (-Infinity is no JSON number)"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON (Exceeds the limit (4300 digits)"),
        (b"[]", "holds a JSON list; it must be an object"),
        (b"null", "holds a JSON NoneType; it must be an object"),
        (b"{}", 'pre_tokenizer.type is None, and only "ByteLevel" is supported'),
    ],
)
def test_files_that_are_no_vocabulary(tmp_path: Path, contents: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(contents)
    with pytest.raises(TokenizerError) as error:
        Tokenizer.load(tmp_path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_huge_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    start = time.perf_counter()
    with pytest.raises(TokenizerError, match=r"has 209,715,200 bytes; the limit is 16,777,216: is it"):
        Tokenizer.load(tmp_path)
    assert time.perf_counter() - start < 1


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    with pytest.raises(TokenizerError, match=r"tokenizer.json is a link to .*, outside the folder"):
        Tokenizer.load(other)


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(TokenizerError, match=r"tokenizer.json is not a regular file; it must be one"):
        Tokenizer.load(tmp_path)


def test_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TokenizerError, match=r"tokenizer.json can't be read: Permission denied; copy"):
        Tokenizer.load(folder)


def test_file_cut_short_anywhere(folder: Path) -> None:
    path = folder / "tokenizer.json"
    whole = path.read_bytes()
    rng = random.Random(7)
    for length in [*range(20), *(rng.randrange(len(whole) - 2) for _ in range(200))]:
        path.write_bytes(whole[:length])
        with pytest.raises(TokenizerError, match=r"is not JSON|is not UTF-8"):
            Tokenizer.load(folder)


def test_any_changed_byte_is_refused_or_read_whole(folder: Path) -> None:
    """Damage gives TokenizerError or a tokenizer that still returns every text."""
    path = folder / "tokenizer.json"
    whole = path.read_bytes()
    rng = random.Random(8)
    for _ in range(300):
        i = rng.randrange(len(whole))
        path.write_bytes(whole[:i] + bytes([rng.randrange(256)]) + whole[i + 1 :])
        try:
            damaged = Tokenizer.load(folder)
        except TokenizerError:
            continue
        text = "the best of times — Zoë"
        assert damaged.decode(damaged.encode(text)) == text


def test_damaged_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GPT2_SHA256", "0" * 64)
    with pytest.raises(TokenizerError, match=r"gpt2\.tiktoken is damaged; install inkfish again"):
        Tokenizer.gpt2()


def test_long_names_stay_on_a_short_line(folder: Path) -> None:
    edit(folder, put("normalizer", {"type": "x" * 10_000, "more\nlines": [[[[[[[[1]]]]]]]] * 100}))
    with pytest.raises(TokenizerError) as error:
        Tokenizer.load(folder)
    assert len(str(error.value)) < 500 + len(str(folder))
    assert len(str(error.value).splitlines()) == 1


def test_what_transformers_saves(gpt2: Tokenizer, passage: str, tmp_path: Path) -> None:
    """A folder as fine-tuning with Hugging Face leaves it, with tokens added on the way."""
    gpt2.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs.add_special_tokens({"pad_token": "[PAD]", "additional_special_tokens": ["<bio>"]})
    theirs.add_tokens([AddedToken("Zaphod", normalized=False)])
    shutil.rmtree(tmp_path)
    theirs.save_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    assert {text: theirs.convert_tokens_to_ids(text) for text in ours.specials} == ours.specials
    assert set(ours.specials) == {END, "[PAD]", "<bio>"}
    text = passage.replace("<|", "< |") + " Zaphod said Zaphods"
    assert ours.encode(text) == theirs(text).input_ids
