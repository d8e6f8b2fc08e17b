"""The pages of `inkfish serve`, in the order of the navigation."""

from __future__ import annotations

from pathlib import Path

from inkfish.server import label, language, talk, train, write
from inkfish.server.runs import Runs
from inkfish.server.service import Service
from inkfish.server.site import Page

__all__ = ["pages"]


def pages(service: Service, runs: Path, labels: Path) -> list[Page]:
    """Return all pages; `runs` is the folder of training runs, `labels` the label store."""
    return [
        write.page(),
        Page("tokens", "Tokens"),
        talk.page(service),
        language.translate_page(service),
        language.summarize_page(service),
        Page("compare", "Compare"),
        train.page(service, Runs(runs)),
        label.page(labels, runs, service=service),
    ]
