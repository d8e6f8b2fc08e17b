"""Judges that are programs, so that the whole loop runs and can be checked without people.

A judge takes queries and responses as text and says how good each response is. None needs a network: word
lists come with the packages `vaderSentiment` and `afinn`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from inkfish.errors import MissingExtraError

__all__ = ["Judge", "afinn", "classifier", "descriptiveness", "length_band", "vader"]

Judge = Callable[[Sequence[str], Sequence[str]], list[float]]
"""(queries, responses) → how good each response is; more is better."""

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
SUFFIXES = ("ful", "ous", "ish", "less", "like", "some", "ive", "ern", "esque")
"""Endings of English adjectives that few other words have."""
DESCRIPTIVE = frozenset(
    re.findall(
        r"\w+",
        """
        black white red green blue yellow brown grey gray purple pink orange golden silver scarlet
        crimson pale dark bright dim shining gleaming big large huge great small little tiny tall
        short long wide narrow deep high low thick thin heavy light soft hard smooth rough sharp
        round square flat hollow warm cold hot cool wet dry dusty muddy misty sunny cloudy rainy
        snowy windy icy old young new ancient modern fresh sweet bitter sour salty quiet loud silent
        noisy rich poor empty full clean dirty strange lovely pretty ugly handsome fair fine wild
        gentle fierce slow quick swift steep rusty wooden stone iron silken woollen velvet shaggy
        curly ragged crooked broken distant early late dense vast slender broad rosy ruddy glossy
        """,
    )
)
"""Common words that describe."""


def vader(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Return the sentiment of each response, -1 to 1, by VADER (Hutto and Gilbert 2014)."""
    analyser = vader_analyser()
    return [float(analyser.polarity_scores(response)["compound"]) for response in responses]


@cache
def vader_analyser() -> Any:
    """Return VADER with its word list."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ModuleNotFoundError:
        raise MissingExtraError("sentiment by word lists", "preferences") from None
    return SentimentIntensityAnalyzer()


def afinn(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Return the sum of the AFINN-165 values of each response's words (Nielsen 2011)."""
    scorer = afinn_scorer()
    return [float(scorer.score(response)) for response in responses]


@cache
def afinn_scorer() -> Any:
    """Return AFINN's English word list."""
    try:
        from afinn import Afinn
    except ModuleNotFoundError:
        raise MissingExtraError("sentiment by word lists", "preferences") from None
    return Afinn()


def descriptiveness(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Return the share of words that describe: a list of them, and endings of adjectives. A rough measure."""
    return [described(WORD.findall(response.lower())) for response in responses]


def described(words: Sequence[str]) -> float:
    """Return the share of words that describe."""
    return sum(w in DESCRIPTIVE or (len(w) > 5 and w.endswith(SUFFIXES)) for w in words) / max(1, len(words))


def length_band(fewest: int, most: int) -> Judge:
    """Return a judge that wants so many words: 0 inside the band, minus the distance outside."""

    def judge(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
        counts = [len(WORD.findall(response)) for response in responses]
        return [float(-max(0, fewest - count, count - most)) for count in counts]

    return judge


def classifier(liked: Sequence[str], disliked: Sequence[str]) -> Judge:
    """Return a judge that has learned from examples: log odds that a response is one of those that are liked.

    A logistic regression on words and pairs of words. Ziegler et al. 2019 had a transformer for their mock
    labels (section 3.1.2).

    Args:
        liked: texts of the kind that is wanted.
        disliked: texts of the other kind.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ModuleNotFoundError:
        raise MissingExtraError("a classifier", "evaluate") from None
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\b\w+\b")
    model = make_pipeline(words, LogisticRegression(C=10.0, max_iter=1000))
    model.fit([*liked, *disliked], [True] * len(liked) + [False] * len(disliked))

    def judge(queries: Sequence[str], responses: Sequence[str]) -> list[float]:
        found: list[float] = model.decision_function(list(responses)).tolist()
        return found

    return judge
