r"""Summarize: the text, then "TL;DR:" on a new line (Radford et al. 2019, 3.6); a fable's moral likewise.

"text\nTL;DR: summary" is GPT-2's; "fable\n\nMoral: moral" is ours. Both end with the end token. A model
that was fine-tuned on lines "text = summary" is asked in the form of translations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Unpack, get_args

from inkfish.errors import ContextError, SettingError
from inkfish.generate import LanguageModel
from inkfish.generate.jobs import Job, SamplingSettings
from inkfish.tasks import END, Piece, Stop, Task, translate
from inkfish.tasks.sentences import first_sentences, spans
from inkfish.tasks.writing import answers, document_ids, prepare

__all__ = [
    "MORAL",
    "MORAL_CUE",
    "TASK",
    "TLDR_CUE",
    "Asked",
    "Fit",
    "Fitted",
    "Form",
    "Summarized",
    "Summary",
    "ask",
    "clean",
    "fit",
    "shortened",
    "summarize",
]

TLDR_CUE = "\nTL;DR:"
MORAL_CUE = "\n\nMoral:"


GAP = "\n[…]\n"
"""What stands where the middle of a long text was left out."""
Fit = Literal["start", "ends", "end", "refuse"]
"""What to read of a text that does not fit the context: its start, both ends, its end, or nothing."""


Form = Literal["tldr", "none", "equals", "moral"]
"""How a model is asked: by "TL;DR:", by the text alone (the paper's "no hint"), by " =", by "Moral:"."""


class Coder(Protocol):
    """The part of a tokenizer that `fit` needs."""

    def encode(self, text: str) -> list[int]:
        """Turn text into ids."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text."""
        ...


class Fitted(NamedTuple):
    """As much of a text as there is room for."""

    text: str
    tokens: int
    """Tokens that were kept."""
    of: int
    """Tokens of the whole text."""


class Summarized(NamedTuple):
    """The summary of one text."""

    text: str
    fitted: Fitted
    """What was read of the text."""


@dataclass(frozen=True)
class Summary:
    """A text and its short form."""

    text: str
    """The text, with its title line where it has one."""
    summary: str = ""
    """The short form; not looked at by a prompt."""


def clean(text: str) -> str:
    """The first paragraph without the spaces around it."""
    return text.strip().split("\n\n")[0].strip()


def fit(text: str, tokenizer: Coder, room: int, policy: Fit = "start") -> Fitted:
    """Return what a model with so much room is to read of a text; cuts are between sentences.

    News put what matters first, so the start is kept by default; "ends" keeps as much of the end.

    Args:
        text: the text to summarize.
        tokenizer: counts the tokens.
        room: how many tokens there may be.
        policy: what to keep of a longer text.

    Raises:
        ContextError: a longer text and the policy "refuse".
        SettingError: an unknown policy.
    """
    if policy not in get_args(Fit):
        raise SettingError(f"fit is {policy!r}; it must be one of {', '.join(get_args(Fit))}", param="fit")
    ids = tokenizer.encode(text)
    if len(ids) <= room:
        return Fitted(text, len(ids), len(ids))
    if policy == "refuse":
        raise ContextError(
            f"the text has {len(ids):,} tokens, and there is room for {room:,}; shorten it, or choose what "
            "to read by --fit start, ends or end",
            param="fit",
        )
    gap = len(tokenizer.encode(GAP)) if policy == "ends" else 0
    part = (room - gap) // 2 if policy == "ends" else room
    start = whole_start(tokenizer.decode(ids[:part])) if policy != "end" else ""
    end = whole_end(tokenizer.decode(ids[-part:])) if policy != "start" else ""
    kept = start + (GAP if policy == "ends" else "") + end
    return Fitted(kept, len(tokenizer.encode(kept)), len(ids))


def summarize(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    form: Form = "tldr",
    sentences: int = 3,
    fit_policy: Fit = "start",
    max_tokens: int | None = None,
    seed: int = 0,
    **sampling: Unpack[SamplingSettings],
) -> Iterator[Summarized]:
    """Yield the summary of each text, in order: the first sentences of what the model writes after it.

    The paper's protocol (Radford et al. 2019, section 3.6): 100 tokens drawn from the two likeliest each
    time, and the first three sentences of them.

    Args:
        model: will write the summaries.
        texts: what to summarize.
        form: how to ask.
        sentences: how many sentences to keep; 0 keeps all.
        fit_policy: what to read of a text that does not fit the context.
        max_tokens: most tokens to write; None is the task's limit.
        seed: for sampling.
        **sampling: how tokens are chosen; temperature is 1 and top_k 2 unless one of them is given.

    Raises:
        ContextError: a text that does not fit and the policy "refuse", or a context too small for any.
        SettingError: a value outside its limits.
    """
    asked = ask(model, texts, form=form, fit_policy=fit_policy, max_tokens=max_tokens, seed=seed, **sampling)
    for one, sample in zip(asked.fitted, answers(model, asked.jobs), strict=True):
        yield Summarized(shortened(sample.text, sentences), one)


class Asked(NamedTuple):
    """Texts to summarize, as a model is asked."""

    fitted: list[Fitted]
    """What is read of each text."""
    jobs: list[Job]
    """One for each."""


def ask(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    form: Form = "tldr",
    fit_policy: Fit = "start",
    max_tokens: int | None = None,
    seed: int = 0,
    **sampling: Unpack[SamplingSettings],
) -> Asked:
    """Return what `summarize` asks, for those who run the jobs themselves; `shortened` ends the answers.

    Args and errors as there.
    """
    if form not in FORMS:
        raise SettingError(f"form is {form!r}; it must be one of {', '.join(FORMS)}", param="form")
    if sampling.get("temperature") is None and sampling.get("top_k") is None:
        sampling |= {"temperature": 1.0, "top_k": 2}
    cue, stop = FORMS[form]
    limit = min(max_tokens or stop.max_tokens, model.config.n_positions - 1)
    frame = len(document_ids(model, cue("x")))
    room = max(1, model.config.n_positions - limit - frame)
    fitted = [fit(text.strip(), model.tokenizer, room, fit_policy) for text in texts]
    jobs = [prepare(model, cue(one.text), stop, max_tokens=limit, seed=seed, **sampling) for one in fitted]
    return Asked(fitted, jobs)


def shortened(text: str, sentences: int) -> str:
    """Return the first sentences of what a model wrote; 0 keeps all."""
    return (first_sentences(text, sentences) if sentences else text).strip()


def whole_start(text: str) -> str:
    """Return a text that was cut at its end without the sentence that was cut, unless there is no other."""
    found = list(spans(text))
    return first_sentences(text, len(found) - 1) if len(found) > 1 else text.strip("\ufffd")


def whole_end(text: str) -> str:
    """Return a text that was cut at its beginning without its first sentence, unless there is no other."""
    found = list(spans(text))
    return text[found[1][0] :] if len(found) > 1 else text.strip("\ufffd")


def _prompt(cue: str) -> Callable[[Summary], list[Piece]]:
    return lambda example: [Piece(example.text.strip(), trainable=False), Piece(cue, trainable=False)]


def _render(cue: str) -> Callable[[Summary], list[Piece]]:
    return lambda example: [*_prompt(cue)(example), Piece(f" {example.summary.strip()}"), Piece(END)]


TASK = Task("summarize", _prompt(TLDR_CUE), _render(TLDR_CUE), Stop(max_tokens=100), clean)
MORAL = Task("moral", _prompt(MORAL_CUE), _render(MORAL_CUE), Stop(strings=("\n",), max_tokens=48), clean)
"""The moral of a fable: the same form with another cue."""

FORMS: dict[str, tuple[Callable[[str], list[Piece]], Stop]] = {
    "tldr": (lambda text: TASK.prompt(Summary(text)), TASK.stop),
    "none": (lambda text: [Piece(text)], TASK.stop),
    "equals": (lambda text: translate.prompt(translate.Translation(text)), translate.TASK.stop),
    "moral": (lambda text: MORAL.prompt(Summary(text)), MORAL.stop),
}
"""For each form the prompt and the stop rule."""
