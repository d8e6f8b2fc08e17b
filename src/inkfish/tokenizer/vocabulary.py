"""The value behind a tokenizer: byte strings and their ids in merge order, and entries that no merge makes.

Byte-level BPE (Radford et al. 2019, section 2.2; Sennrich et al. 2016, section 3.2) starts from the bytes of
a word and repeatedly merges the neighbours whose merge was learned first. Vocabulary files write a byte
string in a printable alphabet, in which for example a space is "Ġ"; here that alphabet is an 8-bit codec.

tiktoken merges neighbours by the rank of their joined bytes, the papers by the rank of the pair. The two
agree where each entry's own bytes are put together by its own merge, and `from_merges` refuses a vocabulary
where they are not. Training never makes such a one; editing by hand can.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from reprlib import repr as shown

from inkfish.errors import TokenizerError

__all__ = ["ALPHABET", "END", "Vocabulary", "from_merges", "printable", "raw"]

END = "<|endoftext|>"
"""The text of GPT-2's one special token: it stands between documents."""

_KEPT = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
_MOVED = [byte for byte in range(256) if byte not in _KEPT]
ALPHABET = "".join(chr(byte if byte in _KEPT else 256 + _MOVED.index(byte)) for byte in range(256))
"""The printable character that stands for each byte in files: itself, or the next from U+0100 on."""
_ENCODE = codecs.charmap_build(ALPHABET)


def printable(token: bytes) -> str:
    """Write a byte string as vocabulary files do: b" the" is "Ġthe"."""
    return codecs.charmap_decode(token, "strict", ALPHABET)[0]


def raw(token: str) -> bytes:
    """Read a vocabulary file's entry; raises UnicodeEncodeError where a character is outside the alphabet."""
    return codecs.charmap_encode(token, "strict", _ENCODE)[0]


@dataclass(frozen=True)
class Vocabulary:
    """All entries of a tokenizer. Each has an id of its own, but a word may also be the entry of a merge."""

    ranked: Mapping[bytes, int]
    """Byte string → id: the 256 bytes, then one string a merge, in merge order."""
    specials: Mapping[str, int] = field(default_factory=dict)
    """Text → id of the entries that no text ever turns into."""
    words: Mapping[str, int] = field(default_factory=dict)
    """Text → id of added entries that are ordinary text, found in it before anything else (longest first)."""

    def within(self, vocab_size: int) -> Vocabulary:
        """Return what a model with `vocab_size` rows can use: added entries beyond them are left out.

        Raises:
            TokenizerError: entries that text turns into lie beyond.
        """
        largest = max(self.ranked.values())
        if largest >= vocab_size:
            raise TokenizerError(
                f"the tokenizer has ids up to {largest} and the model's vocab_size is {vocab_size}; "
                "they do not belong together"
            )
        return Vocabulary(
            self.ranked,
            specials={text: i for text, i in self.specials.items() if i < vocab_size},
            words={text: i for text, i in self.words.items() if i < vocab_size},
        )

    def with_specials(self, names: Sequence[str]) -> Vocabulary:
        """Return the vocabulary with these special tokens too; new ones get the ids after the largest.

        Raises:
            TokenizerError: a name that text turns into.
        """
        ids = {*self.ranked.values(), *self.specials.values(), *self.words.values()}
        specials = dict(self.specials)
        for name in names:
            if name in self.words:
                raise TokenizerError(
                    f"{shown(name)} is an entry that text turns into; it can't be special, rename it"
                )
            if name not in specials:
                specials[name] = max(ids) + 1
                ids.add(specials[name])
        return Vocabulary(self.ranked, specials, self.words)

    def entries(self) -> dict[int, bytes]:
        """Return the bytes that each id stands for."""
        table = {i: token for token, i in self.ranked.items()}
        return table | {i: text.encode() for text, i in (*self.specials.items(), *self.words.items())}

    def merges(self) -> list[tuple[bytes, bytes]]:
        """Return the pair behind each merge, in order: what its bytes come to by those before it."""
        ranks = {token: rank for rank, token in enumerate(self.ranked)}
        return [_split(token, ranks) for token in self.ranked if len(token) > 1]

    def cuts(self, tokens: Iterable[bytes]) -> Iterator[list[int]]:
        """Yield the ids that each byte string alone comes to, whole characters or not."""
        ranks = {entry: rank for rank, entry in enumerate(self.ranked)}
        never = len(ranks)
        for token in tokens:
            parts = [token[i : i + 1] for i in range(len(token))]
            while len(parts) > 1:
                joined = [ranks.get(left + right, never) for left, right in pairwise(parts)]
                i = joined.index(min(joined))
                if joined[i] == never:
                    break
                parts[i : i + 2] = [parts[i] + parts[i + 1]]
            yield [self.ranked[part] for part in parts]

    def fingerprint(self) -> str:
        """Return a SHA-256 in hexadecimal over all that decides which ids a text gets."""
        single = [i for token, i in sorted(self.ranked.items()) if len(token) == 1]
        merged = [(printable(token), i) for token, i in self.ranked.items() if len(token) > 1]
        value = [single, merged, sorted(self.specials.items()), sorted(self.words.items())]
        return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def _split(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """Merge the bytes of an entry until two parts are left."""
    parts = [token[i : i + 1] for i in range(len(token))]
    never = len(ranks)
    while len(parts) > 2:
        joined = [ranks.get(left + right, never) for left, right in pairwise(parts)]
        i = joined.index(min(joined))
        assert joined[i] < ranks[token], f"{token!r} is not made by one merge"
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]


def from_merges(ids: Mapping[str, int], merges: Sequence[tuple[str, str]], source: str) -> dict[bytes, int]:
    """Return `Vocabulary.ranked` for entries in the printable alphabet and their merges in order.

    Args:
        ids: entry → id; may hold entries that no merge makes.
        merges: pairs of entries, earliest learned first.
        source: the file, for error messages.

    Raises:
        TokenizerError: an entry has no id; a merge joins what no earlier one made, makes what an earlier one
            made, or never happens because the merges before it take its bytes apart otherwise.
    """
    made = _number(merges, source)
    flat = raw("".join(made))  # one character is one byte, and one call is faster than fifty thousand
    ends = accumulate(map(len, made))
    try:
        return {flat[end - len(token) : end]: ids[token] for token, end in zip(made, ends, strict=True)}
    except KeyError as error:
        raise TokenizerError(
            f"{source}: the vocabulary lacks {shown(error.args[0])}, which the merges need"
        ) from None


def _number(merges: Sequence[tuple[str, str]], source: str) -> dict[str, int]:
    """Number the entries, bytes first, and check that each merge can happen."""
    number = {character: i for i, character in enumerate(ALPHABET)}
    left, right = list(range(256)), list(range(256))
    pairs: dict[tuple[int, int], int] = {}
    for line, (a, b) in enumerate(merges):
        x, y, joined = number.get(a), number.get(b), a + b
        if x is None or y is None:
            raise _unfit(source, line, a, b, "joins an entry that no earlier merge makes")
        if joined in number:
            raise _unfit(source, line, a, b, "makes an entry that an earlier merge makes")
        number[joined] = pairs[x, y] = this = len(number)
        left.append(x)
        right.append(y)
        if _crossed(left, right, pairs, this):
            raise _unfit(source, line, a, b, "never happens, as earlier merges join its bytes otherwise")
    return number


def _unfit(source: str, line: int, a: str, b: str, why: str) -> TokenizerError:
    """Return the error for a merge that training could not have made."""
    return TokenizerError(
        f"{source}: merge {line}, {shown(a)} + {shown(b)}, {why}; use the merges as they were trained"
    )


def _crossed(left: list[int], right: list[int], pairs: Mapping[tuple[int, int], int], this: int) -> bool:
    """Whether an earlier merge takes bytes from both parts of merge `this`, which then never meet.

    Undoes the merges beside the border between the parts, latest first, and looks at each stage whether the
    two neighbours across it would have merged before. Of equal merges the left one happens first.
    """
    x, y = left[this], right[this]
    while x >= 256 or y >= 256:
        if x > y:
            limit, x = x, right[x]
        else:
            limit, y = y + 1, left[y]
        if pairs.get((x, y), limit) < limit:
            return True
    return False
