"""`inkfish prefer label`: the page on which people say what is best."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from inkfish.cli.options import examples
from inkfish.cli.output import note
from inkfish.cli.serve import Access, announce
from inkfish.cli.texts import read_file
from inkfish.errors import SettingError
from inkfish.labels.store import Settings, Store
from inkfish.server import create_app, listen, serve
from inkfish.server.label import page

__all__ = ["app"]

LOWEST = {"overlap": 1, "repeat_every": 0, "gold_every": 0}
"""Of the numbers that are kept in a store."""

app = App(
    name="label",
    help_epilogue=examples(
        "inkfish prefer label --store labels.sqlite",
        "inkfish prefer label --store labels.sqlite --overlap 2 --rubric rules.txt --lan",
        "inkfish prefer label --store labels.sqlite --repeat-every 10",
        "inkfish prefer label --store labels.sqlite --gold-by ann --gold-every 10",
        about="Keys: 1 to 9 choose, T all equal, B all bad, S skip, U undo, N note, ? says so.",
    ),
)


@app.default
def label(
    *,
    store: Path = Path("labels.sqlite"),
    overlap: int | None = None,
    repeat_every: int | None = None,
    gold_by: str | None = None,
    gold_every: int | None = None,
    rubric: Path | None = None,
    runs: Path = Path("runs"),
    access: Access = Access(),  # noqa: B008  # frozen
) -> int:
    """Open the page on which people say what is best.

    Args:
        store: The label store, which inkfish prefer sample or compare has made.
        overlap: Labellers that see each item; kept in the store.
        repeat_every: After so many items a labeller gets an earlier one again; 0 never; kept in the store.
        gold_by: Take for right what this labeller has chosen; the figures say how often others agree with it.
        gold_every: After so many items everybody gets one of those; 0 never; kept in the store.
        rubric: Text file with the instructions that stand beside each item; kept in the store.
        runs: Folder of runs that any labeller may pause.
        access: Where the server listens and who may use it.
    """
    settings = access.settings()
    given = {"overlap": overlap, "repeat_every": repeat_every, "gold_every": gold_every}
    with listen(settings) as listener:
        with Store(store) as opened:  # what can be wrong comes before anything is kept
            wanted = label_settings(opened.settings, rubric=rubric, **given)
            if gold_by is not None:
                note(f"of {opened.make_gold(gold_by):,} items the best is known")
            opened.set(wanted)
        site = create_app(settings, pages=[page(store, runs)])
        announce(settings, listener.getsockname()[1], lan=access.lan)
        serve(site, settings, listener=listener)
    return 0


def label_settings(now: Settings, *, rubric: Path | None, **given: int | None) -> Settings:
    """Return a store's settings with what was given.

    Raises:
        SettingError: a number below its limit.
        DataError: instructions that can't be read.
    """
    for name, value in given.items():
        low = LOWEST[name]
        if value is not None and value < low:
            raise SettingError(f"{name} is {value}; it must be {low} or more", param=name)
    return now.changed(**given, rubric=None if rubric is None else read_file(rubric))
