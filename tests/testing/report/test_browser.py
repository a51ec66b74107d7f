"""The page in a real browser. Without chromium or playwright a test is skipped, and says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from voice_agent.testing.report import write_html

from .conftest import HOSTILE, Make

if TYPE_CHECKING:
    from playwright.sync_api import Page as Tab

Show: TypeAlias = Callable[..., "Tab"]


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Show]:
    """``show(*folders, audio_mb=, **context)``: their report in a tab. Fails on any error or warning in its console."""
    playwright = pytest.importorskip("playwright.sync_api", reason="NOT TESTED, the page: playwright is not installed")
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("NOT TESTED, the page: chromium is not installed (Debian: apt-get install chromium)")
    wrong: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as p:
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = p.chromium.launch(executable_path=binary, args=flags)

        def go(*folders: Path, audio_mb: float = 24.0, **context: Any) -> Tab:
            write_html(folders, tmp_path / "report.html", audio_mb=audio_mb)
            tab: Tab = browser.new_context(viewport={"width": 1400, "height": 1000}, **context).new_page()
            tab.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
            tab.on("pageerror", lambda error: wrong.append(str(error)))
            tab.on("request", lambda request: asked.append(request.url))
            tab.set_default_timeout(40_000)
            tab.goto((tmp_path / "report.html").as_uri())
            tab.wait_for_selector("[role=option]")
            return tab

        try:
            yield go
        finally:
            browser.close()
    assert not wrong
    assert {address.rpartition("/")[2].partition("#")[0] for address in asked} <= {"report.html", "audio.wav"}


def come_true(tab: Tab, expression: str) -> None:
    """Wait from outside: what playwright waits with inside the page is forbidden by the page's own policy."""
    for _ in range(200):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"did not come true: {expression}")


def text(tab: Tab, selector: str) -> str:
    return tab.locator(selector).first.inner_text()


def test_everything_is_reached_with_the_keyboard(show: Show, make: Make) -> None:
    tab = show(make(sound=True))
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.getAttribute('role')") == "listbox":
            break
    else:
        pytest.fail("the list is not reached with Tab")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert text(tab, "#turn-title") == "Turn 2"  # the first one was for warming up
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowUp")
    assert text(tab, "#turn-title") == "Turn 3"
    active = tab.locator("[role=listbox]").get_attribute("aria-activedescendant")
    assert tab.locator(f"#{active}").get_attribute("aria-selected") == "true"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "turn-title"
    tab.keyboard.press("ArrowRight")
    assert text(tab, "#turn-title") == "Turn 4"
    tab.keyboard.press("z")
    assert tab.locator("button", has_text="Whole turn").get_attribute("aria-pressed") == "true"
    tab.keyboard.press("p")
    come_true(tab, "document.querySelector('.clock').textContent !== ''")
    assert text(tab, "button.play") == "Pause"
    tab.keyboard.press("p")
    assert text(tab, "button.play") == "Play"
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "listbox"
    tab.keyboard.press("End")
    assert text(tab, "#turn-title").startswith("Step: silence")


def test_a_turn_shows_all_that_is_known_of_it(show: Show, make: Make) -> None:
    tab = show(make(sound=True))
    tab.locator("#row4").click()
    panel = text(tab, ".panel")
    said = [
        "Question number 5?",
        "Answer number 5.",
        "language model",
        "simulated",
        "tokens wasted",
        "held long enough",
    ]
    for word in said:
        assert word in panel
    plot = tab.locator(".plot").first
    assert "Waterfall" in (plot.get_attribute("aria-label") or "")
    for part in ("rect.s-llm", "rect.hidden-work", "path.wave.user", "path.wave.agent", "path.vad"):
        assert plot.locator(part).count() >= 1, part
    assert plot.locator("circle.score").count() >= 1
    assert plot.locator("line.mark.first_audible").count() == 1
    # The sound begins where the mark says that it does.
    places = tab.evaluate(
        "(() => { const box = (s) => document.querySelector(s).getBoundingClientRect();"
        " return [box('line.mark.first_audible').left, box('path.wave.agent').left] })()"
    )
    assert abs(places[0] - places[1]) < 12


def test_dark_and_light_differ_and_can_be_read(show: Show, make: Make) -> None:
    shown = {}
    for scheme in ("light", "dark"):
        tab = show(make(scheme, turns=12, late_ms=400.0), color_scheme=scheme)
        shown[scheme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert tab.evaluate(CONTRAST) == []
    assert shown["light"] != shown["dark"]


def test_five_thousand_turns(show: Show, make: Make) -> None:
    tab = show(make(turns=5000))
    assert text(tab, ".bar-of-tools [role=status]") == "5,001 turns"
    assert tab.locator("[role=option]").count() < 100
    assert tab.locator("#page *").count() < 3000
    tab.locator("[role=listbox]").focus()
    tab.keyboard.press("End")
    tab.keyboard.press("ArrowUp")
    assert text(tab, "#turn-title") == "Turn 5000"
    assert tab.locator("[role=option][aria-selected=true]").get_attribute("aria-posinset") == "5000"
    tab.locator("input[type=search]").fill("number 4321?")
    assert text(tab, ".bar-of-tools [role=status]") == "1 turn"
    assert text(tab, "#turn-title") == "Turn 4321"
    tab.locator("input[type=search]").fill("")
    tab.get_by_label("Show").select_option("failed")
    tab.get_by_label("Order").select_option("slow")
    assert "turns" in text(tab, ".bar-of-tools [role=status]")
    assert 0 < tab.locator("[role=option]").count() < 100


def test_hostile_text_does_nothing(show: Show, make: Make) -> None:
    tab = show(make(turns=3, text=HOSTILE, scenario=HOSTILE, guards=HOSTILE, notes=[HOSTILE]))
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("img").count() == 0
    assert HOSTILE in text(tab, ".panel .transcript")
    assert HOSTILE.split(" `")[0] in text(tab, "h1")


def test_it_prints(show: Show, make: Make, tmp_path: Path) -> None:
    tab = show(make(turns=40, sound=True))
    tab.evaluate(
        "addEventListener('beforeprint', () => (window.rows = document.querySelectorAll('.paper tbody tr').length))"
    )
    pdf = tab.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000
    assert tab.evaluate("window.rows") == 41
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not tab.locator(".list").is_visible()


def test_what_is_not_inside_is_played_from_the_recording(show: Show, make: Make) -> None:
    tab = show(make(turns=3, sound=True), audio_mb=0.0)
    tab.locator("#row1").click()
    assert "from the recording beside it" in text(tab, ".controls")
    tab.evaluate("document.querySelector('audio').load()")
    tab.evaluate("document.querySelector('audio').preload = 'metadata'")
    come_true(tab, "document.querySelector('audio').readyState >= 1")
    assert tab.evaluate("document.querySelector('audio').duration") == pytest.approx(20.0, abs=0.1)


def test_two_runs_side_by_side_and_a_narrow_screen(show: Show, make: Make) -> None:
    tab = show(make(in_="old"), make(in_="new", late_ms=60.0))
    section = text(tab, "article")
    assert "hotel: before and after" in section
    assert "guilty: llm" in section
    assert tab.locator("article .interval.slower").count() >= 2
    assert "hotel (after)" in text(tab, ".runs")
    tab.locator(".bar-of-tools select").first.select_option("1")
    assert text(tab, ".bar-of-tools [role=status]") == "13 turns"
    tab.set_viewport_size({"width": 400, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400


# Every text that is seen against what is behind it: 4.5 to 1 (WCAG AA), 3 to 1 where it is large.
CONTRAST = """(() => {
  const light = ([r, g, b]) => [r, g, b].map((c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const colour = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = colour(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    if (!walk.currentNode.textContent.trim() || !e.checkVisibility()) continue;
    if (e.closest("script, style, title, option")) continue;
    const ink = colour(e.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) {
      bad.push(`${ratio.toFixed(2)} ${e.tagName}.${e.getAttribute("class")}: ${e.textContent.slice(0, 40)}`);
    }
  }
  return bad;
})()"""
