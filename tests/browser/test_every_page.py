"""What holds for all pages, empty and at work: no serious fault found by axe-core, nothing sticks out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser
PAGES = ["/write", "/tokens", "/chat", "/translate", "/summarize", "/compare", "/train", "/label", "/enter"]
PHONE = {"viewport": {"width": 360, "height": 700}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def expect() -> Any:
    return pytest.importorskip("playwright.sync_api").expect


def write(page: Any, expect: Any) -> None:
    page.fill("#text", "Once upon a time there was a king")
    page.fill("#max_tokens", "30")
    page.fill("#seed", "3")
    page.fill("#n", "3")
    page.click("#complete")
    expect(page.locator(".alternative").first).to_be_focused(timeout=20_000)
    page.click("summary:has-text('Branches')")
    page.click("summary:has-text('More settings')")


def tab(page: Any, expect: Any) -> None:
    page.fill("#text", "Once upon a time there was a king")
    page.fill("#seed", "3")
    page.press("#text", "Tab")
    expect(page.locator("#suggestions [role=option]").first).to_be_visible(timeout=20_000)


def tokens(page: Any, expect: Any) -> None:
    expect(page.locator("#tokens button")).not_to_have_count(0)
    page.locator("#tokens button").nth(2).focus()
    expect(page.locator("#detail")).to_be_visible()


def attention(page: Any, expect: Any) -> None:
    expect(page.locator("#tokens button")).not_to_have_count(0)
    page.click("#tab-attention")
    expect(page.locator("#looking button")).not_to_have_count(0)
    page.locator("#looking button").nth(3).focus()


def step(page: Any, expect: Any) -> None:
    page.click("#tab-step")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.click("#begin")
    expect(page.locator("#candidates li")).to_have_count(10)
    page.locator("#candidates button").first.click()
    expect(page.locator("#stepped button")).to_have_count(1)


def chat(page: Any, expect: Any) -> None:
    expect(page.locator("#model option")).not_to_have_count(0)
    page.fill("#say", "hello, who are you?")
    page.press("#say", "Enter")
    expect(page.locator("#retry")).to_be_enabled(timeout=20_000)


def compare(page: Any, expect: Any) -> None:
    expect(page.locator("#model-1 option")).not_to_have_count(0)
    page.fill("#length", "20")
    page.click("button:has-text('Compare')")
    expect(page.locator("#status-1")).to_contain_text("perplexity", timeout=20_000)


def label(page: Any, expect: Any) -> None:
    page.fill("#name", "Ann")
    page.press("#name", "Enter")
    expect(page.locator("#more")).to_be_visible()
    if not page.locator("#more").evaluate("(more) => more.open"):
        page.click("summary:has-text('Write texts to label')")
    expect(page.locator("#more-form #model option")).not_to_have_count(0)
    page.fill("#openings", "The old lighthouse keeper looked out at the sea and")
    page.click("#more-form button")
    expect(page.locator("#more-said")).to_contain_text("to label", timeout=20_000)
    expect(page.locator(".candidate")).to_have_count(4)


Act = Callable[[Any, Any], None]
AT_WORK: dict[str, tuple[str, Act]] = {
    "write": ("/write", write),
    "suggestions": ("/write", tab),
    "tokens": ("/tokens", tokens),
    "attention": ("/tokens", attention),
    "step": ("/tokens", step),
    "chat": ("/chat", chat),
    "compare": ("/compare", compare),
    "label": ("/label", label),
}


def faults(page: Any) -> list[Any]:
    """Return what axe-core finds serious or worse."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    return [
        (fault["id"], [node["html"][:120] for node in fault["nodes"]])
        for fault in axe.run(page).response["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_nobody_is_shut_out(open_page: Any, path: str, colours: str) -> None:
    page = open_page(path, color_scheme=colours, bypass_csp=True)
    page.wait_for_load_state("networkidle")
    assert faults(page) == []


@pytest.mark.parametrize("work", AT_WORK)
def test_nobody_is_shut_out_of_a_page_at_work(open_page: Any, expect: Any, work: str) -> None:
    path, act = AT_WORK[work]
    page = open_page(path, color_scheme="light", bypass_csp=True)
    act(page, expect)
    assert faults(page) == []
    page.emulate_media(color_scheme="dark")
    assert faults(page) == []


@pytest.mark.parametrize("path", PAGES)
def test_nothing_sticks_out_on_a_phone(open_page: Any, path: str) -> None:
    page = open_page(path, **PHONE)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("work", AT_WORK)
def test_nothing_sticks_out_on_a_phone_at_work(open_page: Any, expect: Any, work: str) -> None:
    path, act = AT_WORK[work]
    page = open_page(path, **PHONE)
    act(page, expect)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("path", PAGES)
def test_colours_are_chosen_and_kept(open_page: Any, path: str) -> None:
    page = open_page(path)
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
