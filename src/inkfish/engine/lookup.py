"""Guesses at how a text goes on, looked up where its last tokens stood before (Saxena 2023).

A guess is fed together with the last token; the logits after each of its tokens say what comes there, by the
same rule and the same random number as without a guess, so a wrong guess costs time and never changes a text.
How far to guess is decided for each call by what guesses were worth so far and what a longer call costs.
Where they do not pay nothing is fed, but what would have been guessed is still compared with what comes.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Cost", "Lookup"]

NGRAMS = (3, 2)
"""How many last tokens are looked up, the most telling first."""
MOST = 15
"""Most tokens of a guess; with the one before them 16, what matrix units like."""
STREAKS = (0.3, 0.5, 0.7, 0.9)
"""Chance, before anything is known, that a guessed token is right after 0, 1, 2, 3 or more right ones."""
WEIGHT = 8
"""How many observations that prior counts for, and how many the memory of an estimate reaches back, about."""
SHARE = 0.1
"""What one more row adds to a call of one row, before anything is known."""
OUTLIER = 4
"""How many times the mean a call may last and be believed."""


class Lookup:
    """The tokens of one text, and where each pair and triple of them stood last."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids: list[int] = []
        self.places: dict[tuple[int, ...], int] = {}
        self.next: int | None = None
        """Index of the token that is guessed to come next; None where nothing is known."""
        self.streak = 0
        """How many guesses in a row were right."""
        self.right = list(STREAKS)
        """Estimated probability that the next guess is right, after each streak."""
        for token in ids:
            self.remember(token)
        self.find()

    def remember(self, token: int) -> None:
        """Append a token, and note it as what follows those before it."""
        end = len(self.ids)
        for n in NGRAMS:
            if end >= n:
                self.places[tuple(self.ids[end - n :])] = end
        self.ids.append(token)

    def find(self) -> None:
        """Look the last tokens up."""
        for n in NGRAMS:
            self.next = self.places.get(tuple(self.ids[-n:]))
            if self.next is not None:
                return

    def push(self, token: int) -> None:
        """Take the token that came, whether it was guessed or not; guesses that were not used count too."""
        guessed = None if self.next is None else self.ids[self.next]
        self.remember(token)
        if self.next is None:
            self.find()
            return
        level = min(self.streak, len(STREAKS) - 1)
        self.right[level] += ((guessed == token) - self.right[level]) / WEIGHT
        if guessed == token:
            self.streak, self.next = self.streak + 1, self.next + 1
        else:
            self.streak = 0
            self.find()

    def guess(self, most: int, share: float) -> list[int]:
        """Return the next tokens as guessed, as many as pay.

        Args:
            most: how many there is room for.
            share: what one more row adds to the time of a call, in units of the time that a token takes now.
        """
        count = self.worth(min(most, MOST), share)
        if self.next is None or count == 0:
            return []
        period = len(self.ids) - self.next  # past the end the guess goes on in itself
        return [self.ids[self.next + n % period] for n in range(count)]

    def worth(self, most: int, share: float) -> int:
        """Return how many guessed tokens give the most tokens in a unit of time."""
        if self.next is None:
            return 0
        count, chance, tokens, rate = 0, 1.0, 1.0, 1.0
        while count < most:
            chance *= self.right[min(self.streak + count, len(STREAKS) - 1)]
            if (
                chance <= share * rate
            ):  # one more would bring less than the others do; those after it even less
                break
            count += 1
            tokens += chance
            rate = tokens / (1 + share * count)
        return count


class Cost:
    """What calls of the back end cost: seconds = fixed + each · rows, fitted to the latest."""

    DECAY = 0.98

    def __init__(self) -> None:
        self.count = self.rows = self.seconds = self.squares = self.products = 0.0  # decayed sums

    def note(self, rows: int, seconds: float) -> None:
        """Take the measurement of a call."""
        if self.count > WEIGHT:  # a call that was interrupted says little
            seconds = min(seconds, OUTLIER * self.seconds / self.count)
        self.count = self.count * self.DECAY + 1
        self.rows = self.rows * self.DECAY + rows
        self.seconds = self.seconds * self.DECAY + seconds
        self.squares = self.squares * self.DECAY + rows * rows
        self.products = self.products * self.DECAY + rows * seconds

    def share(self, rows: int) -> float:
        """Return what one more row adds to a call of so many, as a part of its time, from 0.01 to 1."""
        spread = self.count * self.squares - self.rows * self.rows
        if spread <= 1e-3 * self.count:  # all calls had as many rows
            return SHARE
        each = (self.count * self.products - self.rows * self.seconds) / spread
        whole = self.seconds / self.count + each * (rows - self.rows / self.count)
        return min(max(each / whole, 0.01), 1.0) if whole > 0 else SHARE
