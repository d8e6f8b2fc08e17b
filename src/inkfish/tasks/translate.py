r"""Translate: conditioned on lines "english sentence = french sentence" (Radford et al. 2019, section 3.7).

The same form serves a model that was trained on such blocks and one that only reads the examples. The package
has example pairs of its own in five languages, so that any model can be asked in any of twenty directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Unpack

from inkfish.errors import DataError, SettingError
from inkfish.generate import Job, LanguageModel
from inkfish.generate.beam import beam_search
from inkfish.generate.jobs import SamplingSettings
from inkfish.tasks import END, Piece, Stop, Task, inline, spaced_line
from inkfish.tasks.examples import table
from inkfish.tasks.sentences import first_sentences, sentences
from inkfish.tasks.writing import answers, prepare

__all__ = [
    "SHOTS",
    "TASK",
    "Asked",
    "Translated",
    "Translation",
    "ask",
    "bundled",
    "clean",
    "first_sentence",
    "gather",
    "languages",
    "prompt",
    "read_examples",
    "render",
    "translate",
]


SHOTS = 5
"""How many bundled examples are shown unless the caller says otherwise."""


@dataclass(frozen=True)
class Translation:
    """One sentence to translate after example pairs in the same direction."""

    source: str
    """The sentence in the language one comes from."""
    target: str = ""
    """Its translation; not looked at by a prompt."""
    examples: tuple[tuple[str, str], ...] = ()
    """Pairs (source, target) shown before it."""


def prompt(example: Translation) -> list[Piece]:
    """The example pairs, one a line, then the source and an equals sign."""
    pieces = []
    for source, target in example.examples:
        pieces += _line(source, target)
    return [*pieces, _left(example.source)]


def render(example: Translation) -> list[Piece]:
    """All pairs, one a line, and the end token; every target is trainable."""
    pieces = []
    for source, target in (*example.examples, (example.source, example.target)):
        pieces += _line(source, target)
    return [*pieces, Piece(END)]


def clean(text: str) -> str:
    """One line without the spaces around it."""
    return text.split("\n")[0].strip()


def first_sentence(text: str, *, complete: bool) -> str:
    """Return the first generated sentence, which is the translation (Radford et al. 2019, section 3.7).

    The paper does not say where a sentence ends. Here it is the first newline; where none was generated,
    the first end of a sentence by `inkfish.tasks.sentences`.

    Args:
        text: what the model wrote, up to the newline where it wrote one.
        complete: whether it ended by itself, at the newline or the end token, and not by the limit of tokens.
    """
    line = text.split("\n")[0].strip()
    return line if complete or "\n" in text else first_sentences(line, 1)


def languages() -> tuple[str, ...]:
    """Return the languages that have bundled example pairs, by their ISO 639-1 codes."""
    return tuple(table("translations")[0])


def bundled(source: str, target: str, shots: int) -> tuple[tuple[str, str], ...]:
    """Return the first `shots` example pairs of the package in one direction.

    Raises:
        SettingError: a language without examples, the same twice, or more examples than there are.
    """
    rows = table("translations")
    for name, language in (("source", source), ("target", target)):
        if language not in rows[0]:
            raise SettingError(
                f"{name} is {language!r}; examples are bundled for {', '.join(rows[0])}, "
                "for other languages give your own by --examples FILE",
                param=name,
            )
    if source == target:
        raise SettingError(f"source and target are both {source!r}; choose two languages", param="target")
    if not 0 <= shots <= len(rows):
        raise SettingError(
            f"shots is {shots}; it must be from 0 to {len(rows)}, as many as are bundled",
            param="shots",
        )
    return tuple((row[source], row[target]) for row in rows[:shots])


def read_examples(text: str, name: str) -> tuple[tuple[str, str], ...]:
    """Return example pairs from a file's text: one a line, "source = target" or with a tab between.

    Raises:
        DataError: a line of another form, or none at all.
    """
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        sides = [side.strip() for side in (line.split("\t") if "\t" in line else line.split(" = "))]
        if len(sides) != 2 or not all(sides):
            raise DataError(
                f'{name}, line {number}: an example is "sentence = its translation"', param="examples"
            )
        pairs.append((sides[0], sides[1]))
    if not pairs:
        raise DataError(
            f'{name} has no examples; write one "sentence = its translation" a line', param="examples"
        )
    return tuple(pairs)


class Translated(NamedTuple):
    """The translation of one text."""

    text: str
    sentences: int
    """How many sentences it had, each translated by itself."""
    cut: int
    """How many of them did not come to an end before the limit of tokens."""


class Asked(NamedTuple):
    """Texts to translate, as a model is asked."""

    texts: list[list[list[str]]]
    """The sentences of each line of each text."""
    jobs: list[Job]
    """One for each sentence that is not empty, in order."""


def ask(
    model: LanguageModel,
    texts: Sequence[str],
    examples: Sequence[tuple[str, str]],
    *,
    whole: bool = False,
    seed: int = 0,
    max_tokens: int | None = None,
    **sampling: Unpack[SamplingSettings],
) -> Asked:
    """Return what `translate` asks, for those who run the jobs themselves; `gather` puts answers together.

    Args and errors as there.
    """
    units = [[[line] if whole else sentences(line) for line in text.split("\n")] for text in texts]
    flat = [unit for text in units for line in text for unit in line if unit.strip()]
    prompts = [prompt(Translation(unit, examples=tuple(examples))) for unit in flat]
    limit = max_tokens or TASK.stop.max_tokens
    if sampling.get("temperature") is None:
        sampling["temperature"] = 0.0
    jobs = [prepare(model, pieces, TASK.stop, max_tokens=limit, seed=seed, **sampling) for pieces in prompts]
    return Asked(units, jobs)


def translate(
    model: LanguageModel,
    texts: Sequence[str],
    examples: Sequence[tuple[str, str]],
    *,
    whole: bool = False,
    beams: int = 0,
    seed: int = 0,
    max_tokens: int | None = None,
    **sampling: Unpack[SamplingSettings],
) -> Iterator[Translated]:
    """Yield the translation of each text, in order; lines stay lines, and what is empty stays empty.

    Each sentence is translated by itself after the examples; greedily, unless told otherwise.

    Args:
        model: will write the translations.
        texts: what to translate.
        examples: pairs (source, target) that show the model what to do; a model trained on pairs needs none.
        whole: take each line as one sentence.
        beams: follow so many translations at once and take the likeliest; 0 chooses token by token.
        seed: for sampling.
        max_tokens: most tokens of a sentence; None is the task's limit.
        **sampling: how tokens are chosen; temperature is 0 unless given.

    Raises:
        ContextError: examples and a sentence fill the context.
        SettingError: a value outside its limits.
    """
    asked = ask(model, texts, examples, whole=whole, seed=seed, max_tokens=max_tokens, **sampling)
    found = (
        search(model, asked.jobs, beams)
        if beams
        else ((sample.text, sample.finish_reason == "stop") for sample in answers(model, asked.jobs))
    )
    for text in asked.texts:
        yield gather(text, found)


def search(model: LanguageModel, jobs: Sequence[Job], beams: int) -> Iterator[tuple[str, bool]]:
    """Yield the likeliest text of each job, and whether it came to an end."""
    for job in jobs:
        request = job.request
        best = beam_search(model, request.prompt, beams=beams, max_tokens=request.max_tokens, stop=job.stop)[
            0
        ]
        yield best.text, best.complete


def gather(lines: Sequence[Sequence[str]], found: Iterator[tuple[str, bool]]) -> Translated:
    """Put the translated sentences of one text back into its lines."""
    written, count, cut = [], 0, 0
    for line in lines:
        done = []
        for unit in line:
            if unit.strip():
                text, complete = next(found)
                done.append(first_sentence(text, complete=complete))
                count, cut = count + 1, cut + (not complete)
        written.append(" ".join(done))
    return Translated("\n".join(written), count, cut)


def _line(source: str, target: str) -> list[Piece]:
    return [_left(source), Piece(spaced_line(target))]


def _left(source: str) -> Piece:
    return Piece(f"{inline(source)} =", trainable=False)


TASK = Task("translate", prompt, render, Stop(strings=("\n",), max_tokens=96), clean)
