from __future__ import annotations

from inkfish.labels.tokens import are_of, tokens
from inkfish.tokenizer import Tokenizer
from inkfish.weights import hub

TEXT = "The fox, who was hungry, met a hen."


def test_ids_are_taken_where_they_are_of_the_vocabulary_and_made_from_the_text_elsewhere() -> None:
    gpt2, starter = Tokenizer.gpt2(), Tokenizer.load(hub.find("starter"))
    ours, theirs = tuple(starter.encode(TEXT)), tuple(gpt2.encode(TEXT))
    assert ours != theirs
    assert max(ours) < gpt2.vocab_size  # the size alone would not tell
    for vocabulary, right, wrong in ((gpt2, theirs, ours), (starter, ours, theirs)):
        assert are_of(vocabulary, right, TEXT)
        assert not are_of(vocabulary, wrong, TEXT)
        assert not are_of(vocabulary, None, TEXT)
        assert tokens(vocabulary, right, TEXT) == right
        assert tokens(vocabulary, wrong, TEXT) == right
        assert tokens(vocabulary, None, TEXT) == right
    assert tokens(gpt2, (len(theirs), 50257), TEXT) == theirs


def test_another_way_to_cut_the_same_text_stays() -> None:
    gpt2 = Tokenizer.gpt2()
    letters = tuple(i for letter in TEXT for i in gpt2.encode(letter))
    assert tokens(gpt2, letters, TEXT) == letters
    assert tokens(gpt2, (), "") == ()
