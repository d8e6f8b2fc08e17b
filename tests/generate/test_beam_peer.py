"""Beam search finds what transformers' finds: the same texts in the same order, with the same scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from inkfish.backends import native, reference
from inkfish.config import ModelConfig
from inkfish.generate import LanguageModel
from inkfish.generate.beam import Found, beam_search
from inkfish.tokenizer import Tokenizer
from inkfish.tokenizer.vocabulary import END, Vocabulary
from inkfish.weights import Checkpoint, huggingface

ENDS = tuple(range(0, 257, 3))
"""So many tokens end a text that some texts end early and some do not."""
CONFIG = ModelConfig(n_layer=2, n_head=3, n_embd=12, n_positions=48, vocab_size=257)


class Pair(NamedTuple):
    """One model, ours and theirs."""

    model: LanguageModel
    peer: Any
    tensors: Any


@pytest.fixture(scope="module", params=[0, 1, 2])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A tiny model over bytes."""
    tokenizer = Tokenizer(Vocabulary({bytes([n - 1]): n for n in range(1, 257)}, {END: 0}))
    rng = np.random.default_rng(request.param)
    tensors = {n: rng.normal(0, 0.5, s).astype(np.float32) for n, s in CONFIG.tensor_shapes().items()}
    folder = tmp_path_factory.mktemp("beam") / "model"
    huggingface.write(folder, CONFIG, tensors, tokenizer=tokenizer, eos=0)
    model = LanguageModel(reference.load(CONFIG, tensors), tokenizer, stop_ids=ENDS)
    return Pair(model, GPT2LMHeadModel.from_pretrained(folder), tensors)


def theirs(peer: Any, prompt: list[int], **settings: Any) -> list[tuple[list[int], float]]:
    """Ids and scores that transformers finds, best first."""
    make: type[Any] = GenerationConfig
    ids = torch.tensor([prompt])
    found = peer.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        generation_config=make(
            do_sample=False,
            eos_token_id=list(ENDS),
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
            **settings,
        ),
    )
    texts = []
    for row in found.sequences[:, len(prompt) :].tolist():
        ends = [n for n, token in enumerate(row, 1) if token in ENDS]
        texts.append(row[: min(ends, default=len(row))])
    return list(zip(texts, found.sequences_scores.tolist(), strict=True))


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("beams", [2, 5])
def test_the_texts_are_those_of_transformers(pair: Pair, beams: int, penalty: float) -> None:
    ended = 0
    for prompt in ([1], [5, 9, 2], [16, 3, 3, 7, 1, 12]):
        expected = theirs(
            pair.peer,
            prompt,
            num_beams=beams,
            num_return_sequences=beams,
            max_new_tokens=12,
            length_penalty=penalty,
        )
        found = beam_search(pair.model, prompt, beams=beams, max_tokens=12, penalty=penalty)
        assert [one.text for one in found] == [
            pair.model.tokenizer.decode([i for i in ids if i not in ENDS]) for ids, _ in expected
        ]
        assert [one.tokens for one in found] == [len(ids) for ids, _ in expected]
        scores = [one.logprob / one.tokens**penalty for one in found]
        ended += sum(one.complete for one in found)
        assert scores == pytest.approx([score for _, score in expected], abs=1e-4)
    assert ended > 0 or (beams, penalty) != (5, 0.0), "some texts end by themselves"


def test_bits_and_memory_on_the_native_back_end(pair: Pair) -> None:
    """The same search twice, and after other traffic, gives the same bits and leaves no slot."""
    if not native.available():
        pytest.skip("the native back end was not compiled")

    def search(model: LanguageModel) -> list[Found]:
        return beam_search(model, [5, 9, 2], beams=5, max_tokens=20)

    backend = native.load(Checkpoint(CONFIG, pair.tensors, "float32"))
    model = LanguageModel(backend, pair.model.tokenizer, stop_ids=ENDS)
    first = search(model)
    busy = model.backend.allocate()
    model.backend.prefill(busy, [1, 2, 3] * 9)
    assert search(model) == first
    model.backend.free(busy)
    assert model.backend.allocate() == 0


def test_a_failure_leaves_no_slot(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = reference.load(CONFIG, pair.tensors)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(backend, "decode", fail)
    with pytest.raises(MemoryError):
        beam_search(LanguageModel(backend, pair.model.tokenizer), [5, 9, 2], beams=3, max_tokens=9)
    assert not backend.slots
