"""Talk with a persona: a conversation is a value, and its cache is kept from turn to turn.

Usage: python examples/chat.py [MODEL].
"""

from __future__ import annotations

import sys

import inkfish
from inkfish.engine import Kept
from inkfish.tasks.chat import Dialogue
from inkfish.tasks.conversation import Conversation, fit
from inkfish.tasks.speaking import Turn

model = inkfish.load(sys.argv[1] if len(sys.argv) > 1 else "starter")
kept = Kept(model.backend)
conversation = Conversation(Dialogue((), about_bot=("I bake.",)), seed=1)

for message in ("Hi!", "And you?", "Bye."):
    conversation = fit(model, conversation.heard(message), max_tokens=16)
    print(f"A: {message}\nB: ", end="")
    turn = Turn(model, conversation, kept=kept, max_tokens=16)
    for piece in turn:
        print(piece, end="", flush=True)
    print(f"\n   ({kept.reused} tokens were not read again)")
    conversation = conversation.heard(turn.text)
