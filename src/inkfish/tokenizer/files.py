"""Vocabulary files: GPT-2's own, shipped; `tokenizer.json`; `vocab.json` and `merges.txt`; OpenAI's names.

A file is read only as far as it means the same here as to its own library: what would change ids is refused.
"""

from __future__ import annotations

import hashlib
import json
from binascii import a2b_base64
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from inkfish.config import LIMITS
from inkfish.errors import TokenizerError
from inkfish.tokenizer.vocabulary import END, Vocabulary, from_merges, printable
from inkfish.untrusted import decoded, member, parse_object, read_bytes, read_object

__all__ = ["GPT2_SIZE", "gpt2", "read", "write"]

GPT2 = Path(__file__).parents[1] / "vocabularies" / "gpt2.tiktoken"
"""GPT-2's vocabulary as tiktoken's users ship it: a byte string in base64 and its id on each line."""
GPT2_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
GPT2_FILES = frozenset(
    {
        "8414cab924d8b9b33013f0d221c5862f365ee9be39c5c2bfae8a5a9e970478a6",  # of the model on the hub
        "1fe93b6152957cf9cfd6d89002467f789ce8b3f3e000b3a2edf27c808ddd0b9e",  # as transformers 5 saves that
        "6282c5acb7fb9017fae032e2a932f49ef57fa4aa067bae9ef5c3c7bb4963d9b3",  # as `write` writes it
    }
)
"""SHA-256 of each tokenizer.json that is known to hold GPT-2's vocabulary: telling so takes a fiftieth of the
time of taking it apart."""
GPT2_SIZE = 50_257
"""Entries of GPT-2's vocabulary: 256 bytes, 50,000 merges, the end token."""
FILE_LIMIT = 16 << 20
"""Bytes of the longest vocabulary file that is read; GPT-2's longest form has 3.6 MB."""
PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""Vocabulary and merges as Hugging Face and as OpenAI name them."""

SUPPORTED: Mapping[str, tuple[object, ...]] = {
    "model.type": ("BPE", None),
    "model.dropout": (None, 0),
    "model.continuing_subword_prefix": (None, ""),
    "model.end_of_word_suffix": (None, ""),
    "model.byte_fallback": (None, False),
    "model.ignore_merges": (None, False),
    "normalizer": (None,),
    "pre_tokenizer.type": ("ByteLevel",),
    "pre_tokenizer.add_prefix_space": (False,),
    "pre_tokenizer.use_regex": (None, True),
    "decoder.type": (None, "ByteLevel"),
}
"""The values in a tokenizer.json that make one of GPT-2's kind (None: absent). Nothing else changes ids."""


def gpt2() -> Vocabulary:
    """Return GPT-2's vocabulary: 256 bytes, 50,000 merges and the end token, which has the last id."""
    contents = GPT2.read_bytes()
    if hashlib.sha256(contents).hexdigest() != GPT2_SHA256:
        raise TokenizerError(f"{GPT2} is damaged; install inkfish again")
    tokens = contents.split()[::2]  # the ids count from 0
    return Vocabulary(dict(zip(map(a2b_base64, tokens), range(len(tokens)), strict=True)), {END: len(tokens)})


def read(folder: Path, *, vocab_size: int | None) -> Vocabulary:
    """Return the vocabulary of a model folder.

    Args:
        folder: holds the files; without any of them the vocabulary is GPT-2's, if the size is.
        vocab_size: of the model.

    Raises:
        TokenizerError: a file is missing, damaged or not of GPT-2's kind.
    """
    path = _member(folder, "tokenizer.json")
    if path is not None:
        contents = read_bytes(path, limit=FILE_LIMIT, error=TokenizerError)
        if hashlib.sha256(contents).hexdigest() in GPT2_FILES:
            return gpt2()
        return _from_document(parse_object(contents, str(path), error=TokenizerError), path)
    for names in PAIRS:
        vocab, merges = (_member(folder, name) for name in names)
        if vocab is not None and merges is not None:
            return _from_pair(vocab, merges, _member(folder, "added_tokens.json"))
        alone = vocab or merges
        if alone is not None:
            raise TokenizerError(f"{folder} has {alone.name} alone; {' and '.join(names)} belong together")
    if vocab_size == GPT2_SIZE:
        return gpt2()
    raise TokenizerError(
        f"{folder} has no tokenizer.json (nor vocab.json with merges.txt, nor encoder.json with vocab.bpe); "
        f"only a model with GPT-2's vocab_size, {GPT2_SIZE}, can do without, and here it is {vocab_size}"
    )


def _from_document(document: dict[str, Any], path: Path) -> Vocabulary:
    """Read Hugging Face's tokenizer.json."""
    for name, allowed in SUPPORTED.items():
        if (value := _at(document, name)) not in allowed:
            wanted = " or ".join(json.dumps(one) for one in allowed if one is not None) or "null"
            raise TokenizerError(f"{path}: {name} is {shown(value)}, and only {wanted} is supported")
    ids = _ids(_at(document, "model.vocab"), f"{path}: model.vocab")
    merges = _merges(_at(document, "model.merges"), path)
    tokens = _added(document.get("added_tokens") or [], path)
    added = {text: token.get("id") for text, token in tokens.items()}
    return _assemble(ids, merges, _ids(added, f"{path}: added_tokens"), _words(tokens, path), path)


def _member(folder: Path, name: str) -> Path | None:
    """Return the path of a file in a folder, None where there is none."""
    return member(folder, name, error=TokenizerError)


def _from_pair(vocab: Path, merges: Path, more: Path | None) -> Vocabulary:
    """Read a vocabulary and its merges, and what Hugging Face's added_tokens.json adds, all of it special."""
    lines = _text(merges).replace("\r\n", "\n").split("\n")
    start = 1 if lines[0].startswith("#version") else 0
    pairs = _merges([line for line in lines[start:] if line], merges)
    added = {} if more is None else _ids(_object(more), str(more))
    return _assemble(_ids(_object(vocab), str(vocab)), pairs, added, set(), vocab)


def _assemble(
    ids: Mapping[str, int],
    merges: list[tuple[str, str]],
    added: Mapping[str, int],
    words: set[str],
    path: Path,
) -> Vocabulary:
    """Join the parts of a vocabulary.

    An entry that neither is a byte nor comes of a merge is special, and so are added ones except `words`.
    An added one that repeats the entry of a merge is that entry, and a word is found before any merging.
    """
    ranked = from_merges(ids, merges, str(path))
    for text, i in added.items():
        if ids.get(text, i) != i:
            raise TokenizerError(f"{path}: {shown(text)} has two ids, {ids[text]} and {i}; it can have one")
    every = {**ids, **added}
    if len(set(every.values())) < len(every):
        raise TokenizerError(f"{path}: two entries have the same id; each needs its own")
    reached = set(ranked.values())
    extra = {text: i for text, i in every.items() if i not in reached}
    _refuse_surrogates([*extra, *words], path)
    return Vocabulary(
        ranked,
        specials={text: i for text, i in extra.items() if text not in words},
        words={
            text: i
            for text, i in added.items()
            if text in words and (i not in reached or ranked.get(text.encode()) == i)
        },
    )


def _added(value: object, path: Path) -> dict[str, dict[str, Any]]:
    """Check that a value lists added tokens, and return them by their texts."""
    tokens = [token for token in value if isinstance(token, dict)] if isinstance(value, list) else []
    added = {text: token for token in tokens if isinstance(text := token.get("content"), str)}
    if not isinstance(value, list) or len(added) < len(value):
        raise TokenizerError(f"{path}: added_tokens must be objects with a content each, none twice")
    return added


def _words(tokens: Mapping[str, Mapping[str, Any]], path: Path) -> set[str]:
    """Return the added tokens that are ordinary text."""
    words = {text for text, token in tokens.items() if not token.get("special") and text != END}
    for text in words:
        if any(tokens[text].get(flag) for flag in ("single_word", "lstrip", "rstrip")):
            raise TokenizerError(
                f"{path}: the added token {shown(text)} has single_word, lstrip or rstrip; "
                "that is supported for special tokens only, set them to false"
            )
    return words


def _refuse_surrogates(texts: Iterable[str], path: Path) -> None:
    """Refuse what JSON's escapes can write and UTF-8 can't."""
    for text in texts:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise TokenizerError(f"{path}: the entry {shown(text)} is not valid Unicode; remove it")


def _at(document: Mapping[str, Any], name: str) -> Any:
    """Return the value at a dotted name, None where there is none."""
    value: Any = document
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _ids(value: object, source: str) -> dict[str, int]:
    """Check that a value maps texts, as the keys of JSON objects are, to ids."""
    limit = LIMITS["vocab_size"]
    if not isinstance(value, dict) or "" in value or not _all_below(value.values(), limit):
        raise TokenizerError(f"{source} must hold texts with ids, whole numbers from 0 to {limit - 1:,}")
    return value


def _all_below(values: Collection[object], limit: int) -> bool:
    """Whether all values are whole numbers from 0 to below the limit."""
    numbers = [value for value in values if type(value) is int]
    return len(numbers) == len(values) and min(numbers, default=0) >= 0 and max(numbers, default=0) < limit


def _merges(value: object, path: Path) -> list[tuple[str, str]]:
    """Check that a value lists merges, each "left right" or ["left", "right"]."""
    if not isinstance(value, list):
        raise TokenizerError(f"{path}: the merges are {shown(value)}; they must be a list of pairs")
    pairs = []
    for line, merge in enumerate(value):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or {type(pair[0]), type(pair[1])} != {str}:
            raise TokenizerError(f"{path}: merge {line} is {shown(merge)}; it must be a pair of entries")
        pairs.append((pair[0], pair[1]))
    return pairs


def _text(path: Path) -> str:
    """Return the text of a file of at most FILE_LIMIT bytes."""
    contents = read_bytes(path, limit=FILE_LIMIT, error=TokenizerError)
    return decoded(contents, str(path), error=TokenizerError)


def _object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds."""
    return read_object(path, limit=FILE_LIMIT, error=TokenizerError)


def write(vocabulary: Vocabulary, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json; `tokenizers` and transformers then give equal ids.

    transformers finds special tokens in text too; here only a program can name them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in {
        "tokenizer_config.json": _config(vocabulary),
        "tokenizer.json": _document(vocabulary),
    }.items():
        (folder / name).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _document(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the contents of tokenizer.json."""
    extra = {**vocabulary.specials, **vocabulary.words}
    ids = {printable(token): i for token, i in vocabulary.ranked.items()} | extra
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": text, **flags, "special": text in vocabulary.specials}
            for text, i in sorted(extra.items(), key=lambda entry: entry[1])
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted(ids.items(), key=lambda entry: entry[1])),
            "merges": [f"{printable(left)} {printable(right)}" for left, right in vocabulary.merges()],
        },
    }


def _config(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the contents of tokenizer_config.json: how transformers reads tokenizer.json as it stands."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    if END in vocabulary.specials:
        config |= {"bos_token": END, "eos_token": END, "unk_token": END}
    return config
