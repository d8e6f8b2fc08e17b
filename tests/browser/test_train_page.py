"""The Train page: a .docx goes in, a model that writes comes out, by keyboard alone."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
WORDS = ["fox", "owl", "hare", "crow", "river", "gate", "well", "mill", "road", "sleeps", "waits", "sings"]


@pytest.fixture
def expect() -> Any:
    return pytest.importorskip("playwright.sync_api").expect


def novel(path: Path) -> Path:
    """Write a Word document of some verses."""
    import docx

    document, chance = docx.Document(), random.Random(1)
    for _ in range(600):
        document.add_paragraph(" ".join(chance.choices(WORDS, k=8)).capitalize() + ".")
    document.save(str(path))
    return path


def press(page: Any, selector: str) -> None:
    """Do with the keyboard what a click does."""
    page.focus(selector)
    page.keyboard.press("Enter")


def start(open_page: Any, expect: Any, text: Path, *, epochs: str) -> Any:
    """Begin a run on a document, by keyboard; return the page."""
    page = open_page("/train")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.set_input_files("#files", [text])
    expect(page.locator("#list li")).to_contain_text(text.name)
    expect(page.locator("#name")).to_have_value(text.stem.replace(" ", "-"))
    page.fill("#openings", "The fox")
    page.fill("#epochs", epochs)
    press(page, "#show-plan")
    expect(page.locator("#facts")).to_contain_text("1 file, 1 document", timeout=60_000)
    press(page, "#start")
    expect(page.locator("#numbers")).to_contain_text("step ", timeout=120_000)
    return page


def test_a_document_becomes_a_model_that_writes(open_page: Any, expect: Any, tmp_path: Path) -> None:
    page = start(open_page, expect, novel(tmp_path / "Der Roman.docx"), epochs="4")
    expect(page.locator("#state")).to_have_text("finished", timeout=300_000)
    expect(page.locator("#curve path")).to_have_count(2)
    expect(page.locator("#samples .writing").first).to_contain_text("The fox")
    page.fill("#opening", "The owl")
    press(page, "#go")
    expect(page.locator("#go")).to_be_enabled(timeout=60_000)
    assert len(page.inner_text("#written")) > len("The owl")
    other = open_page("/write?model=Der-Roman")
    expect(other.locator("#model")).to_have_value("Der-Roman")


def test_a_run_is_paused_and_goes_on(open_page: Any, expect: Any, tmp_path: Path) -> None:
    page = start(open_page, expect, novel(tmp_path / "The long one.docx"), epochs="1000")  # for any machine
    press(page, "#pause")
    expect(page.locator("#state")).to_have_text("paused", timeout=120_000)
    page.reload()
    expect(page.locator("#state")).to_have_text("paused")
    before = page.inner_text("#numbers")
    press(page, "#resume")
    expect(page.locator("#state")).to_have_text("training", timeout=120_000)
    expect(page.locator("#numbers")).not_to_have_text(before, timeout=120_000)
    press(page, "#pause")
    expect(page.locator("#state")).to_have_text("paused", timeout=120_000)


def test_files_are_removed_and_what_can_not_be_read_is_said(
    open_page: Any, expect: Any, tmp_path: Path
) -> None:
    page = open_page("/train")
    expect(page.locator("#model option")).not_to_have_count(0)
    table = tmp_path / "heroes.csv"
    rows = [f"Ann{i},went home for the {i}th time and saw {i * 7} owls" for i in range(30)]
    table.write_text("\n".join(["name,story", *rows]))
    page.set_input_files("#files", [table])
    expect(page.locator("#column")).to_be_visible()
    name = f"heroes-{time.time_ns()}"
    page.click("button:has-text('Remove')")
    expect(page.locator("#list li")).to_have_count(0)
    page.fill("#name", name)
    page.set_input_files("#files", [table])
    expect(page.locator("#list li")).to_have_count(1)
    page.click("#show-plan")
    expect(page.locator("#trouble")).not_to_be_empty(timeout=30_000)
    page.fill("#column", "{name} {story}.")
    page.click("#show-plan")
    expect(page.locator("#facts")).to_contain_text("30 documents", timeout=30_000)
    expect(page.locator("#trouble")).to_be_empty()
