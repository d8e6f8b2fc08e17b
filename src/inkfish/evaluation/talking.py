"""Talk with a persona: ConvAI2's measures on PERSONA-CHAT or on any dialogues (Dinan et al. 2019, section 4).

Perplexity of the real replies, hits@1 among 20 candidates with the real persona and with somebody else's (the
gap shows whether the persona is used), F1 of the model's own replies, and how varied and repetitive they are.
Which form the model reads, and whether a choice head or the dialogue's gain ranks, is seen from its folder.

Perplexity is given three ways. Per token: all pieces of a reply and its end. Per word: the log-probability of
all pieces, without the end, over the words that spaces part. Per dictionary word, as the released
convai_evaluation.py through ParlAI: the probability of a word's first piece is shared out among all words of
the dictionary that begin with it, in proportion to their counts + 5. The release takes the piece without the
space before it, which GPT-2 hardly ever writes within a text (its 178.9, issue 63); here it is the piece with
the space. The dictionary is that of the files' own training part, or of all their turns, not ParlAI's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish.data.dialogues import Talk, read
from inkfish.data.rules import BadRows
from inkfish.errors import ContextError, DataError
from inkfish.evaluation.published import CONVAI2
from inkfish.evaluation.suite import Fact, Settings, Suite
from inkfish.generate import LanguageModel
from inkfish.generate.continuations import continuation_logits
from inkfish.metrics.answers import word_f1, words
from inkfish.metrics.diversity import distinct, ngrams
from inkfish.metrics.ranking import hits_at, rank
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.choosing import Judge, token_logprobs
from inkfish.tasks.conversation import Conversation, fit
from inkfish.tasks.forms import Form
from inkfish.tasks.speaking import Turn

__all__ = ["SUITES", "Dictionary"]

Record = dict[str, Any]
CANDIDATES = 20
"""Replies to choose among, the real one included."""
MOST_DIALOGUES = 1000
"""Where the data has no candidates, so many dialogues lend their replies."""
SMOOTHING = 5
"""Added to each count in the dictionary, as released."""
OWN = 3
"""Words of the n-grams in which a reply repeats what its speaker said before."""


class Dictionary:
    """Words with their counts, by the first piece of each after a space."""

    def __init__(self, texts: Iterable[str], encode: Callable[[str], list[int]]) -> None:
        self.counts = Counter(word for text in texts for word in text.split())
        self.first = {word: encode(f" {word}")[0] for word in self.counts}
        self.total: Counter[int] = Counter()
        for word, piece in self.first.items():
            self.total[piece] += self.counts[word] + SMOOTHING

    def logprobs(
        self, reply: str, logits: NDArray[np.float32], lengths: Sequence[int]
    ) -> NDArray[np.float64]:
        """Return the log-probability of each word of a reply that the dictionary has.

        Args:
            reply: the words.
            logits: before each piece of the reply (T, V).
            lengths: how many pieces each word has.
        """
        starts = np.cumsum([0, *lengths[:-1]])
        found = []
        for word, start in zip(reply.split(), starts, strict=True):
            if word in self.first:
                piece = self.first[word]
                share = (self.counts[word] + SMOOTHING) / self.total[piece]
                row = logits[start : start + 1]
                found.append(float(token_logprobs(row, [piece])[0]) + math.log(share))
        return np.array(found)


@dataclass(frozen=True)
class Asked:
    """A reply to be known."""

    history: tuple[str, ...]
    """What was said, oldest first."""
    persona: tuple[str, ...]
    """About who replies."""
    other: tuple[str, ...]
    """Somebody else's persona; empty where there is none."""
    reply: str
    """What was really said."""
    wrong: tuple[str, ...]
    """Other candidates."""
    dictionary: Dictionary = field(repr=False, compare=False)
    """For perplexity per dictionary word."""

    def dialogue(self, persona: tuple[str, ...]) -> Dialogue:
        """Return the dialogue before the reply, for a bot or a user of this persona to go on."""
        odd = len(self.history) % 2
        return Dialogue(self.history, () if odd else persona, persona if odd else ())


class Data(NamedTuple):
    """Dialogues to measure on, and those that the dictionary is made of."""

    measured: list[Talk]
    counted: list[Talk]


def data_of(files: Sequence[Path]) -> Data:
    """Read files; where they hold a validation part, only that is measured.

    Raises:
        DataError: they hold no dialogue.
    """
    talks = read(files, BadRows())
    held = [talk for talk in talks if talk.held_out]
    rest = [talk for talk in talks if not talk.held_out]
    return Data(held or rest, rest or held)


def load(files: Sequence[Path], settings: Settings, model: LanguageModel) -> list[Asked]:
    """Return the replies of dialogues, each with 19 wrong ones: the data's, or drawn from other dialogues.

    Raises:
        DataError: no dialogue, or too few different replies to draw from.
    """
    talks = data_of(files).measured
    counted = (turn for talk in data_of(files).counted for turn in talk.turns)
    dictionary = Dictionary(counted, model.tokenizer.encode)
    pool = list(dict.fromkeys(talk.turns[n] for talk in talks[:MOST_DIALOGUES] for n in talk.replies))
    personas = [p for p in dict.fromkeys(p for talk in talks for p in talk.personas) if p]
    found: list[Asked] = []
    for talk in talks:
        for number in talk.replies:
            if settings.limit is not None and len(found) == settings.limit:
                return found
            draw = np.random.Generator(np.random.Philox(key=[settings.seed, len(found)]))
            persona = talk.personas[number % 2]
            history = talk.turns[max(0, number - 2 * settings.history - 1) : number]
            wrong = distractors(talk, number, pool, draw, files[0])
            other = another(persona, personas, draw)
            found.append(Asked(history, persona, other, talk.turns[number], wrong, dictionary))
    return found


def distractors(
    talk: Talk, number: int, pool: Sequence[str], draw: np.random.Generator, path: Path
) -> tuple[str, ...]:
    """Return 19 wrong replies."""
    found = list(talk.candidates.get(number, ()))[: CANDIDATES - 1]
    if len(found) < CANDIDATES - 1:
        free = [pool[i] for i in draw.permutation(len(pool)) if pool[i] not in {*talk.turns, *found}]
        found += free[: CANDIDATES - 1 - len(found)]
    if len(found) < CANDIDATES - 1:
        raise DataError(
            f"{path} has {len(pool):,} different replies, too few for {CANDIDATES} candidates each; "
            "give more dialogues"
        )
    return tuple(found)


def another(
    persona: tuple[str, ...], personas: Sequence[tuple[str, ...]], draw: np.random.Generator
) -> tuple[str, ...]:
    """Return somebody else's persona; nothing where this one is empty or the only one."""
    others = [each for each in personas if each != persona] if persona else []
    return others[int(draw.integers(len(others)))] if others else ()


def measure(model: LanguageModel, items: Sequence[Asked], settings: Settings) -> Iterator[Record]:
    """Yield what is measured of each reply; of one that does not fit the context, that it was left out."""
    judge = Judge.of(model)
    for item in items:
        fitted = shortened(judge.form, model, item)
        if fitted is None:
            yield {"cut": True}
            continue
        yield {
            **likelihood(judge, fitted),
            **hits(judge, fitted),
            **own_reply(judge, fitted, settings.seed),
        }


def shortened(form: Form, model: LanguageModel, item: Asked) -> Asked | None:
    """Return an item without as many of its first turns as leave its longest candidate no room."""
    longest = max(len(form.turn(model, text)) for text in (*item.wrong, item.reply))
    while True:
        sizes = [len(form.encode(model, item.dialogue(p)).ids) for p in (item.persona, item.other)]
        if max(sizes) + longest <= model.config.n_positions:
            return item
        if len(item.history) < 2:
            return None
        item = replace(item, history=item.history[1:])


def likelihood(judge: Judge, item: Asked) -> Record:
    """Return how likely the real reply is."""
    model, form = judge.model, judge.form
    ids = form.turn(model, item.reply)
    prompt = form.prompt(model, item.dialogue(item.persona))
    (logits,) = continuation_logits(model.backend, prompt, [ids])
    logprobs = token_logprobs(logits[:-1], ids)
    lengths = [len(model.tokenizer.encode(f" {word}")) for word in item.reply.split()]
    known = item.dictionary.logprobs(item.reply, logits, lengths)
    return {
        "tokens": len(ids),
        "nats": -float(logprobs.sum()),
        "words": len(lengths),
        "word_nats": -float(logprobs[:-1].sum()),
        "known": len(known),
        "known_nats": -float(known.sum()),
    }


def hits(judge: Judge, item: Asked) -> Record:
    """Return the place of the real reply, with its own and with somebody else's persona."""
    texts = (*item.wrong, item.reply)
    places: dict[str, int | None] = {"rank": None, "rank_other": None}
    for name, persona in (("rank", item.persona), ("rank_other", item.other)):
        if name == "rank" or persona:
            found = judge.scores(item.dialogue(persona), texts)
            scores = [one.score if one.choice is None else one.choice for one in found]
            places[name] = rank(scores, len(texts) - 1)
    return places


def own_reply(judge: Judge, item: Asked, seed: int) -> Record:
    """Return the model's own reply, its F1 with the real one, and how much each repeats its speaker."""
    conversation = Conversation(item.dialogue(item.persona), seed=seed)
    try:
        fitted = fit(judge.model, conversation, form=judge.form)
    except ContextError:  # a persona that leaves no room for a reply of any length
        return {"reply": "", "f1": 0.0, "own": 0.0, "real_own": 0.0}
    reply = "".join(Turn(judge.model, fitted, form=judge.form))
    before = item.history[len(item.history) % 2 :: 2]
    return {
        "reply": reply,
        "f1": word_f1(reply, item.reply),
        "own": repeated(reply, before),
        "real_own": repeated(item.reply, before),
    }


def repeated(reply: str, before: Sequence[str]) -> float:
    """Return the share of a reply's runs of three words that its speaker said before."""
    known = {gram for text in before for gram in ngrams(words(text), OWN)}
    grams = ngrams(words(reply), OWN)
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0


def table(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return perplexities, hits and F1 in percent, variety and repetition."""
    whole = [record for record in records if "cut" not in record]
    if not whole:
        return {"replies": 0, "replies cut": len(records)}

    def perplexity(nats: str, count: str) -> float:
        total = sum(record[count] for record in whole)
        return math.exp(sum(record[nats] for record in whole) / total) if total else math.nan

    both = [record for record in whole if record["rank_other"] is not None]
    found = {
        "perplexity per token": perplexity("nats", "tokens"),
        "perplexity per word": perplexity("word_nats", "words"),
        "perplexity per dictionary word": perplexity("known_nats", "known"),
        "hits@1 of 20": 100 * hits_at(record["rank"] for record in whole),
    }
    if both:
        found["hits@1 of 20, where there is a persona"] = 100 * hits_at(r["rank"] for r in both)
        found["hits@1 of 20, somebody else's persona"] = 100 * hits_at(r["rank_other"] for r in both)
    replies = [words(record["reply"]) for record in whole]
    return found | {
        "F1": 100 * sum(record["f1"] for record in whole) / len(whole),
        "distinct-1": distinct(replies, 1),
        "distinct-2": distinct(replies, 2),
        "own repetition, %": 100 * sum(record["own"] for record in whole) / len(whole),
        "own repetition of the real replies, %": 100 * sum(r["real_own"] for r in whole) / len(whole),
        "replies": len(whole),
        "replies cut": len(records) - len(whole),
    }


def facts(files: Sequence[Path], settings: Settings, model: LanguageModel) -> list[Fact]:
    """Count the replies; the validation part of PERSONA-CHAT (self, original) has 7,801."""
    talks = data_of(files).measured
    return [
        Fact("dialogues", len(talks), 1_000),
        Fact("replies", sum(len(talk.replies) for talk in talks), 7_801),
    ]


SUITES = (
    Suite(
        "convai2",
        "ConvAI2: perplexity, hits@1 of 20 with own and other persona, and F1 of replies",
        "personachat_self_original.json, or ParlAI's valid_self_original.txt",
        load,
        measure,
        table,
        facts,
        published=CONVAI2,
    ),
    Suite(
        "dialogues",
        "the same on dialogues of one's own",
        "any dialogues that inkfish finetune --task chat reads",
        load,
        measure,
        table,
    ),
)
"""The suites of talk."""
