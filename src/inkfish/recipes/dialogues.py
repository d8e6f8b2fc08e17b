"""What fine-tuning to talk trains on: dialogues as examples of TransferTransfo's form, with wrong replies.

An example is one reply after its persona and the last turns, beside `candidates - 1` wrong replies: those of
the data set, or where it has none replies to something else, drawn anew each epoch. The last candidate is the
right one (Wolf et al. 2019, section 3.2). `inkfish.recipes.finetune` takes the steps.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from inkfish.data.dialogues import Talk
from inkfish.data.store import TokenStore
from inkfish.errors import DataError
from inkfish.heads import ScalarHead
from inkfish.model import GPT2
from inkfish.tasks import Encoded, encode
from inkfish.tasks.transfertransfo import PAD, Exchange, render
from inkfish.tokenizer import Tokenizer
from inkfish.training.batches import IGNORED
from inkfish.training.double_heads import Candidates, choice_scores
from inkfish.training.loss import token_loss
from inkfish.training.optimise import autocast, on

__all__ = ["Dialogues", "Form", "Measured", "Split", "measure", "split", "store"]


@dataclass(frozen=True)
class Form:
    """How examples are made."""

    candidates: int = 2
    """Replies of each example, the right one included."""
    history: int = 2
    """So many exchanges before the reply's own are kept: 2 · history + 1 turns."""
    permutations: int = 1
    """Each example comes so many times in an epoch, the persona's sentences moved on by one each time."""
    original: bool = False
    """Whether segments are counted as the released code does."""


class Split(NamedTuple):
    """Dialogues to train on, and those held out."""

    train: list[Talk]
    held: list[Talk]


class Reply(NamedTuple):
    """Which turn of which dialogue is learned."""

    talk: int
    turn: int


def split(talks: Sequence[Talk], share: float) -> Split:
    """Hold out what the data set holds out; if it does not say, the share whose hashes are lowest."""
    if any(talk.held_out for talk in talks):
        return Split([t for t in talks if not t.held_out], [t for t in talks if t.held_out])
    ranked = sorted(talks, key=lambda talk: hashlib.sha256("\n".join(talk.turns).encode()).digest())
    count = min(math.ceil(share * len(talks)), len(talks) - 1)
    held = {id(talk) for talk in ranked[:count]}
    return Split([t for t in talks if id(t) not in held], [t for t in talks if id(t) in held])


def store(talks: Sequence[Talk], tokenizer: Tokenizer) -> TokenStore:
    """Return the words of dialogues as ids in memory: what is counted and compared, not what is trained on.

    The fingerprint is over everything that examples are made of.
    """
    texts = [tokenizer.encode("".join(f" {turn}" for turn in talk.turns)) for talk in talks]
    content = json.dumps([asdict(talk) for talk in talks], sort_keys=True)
    digest = hashlib.sha256(f"{content}\n{tokenizer.fingerprint}".encode()).hexdigest()
    return TokenStore(
        ids=np.array([i for ids in texts for i in ids], np.uint32),
        borders=np.cumsum([0, *map(len, texts)], dtype=np.int64),
        kind_of=np.zeros(len(texts), np.uint16),
        kinds=("dialogues",),
        vocab_size=tokenizer.vocab_size,
        tokenizer=tokenizer.fingerprint,
        fingerprint=digest,
    )


class Dialogues:
    """Examples of dialogues: a source of batches. Example and epoch alone decide what it looks like."""

    def __init__(
        self,
        talks: Sequence[Talk],
        tokenizer: Tokenizer,
        form: Form,
        *,
        length: int,
        seed: int = 0,
        others: Sequence[str] = (),
    ) -> None:
        """Find the replies that fit.

        Args:
            talks: the dialogues.
            tokenizer: has the form's special tokens.
            form: how examples are made.
            length: most tokens of an example; of a longer one the oldest turns are left out.
            seed: of the wrong replies.
            others: further replies to draw wrong ones from.

        Raises:
            DataError: no reply, or fewer different ones than candidates.
        """
        self.talks, self.tokenizer, self.form = talks, tokenizer, form
        self.length, self.seed = length, seed
        every = [Reply(i, turn) for i, talk in enumerate(talks) for turn in talk.replies]
        self.replies = [reply for reply in every if self.fits(reply)]
        self.left_out = len(every) - len(self.replies)
        """Replies that are too long for an example, even without any history."""
        own = [talks[reply.talk].turns[reply.turn] for reply in self.replies]
        self.pool = list(dict.fromkeys([*own, *others]))
        if not self.replies:
            raise DataError(
                f"no reply of {len(every):,} fits {length:,} tokens with its persona; raise --sequence"
            )
        self.check_pool()

    def __len__(self) -> int:
        return len(self.replies) * self.form.permutations

    def check_pool(self) -> None:
        """Refuse data with too few replies for each example to draw wrong ones from."""
        wanted = self.form.candidates - 1
        for talk in self.talks:
            missing = any(len(talk.candidates.get(turn, ())) < wanted for turn in talk.replies)
            if missing and len(self.pool) < len(talk.turns) + 2 * wanted:
                raise DataError(
                    f"the data has {len(self.pool):,} different replies, too few to draw {wanted:,} "
                    "wrong ones beside each right one; give more dialogues, or fewer --candidates"
                )

    def batch(self, examples: NDArray[np.int64], epoch: int) -> Candidates:
        """Return these examples with their candidates, the right one last."""
        groups = [self.candidates(int(number), epoch) for number in examples]
        return padded(groups, self.tokenizer.specials[PAD.name])

    def byte_length(self, token: int) -> int:
        """Return how many bytes of text a token stands for; a special one stands for none."""
        special = token in self.tokenizer.specials.values()
        return 0 if special else len(self.tokenizer.token_bytes(token))

    def candidates(self, number: int, epoch: int) -> list[Encoded]:
        """Return the candidates of one example as ids, all after the same turns; too long ones are cut."""
        which, turned = divmod(number, self.form.permutations)
        reply = self.replies[which]
        right = self.fitted(self.exchange(reply, turned))
        texts = [*self.wrong(reply, generator(self.seed, number, epoch)), right.reply]
        rows = (encode(render(replace(right, reply=text)), self.tokenizer) for text in texts)
        return [cut(row, self.length) for row in rows]

    def exchange(self, reply: Reply, turned: int = 0) -> Exchange:
        """Return a right reply after its persona, turned, and as many turns as the form keeps."""
        talk = self.talks[reply.talk]
        persona = talk.personas[reply.turn % 2]
        place = -turned % len(persona) if persona else 0
        history = talk.turns[max(0, reply.turn - 2 * self.form.history - 1) : reply.turn]
        about = (*persona[place:], *persona[:place])
        return Exchange(history, about, talk.turns[reply.turn], self.form.original)

    def wrong(self, reply: Reply, draw: np.random.Generator) -> list[str]:
        """Return wrong replies: the data set's last ones, then drawn ones that nobody says in the talk."""
        talk, count = self.talks[reply.talk], self.form.candidates - 1
        found = list(talk.candidates.get(reply.turn, ()))
        found = found[max(0, len(found) - count) :]
        taken = {*talk.turns, *found}
        while len(found) < count:
            free = [i for i in draw.integers(len(self.pool), size=8) if self.pool[i] not in taken]
            found += [self.pool[i] for i in free[:1]]
            taken |= {self.pool[i] for i in free[:1]}
        return found

    def fitted(self, example: Exchange) -> Exchange:
        """Return an example without as many of its oldest turns as are too much."""
        while len(example.history) > 1 and self.size(example) > self.length:
            example = replace(example, history=example.history[1:])
        return example

    def size(self, example: Exchange) -> int:
        """Return how many tokens an example has."""
        return len(encode(render(example), self.tokenizer).ids)

    def fits(self, reply: Reply) -> bool:
        """Say whether a right reply fits with its persona and the turn before it."""
        example = self.exchange(reply)
        last = replace(example, history=example.history[-1:])
        texts = (*last.persona, *last.history, last.reply)
        most = sum(len(text.encode()) + 1 for text in texts) + 8  # a token has a byte, and there are specials
        return most <= self.length or self.size(last) <= self.length


def generator(seed: int, number: int, epoch: int) -> np.random.Generator:
    """Return the random numbers of one example in one epoch."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64), counter=epoch))


def cut(row: Encoded, length: int) -> Encoded:
    """Return a row of at most `length` tokens that ends as before."""
    if len(row.ids) <= length:
        return row
    assert row.segments is not None, "the form has segments"
    kept = length - 1
    return Encoded(
        [*row.ids[:kept], row.ids[-1]],
        [*row.segments[:kept], row.segments[-1]],
        [*row.trainable[:kept], row.trainable[-1]],
    )


def padded(groups: Sequence[Sequence[Encoded]], pad: int) -> Candidates:
    """Return B groups of N candidates, the right one last, as one batch."""
    rows = [row for group in groups for row in group]
    right = {id(group[-1]) for group in groups}
    shape = len(rows), max(len(row.ids) for row in rows)
    ids, segments = (np.full(shape, pad, np.int64) for _ in range(2))
    targets = np.full(shape, IGNORED, np.int64)
    for i, row in enumerate(rows):
        length = len(row.ids)
        ids[i, :length], segments[i, :length] = row.ids, row.segments or pad
        if id(row) in right:
            targets[i, : length - 1] = np.where(row.trainable[1:], row.ids[1:], IGNORED)
    ends = [[len(row.ids) - 1 for row in group] for group in groups]
    read, wanted, spoken = (torch.from_numpy(values) for values in (ids, targets, segments))
    return Candidates(read, wanted, spoken, torch.tensor(ends))


class Measured(NamedTuple):
    """How well held-out replies are known."""

    bits_per_byte: float
    """Of the right replies."""
    perplexity: float
    """Of a token of them, their end included."""
    hits: float
    """Share of examples whose right reply has the highest score."""


def measure(
    model: GPT2,
    head: ScalarHead,
    source: Dialogues,
    *,
    most: int,
    size: int,
    precision: str,
    stop: Callable[[], bool] = lambda: False,
) -> Measured | None:
    """Measure up to `most` examples, spread evenly and the same each time; None where `stop` said so.

    Args:
        model: left in the mode it was in.
        head: its choice head.
        source: the examples.
        most: how many.
        size: how many at once.
        precision: as in `autocast`.
        stop: asked before each batch.
    """
    was_training, device = model.training, next(model.parameters()).device
    chosen = np.linspace(0, len(source) - 1, min(most, len(source))).astype(np.int64)
    nats = tokens = length = right = 0.0
    model.eval()
    try:
        for start in range(0, len(chosen), size):
            if stop():
                return None
            batch = on(source.batch(chosen[start : start + size], 0), device)
            with torch.no_grad(), autocast(device, precision):
                hidden = model.hidden(batch.ids, segments=batch.segments)
                learned = batch.targets != IGNORED
                nats += float(token_loss(model, hidden[learned], batch.targets[learned]))
                scores = choice_scores(hidden, batch.ends, head)
            tokens += int(learned.sum())
            length += sum(source.byte_length(i) for i in batch.targets[learned].tolist())
            right += int((scores.argmax(1) == scores.shape[1] - 1).sum())
    finally:
        model.train(was_training)
    perplexity = math.exp(min(nats / tokens, 700))
    return Measured(nats / math.log(2) / max(1, length), perplexity, right / len(chosen))
