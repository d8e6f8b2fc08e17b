"""Diversity, copying, answers, novelty and contamination against cases worked by hand and brute force."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkfish.metrics.answers import bag_f1, best, coqa_f1, exact_match, normalise, word_f1, words
from inkfish.metrics.copying import longest_copies, places_copied, window_hashes
from inkfish.metrics.diversity import distinct, ngrams, repetition
from inkfish.metrics.novelty import copy_position, ngram_novelty, sentence_novelty
from inkfish.metrics.overlap import BloomFilter, overlap, word_ngrams


def test_distinct_over_all_texts() -> None:
    texts = [["a", "b", "a", "b"], ["a", "b", "c"]]  # bigrams: ab ba ab, ab bc
    assert distinct(texts, 2) == pytest.approx(3 / 5)
    assert distinct(texts, 1) == pytest.approx(3 / 7)
    assert distinct([["a"]], 2) == 0


def test_repetition_inside_a_text() -> None:
    assert repetition(["a", "b", "a", "b", "a", "b"], 2) == pytest.approx(1 - 2 / 5)
    assert repetition(["a", "b", "c", "d", "e"], 2) == 0
    assert repetition(["a", "b"], 4) == 0


def test_ngrams() -> None:
    assert ngrams("abc", 2) == [("a", "b"), ("b", "c")]


def brute_force(text: list[int], training: list[int]) -> int:
    """The longest of all runs of the text that stands somewhere in the training text."""
    runs = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    places = range(len(training))
    return max(
        (len(run) for run in runs if any(training[p : p + len(run)] == run for p in places)), default=0
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(3, 50))
def test_longest_copies_agree_with_brute_force(seed: int, width: int, chunk: int) -> None:
    generator = random.Random(seed)
    training = [generator.randrange(3) for _ in range(60)]
    texts = [[generator.randrange(3) for _ in range(generator.randrange(20))] for _ in range(3)]
    arrays = [np.array(text, np.uint16) for text in texts]
    found = longest_copies(arrays, np.array(training, np.uint16), seed=width, chunk=chunk)
    expected = [brute_force(text, training) for text in texts]
    assert found == [length if length >= width else 0 for length in expected]


def test_a_copy_over_the_border_of_two_chunks_is_whole() -> None:
    training = np.arange(100, dtype=np.uint16)
    assert longest_copies([np.arange(30, 70, dtype=np.uint16)], training, seed=4, chunk=50) == [40]


def test_texts_shorter_than_the_seed_copy_nothing() -> None:
    training = np.arange(100, dtype=np.uint16)
    assert longest_copies([np.arange(3, dtype=np.uint16), training[:0]], training, seed=4) == [0, 0]
    assert longest_copies([], training) == []
    assert longest_copies([training], training[:2], seed=4) == [0]


def test_window_hashes_tell_orders_apart() -> None:
    hashes = window_hashes(np.array([1, 2, 1, 2, 2, 1]), 2)
    assert hashes[0] == hashes[2]
    assert len({int(h) for h in hashes}) == 3
    assert len(window_hashes(np.array([1]), 2)) == 0


def test_normalise_answers() -> None:
    assert normalise("The  Cat's a (big) one.") == ["cats", "big", "one"]
    assert exact_match("The Beatles!", "beatles")
    assert not exact_match("Beatles", "the Stones")


def test_word_f1_worked_by_hand() -> None:
    assert word_f1("the red red house", "a red house") == pytest.approx(2 * 2 / (3 + 2))
    assert word_f1("", "") == 1
    assert word_f1("the", "house") == 0
    assert best("red", ["blue", "red house"]) == pytest.approx(2 / 3)


def test_words_of_other_languages() -> None:
    assert words("J'étais là, à 10 heures !") == ["j", "étais", "là", "à", "10", "heures"]
    assert bag_f1(words("Le chat"), words("le chat noir")) == pytest.approx(4 / 5)


def test_coqa_f1_leaves_one_reference_out() -> None:
    # Leaving out "yes" leaves "no": 0; leaving out "no" leaves "yes": 1.
    assert coqa_f1("yes", ["yes", "no"]) == pytest.approx(0.5)
    assert coqa_f1("yes", ["yes"]) == 1
    assert coqa_f1("yes", ["yes", "yes", "no"]) == 1


def test_ngram_novelty() -> None:
    source = ["the", "cat", "sat", "on", "the", "mat"]
    assert ngram_novelty(["the", "cat", "ran"], source, 1) == pytest.approx(1 / 3)
    assert ngram_novelty(["the", "cat", "ran"], source, 2) == pytest.approx(1 / 2)
    assert ngram_novelty([], source, 1) == 0


def test_sentence_novelty() -> None:
    assert sentence_novelty([["a", "b"], ["c"]], [["a", "b"], ["d"]]) == 0.5
    assert sentence_novelty([], [["a"]]) == 0


def test_copy_position_takes_the_longest_run_and_its_earliest_place() -> None:
    source = ["a", "b", "c", "d", "e", "a", "b", "c", "d", "f", "g"]
    assert copy_position(["x", "a", "b", "c", "d", "f", "y"], source) == [5 / 10]
    assert copy_position(["a", "b", "c", "d"], source) == [0]
    assert copy_position(["a", "b", "c"], source) == []
    assert copy_position(["b", "c", "d", "e", "a", "b", "c", "d", "f"], source) == [1 / 10]


def test_word_ngrams_are_lower_case_alphanumeric() -> None:
    assert list(word_ngrams("It's 9 o'clock -- now.", 4)) == ["it s 9 o", "s 9 o clock", "9 o clock now"]


def test_overlap_counts_each_ngram_as_often_as_it_stands() -> None:
    training = BloomFilter(10)
    assert training.add(["a b"]) == 1
    assert overlap(["a b", "a b", "b c", "c d"], training) == 0.5
    assert overlap([], training) == 0


def test_bloom_filter_never_forgets() -> None:
    full = BloomFilter(12_000)
    assert full.add(f"text {i}" for i in range(12_000)) == 12_000
    assert full.holds([f"text {i}" for i in range(12_000)]).all()


def test_bloom_filter_keeps_its_rate() -> None:
    """At 1 %, 20,000 strangers give 200 ± 14 wrong yeses; above 280 by chance once in about 10^8."""
    full = BloomFilter(2000, false_positives=0.01)
    full.add(f"text {i}" for i in range(2000))
    wrong = full.holds([f"stranger {i}" for i in range(20_000)]).sum()
    assert 120 < wrong < 280


def test_bloom_filter_at_the_papers_rate_takes_38_bits_a_text() -> None:
    assert BloomFilter(1000).size / 1000 == pytest.approx(38.3, abs=0.1)


def test_places_copied_agree_with_brute_force() -> None:
    rng = np.random.default_rng(0)
    training = rng.integers(0, 3, 300)
    text = np.concatenate([rng.integers(0, 3, 40), training[100:120]])
    for width in (3, 6):
        runs = {tuple(training[i : i + width]) for i in range(len(training) - width + 1)}
        starts = [i for i in range(len(text) - width + 1) if tuple(text[i : i + width]) in runs]
        expected = {place for start in starts for place in range(start, start + width)}
        found = places_copied(text, training, width=width, chunk=50)
        assert set(np.flatnonzero(found).tolist()) == expected
    assert not places_copied(text[:2], training, width=3).any()
