"""One text as it grows: ids come in, whole characters go out, and stop strings never do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from inkfish.engine import Alternative, Event, Failed, Finish, Reused, Slid, Token
from inkfish.errors import SettingError
from inkfish.generate.results import FinishReason, Sample, TextAlternative, TextToken
from inkfish.tokenizer import StreamDecoder, Tokenizer

__all__ = ["Draft", "StopStrings", "check_stop", "named"]

SENTENCE_END = re.compile(r"""(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)[.!?…]["'”’»)\]]*(?=\s)""")
"""Its last character is known to be the last one when white space follows."""
LAST_WORD = re.compile(r"\w*\Z")
LONGEST_END = 16
"""Characters before a piece in which a sentence may have ended that the piece makes certain."""


def check_stop(stop: Any) -> tuple[str, ...]:
    """Return stop strings, given as one string or several, as a tuple.

    Raises:
        SettingError: one is empty, no text, or not valid Unicode.
    """
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    for string in strings:
        if not isinstance(string, str) or not string:
            raise SettingError(f"stop holds {string!r}; it must be a text that is not empty", param="stop")
        if any("\ud800" <= character <= "\udfff" for character in string):
            raise SettingError(f"stop holds {string!r}; a lone surrogate is not valid Unicode", param="stop")
    return strings


class StopStrings:
    """Passes text on up to the first stop string, which is matched literally.

    Whatever could still become a stop string is held back. Of several the one that is complete first wins, of
    those complete at the same character the longest: so the result does not depend on how the text is cut.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self.strings = tuple(strings)
        self.held = ""
        self.found: str | None = None
        """The stop string that ended the text."""

    def push(self, text: str) -> str:
        """Take more text and return what is certain to stand before any stop string; after one nothing."""
        if self.found is not None:
            return ""
        self.held += text
        matches = [(self.held.find(s) + len(s), -len(s), s) for s in self.strings if s in self.held]
        if matches:
            end, _, self.found = min(matches)
            certain, self.held = self.held[: end - len(self.found)], ""
            return certain
        return self.release(max((overlap(self.held, s) for s in self.strings), default=0))

    def finish(self) -> str:
        """Return what is still held back: no stop string will come of it."""
        return self.release(0)

    def release(self, keep: int) -> str:
        """Return what is held but for its last `keep` characters."""
        cut = len(self.held) - keep
        certain, self.held = self.held[:cut], self.held[cut:]
        return certain


class Mask:
    """Replaces words by as many asterisks; a word is held back until it is complete."""

    def __init__(self, words: re.Pattern[str] | None) -> None:
        self.words = words
        self.held = ""

    def push(self, text: str) -> str:
        """Take more text and return what is complete of it."""
        if self.words is None:
            return text
        self.held += text
        return self.release(LAST_WORD.search(self.held).start())  # type: ignore[union-attr]  # there always is one

    def finish(self) -> str:
        """Return the last word."""
        return self.release(len(self.held))

    def release(self, length: int) -> str:
        """Return the beginning of what is held, masked."""
        certain, self.held = self.held[:length], self.held[length:]
        return self.words.sub(lambda found: "*" * len(found[0]), certain) if self.words else certain


def overlap(text: str, string: str) -> int:
    """Return the length of the longest end of `text` that is a beginning of `string`."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if string.startswith(text[-n:])), 0)


def named(found: Sequence[Alternative], tokenizer: Tokenizer) -> tuple[TextAlternative, ...]:
    """Return alternatives with their texts."""
    return tuple(TextAlternative(i, tokenizer.decode([i]), logprob) for i, logprob in found)


class Draft:
    """One sample as it grows, fed with the events of its request."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str] = (),
        stop_ids: Sequence[int] = (),
        sentence_after: int | None = None,
        mask: re.Pattern[str] | None = None,
    ) -> None:
        """Begin a sample.

        Args:
            tokenizer: makes text of ids.
            stop: strings that end the text.
            stop_ids: tokens that end it.
            sentence_after: once so many tokens are drawn, the end of a sentence ends the text too.
            mask: words to show as asterisks.
        """
        self.tokenizer = tokenizer
        self.sentence_after = sentence_after
        self.stop_ids = frozenset(stop_ids)
        self.decoder = StreamDecoder(tokenizer)
        self.stops = StopStrings(stop)
        self.mask = Mask(mask)
        self.pieces: list[str] = []
        self.tokens: list[TextToken] = []
        self.slid: list[int] = []
        self.drawn = 0
        """How many tokens were drawn, a stop token included."""
        self.reused = 0
        """How many tokens of the prompt did not have to be read."""
        self.cut = False
        """Whether the text ends before what was drawn: at a stop string, or with a sentence."""
        self.finish_reason: FinishReason | None = None
        """Why it ended; None while it goes on. After a stop string the request is to be cancelled."""

    def take(self, event: Event) -> str:
        """Take what happened and return the text that is certain now, perhaps none.

        Raises:
            Exception: the error of a `Failed`.
        """
        if self.finish_reason is not None:
            return ""
        match event:
            case Token():
                return self.add(event)
            case Reused():
                self.reused = event.length
                return ""
            case Slid():
                self.slid.append(event.position)
                return ""
            case Finish():
                return self.end(event.reason)
            case Failed():
                raise event.error

    def add(self, token: Token) -> str:
        """Take a token."""
        self.drawn += 1
        if token.id in self.stop_ids:
            return ""
        text = self.decoder.push(token.id)
        self.tokens.append(TextToken(token.id, text, token.logprob, named(token.top, self.tokenizer)))
        return self.emit(self.stops.push(text))

    def whole_sentence(self, piece: str) -> str:
        """Return the piece up to the end of a sentence, which ends the text if it is late enough."""
        if self.sentence_after is None or self.drawn < self.sentence_after:
            return piece
        before = "".join(self.pieces[-LONGEST_END:])[-LONGEST_END:]
        for found in SENTENCE_END.finditer(before + piece):
            if found.end() >= len(before):
                self.finish_reason, self.cut = "stop", True
                return piece[: found.end() - len(before)]
        return piece

    def end(self, reason: FinishReason) -> str:
        """Take the end: bytes and text that were held back come out."""
        tail = self.decoder.finish()
        if tail:
            last = self.tokens[-1]
            self.tokens[-1] = TextToken(last.id, last.text + tail, last.logprob, last.top)
        piece = self.emit(self.stops.push(tail))
        if self.finish_reason is None:
            piece += self.emit(self.stops.finish(), last=True)
        self.finish_reason = self.finish_reason or reason
        return piece

    def emit(self, piece: str, *, last: bool = False) -> str:
        """Note a piece of certain text, and the end if a stop string follows it or a sentence ends in it."""
        piece = self.mask.push(piece)
        if self.stops.found is not None:
            self.finish_reason, self.cut = "stop", True
        if last or self.stops.found is not None:
            piece += self.mask.finish()
        piece = self.whole_sentence(piece)
        self.pieces.append(piece)
        return piece

    def sample(self) -> Sample:
        """Return what there is; a draft that goes on counts as cancelled, with the text passed on."""
        text = "".join(self.pieces)
        whole = self.finish_reason is not None and not self.cut
        tokens = self.tokens if whole else self.tokens[: self.tokens_of(len(text))]
        return Sample(text, tuple(tokens), self.finish_reason or "cancelled", tuple(self.slid))

    def tokens_of(self, length: int) -> int:
        """Return how many tokens begin before this character of the text."""
        start = 0
        for count, token in enumerate(self.tokens):
            if start >= length:
                return count
            start += len(token.text)
        return len(self.tokens)
