"""How long a reply takes to begin and to end in a growing conversation, with the cache kept and without.

    python benchmarks/chat.py --model starter --turns 20 --rounds 5

Without it the whole conversation is read again before each reply, which is what keeping nothing costs; the
original (Wolf et al. 2019 as released) goes further and reads everything again for each token. The texts and
the replies are the same both ways; the rounds of both alternate, and a figure is the median.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import NamedTuple

from inkfish import load
from inkfish.generate import Kept, LanguageModel
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.choosing import Judge
from inkfish.tasks.conversation import Conversation, fit, personas
from inkfish.tasks.forms import Form
from inkfish.tasks.speaking import Turn

SAID = "I see, and what do you think about that? I was out for a walk along the river this morning."
REPLY = 20


class Row(NamedTuple):
    """One reply."""

    tokens: int
    """Read before it, were nothing kept."""
    first: float
    """Seconds to its first piece of text."""
    whole: float
    """Seconds to its end."""
    text: str


def talk(model: LanguageModel, form: Form, turns: int, *, keep: bool) -> list[Row]:
    """Return what each reply took."""
    kept = Kept(model.backend) if keep else None
    state, rows = Conversation(Dialogue((), about_bot=personas()[0]), seed=1), []
    for _ in range(turns):
        state = fit(model, state.heard(SAID), max_tokens=REPLY, form=form)
        began = time.perf_counter()
        turn = Turn(model, state, kept=kept, max_tokens=REPLY, form=form)
        first = next(iter(turn), "") and time.perf_counter() - began
        for _ in turn:
            pass
        whole = time.perf_counter() - began
        rows.append(Row(len(form.encode(model, state.seen).ids), float(first or whole), whole, turn.text))
        state = state.heard(turn.text)
    return rows


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    model = load(given.model, dtype="float32", threads=given.threads)
    form = Judge.of(model).form
    talk(model, form, 2, keep=True)  # warm
    rounds = [
        [talk(model, form, given.turns, keep=keep) for keep in (True, False)] for _ in range(given.rounds)
    ]
    texts = {tuple(row.text for row in rows) for both in rounds for rows in both}
    assert len(texts) == 1, "the cache changed a reply"
    print("| reply | tokens before it | first piece, kept | first piece, read again | whole, kept | again |")
    print("|---:|---:|---:|---:|---:|---:|")
    for number in range(given.turns):
        kept, fresh = ([both[way][number] for both in rounds] for way in (0, 1))
        seconds = [median(row.first for row in way) for way in (kept, fresh)]
        seconds += [median(row.whole for row in way) for way in (kept, fresh)]
        shown = " | ".join(f"{1000 * each:.1f} ms" for each in seconds)
        print(f"| {number + 1} | {kept[0].tokens} | {shown} |")


if __name__ == "__main__":
    main()
