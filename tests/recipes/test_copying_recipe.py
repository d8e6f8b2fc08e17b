"""How much of what a model writes is copied: words count, blank lines do not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inkfish.recipes import copying
from inkfish.tokenizer import Tokenizer

LINE = "One red fox met two hens in the old wood by the mill."
BLANK = "\n" * 40


def writer(text: str) -> Any:
    """Return a model that always writes the same."""
    sample = SimpleNamespace(samples=[SimpleNamespace(text=text)])
    return SimpleNamespace(
        tokenizer=Tokenizer.gpt2(),
        config=SimpleNamespace(n_positions=1024),
        generate=lambda *_, **__: sample,
    )


@pytest.mark.parametrize(
    ("text", "longest"), [(f"Zebras vex.{BLANK}", ()), (f"Zebras vex.{BLANK}Thus: {LINE}", (LINE,))]
)
def test_blank_lines_are_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, longest: tuple[str, ...]
) -> None:
    (tmp_path / "text.txt").write_text(f"Before.{BLANK}So: {LINE}")
    monkeypatch.setattr(copying, "load", lambda *_, **__: writer(text))
    found = copying.run(copying.Config((tmp_path / "text.txt",), count=2))
    tokenizer = Tokenizer.gpt2()
    words = tokenizer.encode(f": {LINE}")
    assert found.share == pytest.approx(len(words) / len(tokenizer.encode(text)) if longest else 0)
    assert [text.removeprefix(": ") for _, text in found.longest] == list(longest)
