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


def test_translates_by_example(open_page: Any, expect: Any) -> None:
    page = open_page("/translate")
    expect(page.locator("#source option")).not_to_have_count(0)
    page.select_option("#source", "en")
    page.select_option("#target", "fr")
    page.fill("#text", "I am tired. You are here.\n\nGood night.")
    page.click("button:has-text('Translate')")
    expect(page.locator("#status")).to_contain_text("3 sentences", timeout=30_000)
    assert page.locator("#done").text_content().count("\n") == 2
    page.click("#swap")
    assert (page.input_value("#source"), page.input_value("#target")) == ("fr", "en")


def test_summarizes(open_page: Any, expect: Any) -> None:
    page = open_page("/summarize")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.click("button:has-text('Summarize')")
    expect(page.locator("#trouble")).to_have_text("there is no text yet")
    page.fill("#text", "The king had three sons. The youngest went to the sea. " * 60)
    page.click("button:has-text('Summarize')")
    expect(page.locator("#done")).not_to_be_empty(timeout=30_000)
    expect(page.locator("#status")).to_contain_text("more does not fit")
    page.click("#again")
    expect(page.locator("#seed")).to_have_value("1")


def test_compares_two_settings(open_page: Any, expect: Any) -> None:
    page = open_page("/compare")
    expect(page.locator("#model-1 option")).not_to_have_count(0)
    page.fill("#length", "20")
    page.fill("#temperature-0", "0")
    page.fill("#temperature-1", "0")
    page.click("button:has-text('Compare')")
    for side in (0, 1):
        expect(page.locator(f"#status-{side}")).to_contain_text("perplexity", timeout=30_000)
    assert page.inner_text("#out-0") == page.inner_text("#out-1")
    page.fill("#temperature-1", "1.5")
    page.click("#next")
    expect(page.locator("#status-1")).to_contain_text("perplexity", timeout=30_000)
    assert page.inner_text("#out-0") != page.inner_text("#out-1")


def test_characters_have_voices(open_page: Any) -> None:
    page = open_page("/write")
    script = "INT. KITCHEN\\n\\nANNA (softly)\\nCome in.\\n\\nBen: I am here.\\nHe sits down."
    found = page.evaluate(f'import("/static/listen.js").then((m) => m.parts("{script}"))')
    assert found == [
        {"who": "", "text": "INT. KITCHEN"},
        {"who": "ANNA", "text": "Come in."},
        {"who": "Ben", "text": "I am here."},
        {"who": "", "text": "He sits down."},
    ]
    cast = 'import("/static/listen.js").then((m) => { const c = new Map([["", 0]]); const v = ["a", "b"];'
    cast += ' return ["", "A", "B", "A"].map((who) => m.voiceFor(who, c, v).voice); })'
    assert page.evaluate(cast) == ["a", "b", "a", "b"]
