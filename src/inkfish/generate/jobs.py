"""What is to be written: a prompt with its settings, and how far it has come."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from inkfish.engine import Request
from inkfish.generate.draft import Draft
from inkfish.generate.results import Completion, Timings, Usage
from inkfish.tokenizer import Tokenizer

__all__ = ["Job", "Progress", "Prompt", "SamplingSettings", "Settings"]


class SamplingSettings(TypedDict, total=False):
    """The fields of `inkfish.sampling.Sampling`; None is the model's default."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    top_p_rule: Literal["keep", "openai"] | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    no_repeat_ngram: int | None
    logit_bias: Mapping[int, float] | None
    min_tokens: int | None


class Settings(SamplingSettings, total=False):
    """What `generate` and `stream` take by name; `LanguageModel.prepare` says what each means."""

    n: int
    max_tokens: int | None
    seed: int | None
    stop: str | Sequence[str]
    stop_ids: Sequence[int] | None
    slide: bool
    end_at_sentence: bool | None
    mask_words: bool
    top: int


@dataclass(frozen=True)
class Prompt:
    """A prompt as ids, where text alone does not say it: special tokens, speakers."""

    ids: Sequence[int]
    """At least one."""
    segments: Sequence[int] | None = None
    """For each id a token whose embedding is added; the text that follows takes the last one."""


@dataclass(frozen=True)
class Job:
    """A prompt with everything that decides its texts, checked; made by `LanguageModel.prepare`."""

    prompt: str
    """Its text, empty for none."""
    request: Request
    """The first sample's."""
    n: int
    """How many samples."""
    stop: tuple[str, ...]
    """Strings that end a text."""
    sentence_after: int | None = None
    """Tokens after which a text ends with its sentence; None lets it go on."""
    mask: re.Pattern[str] | None = None
    """Words that are shown as asterisks."""


class Progress:
    """A job that is being done."""

    def __init__(self, job: Job, tokenizer: Tokenizer) -> None:
        self.job = job
        self.drafts = [
            Draft(
                tokenizer,
                stop=job.stop,
                stop_ids=job.request.stop_ids,
                sentence_after=job.sentence_after,
                mask=job.mask,
            )
            for _ in range(job.n)
        ]
        self.started = self.last = time.perf_counter()
        self.first: float | None = None

    @property
    def done(self) -> bool:
        """Whether all samples have ended."""
        return all(draft.finish_reason is not None for draft in self.drafts)

    def tick(self) -> None:
        """Note the time of an event."""
        self.last = time.perf_counter()
        if self.first is None and any(draft.drawn for draft in self.drafts):
            self.first = self.last - self.started

    def completion(self, model: str) -> Completion:
        """Return what there is so far."""
        drawn, seconds = sum(draft.drawn for draft in self.drafts), self.last - self.started
        return Completion(
            model=model,
            prompt=self.job.prompt,
            seed=self.job.request.seed,
            samples=tuple(draft.sample() for draft in self.drafts),
            usage=Usage(len(self.job.request.prompt), drawn, self.drafts[0].reused),
            timings=Timings(self.first, seconds, drawn / seconds if seconds else 0.0),
        )
