from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inkfish.backends import reference
from inkfish.config import ModelConfig
from inkfish.errors import TokenizerError
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary
from inkfish.weights import huggingface
from inkfish.weights.checkpoint import Checkpoint
from inkfish.weights.specials import add_specials, draw_rows

SHAPE = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=32, vocab_size=260)
BYTES = Vocabulary({bytes([byte]): byte for byte in range(256)}, {END: 256})


def checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)
    return Checkpoint(
        SHAPE,
        {
            name: rng.normal(0.3, 0.4, shape).astype(np.float32)
            for name, shape in SHAPE.tensor_shapes().items()
        },
        "float32",
        256,
    )


def test_old_tokens_are_untouched(tmp_path: Path) -> None:
    before, tokenizer = checkpoint(), Tokenizer(BYTES, vocab_size=260)
    after, wider = add_specials(before, tokenizer, ["<|bos|>", END, "<a>", "<b>", "<c>", "<d>"], seed=3)
    assert wider.specials == {END: 256, "<|bos|>": 257, "<a>": 258, "<b>": 259, "<c>": 260, "<d>": 261}
    assert (after.config.vocab_size, wider.vocab_size) == (262, 262)
    assert np.array_equal(after.tensors["wte.weight"][:257], before.tensors["wte.weight"][:257])
    one, two = (reference.load(each.config, each.tensors) for each in (before, after))
    logits = [backend.prefill(backend.allocate(), [1, 2, 256]) for backend in (one, two)]
    assert np.array_equal(logits[0][:257], logits[1][:257])
    assert wider.encode("<a>") == [60, 97, 62]
    huggingface.write(tmp_path / "m", after.config, after.tensors, tokenizer=wider, eos=after.eos)
    assert Tokenizer.load(tmp_path / "m", vocab_size=262).specials == wider.specials


def test_new_rows_are_near_the_mean() -> None:
    before, tokenizer = checkpoint(), Tokenizer(BYTES, vocab_size=260)
    after, _ = add_specials(before, tokenizer, [f"<{i}>" for i in range(50)])
    wte = after.tensors["wte.weight"]
    rows, others = wte[257:], wte[:257]
    # The mean of 600 draws is off by 5 of its deviations with a probability below 1e-6.
    assert np.abs((rows - others.mean(0)).mean()) < 5 * 0.25 * others.std() / np.sqrt(rows.size)
    assert len(np.unique(rows, axis=0)) == 50
    again, _ = add_specials(before, tokenizer, [f"<{i}>" for i in range(50)])
    other, _ = add_specials(before, tokenizer, [f"<{i}>" for i in range(50)], seed=1)
    assert np.array_equal(again.tensors["wte.weight"], wte)
    assert not np.array_equal(other.tensors["wte.weight"], wte)


def test_rows_that_are_there_are_drawn_when_asked() -> None:
    before = checkpoint()
    after = draw_rows(before, [2, 5])
    changed = np.flatnonzero((after.tensors["wte.weight"] != before.tensors["wte.weight"]).any(1))
    assert changed.tolist() == [2, 5]
    assert draw_rows(before, []) is before


def test_a_word_can_not_be_special() -> None:
    vocabulary = Vocabulary(BYTES.ranked, BYTES.specials, {"<a>": 257})
    with pytest.raises(TokenizerError, match="'<a>' is an entry that text turns into; it can't be special"):
        vocabulary.with_specials(["<a>"])
