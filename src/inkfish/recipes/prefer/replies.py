"""Two models reply to the same messages, as they do in a chat, for people or a judge to compare.

    inkfish prefer compare messages.txt --task chat --model runs/talker --other starter --store pairs.sqlite

Each message is a line or a row. The models need not have the same vocabulary or form of talk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inkfish.data.documents import BadRows, Rules, whole
from inkfish.data.files import find
from inkfish.errors import DataError
from inkfish.generate import load
from inkfish.labels.records import Candidate, Item
from inkfish.recipes.prefer.settings import Prompting
from inkfish.tasks import inline
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.choosing import Judge
from inkfish.tasks.conversation import Conversation
from inkfish.tasks.speaking import talk

__all__ = ["messages", "pairs", "replies"]


def messages(config: Prompting, *, skip: int, count: int) -> list[str]:
    """Return messages, each once, in the order of the files.

    Raises:
        DataError: there are too few.
    """
    rules = Rules(form="lines", encoding=config.encoding, field=config.field, template=config.template)
    texts = [inline(text) for path in find(config.data) for text in whole(path, rules, BadRows())]
    found = list(dict.fromkeys(filter(None, texts)))
    if len(found) < skip + count:
        raise DataError(f"the data give {len(found):,} messages, not {skip + count:,}", param="count")
    return found[skip : skip + count]


def replies(name: str, said: Sequence[str], config: Prompting) -> Iterator[str]:
    """Yield a model's reply to each message, in the form in which it was trained to talk."""
    model = load(name, dtype="float32", threads=config.threads or None)
    form = Judge.of(model).form
    for number, text in enumerate(said):
        begun = Conversation(Dialogue((text,)), seed=config.seed + number)
        ended = talk(model, begun, 1, max_tokens=config.tokens, form=form, temperature=config.temperature)
        yield ended.dialogue.turns[-1]


def pairs(names: Sequence[str], said: Sequence[str], texts: Sequence[Sequence[str]]) -> list[Item]:
    """Return items to be labelled: a message and what each model replied."""
    return [
        Item(
            "pair",
            message,
            tuple(
                Candidate(side[number], origin={"model": name})
                for name, side in zip(names, texts, strict=True)
            ),
        )
        for number, message in enumerate(said)
    ]
