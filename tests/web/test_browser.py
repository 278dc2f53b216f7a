"""The status page in a real browser: live, safe, readable in light, dark and small, with no script."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from leaderlock import LeaderLock
from leaderlock.health import sinks
from leaderlock.history import drawing as timeline
from leaderlock.history.reading import history_of
from tests.health.sink_reports import a_check, a_report
from tests.processes import PATIENCE, Child, holder, until_parked
from tests.web.server import Server

HOSTILE = '<script>document.title = "taken"</script><img src=x onerror="alert(1)">'

# Every text with too little contrast (WCAG 2.2, 1.4.3) to what lies behind it.
PALE = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const svg = element.closest("svg");
    if (svg) return channels(getComputedStyle(svg.querySelector(".tl-paper")).fill);
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest("title, desc")) continue;
    const style = getComputedStyle(element);
    const ink = channels(element.closest("svg") ? style.fill : style.color).slice(0, 3);
    const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push([element.tagName, element.textContent.slice(0, 30), ratio]);
  }
  return found;
}"""


# Every text of a drawing that touches another one, or is cut off at the drawing's edge.
CROWDED = """() => {
  const found = [];
  for (const svg of document.querySelectorAll("svg.timeline, svg.tl-narrow")) {
    const texts = [...svg.querySelectorAll("text")].filter((t) => t.getClientRects().length);
    const places = texts.map((t) => [t.textContent, t.getBoundingClientRect()]);
    const edge = svg.getBoundingClientRect();
    places.forEach(([text, a], i) => {
      if (a.left < edge.left || a.right > edge.right) found.push([text, "cut"]);
      for (const [other, b] of places.slice(i + 1)) {
        const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
        if (!apart) found.push([text, other]);
      }
    });
  }
  return found;
}"""

MARK = "addEventListener('DOMContentLoaded', () => facts.dataset.first = 'yes')"
"""Marks the facts that the page came with."""


@contextlib.contextmanager
def shown(chromium: Browser, server: Server, **settings: Any) -> Iterator[Page]:
    """The page, opened; in the end, nothing may have been complained of or asked for elsewhere."""
    complaints: list[str] = []
    with contextlib.closing(chromium.new_context(**settings)) as context:
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        asked: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.add_init_script(MARK)
        page.goto(server.url())
        if settings.get("java_script_enabled", True):
            expect(page.get_by_role("status")).to_have_text("live")
            # The first word of the server's replaces all facts: a click meanwhile would be lost.
            expect(page.locator("#facts[data-first]")).to_have_count(0)
        yield page
        assert all(url.startswith(server.url()) for url in asked), asked
    assert complaints == []


@pytest.fixture
def hostile(path: Path, tmp_path: Path) -> Iterator[tuple[Server, Child, Child]]:
    """A leader, and one who waits, with a hostile command line and report; a term has ended before."""
    with LeaderLock(path):
        pass
    with Server("serve", path, tmp_path) as server:
        sinks.file(server.health)(
            a_report("degraded", checks={HOSTILE: a_check("degraded", {"x": HOSTILE}, error=HOSTILE)})
        )
        with holder(path) as leader, Child(path, HOSTILE) as standby:
            standby.begin("lock = LeaderLock(argv[0]); lock.acquire()")
            until_parked(path, standby.pid)
            yield server, leader, standby


def corner(page: Page) -> int:
    """How light the page's own paper is, from a picture of it: 0 to 255."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        lightness = image.convert("L").getpixel((2, 2))
    assert isinstance(lightness, int)
    return lightness


def test_a_kill_of_the_leader_is_shown_live(
    chromium: Browser, hostile: tuple[Server, Child, Child]
) -> None:
    server, leader, standby = hostile
    with shown(chromium, server) as page:
        page.get_by_text("The last terms as a table").click()
        page.evaluate("document.body.dataset.loaded = 'once'")
        first = page.locator("dl dd").first
        expect(first).to_contain_text(f"{leader.pid} ")
        leader.kill()
        expect(first).to_contain_text(f"{standby.pid} ")
        expect(page.get_by_role("heading", name="Waiting: 0")).to_be_visible()
        expect(page.locator("svg .tl-leads title")).to_contain_text(f"term 3: {standby.pid} on ")
        # The same page, not loaded anew, and as its reader left it.
        assert page.evaluate("document.body.dataset.loaded") == "once"
        table = page.get_by_role("table", name="The terms, newest first")
        expect(table).to_be_visible()
        expect(table.get_by_role("row").nth(2)).to_contain_text("killed")
        standby.kill()
        expect(first).to_have_text("nobody")


def test_hostile_content_is_shown_as_text_and_runs_nowhere(
    chromium: Browser, hostile: tuple[Server, Child, Child]
) -> None:
    server, leader, _ = hostile
    with shown(chromium, server) as page:
        assert "taken" not in page.title()
        assert page.locator("script").count() == 1
        assert page.locator("img").count() == 0
        expect(page.get_by_role("table", name="Who waits")).to_contain_text(HOSTILE)
        expect(page.get_by_role("rowheader", name=HOSTILE, exact=True)).to_be_visible()
        leader.kill()  # and so again after a refresh, as the leader
        expect(page.locator("dl dd").first).to_contain_text(HOSTILE)
        assert "taken" not in page.title()
        assert page.locator("script").count() == 1


def test_the_policy_is_one_that_the_browser_enforces(
    chromium: Browser, hostile: tuple[Server, Child, Child]
) -> None:
    server, *_ = hostile
    with contextlib.closing(chromium.new_context()) as context:
        page = context.new_page()
        page.goto(server.url())
        violated = page.evaluate(
            """() => new Promise((tell) => {
                const found = [];
                document.addEventListener("securitypolicyviolation", (event) => {
                    found.push(event.effectiveDirective);
                    if (found.length === 3) tell(found.sort());
                });
                const make = (name, parts) =>
                    document.body.append(Object.assign(document.createElement(name), parts));
                make("script", {text: "0"});
                make("style", {textContent: "p {}"});
                make("img", {src: "http://127.0.0.2/x.png"});
                setTimeout(() => tell(found.sort()), 30000);
            })"""
        )
        assert violated == ["img-src", "script-src-elem", "style-src-elem"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 360])
def test_all_text_is_readable_in_light_and_dark_and_nothing_is_wider_than_a_phone(
    chromium: Browser, hostile: tuple[Server, Child, Child], scheme: str, width: int, tmp_path: Path
) -> None:
    server, *_ = hostile
    viewport = {"width": width, "height": 800}
    with shown(chromium, server, color_scheme=scheme, viewport=viewport) as page:
        page.get_by_text("The last terms as a table").click()
        assert page.evaluate(PALE) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CROWDED) == []
        drawing = page.get_by_role("img", name="Terms of ")
        expect(drawing).to_have_class(f"timeline tl-{'wide' if width > 640 else 'narrow'}")
        picture = page.screenshot(full_page=True, path=tmp_path / "page.png")
        assert len(picture) > 10_000
        assert (corner(page) > 240) if scheme == "light" else (corner(page) < 40)


@pytest.mark.parametrize("width", [1100, 360])
def test_all_facts_are_there_without_a_script(
    chromium: Browser, hostile: tuple[Server, Child, Child], width: int
) -> None:
    server, leader, standby = hostile
    viewport = {"width": width, "height": 800}
    with shown(chromium, server, java_script_enabled=False, viewport=viewport) as page:
        expect(page.locator("dl dd").first).to_contain_text(f"{leader.pid} ")
        expect(page.get_by_role("table", name="Who waits")).to_contain_text(str(standby.pid))
        expect(page.get_by_role("table", name="The checks")).to_contain_text(HOSTILE)
        expect(page.get_by_role("img", name="Terms of ")).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("")
        page.get_by_text("The last terms as a table").click()
        expect(page.get_by_role("table", name="The terms")).to_contain_text("released")


def test_who_does_not_see_the_page_finds_its_parts_by_their_names(
    chromium: Browser, hostile: tuple[Server, Child, Child]
) -> None:
    server, *_ = hostile
    with shown(chromium, server) as page:
        assert page.get_by_role("heading", level=1).all_inner_texts() == ["Leader locks"]
        assert page.get_by_role("heading", level=2).count() == 2
        levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((h) => +h.tagName[1])")
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        for role in ("main", "banner", "contentinfo", "navigation", "status"):
            expect(page.get_by_role(role)).to_have_count(1)
        expect(page.get_by_role("columnheader", name="command")).to_be_visible()
        drawing = page.get_by_role("img", name="Terms of ")
        # Its title, and then its description.
        told = re.compile(r"Terms of .* 2 terms, 1 failover, .* leads, in term 2\.")
        expect(drawing).to_have_accessible_name(told)
        for wide in page.locator(".wide").all():
            expect(wide).to_have_role("region")
            expect(wide).to_have_attribute("tabindex", "0")
        assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize(("scheme", "light"), [("light", True), ("dark", False)])
def test_the_drawing_by_itself_follows_light_and_dark(
    chromium: Browser, path: Path, tmp_path: Path, scheme: Any, light: bool
) -> None:
    with LeaderLock(path):
        (tmp_path / "x.svg").write_text(timeline.draw(history_of(path)), encoding="utf-8")
    with contextlib.closing(chromium.new_context(color_scheme=scheme)) as context:
        page = context.new_page()
        page.goto((tmp_path / "x.svg").as_uri())
        assert page.evaluate("getComputedStyle(document.querySelector('text')).fill") == (
            "rgb(31, 41, 51)" if light else "rgb(230, 233, 236)"
        )
        assert page.evaluate("getComputedStyle(document.querySelector('.tl-paper')).fill") == (
            "rgb(255, 255, 255)" if light else "rgb(20, 24, 29)"
        )


@pytest.mark.parametrize(("width", "kind"), [(390, "tl-narrow"), (1280, "tl-wide")])
def test_the_drawing_by_itself_has_a_layout_for_a_phone(
    chromium: Browser, path: Path, tmp_path: Path, width: int, kind: str
) -> None:
    for _ in range(3):
        with LeaderLock(path):
            pass
    svg = timeline.draw_for_any_screen(history_of(path), now=time.time())
    (tmp_path / "x.svg").write_text(svg, encoding="utf-8")
    size: Any = {"width": width, "height": 844}
    with contextlib.closing(chromium.new_context(viewport=size)) as context:
        page = context.new_page()
        page.goto((tmp_path / "x.svg").as_uri())
        shown = [part for part in ("tl-wide", "tl-narrow") if page.locator(f".{part}").is_visible()]
        assert shown == [kind]
        assert page.evaluate(CROWDED) == []
        font = page.evaluate(f"document.querySelector('.{kind} text').getBoundingClientRect().height")
        assert font > 10
