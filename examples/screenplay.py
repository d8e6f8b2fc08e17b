"""A play and a script in one form, Fountain: who speaks, scene by scene."""

from __future__ import annotations

from inkfish.data.screenplay import parse, scenes, written

PLAY = """\
ACT I

SCENE I. A lighthouse.

Mara: (listening) That was no wave.
Oskar: It was the cat.

Mara: We have no cat.
Oskar: Since when?
"""
SCRIPT = """\
     INT. LIGHTHOUSE - NIGHT                              1

     Mara goes up the stairs. Each one creaks
     in another key.

                         MARA (V.O.)
               A hundred and nine. There were
               a hundred and eight.
                                                     CUT TO:
     EXT. ROCKS - DAY

     Nothing but birds.
"""

for text in (PLAY, SCRIPT):
    script = parse(text)
    print(f"=== {', '.join(script.characters)}; {len(scenes(script))} scenes ===\n{written(script)}\n")
