"""The Tokens, Chat, Translate, Summarize, Compare and Label pages."""

from __future__ import annotations

import json
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from inkfish.labels.store import Store

pytestmark = pytest.mark.browser


@pytest.fixture
def expect() -> Any:
    return pytest.importorskip("playwright.sync_api").expect


SHARES = """
[...document.querySelectorAll('#looking button')].map((one) => Number(one.style.getPropertyValue('--share')))
"""


def give_seeds(page: Any, path: str) -> None:
    """Send seeds 1, 2, 3… with what asks for a text without one, so that each run of a test sees the same."""
    seeds = count(1)

    def seeded(route: Any) -> None:
        body = json.loads(route.request.post_data)
        route.continue_(post_data=json.dumps(body | {"seed": next(seeds)}))

    page.route(f"**{path}", seeded)


def test_tokens_are_coloured_and_others_can_be_chosen(open_page: Any, expect: Any) -> None:
    page = open_page("/tokens")
    expect(page.locator("#model option")).not_to_have_count(0)
    tokens = page.locator("#tokens button")
    expect(tokens).not_to_have_count(0)  # of the example that stands there
    page.fill("#text", "The cat sat on the mat.")
    page.click("button:has-text('Look')")
    expect(page.locator("#tokens")).to_have_text("The cat sat on the mat.")
    expect(page.locator("#summary")).to_contain_text("perplexity")
    colours = page.eval_on_selector_all(
        "#tokens button", "all => all.map(b => getComputedStyle(b).backgroundColor)"
    )
    assert len(set(colours)) > 2
    tokens.nth(2).hover()
    expect(page.locator("#others li")).to_have_count(10)
    fourth = page.locator("#others button").nth(3)
    words = fourth.locator("code").inner_text().replace("␣", " ")
    fourth.click()
    expect(tokens.nth(2)).to_be_focused(timeout=15_000)
    assert page.input_value("#text").startswith(f"The cat{words}")
    page.click("#undo")
    expect(page.locator("#text")).to_have_value("The cat sat on the mat.")


def test_tokens_by_keyboard(open_page: Any, expect: Any) -> None:
    page = open_page("/tokens")
    tokens = page.locator("#tokens button")
    expect(tokens).not_to_have_count(0)
    page.focus("#tab-likely")
    page.keyboard.press("Tab")
    expect(tokens.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(2)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#others button").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(tokens.nth(2)).to_be_focused()
    expect(page.locator("#detail")).to_be_hidden()
    page.keyboard.press("End")
    expect(tokens.last).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    words = page.locator("#others button").nth(1).locator("code").inner_text().replace("␣", " ")
    before = "".join(tokens.all_text_contents()[:-1])
    page.keyboard.press("Enter")
    expect(page.locator("#undo")).to_be_visible(timeout=15_000)
    assert page.input_value("#text").startswith(before + words)


def test_heads_look_back(open_page: Any, expect: Any) -> None:
    page = open_page("/tokens")
    expect(page.locator("#tokens button")).not_to_have_count(0)
    page.fill("#text", "The fox and the fox")
    page.click("button:has-text('Look')")
    expect(page.locator("#tokens")).to_have_text("The fox and the fox")
    page.focus("#tab-likely")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-attention")).to_be_focused()
    heads, looking = page.locator("#heads [role=radio]"), page.locator("#looking button")
    expect(heads).to_have_count(4)
    expect(looking).to_have_count(page.locator("#tokens button").count() + 1)
    expect(page.locator("#looks-at")).to_contain_text("“␣fox” looks at")
    first = page.evaluate(SHARES)
    assert sum(first) == pytest.approx(1, abs=1e-3)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(heads.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(heads.nth(1)).to_have_attribute("aria-checked", "true")
    assert page.evaluate(SHARES) != first
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    expect(page.locator("#looks-at")).to_have_text("the start looks at itself 100 %")
    page.select_option("#layer", "7")
    expect(page.locator("#heads")).to_have_attribute("data-layer", "7")
    expect(page.locator("#looks-at")).to_have_text("the start looks at itself 100 %")
    looking.nth(2).hover()
    assert page.evaluate(SHARES)[3:] == [0] * (looking.count() - 3)


def test_attention_of_a_long_text_is_that_of_its_beginning(open_page: Any, expect: Any) -> None:
    page = open_page("/tokens")
    expect(page.locator("#tokens button")).not_to_have_count(0)
    page.click("#tab-attention")
    page.fill("#text", "the fox " * 100)
    page.click("button:has-text('Look')")
    expect(page.locator("#attention-note")).to_contain_text("the first 127 of", timeout=15_000)
    expect(page.locator("#looking button")).to_have_count(128)


def test_a_model_writes_step_by_step(open_page: Any, expect: Any) -> None:
    page = open_page("/tokens")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.fill("#text", "Once upon a time")
    page.click("#tab-step")
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
    expect(page.locator("#play")).to_have_text("Pause")
    stepped = page.locator("#stepped button")
    expect(stepped.nth(4)).to_be_visible(timeout=20_000)
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Play")
    expect(page.locator("#next")).to_be_enabled()
    written = stepped.count()
    page.click("#next")
    expect(stepped).to_have_count(written + 1)


def test_step_by_step_by_keyboard(open_page: Any, expect: Any) -> None:
    page = open_page("/tokens")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.fill("#text", "Once upon a time")
    page.click("#tab-step")
    page.focus("#begin")
    page.keyboard.press("Enter")
    expect(page.locator("#next")).to_be_focused()
    page.keyboard.press("Enter")
    stepped = page.locator("#stepped button")
    expect(stepped).to_have_count(1, timeout=10_000)
    expect(page.locator("#next")).to_be_focused()
    page.keyboard.press("Enter")
    expect(stepped).to_have_count(2, timeout=10_000)
    page.locator("#candidates button").nth(1).focus()
    second = page.locator("#candidates button").nth(1).locator("code").inner_text()
    page.keyboard.press("Enter")
    expect(stepped).to_have_count(3)
    assert stepped.last.inner_text() == second.replace("␣", " ")
    stepped.first.focus()
    page.keyboard.press("Enter")
    expect(stepped).to_have_count(1)
    expect(stepped.first).to_be_focused()


def test_a_persona_talks(open_page: Any, expect: Any) -> None:
    page = open_page("/chat")
    give_seeds(page, "/v1/chat/completions")
    give_seeds(page, "/chat/suggest")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.click("#other")
    expect(page.locator("#persona")).not_to_have_value("")
    page.fill("#persona", "I live in a lighthouse. I collect shells.")
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
    expect(page.locator("#suggestions button").first).to_be_focused(timeout=15_000)
    page.keyboard.press("Enter")
    expect(page.locator("#say")).to_be_focused()
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
    page.locator("[aria-label='Say something else here']").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator("[aria-label='Say something else here']")).to_be_focused()
    page.locator("[aria-label='Earlier version']").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[aria-label='Earlier version']").first).to_be_focused()
    expect(page.locator(".turn")).to_have_count(4)
    page.reload()
    expect(page.locator(".turn")).to_have_count(4)


def test_a_model_that_says_nothing_is_asked_again(open_page: Any, expect: Any) -> None:
    page = open_page("/chat")
    expect(page.locator("#model option")).not_to_have_count(0)
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body="data: [DONE]\n\n"))
    page.fill("#say", "hi")
    page.press("#say", "Enter")
    expect(page.locator("#trouble")).to_contain_text("said nothing")
    expect(page.locator(".turn")).to_have_count(1)
    page.unroute("**/v1/chat/completions")
    give_seeds(page, "/v1/chat/completions")
    page.click("#retry")
    expect(page.locator(".turn.assistant > span")).not_to_be_empty(timeout=15_000)
    expect(page.locator("#trouble")).to_be_empty()


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


def test_compares_two_models(open_page: Any, expect: Any) -> None:
    page = open_page("/compare")
    expect(page.locator("#model-1 option")).to_have_text(["starter", "twin"])
    page.select_option("#model-1", "twin")
    page.fill("#length", "20")
    page.fill("#temperature-1", "0.8")
    with page.expect_request(lambda asked: (asked.post_data_json or {}).get("model") == "twin"):
        page.click("button:has-text('Compare')")
    expect(page.locator("#status-1")).to_contain_text("perplexity", timeout=30_000)
    expect(page.locator("#stop")).to_be_hidden(timeout=30_000)
    assert page.inner_text("#out-0") == page.inner_text("#out-1"), "the same model by another name"


def test_compares_two_settings(open_page: Any, expect: Any) -> None:
    page = open_page("/compare")
    expect(page.locator("#model-1 option")).not_to_have_count(0)
    page.fill("#length", "20")
    page.fill("#temperature-0", "0")
    page.fill("#temperature-1", "0")
    page.click("button:has-text('Compare')")
    expect(page.locator("#stop")).to_be_hidden(timeout=30_000)
    for side in (0, 1):
        expect(page.locator(f"#status-{side}")).to_contain_text("perplexity")
    assert page.inner_text("#out-0") == page.inner_text("#out-1")
    page.fill("#temperature-1", "1.5")
    page.click("#next")
    expect(page.locator("#seed")).to_have_value("2")
    expect(page.locator("#stop")).to_be_hidden(timeout=30_000)
    expect(page.locator("#status-1")).to_contain_text("perplexity")
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


def test_texts_are_written_and_labelled_by_keyboard(open_page: Any, expect: Any, workplace: Path) -> None:
    page = open_page("/label")
    expect(page.locator("#name")).to_be_focused()
    name = f"Kay {time.time_ns()}"
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator("#more")).to_be_visible()
    if not page.locator("#more").evaluate("(more) => more.open"):
        page.focus("#more summary")
        page.keyboard.press("Enter")
    expect(page.locator("#more-form #model option")).not_to_have_count(0)
    page.focus("#openings")
    page.keyboard.type("The fox\n\nThe owl")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#more-said")).to_have_text("2 new texts to label", timeout=20_000)
    expect(page.locator(".candidate")).to_have_count(4)
    chosen = page.locator(".candidate .writing").nth(1).inner_text()
    page.locator("body").press("2")
    expect(page.locator("#numbers")).to_contain_text("1 by you")
    with Store(workplace / "labels.sqlite") as store:
        (label,) = [one for one in store.labels() if one.labeller == name]
        _, item = store.find(label.item)
    assert " ".join(item.candidates[label.best[0]].text.split()) == " ".join(chosen.split())
