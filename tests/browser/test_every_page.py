"""What holds for all pages: no serious fault found by axe-core, light and dark, at a desk and on a phone."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser
PAGES = ["/write", "/tokens", "/chat", "/translate", "/summarize", "/compare", "/train", "/enter"]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_nobody_is_shut_out(open_page: Any, path: str, colours: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(path, color_scheme=colours, bypass_csp=True)
    page.wait_for_load_state("networkidle")
    found = axe.run(page).response["violations"]
    serious = [
        (fault["id"], [node["html"][:120] for node in fault["nodes"]])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert not serious


@pytest.mark.parametrize("path", PAGES)
def test_nothing_sticks_out_on_a_phone(open_page: Any, path: str) -> None:
    page = open_page(path, viewport={"width": 360, "height": 700}, has_touch=True)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("path", PAGES)
def test_colours_are_chosen_and_kept(open_page: Any, path: str) -> None:
    page = open_page(path)
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
