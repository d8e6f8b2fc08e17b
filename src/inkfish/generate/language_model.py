"""A back end with its tokenizer: continues texts, scores them, gives logits."""

from __future__ import annotations

import dataclasses
import secrets
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import count
from typing import Any, Unpack, cast, overload

import numpy as np
from numpy.typing import NDArray

from inkfish.backends import Backend
from inkfish.config import ModelConfig
from inkfish.data.blocklist import blocklist
from inkfish.engine import Engine, Finish, Kept, Request, check_ids, check_request, check_whole
from inkfish.errors import ContextError, SettingError
from inkfish.generate.draft import check_stop
from inkfish.generate.jobs import Job, Progress, Prompt, SamplingSettings, Settings
from inkfish.generate.results import Completion, Piece, Score
from inkfish.generate.score import score
from inkfish.sampling import Sampling
from inkfish.tokenizer import Tokenizer

__all__ = ["MAX_TOKENS", "LanguageModel", "Stream"]

MAX_TOKENS = 200
"""Most tokens to write where neither the call nor the model's folder says."""
MOST_SAMPLES = 10_000


class Stream:
    """The texts of one prompt as they are written: an iterator over pieces, none of them empty."""

    def __init__(self, model: LanguageModel, job: Job, *, kept: Kept | None = None) -> None:
        self.seed = job.request.seed
        """The seed in use."""
        self._model = model
        self._progress = Progress(job, model.tokenizer)
        self._pieces = model._pieces([self._progress], kept)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        while True:
            _, piece = next(self._pieces)
            if piece.text:
                return piece

    @property
    def completion(self) -> Completion:
        """All that was written so far; samples that have not ended count as cancelled."""
        return self._progress.completion(self._model.name)

    def close(self) -> None:
        """Stop writing and free the memory."""
        self._pieces.close()


class LanguageModel:
    """A back end with its tokenizer. Not to be used by two threads at once."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        *,
        name: str = "",
        defaults: Sampling | None = None,
        max_tokens: int = MAX_TOKENS,
        stop_ids: Sequence[int] | None = None,
        end_at_sentence: bool = False,
        speculate: bool = False,
    ) -> None:
        """Put a model together; `inkfish.load` does it from a folder.

        Args:
            backend: what computes.
            tokenizer: the model's.
            name: for results.
            defaults: sampling settings for calls that do not say.
            max_tokens: likewise.
            stop_ids: tokens that end a text; None is the tokenizer's end token.
            end_at_sentence: likewise a default for calls that do not say.
            speculate: guess tokens where that pays, see `inkfish.engine.Engine`.
        """
        self.backend = backend
        self.tokenizer = tokenizer
        self.name = name
        self.defaults = defaults if defaults is not None else Sampling()
        self.max_tokens = max_tokens
        self.end_at_sentence = end_at_sentence
        self.speculate = speculate
        end = () if tokenizer.end is None else (tokenizer.end,)
        self.stop_ids = tuple(stop_ids) if stop_ids is not None else end

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self.backend.config

    def prepare(
        self,
        prompt: str | Sequence[int] | Prompt,
        *,
        n: int = 1,
        max_tokens: int | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        stop_ids: Sequence[int] | None = None,
        slide: bool = False,
        end_at_sentence: bool | None = None,
        mask_words: bool = False,
        top: int = 0,
        **sampling: Unpack[SamplingSettings],
    ) -> Job:
        """Check a prompt and its settings, and return them as a job for `complete`.

        Args:
            prompt: text, taken as it comes; or ids. Empty text writes from nothing: after the model's end
                token, which is not shown.
            n: how many samples, 1 to 10,000; they share the reading of the prompt.
            max_tokens: most tokens to write; None is the model's default (200) or the room in its context.
            seed: -2⁶³ to 2⁶³ - 1; None draws one from the system, which the result reports.
            stop: a string or several; the text ends before the first of them.
            stop_ids: tokens that end the text; None is the model's end token, () lets it write on.
            slide: write on past the context: whenever it is full, its last half is read again.
            end_at_sentence: from three quarters of max_tokens on, the end of a sentence ends the text;
                None is the model's default.
            mask_words: show slurs and sexual words (those of `inkfish.data.blocklist`) as asterisks.
            top: how many alternatives to report with each token, 0 to 100.
            **sampling: fields of `inkfish.sampling.Sampling`; left out or None: the model's default.

        Raises:
            SettingError: a value outside its limits.
            ContextError: prompt and max_tokens do not fit the context.
            TokenizerError: a text that is not valid Unicode.
        """
        check_whole("n", n, 1, MOST_SAMPLES)
        ids, segments = self._ids(prompt)
        if max_tokens is None:
            room = self.config.n_positions - len(ids)
            max_tokens = self.max_tokens if slide else max(1, min(self.max_tokens, room))
        given: dict[str, Any] = {name: value for name, value in sampling.items() if value is not None}
        request = Request(
            prompt=ids,
            max_tokens=max_tokens,
            sampling=dataclasses.replace(self.defaults, **given),
            stop_ids=self.stop_ids if stop_ids is None else tuple(stop_ids),
            seed=secrets.randbelow(2**32) if seed is None else seed,
            segments=segments,
            slide=slide,
            top=top,
        )
        check_request(request, self.config)
        text = prompt if isinstance(prompt, str) else self.tokenizer.decode(ids)
        ends = self.end_at_sentence if end_at_sentence is None else end_at_sentence
        after = max_tokens - max_tokens // 4 if ends else None
        return Job(text, request, n, check_stop(stop), after, blocklist() if mask_words else None)

    def _ids(self, prompt: Any) -> tuple[list[int], Sequence[int] | None]:
        """Return a prompt's ids and segments."""
        if isinstance(prompt, Prompt):
            return list(prompt.ids), prompt.segments
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt) if prompt else [self._start("prompt")], None
        if not isinstance(prompt, Sequence | np.ndarray):
            raise SettingError(f"prompt is {prompt!r}; it must be text or token ids", param="prompt")
        return list(prompt), None

    def _start(self, param: str) -> int:
        """Return the token that stands before a text that begins from nothing."""
        if self.tokenizer.end is None:
            raise SettingError(
                f"the vocabulary of this model has no end token to begin from; give a text as {param}",
                param=param,
            )
        return self.tokenizer.end

    @overload
    def generate(
        self, prompt: list[str] | list[list[int]] | list[Prompt], **settings: Unpack[Settings]
    ) -> list[Completion]: ...
    @overload
    def generate(self, prompt: str | list[int] | Prompt = "", **settings: Unpack[Settings]) -> Completion: ...
    def generate(
        self,
        prompt: str | list[int] | Prompt | list[str] | list[list[int]] | list[Prompt] = "",
        **settings: Unpack[Settings],
    ) -> Completion | list[Completion]:
        """Continue one prompt, or several in one batch; `prepare` explains the settings and what it refuses.

        Nothing starts unless all prompts are right. Several prompts without a seed share a new one.
        """
        if isinstance(prompt, str | Prompt) or not prompt or isinstance(prompt[0], int):
            return next(self.complete([self.prepare(cast("str", prompt), **settings)]))
        if settings.get("seed") is None:
            settings["seed"] = secrets.randbelow(2**32)
        jobs = [self.prepare(one, **settings) for one in prompt]
        return list(self.complete(jobs))

    def stream(
        self,
        prompt: str | Sequence[int] | Prompt = "",
        *,
        kept: Kept | None = None,
        **settings: Unpack[Settings],
    ) -> Stream:
        """Continue a prompt piece by piece; `prepare` explains the settings and what it refuses.

        With `kept`, what the prompt shares with the last one that used it is not read again.
        """
        return Stream(self, self.prepare(prompt, **settings), kept=kept)

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        """Do many jobs, as many at once as fit, and yield their results in order.

        Jobs are taken as there is room for them, so the iterable may be long.
        """
        queue: deque[Progress] = deque()

        def begin() -> Iterator[Progress]:
            for job in jobs:
                queue.append(Progress(job, self.tokenizer))
                yield queue[-1]

        with closing(self._pieces(begin())) as pieces:
            for _ in pieces:
                while queue and queue[0].done:
                    yield queue.popleft().completion(self.name)

    def _pieces(
        self, work: Iterable[Progress], kept: Kept | None = None
    ) -> Generator[tuple[Progress, Piece]]:
        """Do jobs, and yield after each event whose it was and the text that came of it, perhaps none."""
        running: dict[int, tuple[Progress, int]] = {}
        handles = count()

        def requests() -> Iterator[Request]:
            for progress in work:
                for sample in range(progress.job.n):
                    running[next(handles)] = progress, sample
                    yield dataclasses.replace(progress.job.request, sample=sample)

        engine = Engine(self.backend, kept=kept, speculate=self.speculate)
        with closing(engine.run(requests())) as events:
            for handle, event in events:
                progress, sample = running[handle]
                draft = progress.drafts[sample]
                piece = draft.take(event)
                progress.tick()
                if isinstance(event, Finish):
                    del running[handle]
                elif draft.finish_reason is not None:
                    engine.cancel(handle)
                yield progress, Piece(piece, sample)

    def score(
        self,
        text: str | Sequence[int],
        *,
        from_start: bool = False,
        top: int = 0,
        stride: int | None = None,
    ) -> Score:
        """Return the log-probability of each token of a text, of any length, after those before it.

        Args:
            text: taken as it comes, nothing stripped; or ids.
            from_start: put the model's end token before it, so that its first token is scored too.
            top: how many alternatives to report for each token, 0 to 100.
            stride: how far the window moves in a text longer than the context, from 1 (slow, best) to
                the context; each token sees at least context - stride + 1 tokens. None is half the context.

        Raises:
            SettingError: nothing to score, or a value outside its limits.
            TokenizerError: a text that is not valid Unicode.
            ModelError: the logits are not finite.
        """
        check_whole("top", top, 0, 100)
        context = self.config.n_positions
        if stride is None:
            stride = max(1, context // 2)
        check_whole("stride", stride, 1, context)
        ids = self.tokenizer.encode(text) if isinstance(text, str) else list(text)
        check_ids(ids, self.config, param="text")
        if not ids:
            raise SettingError("the text is empty; there is nothing to score", param="text")
        start = self._start("from_start") if from_start else None
        return score(self.backend, self.tokenizer, ids, start=start, top=top, stride=stride)

    def logits(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the logits after each of T ids, (T, V).

        Raises:
            SettingError: no ids, or one outside the vocabulary.
            ContextError: more of them than the context holds.
        """
        checked = list(ids)
        check_ids(checked, self.config, param="ids")
        if not 1 <= len(checked) <= self.config.n_positions:
            raise ContextError(
                f"ids has {len(checked):,} tokens; it must have from 1 to this model's context of "
                f"{self.config.n_positions:,}",
                param="ids",
            )
        slot = self.backend.allocate()
        try:
            return self.backend.prefill(slot, checked, every=True)
        finally:
            self.backend.free(slot)
