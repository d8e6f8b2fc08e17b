"""Character sheets of a table as training sees them: by a template, of which only the story is learned.

Usage: python examples/bios.py [MODEL].
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import inkfish
from inkfish.data.prepare import prepare
from inkfish.data.preview import preview
from inkfish.data.rules import Rules

SHEETS = """\
race,class,name,story
elf,bard,Ilvane,Sings to doors until they open.
dwarf,cook,Borrin,"Left the mountain, kept the ladle."
human,thief,Odd,Steals only what nobody will miss.
"""

tokenizer = inkfish.load(sys.argv[1] if len(sys.argv) > 1 else "starter").tokenizer
with TemporaryDirectory() as place:
    table = Path(place) / "bios.csv"  # a spreadsheet, .xlsx, works alike
    table.write_text(SHEETS, encoding="utf-8")
    rules = Rules(template="{race} {class} named {name}:", completion="{story}")
    found = prepare([table], tokenizer, Path(place) / "stores", rules=rules, validation_share=0)
    [window] = preview(found.train, tokenizer, windows=1)
    for text, learned in zip(window.texts, window.trainable, strict=True):
        print(f"{text!r:>14}  {'learned' if learned else 'read'}")
