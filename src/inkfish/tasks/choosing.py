r"""Several replies and the choice among them: by a choice head, or by what the dialogue adds.

With a choice head, replies are ranked as TransferTransfo ranks its beams (Wolf et al. 2019): by the mean
log-probability of a token + the log of the head's probability. Without one, by how much likelier the dialogue
makes a reply than it is alone (Li et al. 2016, section 3, at λ = 1): what everybody says at any time is
likely but gains nothing.

Back ends give logits and no hidden states, and need not: logits are l = W h with the token embedding W
(V, C), so the head's score w·h + b is u·l + b with u = W (WᵀW)⁻¹ w: on every back end, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkfish import weights
from inkfish.errors import ModelError
from inkfish.generate import Kept, LanguageModel, Stream
from inkfish.generate.beam import beam_search
from inkfish.generate.continuations import continuation_logits
from inkfish.tasks.chat import Dialogue, clean
from inkfish.tasks.forms import PERSONA, TRANSCRIPT, Form
from inkfish.weights import heads, hub

__all__ = ["HEAD", "Candidate", "Judge", "Readout", "drawn", "readout", "searched"]

HEAD = "choice"
"""Name of the head in heads.safetensors; models that were fine-tuned to talk have it."""
ROWS = 4096
"""Rows of the embedding that are worked on at a time."""
BEAM_NGRAM = 4
"""A beam repeats no run of so many tokens of persona, history and itself: three are enough to begin alike."""


class Readout(NamedTuple):
    """A head as a function of logits (V,): weights · logits + bias."""

    weights: NDArray[np.float64]
    """(V,)."""
    bias: float

    def score(self, logits: NDArray[np.float32]) -> float:
        """Return the head's score after the token that these logits follow."""
        return float(self.weights @ logits) + self.bias


def readout(wte: NDArray[Any], head: Mapping[str, NDArray[Any]]) -> Readout:
    """Turn a head on hidden states into one on logits.

    Args:
        wte: token embedding W (V, C) of full column rank.
        head: weight (C,) and perhaps bias (1,).
    """
    blocks = [wte[i : i + ROWS].astype(np.float64) for i in range(0, len(wte), ROWS)]
    gram = np.sum([block.T @ block for block in blocks], axis=0)  # (C, C)
    inner = np.linalg.solve(gram, head["weight"].astype(np.float64))
    bias = head.get("bias")
    return Readout(
        np.concatenate([block @ inner for block in blocks]), 0.0 if bias is None else float(bias[0])
    )


@dataclass(frozen=True)
class Candidate:
    """A reply that was thought of."""

    text: str
    score: float
    """What candidates are ranked by."""
    likelihood: float
    """Mean log-probability of its tokens after the dialogue, its end included."""
    choice: float | None
    """The choice head's score; None without one."""
    gain: float | None
    """How much likelier the dialogue makes it, in nats; None with a choice head."""


class Judge:
    """Knows a model's form of talk and, if it has one, its choice head."""

    def __init__(self, model: LanguageModel, form: Form = TRANSCRIPT, choice: Readout | None = None) -> None:
        self.model, self.form, self.choice = model, form, choice

    @classmethod
    def of(cls, model: LanguageModel, form: Form | None = None) -> Judge:
        """Find out from a model's folder how it talks: by a choice head that it was fine-tuned to.

        Args:
            model: as `inkfish.load` gives it, so that its name is that of a folder.
            form: to be used whatever the folder has.

        Raises:
            ModelError: the head does not fit the model.
        """
        folder = hub.find(model.name)
        head = heads.read(folder).get(HEAD)
        if head is None:
            return cls(model, form or TRANSCRIPT)
        wte, width = weights.read(folder).tensors["wte.weight"], model.config.n_embd
        if len(head["weight"]) != width:
            raise ModelError(
                f"{folder}: the choice head has {len(head['weight'])} channels and the model {width}; "
                "they do not belong together"
            )
        form = form or PERSONA
        return cls(model, form, readout(wte, head) if form.special else None)

    def scores(
        self, dialogue: Dialogue, texts: Sequence[str], *, kept: Kept | None = None
    ) -> list[Candidate]:
        """Return replies with their scores, in the order given.

        Args:
            dialogue: what came before; it must leave room for a reply in the context.
            texts: the replies, none empty; of one that does not fit its beginning counts.
            kept: a cache for the dialogue.
        """
        model, form = self.model, self.form
        prompt = form.prompt(model, dialogue)
        room = model.config.n_positions - len(prompt.ids)
        assert room > 0, "a dialogue that leaves no room for a reply"
        ids = [form.turn(model, text)[:room] for text in texts]  # text may have more ids than were drawn
        logprobs, choices = [], []
        found = continuation_logits(model.backend, prompt, ids, kept=kept)
        for reply, logits in zip(ids, found, strict=True):
            logprobs.append(token_logprobs(logits[:-1], reply))
            choices.append(None if self.choice is None else self.choice.score(logits[-1]))
        means = [float(each.mean()) for each in logprobs]
        if self.choice is not None:
            shares = log_shares([choice for choice in choices if choice is not None])
            return [
                Candidate(text, mean + share, mean, choice, None)
                for text, mean, share, choice in zip(texts, means, shares, choices, strict=True)
            ]
        gains = [float(each.sum()) - self.alone(reply) for each, reply in zip(logprobs, ids, strict=True)]
        return [
            Candidate(text, gain, mean, None, gain)
            for text, mean, gain in zip(texts, means, gains, strict=True)
        ]

    def alone(self, reply: Sequence[int]) -> float:
        """Return the log-probability of a reply to nothing, by nobody in particular."""
        (logits,) = continuation_logits(self.model.backend, self.form.alone(self.model), [reply])
        return float(token_logprobs(logits[:-1], reply).sum())


def token_logprobs(logits: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
    """Return the log-probability of each of T ids from the logits before it (T, V)."""
    best = logits.max(-1, keepdims=True)
    total = np.exp(logits - best).sum(-1, dtype=np.float64)
    chosen = np.take_along_axis(logits, np.asarray(ids)[:, None], -1)
    return np.asarray((chosen - best)[:, 0].astype(np.float64) - np.log(total))


def log_shares(scores: Sequence[float]) -> list[float]:
    """Return the logarithm of each score's share in the softmax of all."""
    values = np.array(scores)
    shifted = values - values.max()
    return list((shifted - np.log(np.exp(shifted).sum())).tolist())


def drawn(
    judge: Judge, dialogue: Dialogue, count: int, settings: Mapping[str, Any], *, kept: Kept | None = None
) -> list[str]:
    """Return different replies among `count` drawn ones, none empty.

    Args:
        judge: model and form.
        dialogue: what came before.
        count: how many are drawn.
        settings: keyword arguments of `LanguageModel.prepare`.
        kept: a cache for the dialogue.
    """
    model, form = judge.model, judge.form
    job = model.prepare(
        form.prompt(model, dialogue),
        **{**settings, "n": count, "stop": (*form.stop.strings, "\r"), "stop_ids": form.stop_ids(model)},
    )
    stream = Stream(model, job, kept=kept)
    for _ in stream:
        pass
    texts = [clean(sample.text) for sample in stream.completion.samples]
    return [text for text in dict.fromkeys(texts) if text]


def searched(judge: Judge, dialogue: Dialogue, beams: int, settings: Mapping[str, Any]) -> list[str]:
    """Return different replies that a beam search finds, none empty; the likeliest first.

    Args:
        judge: model and form.
        dialogue: what came before.
        beams: how many are followed at once.
        settings: keyword arguments of `LanguageModel.prepare`, of which max_tokens and no_repeat_ngram count.
    """
    model, form = judge.model, judge.form
    found = beam_search(
        model,
        form.prompt(model, dialogue),
        beams=beams,
        max_tokens=settings["max_tokens"],
        stop=(*form.stop.strings, "\r"),
        stop_ids=form.stop_ids(model),
        no_repeat_ngram=settings.get("no_repeat_ngram", BEAM_NGRAM),
        min_tokens=1,
    )
    return [text for text in dict.fromkeys(clean(each.text) for each in found) if text]
