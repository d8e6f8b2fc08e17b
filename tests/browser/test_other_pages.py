"""The Tokens and Chat pages."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def expect() -> Any:
    return pytest.importorskip("playwright.sync_api").expect


def test_tokens_are_coloured_and_others_can_be_chosen(open_page: Any, expect: Any) -> None:
    page = open_page("/tokens")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.fill("#text", "The cat sat on the mat.")
    page.click("button:has-text('Look')")
    tokens = page.locator("#tokens button")
    expect(tokens).not_to_have_count(0)
    assert "".join(tokens.all_text_contents()) == "The cat sat on the mat."
    expect(page.locator("#summary")).to_contain_text("perplexity")
    colours = page.eval_on_selector_all(
        "#tokens button", "all => all.map(b => getComputedStyle(b).backgroundColor)"
    )
    assert len(set(colours)) > 2
    tokens.nth(1).focus()
    expect(page.locator("#others li")).to_have_count(10)
    page.locator("#others button").nth(3).click()
    expect(tokens).not_to_have_count(7, timeout=15_000)
    assert page.input_value("#text").startswith("The")


def test_a_model_writes_step_by_step(open_page: Any, expect: Any) -> None:
    page = open_page("/tokens")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.fill("#text", "Once upon a time")
    page.fill("#pace", "10")
    page.click("#begin")
    expect(page.locator("#candidates li")).to_have_count(10)
    page.click("#next")
    expect(page.locator("#stepped button")).to_have_count(1, timeout=10_000)
    page.locator("#candidates button").first.click()
    expect(page.locator("#stepped button")).to_have_count(2)
    page.click("#back")
    expect(page.locator("#stepped button")).to_have_count(1)
    page.click("#play")
    expect(page.locator("#stepped button")).to_have_count(5, timeout=20_000)
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Play")


def test_a_persona_talks(open_page: Any, expect: Any) -> None:
    page = open_page("/chat")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.click("#other")
    expect(page.locator("#persona")).not_to_have_value("")
    page.fill("#say", "hi")
    page.press("#say", "Enter")
    answer = page.locator(".turn.assistant > span")
    expect(answer).not_to_be_empty(timeout=15_000)
    expect(page.locator("#retry")).to_be_enabled(timeout=15_000)
    first = answer.inner_text()
    page.click("#retry")
    expect(page.locator(".turn.assistant .tools")).to_contain_text("2 of 2", timeout=15_000)
    expect(page.locator("#retry")).to_be_enabled(timeout=15_000)
    page.click("[aria-label='Earlier version']")
    expect(answer).to_have_text(first)
    page.click("#suggest")
    expect(page.locator("#suggestions button")).not_to_have_count(0, timeout=15_000)
    page.locator("#suggestions button").first.click()
    page.press("#say", "Enter")
    expect(page.locator(".turn")).to_have_count(4)
    expect(page.locator("#retry")).to_be_enabled(timeout=15_000)
    page.locator("[aria-label='Say something else here']").first.click()
    page.keyboard.press("Control+a")
    page.keyboard.type("good morning")
    page.keyboard.press("Enter")
    expect(page.locator(".turn.user > span").first).to_have_text("good morning")
    expect(page.locator("#retry")).to_be_enabled(timeout=15_000)
    expect(page.locator(".turn")).to_have_count(2)
    page.locator("[aria-label='Earlier version']").first.click()
    expect(page.locator(".turn")).to_have_count(4)
    page.reload()
    expect(page.locator(".turn")).to_have_count(4)
