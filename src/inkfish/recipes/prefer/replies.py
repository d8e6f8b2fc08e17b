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

__all__ = ["items_of_replies", "messages", "replies"]


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


def replies(name: str, said: Sequence[str], config: Prompting, *, each: int) -> Iterator[str]:
    """Yield a model's replies to each message, in the form in which it was trained to talk.

    Args:
        name: of the model.
        said: messages.
        config: says how long and how freely it speaks, and the seed.
        each: replies to a message, which come together.
    """
    model = load(name, dtype="float32", threads=config.threads or None)
    form = Judge.of(model).form
    for number, text in enumerate(said):
        for again in range(each):
            begun = Conversation(Dialogue((text,)), seed=config.seed + number + again * len(said))
            ended = talk(model, begun, 1, max_tokens=config.tokens, form=form, temperature=config.temperature)
            yield ended.dialogue.turns[-1]


def items_of_replies(
    names: Sequence[str], said: Sequence[str], texts: Sequence[Sequence[str]], *, each: int
) -> list[Item]:
    """Return items to be labelled: a message and what both models replied, each so often."""
    return [
        Item(
            "pair" if each == 1 else "best",
            message,
            tuple(
                Candidate(reply, origin={"model": name})
                for name, side in zip(names, texts, strict=True)
                for reply in side[number * each : (number + 1) * each]
            ),
        )
        for number, message in enumerate(said)
    ]
