"""What the recipes of preference learning share: prompts, responses, how they are cut."""

# No `from __future__ import annotations`: a class derived elsewhere inherits types, not names of types.

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import get_args

from inkfish.config import ModelConfig
from inkfish.data.documents import Rules
from inkfish.errors import ContextError, SettingError
from inkfish.preferences.truncation import Truncation
from inkfish.recipes.limits import check_choices, check_real, check_whole
from inkfish.recipes.prefer.queries import Frame, Query, Split, TaskName, framing, read_queries
from inkfish.tokenizer import Tokenizer

__all__ = ["Prompting", "check_context", "truncation_of"]

WHOLE = {
    "query_tokens": (2, 100_000),
    "tokens": (1, 100_000),
    "per_document": (1, 10**9),
    "not_before": (0, 100_000),
    "threads": (0, 256),
    "seed": (0, 2**31 - 1),
}
REAL = {"temperature": (0.01, 2.0), "penalty": (-1e6, 1e6)}


@dataclass(frozen=True)
class Prompting:
    """Settings of prompts and responses."""

    data: tuple[Path, ...]
    """Texts that prompts are cut from: files, folders, patterns."""
    _: KW_ONLY
    model: str = "starter"
    """Name or folder of the model."""
    query_tokens: int = 64
    """Most tokens of a prompt."""
    tokens: int = 24
    """Tokens of each response; it does not end before."""
    temperature: float = 0.7
    """Of sampling, and of all log-probabilities."""
    per_document: int = 8
    """Most prompts of one document."""
    whole: bool = False
    """Take each document (or row, or line) as a prompt, as it is."""
    split: Split = "all"
    """train takes four texts of five, held-out the fifth; which ones these are depends on them alone."""
    cut_after: str | None = None
    """With whole, longer documents end after the last such text that fits; "" is anywhere."""
    task: TaskName = "complete"
    """What the model is asked for: to go on, a summary, a moral, a reply; it alone reads the cue."""
    before: str = ""
    """Text before each prompt, which the model reads, but neither labellers nor the reward."""
    after: str = ""
    """Likewise after each prompt."""
    encoding: str | None = None
    """Of text files, as Python names it; by default it is detected."""
    field: str = "text"
    """Where the text stands in a row."""
    template: str | None = None
    """A prompt from a row's fields, such as "{text} TL;DR:"."""
    truncate: str | None = None
    """A response ends, for its reader, after this text of one token, such as "."."""
    not_before: int = 16
    """Token of the response from which on truncate counts."""
    penalty: float = -1.0
    """Reward of a response that truncate does not end."""
    threads: int = 0
    """CPU threads; 0 is one for each core."""
    seed: int = 1
    """Of the order of prompts and of all draws."""

    def __post_init__(self) -> None:
        check_whole(self, WHOLE)
        check_real(self, REAL)
        check_choices(self, {"split": get_args(Split), "task": get_args(TaskName)})
        if not self.data:
            raise SettingError("there are no data; name at least one text file", param="data")
        if self.truncate is not None and self.not_before >= self.tokens:
            raise SettingError(
                f"not_before is {self.not_before} and a response has {self.tokens} tokens; it must be less",
                param="not_before",
            )

    def truncation(self, tokenizer: Tokenizer) -> Truncation | None:
        """Return the rule by which responses are cut for their reader.

        Raises:
            SettingError: truncate is not one token of this vocabulary.
        """
        if self.truncate is None:
            return None
        return truncation_of(tokenizer, self.truncate, self.not_before, self.penalty)

    def queries(self, tokenizer: Tokenizer, shape: ModelConfig, say: Callable[[str], None]) -> list[Query]:
        """Return the prompts in an order of the seed.

        Raises:
            DataError: there is none.
            ContextError: prompt and response do not fit the context.
        """
        check_context(self.query_tokens, self.tokens, shape)
        queries = read_queries(
            self.data,
            tokenizer,
            vocab_size=shape.vocab_size,
            length=self.query_tokens,
            gap=self.tokens,
            per_document=self.per_document,
            whole=self.whole,
            rules=Rules(encoding=self.encoding, field=self.field, template=self.template),
            split=self.split,
            seed=self.seed,
            say=say,
            cut_after=self.cut_after,
            frame=self.framing(tokenizer),
        )
        check_context(max(len(query.prompt) for query in queries), self.tokens, shape)
        return queries

    def framing(self, tokenizer: Tokenizer) -> Frame:
        """Return what says how the model is asked."""
        return framing(tokenizer, before=self.before, after=self.after, task=self.task)


def truncation_of(tokenizer: Tokenizer, text: str, not_before: int, penalty: float = -1.0) -> Truncation:
    """Return the rule by which responses end after a text.

    Raises:
        SettingError: it is not one token of this vocabulary.
    """
    ids = tokenizer.encode(text)
    if len(ids) != 1:
        raise SettingError(
            f"truncate is {text!r}, {len(ids)} tokens of this vocabulary; it must be one", param="truncate"
        )
    return Truncation(ids[0], not_before, penalty)


def check_context(query: int, response: int, shape: ModelConfig) -> None:
    """Refuse prompts and responses that do not fit the context.

    Raises:
        ContextError: with the three numbers.
    """
    if query + response > shape.n_positions:
        raise ContextError(
            f"prompts of {query:,} tokens and responses of {response:,} do not fit the context of "
            f"{shape.n_positions:,}; shorten one of them",
            param="query_tokens",
        )
