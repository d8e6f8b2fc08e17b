"""Rewards from files: a task's metric against reference answers, and a classifier from examples."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from inkfish.data.documents import BadRows, Rules, whole
from inkfish.data.files import find
from inkfish.errors import DataError
from inkfish.evaluation.suite import read_json_lines
from inkfish.metrics.answers import best
from inkfish.metrics.summaries import rouge
from inkfish.preferences.gold import Judge, classifier
from inkfish.tasks.sentences import sentences

__all__ = ["METRICS", "References", "learned_from_examples", "metric", "read_references"]

FIELDS = (
    ("article", "highlights"),
    ("content", "summary"),
    ("document", "summary"),
    ("text", "summary"),
    ("text", "summaries"),
    ("prompt", "completion"),
)
"""Names of the fields of a text and its reference, in the data sets that there are."""


class References:
    """Reference answers by the prompt's text, which may have been cut at its end."""

    def __init__(self, found: Mapping[str, list[str]]) -> None:
        self.found = {text.strip(): answers for text, answers in found.items()}
        self.texts = sorted(self.found)

    def source(self, query: str) -> str:
        """Return the whole text that a prompt is the beginning of.

        Raises:
            DataError: there is none.
        """
        start = query.strip()
        place = bisect_left(self.texts, start)
        if place == len(self.texts) or not self.texts[place].startswith(start):
            raise DataError(
                f"there is no reference for the prompt {start[:60]!r}; give the rows that it is from"
            )
        return self.texts[place]

    def of(self, query: str) -> list[str]:
        """Return the references of a prompt.

        Raises:
            DataError: there is none.
        """
        return self.found[self.source(query)]


def read_references(path: Path) -> References:
    """Return the references in JSON lines with a text and one reference or several.

    Raises:
        DataError: the file can't be read, or has other fields.
    """
    found: dict[str, list[str]] = {}
    for row in read_json_lines(path):
        names = next((pair for pair in FIELDS if set(pair) <= set(row)), None)
        if names is None:
            pairs = "; ".join(" and ".join(pair) for pair in FIELDS)
            raise DataError(f"{path} has rows with {', '.join(row)}; they must have {pairs}")
        answers = row[names[1]]
        found[row[names[0]]] = [answers] if isinstance(answers, str) else list(answers)
    return References(found)


def rouge_average(responses: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Return the mean F1 of ROUGE-1, -2 and -L of each response, 0 to 1."""
    texts = ["\n".join(sentences(response)) for response in responses]
    return [score.average / 100 for score in rouge(texts, references)]


def word_overlap(responses: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Return the F1 of each response's words, 0 to 1, as question answering counts it."""
    return [best(response, answers) for response, answers in zip(responses, references, strict=True)]


METRICS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]] = {
    "rouge": rouge_average,
    "f1": word_overlap,
}
"""Metrics of tasks by name: (responses, references) → one number each."""


def metric(name: str, path: Path) -> Judge:
    """Return a judge that holds responses against references."""
    references, measure = read_references(path), METRICS[name]
    return lambda queries, responses: measure(responses, [references.of(query) for query in queries])


def learned_from_examples(liked: Path, disliked: Path) -> Judge:
    """Return a classifier that has read two files or folders of texts, each line or row an example.

    Raises:
        DataError: one of them is empty.
    """
    kinds = []
    for path in (liked, disliked):
        texts = [text for file in find([path]) for text in whole(file, Rules(form="lines"), BadRows())]
        kinds.append([text for text in texts if text.strip()])
        if not kinds[-1]:
            raise DataError(f"{path} holds no examples; give a text on each line")
    return classifier(*kinds)
