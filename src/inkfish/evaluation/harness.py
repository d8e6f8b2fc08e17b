"""inkfish as a model of EleutherAI's lm-evaluation-harness, with the extra [harness].

    from lm_eval import simple_evaluate
    from inkfish.evaluation.harness import Harness

    simple_evaluate(Harness("gpt2"), tasks=["lambada_openai", "wikitext"])

Requests are answered as the harness's own Hugging Face model answers them: a context that ends in spaces
gives them to the continuation, an empty one is the end token, what is too long loses its beginning, and
rolling windows are disjoint but for the last, which has a full context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lm_eval.api.model import LM

from inkfish.evaluation.scoring import Window, read_window, score_continuations
from inkfish.generate import LanguageModel, load

__all__ = ["Harness"]


class Harness(LM):  # type: ignore[misc]  # lm_eval has no types
    """A language model of inkfish behind the interface of the harness."""

    def __init__(self, model: str | LanguageModel = "starter", **settings: Any) -> None:
        """Wrap a model.

        Args:
            model: name, folder, or a model that is loaded.
            **settings: `backend`, `dtype` (float32 if left out) and `threads` of `inkfish.load`.
        """
        super().__init__()
        self.model = load(model, **{"dtype": "float32", **settings}) if isinstance(model, str) else model
        end = self.model.tokenizer.end
        assert end is not None, "the harness needs an end token to begin texts with"
        self.prefix = [end]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return for each (context, continuation) its log-probability, and whether greedy writes it."""
        found = []
        for request in requests:
            context, continuation = self.encoded(*request.args)
            [scored] = score_continuations(self.model.backend, context, [continuation])
            found.append((float(scored.logprobs.sum()), bool(scored.likeliest.all())))
        return found

    def encoded(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the ids of a context and of what the whole text adds to them."""
        stripped = context.rstrip()
        continuation = context[len(stripped) :] + continuation
        encode = self.model.tokenizer.encode
        if not stripped:
            return self.prefix, encode(continuation)
        before = encode(stripped)
        return before, encode(stripped + continuation)[len(before) :]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Return the log-probability of each whole text, in windows."""
        found = []
        for request in requests:
            (text,) = request.args
            ids = self.prefix + self.model.tokenizer.encode(text)
            parts = (read_window(self.model.backend, ids, window) for window in self.windows(len(ids)))
            found.append(float(sum(part.logprobs.sum() for part in parts)))
        return found

    def windows(self, length: int) -> Iterator[Window]:
        """Cut a text into windows that do not overlap, but for the last, which has a full context."""
        context = self.model.config.n_positions
        for first in range(1, length, context):
            stop = min(first + context, length)
            yield Window(max(0, stop - 1 - context), stop, first)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return what the model writes after each context, up to one of the strings of `until`."""
        return [self.written(*request.args) for request in requests]

    def written(self, context: str, settings: dict[str, Any]) -> str:
        """Answer one request; it is greedy unless `do_sample` is set."""
        until = settings.get("until") or ()
        most = int(settings.get("max_gen_toks", 256))
        ids = (self.model.tokenizer.encode(context) or self.prefix)[-(self.model.config.n_positions - most) :]
        drawn = bool(settings.get("do_sample", False))
        return self.model.generate(
            ids,
            max_tokens=most,
            stop=(until,) if isinstance(until, str) else tuple(until),
            temperature=float(settings.get("temperature", 1.0)) if drawn else 0.0,
            seed=0,
        ).text
