"""Fifty items labelled by keys in a real browser, with a reload and a second labeller; and on a phone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inkfish.labels.records import Candidate, Item
from inkfish.labels.store import Store

pytestmark = pytest.mark.browser

STORY = "The old lighthouse keeper climbed the stairs as the storm came in from the sea."


@pytest.fixture
def expect() -> Any:
    return pytest.importorskip("playwright.sync_api").expect


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    with Store(tmp_path / "labels.sqlite", create=True) as store:
        store.add(
            Item(
                "best",
                f"{STORY} It was day {i} of the long winter, and nobody had come.",
                tuple(
                    Candidate(f" He {verb} {'and waited ' * k}until day {i} was over.")
                    for k, verb in enumerate(("sang", "wept", "slept", "laughed"))
                ),
            )
            for i in range(50)
        )
    return tmp_path / "labels.sqlite"


@pytest.fixture
def page_url(labels: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "rubric.txt").write_text("Choose the happiest.\nTie if you can't tell.")
    command = [sys.executable, "-m", "inkfish", "prefer", "label", "--store", str(labels), "--overlap", "2"]
    command += ["--rubric", str(tmp_path / "rubric.txt"), "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert "http://127.0.0.1" in server.stderr.readline()
        yield f"http://127.0.0.1:{port}/label"
        server.send_signal(signal.SIGTERM)
        server.stderr.read()


def begin(browser: Any, url: str, name: str, troubles: list[str], **settings: Any) -> Any:
    context = browser.new_context(**settings)
    page = context.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(url)
    page.fill("#name", name)
    page.press("#name", "Enter")
    return page


def test_fifty_items_by_keyboard_with_a_reload_and_a_second_labeller(
    browser: Any, page_url: str, labels: Path, expect: Any, tmp_path: Path
) -> None:
    troubles: list[str] = []
    page = begin(browser, page_url, "Ann", troubles, viewport={"width": 1200, "height": 900})
    expect(page.locator(".candidate")).to_have_count(4)
    expect(page.locator("#rubric")).to_contain_text("Choose the happiest.")
    other = begin(browser, page_url, "Bob", troubles, viewport={"width": 1200, "height": 900})
    for number in range(50):
        expect(page.locator("#numbers")).to_contain_text(f"{number} by you")
        if number == 20:
            before = page.text_content("#query")
            page.reload()
            expect(page.locator("#query")).to_have_text(str(before))
        page.keyboard.press("tbs"[number % 3] if number % 10 == 9 else "1234"[number % 4])
        if number < 10:
            expect(other.locator("#numbers")).to_contain_text(f"{number} by you")
            other.keyboard.press("2")
    expect(page.locator("#finished")).to_be_visible()
    expect(other.locator("#numbers")).to_contain_text("10 by you")
    page.keyboard.press("u")
    expect(page.locator("#numbers")).to_contain_text("49 by you")
    page.keyboard.press("n")
    page.keyboard.type("not sure")
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    expect(page.locator("#numbers")).to_contain_text("50 by you")
    expect(page.locator("#question")).to_have_text("Nothing is left")
    page.click("#figures summary")
    expect(page.locator("#figures-place")).to_contain_text("Krippendorff")
    expect(page.locator("#figures-place")).to_contain_text("chance 25 %")
    page.click("#other")
    expect(page.locator("#name")).to_have_value("Ann")
    page.press("#name", "Enter")
    page.click("#pause")
    expect(page.locator("#paused")).to_have_text("Nothing is training here.")
    page.screenshot(path=tmp_path / "label.png")
    with Store(labels) as store:
        found = store.labels()
    assert len([one for one in found if one.labeller == "Ann"]) == 50
    assert len([one for one in found if one.labeller == "Bob"]) == 10
    assert len({(one.item, one.labeller) for one in found}) == 60
    assert {one.verdict for one in found} == {"best", "tie", "bad", "skip"}
    assert [one.note for one in found if one.note] == ["not sure"]
    assert not troubles


def test_a_phone(browser: Any, page_url: str, labels: Path, expect: Any, tmp_path: Path) -> None:
    troubles: list[str] = []
    size = {"width": 375, "height": 740}
    page = begin(browser, page_url, "Cat", troubles, viewport=size, has_touch=True, is_mobile=True)
    expect(page.locator(".candidate")).to_have_count(4)
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    tops = [page.locator(name).bounding_box()["y"] for name in ("#rubric", "#query", "#bar")]
    assert tops == sorted(tops)  # the instructions stand above the texts
    page.locator(".candidate").nth(1).tap()
    expect(page.locator("#numbers")).to_contain_text("1 by you")
    page.locator("#tie").tap()
    expect(page.locator("#numbers")).to_contain_text("2 by you")
    assert not troubles


def test_a_note_stays_with_its_text(browser: Any, page_url: str, labels: Path, expect: Any) -> None:
    troubles: list[str] = []
    page = begin(browser, page_url, "Dan", troubles)
    expect(page.locator(".candidate")).to_have_count(4)
    first = str(page.text_content("#query"))
    page.keyboard.press("n")
    page.keyboard.type("of the first")
    page.keyboard.press("Escape")
    expect(page.locator("#noted")).to_be_visible()
    other = page.context.new_page()
    other.goto(page_url)
    expect(other.locator("#name")).to_have_value("Dan")  # a new window asks who is there
    other.press("#name", "Enter")
    expect(other.locator("#query")).to_have_text(first)
    other.keyboard.press("1")
    expect(other.locator("#numbers")).to_contain_text("1 by you")
    page.keyboard.press("2")
    expect(page.locator("#trouble")).to_have_text("Dan has labelled this item already; undo that first")
    expect(page.locator("#query")).not_to_have_text(first)
    expect(page.locator("#noted")).to_be_hidden()
    page.keyboard.press("3")
    expect(page.locator("#numbers")).to_contain_text("2 by you")
    with Store(labels) as store:
        assert [label.note for label in store.labels() if label.labeller == "Dan"] == ["", ""]
    assert not troubles


def test_ratings_and_texts_with_blank_lines(browser: Any, page_url: str, labels: Path, expect: Any) -> None:
    with Store(labels) as store:
        store.db.execute("UPDATE items SET done = 2")
        store.add(
            [
                Item("rating", " So it began.", (Candidate("\n\nIt rained."),)),
                Item("rating", "q", (Candidate(" "),)),
            ]
        )
    troubles: list[str] = []
    page = begin(browser, page_url, "Eve", troubles)
    expect(page.locator("#question")).to_have_text("How good is it?")
    assert [page.text_content(place) for place in ("#query", "#candidates")] == ["So it began.", "It rained."]
    expect(page.locator("#scale .ends")).to_have_text("1 worstbest 7")
    expect(page.locator("#tie")).to_be_hidden()
    page.locator("#ratings button").nth(5).click()
    expect(page.locator("#candidates")).to_have_text("(nothing)")
    page.keyboard.press("1")
    expect(page.locator("#question")).to_have_text("Nothing is left")
    page.click("#figures summary")
    expect(page.locator("#figures-place")).to_contain_text("No text was labelled by two yet.")
    with Store(labels) as store:
        assert [label.rating for label in store.labels()] == [6, 1]
    assert not troubles
