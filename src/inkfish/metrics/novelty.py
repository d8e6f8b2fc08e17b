"""How much of a summary is its own: what the source lacks, and where the rest was copied from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from inkfish.metrics.diversity import ngrams

__all__ = ["begins_alike", "copy_position", "has_preamble", "ngram_novelty", "sentence_novelty"]

PREAMBLE = frozenset({"hi", "hello", "hey", "ok", "okay", "so"})
"""First words of texts that do not come to the point at once."""


def ngram_novelty(summary: Sequence[Hashable], source: Sequence[Hashable], n: int) -> float:
    """Return the share of the summary's n-grams that the source does not have (See et al. 2017, figure 6)."""
    found, known = ngrams(summary, n), set(ngrams(source, n))
    return sum(gram not in known for gram in found) / len(found) if found else 0.0


def sentence_novelty(summary: Sequence[Sequence[Hashable]], source: Sequence[Sequence[Hashable]]) -> float:
    """Return the share of the summary's sentences that are not, word for word, sentences of the source."""
    known = {tuple(sentence) for sentence in source}
    return sum(tuple(s) not in known for s in summary) / len(summary) if summary else 0.0


def copy_position(
    summary: Sequence[Hashable], source: Sequence[Hashable], *, shortest: int = 4
) -> list[float]:
    """Return where in the source the copied runs of a summary begin: 0 is its start, 1 its end.

    The summary is read from the left; each longest run of at least `shortest` words that the source has
    counts once, at the earliest place where it stands.
    """
    places: list[float] = []
    start = 0
    while start < len(summary):
        place, length = longest_prefix(summary[start:], source)
        if length >= shortest:
            places.append(place / max(len(source) - 1, 1))
            start += length
        else:
            start += 1
    return places


def begins_alike(summary: Sequence[Hashable], source: Sequence[Hashable], *, count: int = 3) -> bool:
    """Whether a summary begins with the words that its source begins with, so copies its very start."""
    return len(summary) >= count and list(summary[:count]) == list(source[:count])


def has_preamble(text: str) -> bool:
    """Whether a text greets or announces first; copying its start is then no summary.

    Such a first word, or a colon in the first three (OpenAI's report on Ziegler et al. 2019).
    """
    first = text.split(maxsplit=3)[:3]
    return bool(first) and (first[0].strip(",.!").lower() in PREAMBLE or any(":" in word for word in first))


def longest_prefix(words: Sequence[Hashable], source: Sequence[Hashable]) -> tuple[int, int]:
    """Return where the longest prefix of `words` that the source has begins, and its length."""
    found, longest = 0, 0
    for place in range(len(source)):
        length = 0
        while length < min(len(words), len(source) - place) and words[length] == source[place + length]:
            length += 1
        if length > longest:
            found, longest = place, length
    return found, longest
