"""What the routes of the pages answer, for their description and the tests; see `inkfish.server.replies`."""

from __future__ import annotations

from typing import Any

from inkfish.server.replies import Amount, Reply
from inkfish.server.runs import State

__all__ = [
    "Added",
    "Answered",
    "Dashboard",
    "Handed",
    "KeptFile",
    "Languages",
    "Overview",
    "Paused",
    "Personas",
    "Plan",
    "Progress",
    "Removed",
    "RunState",
    "Suggestions",
    "SummarizeReply",
    "Timing",
    "TranslateReply",
    "Undone",
]


class Personas(Reply):
    """Bundled personas, each some sentences."""

    personas: list[list[str]]


class Suggestions(Reply):
    """What the user could say."""

    suggestions: list[str]


class Languages(Reply):
    """Languages that have examples, by their codes."""

    languages: list[str]


class TranslateReply(Reply):
    """A translation."""

    text: str
    sentences: Amount
    cut: Amount
    """Sentences that did not come to an end."""


class SummarizeReply(Reply):
    """A summary."""

    text: str
    read: Amount
    """Tokens of the text that the model read."""
    of: Amount
    """Tokens of the whole text."""


class KeptFile(Reply):
    """A file that was taken."""

    name: str
    bytes: Amount
    most: Amount
    """Files that a run may have."""


class Removed(Reply):
    """A file that was taken away."""

    removed: str


class RunState(Reply):
    """What a run is doing."""

    state: State


class ListedRun(RunState):
    """A run in a list."""

    name: str


class Overview(Reply):
    """Runs, and what is needed to begin one."""

    runs: list[ListedRun]
    models: list[str]
    able: bool
    """Whether what training needs is installed."""
    suffixes: list[str]
    tables: list[str]


class TextFile(Reply):
    """A file of a run."""

    name: str
    bytes: Amount


class RunSample(Reply):
    """What a run wrote at a step."""

    step: Amount
    text: str


class Progress(RunState):
    """How a run goes."""

    name: str
    began: float | None
    """Seconds since 1970."""
    files: list[TextFile]
    steps: Amount | None
    total: Amount
    """Records of its log."""
    records: list[dict[str, Any]]
    """Those that were asked for, as the log has them."""
    seconds_to_go: float | None
    samples: list[RunSample]
    lines: list[str]
    """What it printed last."""
    error: str | None
    writes: bool
    """Whether it has a model that can write."""


class Plan(Reply):
    """What training on the texts of a run means."""

    files: Amount
    documents: Amount
    words: Amount
    tokens: Amount
    held_out: Amount
    near_duplicates: Amount
    notes: list[str]
    parameters: Amount
    context: Amount
    steps: Amount
    short: bool
    """Whether all of it is less than one context."""


class Timing(Reply):
    """How long training would take here, in seconds and bytes."""

    steps: Amount
    seconds_each: float
    seconds: float
    memory: float
    available: float | None
    """Memory that is free, where that is known."""
    advice: list[str]


class Answered(Reply):
    """How far the labelling has come."""

    mine: Amount
    items: Amount
    complete: Amount
    labels: Amount
    rubric: str


class LabelItem(Reply):
    """What a labeller sees."""

    key: str
    kind: str
    query: str
    candidates: list[str]
    repeat: bool


class Handed(Answered):
    """The next item, if there is one."""

    item: LabelItem | None
    writes: bool
    """Whether candidates can be written here."""


class Undone(Answered):
    """Whether there was a label to take back."""

    undone: bool


class Share(Reply):
    """A share with its interval."""

    low: float
    mean: float
    high: float
    count: Amount


class Labeller(Reply):
    """One labeller's figures."""

    name: str
    labels: Amount
    seconds: float | None
    slots: list[Amount]
    first: Share | None
    """How often what stood first was chosen."""
    chance: float | None
    """How often it would be by chance."""
    ties: Amount
    gold: Share | None
    steady: Share | None


class Agreement(Reply):
    """How far labellers of the same items agree."""

    items: Amount
    percent: float | None
    alpha: float | None
    alpha_low: float | None
    alpha_high: float | None
    kappa: float | None
    kappa_items: Amount
    """Those with as many labels each, which kappa is of."""


class Dashboard(Reply):
    """The figures of a label store."""

    items: Amount
    complete: Amount
    labels: Amount
    labellers: list[Labeller]
    agreement: Agreement | None
    """Of choices."""
    ratings: Agreement | None
    """Of ratings."""


class PausedRun(Reply):
    """A run that was told to stop."""

    name: str
    samples: str


class Paused(Reply):
    """All of them."""

    runs: list[PausedRun]


class Added(Reply):
    """Candidates that were written into the label store."""

    added: Amount
    seed: int
