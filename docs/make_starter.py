"""Write docs/starter.md: what the shipped starter writes, unedited, with fixed seeds.

python docs/make_starter.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import inkfish
from inkfish.generate import LanguageModel
from inkfish.tasks import Task, chat, conversation, encode, plain, summarize, translate

PAGE = Path(__file__).with_name("starter.md")
HEAD = """# What the starter writes

Unedited, seeds 1, 2, 3, …, the model's own defaults; written by `python docs/make_starter.py`. The model is a
toy by size: it knows the forms of its texts, and little of the world. Its data and its figures are on
[its card](../src/inkfish/starter/README.md).
"""
OPENINGS = (
    "Once upon a time",
    "There was once a king who",
    "In the middle of the forest",
    "The old woman said to the wolf",
    "A fox and a crow",
    "The rocket",
    "Holmes looked up",
    "One morning the princess",
    "The captain of the ship",
    "It was a dark night, and",
)
ONE_OPENING = (
    ("a story", "The moon was bright, and"),
    ("a poem", "THE MOON\n\nThe moon was bright, and\n"),
    ("a dialogue", "A: The moon was bright, and\nB:"),
    (
        "a line of a list",
        "The sun is hot. = Le soleil est chaud.\nIt is late. = Il est tard.\nThe moon was bright. =",
    ),
)
LINES = (
    "Hello! How are you?",
    "Do you like music?",
    "What do you do for a living?",
    "I have two cats.",
    "Bye!",
)
SENTENCES = (
    "I am tired.",
    "Where is the station?",
    "She likes to read books.",
    "We will come back tomorrow.",
    "Do you want to eat with us?",
    "My brother works in a big city.",
    "It is too cold to swim.",
    "He has forgotten the name of the street.",
    "They were happy because the sun was shining.",
    "I don't know what you mean.",
)
POEMS = ("THE SEA", "WINTER", "TO A BIRD", "MY LOVE", "THE OLD HOUSE")
TALES = (
    "A miller had two donkeys. The one carried the sacks every day and said nothing; the other cried out "
    "at every stone. When the miller grew poor he sold the one that said nothing, because the other was "
    "known in the whole town, and had to carry the sacks himself.",
    "A sparrow laughed at the snail because it was slow. Then came the hail. The sparrow looked for a "
    "roof and found none, and the snail drew in its horns and slept.",
    "A boy planted a nut and dug it up each morning to see whether it grew. His sister planted a nut and "
    "forgot it. When they were old they sat together under her tree.",
    "The wind and the river quarrelled about which of them was stronger. The mill, which turned for both,"
    " asked them to go on quarrelling, for it had never ground so much corn.",
    "A fox found a mask in a player's house and admired its face for a long time. Then he looked behind "
    "it, and it was empty.",
)
"""Fables of our own, the last after Aesop."""
TEXTS = (
    "We present a small language model that is trained on stories, poems and conversations. Although it "
    "has only eight million parameters, it learns the form of each kind of text. We show that the form of"
    " the prompt alone decides which task the model performs, and we measure how well it does so.",
    "Many methods learn the representation of a graph from its edges. We propose to learn it from random "
    "walks of unequal length. In experiments on three data sets our method is faster and needs less "
    "memory than earlier ones, while its accuracy is the same.",
    "In this paper we study why networks that are trained with large batches generalize worse than those "
    "trained with small ones. We find that the noise of the gradient matters, and that raising the "
    "learning rate closes the gap without any additional cost.",
    "The town has had a new bridge since Monday. It was built in two years and cost less than had been "
    "planned. Many people came to see it on the first day, although it rained, and the mayor walked over "
    "it with the children of the school.",
    "We introduce a data set of ten thousand questions that children asked about animals, with answers by"
    " their teachers. Existing models answer a third of them correctly. We hope that the data set helps "
    "to build systems that explain things in simple words.",
)
"""Texts of our own."""


def quoted(text: str) -> str:
    """A text as a block that shows it as it is."""
    return f"```\n{text.rstrip()}\n```\n"


def stories(model: LanguageModel) -> Iterator[str]:
    """Openings with their continuations."""
    yield "## Stories\n"
    for number in range(20):
        opening = OPENINGS[number % len(OPENINGS)]
        text = model.generate(opening, seed=number + 1, max_tokens=120).text
        yield quoted(opening + text)


def forms(model: LanguageModel) -> Iterator[str]:
    """One opening in four forms."""
    yield "## The form alone says what to do\n"
    for name, opening in ONE_OPENING:
        text = model.generate(opening, seed=1, max_tokens=80, stop="\n\n\n").text
        yield f"As {name}:\n"
        yield quoted(opening + text)


def poems(model: LanguageModel) -> Iterator[str]:
    """Titles with the poems that follow."""
    yield "## Poems\n"
    for number in range(20):
        opening = POEMS[number % len(POEMS)] + "\n\n"
        yield quoted(opening + model.generate(opening, seed=number + 1, max_tokens=100).text)


def chats(model: LanguageModel) -> Iterator[str]:
    """Four conversations of five exchanges with a persona."""
    yield "## Chat with a persona\n"
    for seed in range(1, 5):
        persona = conversation.personas()[seed]
        turns: tuple[str, ...] = ()
        for line in LINES:
            dialogue = chat.Dialogue((*turns, line), about_bot=persona)
            ids = encode(chat.prompt(dialogue), model.tokenizer).ids
            reply = model.generate(ids, seed=seed, stop="\n", max_tokens=40, temperature=0.7, top_p=0.9).text
            turns = (*turns, line, chat.clean(reply))
        yield quoted(plain(chat.render(chat.Dialogue(turns, about_bot=persona))[:-1]))


def translations(model: LanguageModel) -> Iterator[str]:
    """Sentences into French, and what came out back into English, greedily."""
    yield "## Translations\n"
    given: list[str] = list(SENTENCES)
    for source, target in (("en", "fr"), ("fr", "en")):
        examples = translate.bundled(source, target, translate.SHOTS)
        made = [found.text for found in translate.translate(model, given, examples)]
        yield quoted("\n".join(f"{left} = {right}" for left, right in zip(given, made, strict=True)))
        given = made


def shortened(model: LanguageModel, task: Task, texts: tuple[str, ...]) -> Iterator[str]:
    """What follows each text, four times."""
    for text in texts:
        yield quoted(text)
        ids = encode(task.prompt(summarize.Summary(text)), model.tokenizer).ids
        settings = {"temperature": 0.8, "top_p": 0.95}
        for seed in range(1, 5):
            found = model.generate(
                ids, seed=seed, stop=task.stop.strings, max_tokens=task.stop.max_tokens, **settings
            )
            yield f"{seed}. {' '.join(found.text.split())}"
        yield ""


def morals(model: LanguageModel) -> Iterator[str]:
    """Fables with their morals."""
    yield "## Morals of fables\n"
    yield from shortened(model, summarize.MORAL, TALES)


def summaries(model: LanguageModel) -> Iterator[str]:
    """Texts with what follows `TL;DR:`."""
    yield "## TL;DR\n"
    yield from shortened(model, summarize.TASK, TEXTS)


def document() -> str:
    """The whole page."""
    model = inkfish.load("starter")
    parts = (
        part
        for section in (stories, forms, poems, chats, translations, morals, summaries)
        for part in section(model)
    )
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
