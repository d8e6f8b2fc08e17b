"""The Write page, used by mouse and by keyboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
START = "Once upon a time there was a king"
HOLD_AFTER_THE_FIRST_WORD = """() => {
  const real = window.fetch;
  window.fetch = async (path, options) => {
    const answer = await real(path, options);
    if (!String(path).endsWith("/v1/completions")) return answer;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let events = "";
    while (!events.includes("\\n\\n")) events += (await reader.read()).value;
    const first = new TextEncoder().encode(events.slice(0, events.indexOf("\\n\\n") + 2));
    return new Response(new ReadableStream({ start(body) {
      body.enqueue(first);
      options.signal.addEventListener("abort", () => body.error(options.signal.reason));
    } }));
  };
}"""
"""A fast machine writes all of a text before anyone could stop it: this one waits to be stopped."""
SPEECH = """
window.spoken = [];
window.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; } };
Object.defineProperty(window, "speechSynthesis", { value: {
  getVoices: () => [
    { name: "one", lang: "en-GB", localService: true }, { name: "far", lang: "en-GB", localService: false },
    { name: "two", lang: "en-US", localService: true }, { name: "drei", lang: "de-DE", localService: true },
  ],
  speak: (said) => window.spoken.push(said), cancel: () => {},
} });
"""


@pytest.fixture
def expect() -> Any:
    return pytest.importorskip("playwright.sync_api").expect


def begin(open_page: Any, expect: Any, text: str = START, seed: str = "3", **settings: Any) -> Any:
    page = open_page("/write", **settings)
    expect(page.locator("#model option")).not_to_have_count(0)
    page.fill("#text", text)
    page.fill("#max_tokens", "20")
    page.fill("#seed", seed)
    return page


def test_completes_at_the_cursor_with_the_seed_that_is_shown(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect, seed="")
    page.press("#text", "Control+Enter")
    expect(page.locator("#status")).to_contain_text("tokens in", timeout=20_000)
    expect(page.locator("#complete")).to_be_enabled()
    first = page.input_value("#text")
    assert first.startswith(START)
    assert len(first) > len(START)
    page.click("#again")
    page.press("#text", "Control+z")
    assert page.input_value("#text") == START
    page.click("#complete")
    expect(page.locator("#text")).to_have_value(first, timeout=20_000)
    expect(page.locator("#words")).to_have_text(f"{len(first.split())} words")


def test_completes_in_the_middle(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect, "The end.")
    page.press("#text", "Home")
    page.press("#text", "Control+Enter")
    expect(page.locator("#status")).to_contain_text("tokens in", timeout=20_000)
    expect(page.locator("#complete")).to_be_enabled()
    assert page.input_value("#text").endswith("The end.")
    assert page.input_value("#text") != "The end."


def test_alternatives_are_chosen_and_every_version_is_kept(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect)
    page.fill("#n", "3")
    page.click("#complete")
    expect(page.locator("#complete")).to_be_enabled(timeout=20_000)
    cards = page.locator(".alternative")
    expect(cards).to_have_count(3)
    third, second = [cards.nth(i).get_attribute("data-text") for i in (2, 1)]
    cards.nth(1).click()
    assert page.input_value("#text") == START + second
    expect(cards).to_have_count(0)
    page.click("#undo")
    page.fill("#text", START + " of frogs")
    page.click("summary:has-text('Branches')")
    expect(page.locator("#tree button")).to_have_count(6)
    page.click("#tree button:has-text('alternative 3')")
    assert page.input_value("#text") == START + third
    page.click("#tree button:has-text('frogs')")
    assert page.input_value("#text") == START + " of frogs"


def test_alternatives_are_chosen_by_keyboard(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect)
    page.fill("#n", "2")
    page.press("#text", "Control+Enter")
    expect(page.locator(".alternative").first).to_be_focused(timeout=20_000)
    page.keyboard.press("ArrowRight")
    second = page.locator(".alternative").nth(1)
    expect(second).to_be_focused()
    text = second.get_attribute("data-text")
    page.keyboard.press("Enter")
    expect(page.locator("#text")).to_be_focused()
    assert page.input_value("#text") == START + text


def test_tab_suggests_three_ways_on(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect)
    page.focus("#text")
    page.keyboard.press("Tab")
    options = page.locator("#suggestions [role=option]")
    expect(options.first).to_be_visible(timeout=20_000)
    expect(options).to_have_count(3)
    chosen = options.first.text_content()
    page.keyboard.press("Enter")
    assert page.input_value("#text") == START + chosen
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") != "text", "after Escape, Tab leaves the box"


def test_stops_at_once(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect)
    page.evaluate(HOLD_AFTER_THE_FIRST_WORD)
    for key in ("", "Escape"):
        before = page.input_value("#text")
        page.press("#text", "Control+Enter")
        expect(page.locator("#text")).not_to_have_value(before)
        expect(page.locator("#status")).not_to_contain_text("stopped")
        page.keyboard.press(key) if key else page.click("#stop")
        expect(page.locator("#status")).to_contain_text("stopped after")
        expect(page.locator("#complete")).to_be_enabled()
        assert page.input_value("#text").startswith(before)


def test_reads_aloud_with_a_voice_for_each_character(open_page: Any, expect: Any) -> None:
    page = begin(
        open_page, expect, "The kitchen at night.\n\nANNA\nCome in.\n\nBen: I am here.\n\nANNA\nSit."
    )
    page.add_init_script(SPEECH)
    page.reload()
    page.focus("#listen")
    page.keyboard.press("Enter")
    expect(page.locator("#listen")).to_have_text("Silence")
    said = page.evaluate("spoken.map((one) => [one.text, one.voice.name])")
    assert said == [
        ["The kitchen at night.", "one"],
        ["Come in.", "two"],
        ["I am here.", "one"],
        ["Sit.", "two"],
    ]
    assert page.evaluate("new Set(spoken.map((one) => one.pitch)).size") == 3
    page.evaluate("spoken.at(-1).onend()")
    expect(page.locator("#listen")).to_have_text("Listen")


def test_an_example_begins_a_text(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect, "")
    page.locator("#openings button").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("tokens in", timeout=20_000)
    assert page.input_value("#text").startswith("The old clock struck thirteen, and")
    expect(page.locator("#examples")).to_be_hidden()


def test_nothing_is_lost(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect)
    page.fill("#temperature", "0.3")
    expect(page.locator("#preset")).to_have_value("own")
    page.select_option("#preset", "wild")
    page.reload()
    expect(page.locator("#text")).to_have_value(START)
    expect(page.locator("#temperature")).to_have_value("1.15")
    expect(page.locator("#preset")).to_have_value("wild")


def test_exports_and_a_link(open_page: Any, expect: Any, tmp_path: Path) -> None:
    import docx

    page = begin(open_page, expect, "One\nTwo", permissions=["clipboard-read", "clipboard-write"])
    saved = {}
    for kind in ("txt", "docx", "json"):
        with page.expect_download() as waiting:
            page.click(f"#save-{kind}")
        saved[kind] = tmp_path / f"text.{kind}"
        waiting.value.save_as(saved[kind])
    assert saved["txt"].read_text() == "One\nTwo"
    assert [paragraph.text for paragraph in docx.Document(str(saved["docx"])).paragraphs] == ["One", "Two"]
    assert json.loads(saved["json"].read_text())["settings"]["max_tokens"] == 20
    page.click("#share")
    expect(page.locator("#status")).to_contain_text("copied")
    link = page.evaluate("navigator.clipboard.readText()")
    other = open_page("/write")
    other.fill("#text", "My own draft")
    other.goto(link)
    expect(other.locator("#text")).to_have_value("One\nTwo")
    expect(other.locator("#max_tokens")).to_have_value("20")
    other.click("#undo")
    expect(other.locator("#text")).to_have_value("My own draft")


def test_what_a_model_writes_is_never_markup(open_page: Any, expect: Any) -> None:
    bad = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    page = begin(open_page, expect, bad)
    page.fill("#n", "2")
    page.click("#complete")
    expect(page.locator("#complete")).to_be_enabled(timeout=20_000)
    page.locator(".alternative").first.click()
    page.click("summary:has-text('Branches')")
    assert page.title() == "Write · inkfish"
    assert page.locator("main img, main script").count() == 0


def test_errors_are_told(open_page: Any, expect: Any) -> None:
    page = begin(open_page, expect)
    page.fill("#seed", "seven")
    page.click("#complete")
    expect(page.locator("#trouble")).to_have_text("the seed must be a whole number")


def test_versions_of_a_long_session(open_page: Any) -> None:
    page = open_page("/write")
    script = """async () => {
      const { Versions } = await import("/static/versions.js");
      const versions = new Versions();
      for (let i = 0; i < 1000; i++) {
        const others = [0, 1].map((k) => versions.add(`${i} ${k}`, 1, "alternative"));
        versions.go(others[i % 2]);
      }
      const branched = [versions.all.size, versions.here.text];
      for (let i = 0; i < 1000; i++) versions.go(versions.add(`line ${i}`, 1, "written"));
      const again = new Versions(JSON.parse(JSON.stringify(versions.kept())));
      let back = 0;
      while (again.here.parent) { again.go(again.here.parent); back++; }
      const { next } = again;
      return [...branched, versions.all.size, versions.here.text, back, again.here.text, again.go(next).text,
        again.summary(again.root), again.summary(again.here), again.all.size];
    }"""
    found = page.evaluate(script)
    assert found[:4] == [300, "999 1", 300, "line 999"]
    assert found[4:] == [299, "line 700", "line 701", "the beginning", "written: 1", 300]
