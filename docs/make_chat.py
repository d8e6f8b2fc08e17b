"""Write the conversations of docs/chat.md: the same openings before and after fine-tuning, nothing edited.

    python docs/make_chat.py data --data DIR --held-out FILE --out dialogues.jsonl
    python docs/make_chat.py exchanges --before starter --after runs/chat

The first takes the dialogues with personas out of the collections of the starter's recipe, without what the
recipe holds out (its validation-dialogues.jsonl) and what says nearly the same. The second prints Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from inkfish import load
from inkfish.data.blocklist import blocklist
from inkfish.data.duplicates import near_duplicates
from inkfish.data.sources import dialogues
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.choosing import Judge
from inkfish.tasks.conversation import Conversation, fit, personas
from inkfish.tasks.speaking import Chosen

OPENINGS = (
    "Hi! How are you today?",
    "What do you do for a living?",
    "Do you have any pets?",
    "What do you like to do on weekends?",
    "Tell me about your family.",
)
"""Said in each conversation, to the bundled personas in turn."""
SEEDS = (1, 2, 3, 4)
CANDIDATES = 4


def with_personas(folder: Path, held_out: Path) -> Iterator[dict[str, object]]:
    """Yield the dialogues that have personas, but for held-out ones and near-duplicates."""
    held = ["\n".join(json.loads(line)["turns"]) for line in held_out.read_text("utf-8").splitlines()]
    blocked = blocklist()
    rows = [
        source.row
        for source in dialogues(folder)
        if source.text and source.row["about_bot"] and not blocked.search(source.text)
    ]
    leave = near_duplicates([*held, *("\n".join(row["turns"]) for row in rows)])
    for number, row in enumerate(rows, len(held)):
        if number not in leave:
            yield {"turns": row["turns"], "personas": [row["about_user"], row["about_bot"]]}


def exchanges(name: str) -> list[str]:
    """Return the replies of a model to the openings, in one conversation a seed."""
    judge = Judge.of(load(name, dtype="float32"))
    replies = []
    for seed in SEEDS:
        conversation = Conversation(Dialogue((), about_bot=personas()[seed]), seed=seed)
        for opening in OPENINGS:
            conversation = fit(judge.model, conversation.heard(opening), form=judge.form)
            turn = Chosen(judge, conversation, candidates=CANDIDATES)
            replies.append("".join(turn))
            conversation = conversation.heard(turn.text)
    return replies


def page(before: str, after: str) -> str:
    """Return the table of all exchanges as Markdown."""
    columns = list(zip(exchanges(before), exchanges(after), strict=True))
    lines = []
    for i, seed in enumerate(SEEDS):
        lines += [f"\nPersona, seed {seed}: *{' '.join(personas()[seed])}*\n", "| said | before | after |"]
        lines.append("|---|---|---|")
        for opening, (one, two) in zip(OPENINGS, columns[i * len(OPENINGS) :], strict=False):
            lines.append(f"| {opening} | {cell(one)} | {cell(two)} |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Return a reply that leaves a table whole."""
    return text.replace("|", "\\|").replace("<", "&lt;") or "(nothing)"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data")
    data.add_argument("--data", type=Path, required=True)
    data.add_argument("--held-out", type=Path, required=True)
    data.add_argument("--out", type=Path, required=True)
    shown = commands.add_parser("exchanges")
    shown.add_argument("--before", default="starter")
    shown.add_argument("--after", required=True)
    given = parser.parse_args()
    if given.command == "data":
        rows = (json.dumps(row, ensure_ascii=False) for row in with_personas(given.data, given.held_out))
        given.out.write_text("\n".join(rows) + "\n", "utf-8")
    else:
        print(page(given.before, given.after), end="")  # noqa: T201


if __name__ == "__main__":
    main()
