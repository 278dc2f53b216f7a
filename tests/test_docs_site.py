"""The site, as `make docs` builds it: every link leads somewhere, and nothing comes from elsewhere."""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from urllib.parse import unquote, urldefrag

import pytest
from playwright.sync_api import Browser, Page, Request, ViewportSize, expect

from leaderlock import errors
from tests.processes import PATIENCE
from tests.web.conftest import chromium  # noqa: F401  (a fixture)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
# What a browser fetches by itself; an <a> only goes somewhere if somebody clicks on it.
FETCHED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
}
MAIN = ["index", "tutorial", "which-problem", "comparison", "flock", "pid1", "reference/lock"]
PUBLIC = [
    "leaderlock",
    "leaderlock.errors",
    "leaderlock.health",
    "leaderlock.health.checks",
    "leaderlock.health.sinks",
    "leaderlock.interop",
    "leaderlock.kernel",
    "leaderlock.status",
    "leaderlock.web",
]


class Links(HTMLParser):
    """What a page fetches, what it leads to, and what can be led to on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.leads_to: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        if tag in FETCHED and FETCHED[tag] in given and given.get("rel") not in {"index", "search"}:
            self.fetched.append(given[FETCHED[tag]])
        if tag == "a" and "href" in given:
            self.leads_to.append(given["href"])
        if "id" in given:
            self.places.add(given["id"])


def build(to: Path) -> subprocess.CompletedProcess[str]:
    [line] = re.findall(r"^\t\$\(RUN\) -m (sphinx .*)$", (ROOT / "Makefile").read_text(), re.M)
    words = line.replace(".cache/doctrees", str(to / "doctrees")).split()
    assert words[-1] == "site"
    return subprocess.run(
        [sys.executable, "-m", *words[:-1], str(to / "site")], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("docs")
    built = build(directory)
    assert built.returncode == 0, built.stderr
    return directory / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site from a server, as readers see it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)), bind_and_activate=True
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    shutil.copy(ROOT / "docs" / "conf.py", source)
    shutil.copytree(ROOT / "docs" / "_static", source / "_static")
    (source / "index.md").write_text("# A page\n\n[another](which-is-not-there.md)\n")
    words = ["-q", "-W", "--keep-going", "-b", "html", str(source), str(tmp_path / "site")]
    built = subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True)
    assert built.returncode == 1
    assert "which-is-not-there" in built.stderr


def test_every_document_is_a_page_of_the_site(pages: dict[Path, Links], site: Path) -> None:
    documents = {
        path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")
    }
    assert documents <= {path.relative_to(site) for path in pages}


def test_nothing_is_fetched_from_elsewhere(pages: dict[Path, Links], site: Path) -> None:
    for page, links in pages.items():
        for target in links.fetched:
            assert not re.match(r"(https?:)?//", target), f"{page.name} fetches {target}"
            assert (page.parent / unquote(urldefrag(target)[0].partition("?")[0])).exists(), target
    for style in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", style.read_text())
        assert not found, f"{style.name} fetches {found}"


def test_every_link_within_the_site_leads_to_its_place(pages: dict[Path, Links]) -> None:
    seen = 0
    for page, links in pages.items():
        for target in links.leads_to:
            if re.match(r"[a-z]+:", target):
                continue
            path, place = urldefrag(unquote(target))
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name} leads to {target}"
            if place and file in pages:
                assert place in pages[file].places, f"{page.name} leads to {target}"
                seen += 1
    assert seen > 100


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]  # after four lines of head
    listed = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    for module in map(importlib.import_module, PUBLIC):
        for name, value in vars(module).items() if module is errors else public(module):
            if getattr(value, "__module__", "").startswith("leaderlock"):
                names = {f"{module.__name__}.{name}", f"{value.__module__}.{name}"}
                assert names & listed, f"docs/reference lacks {module.__name__}.{name}"


def public(module: ModuleType) -> list[tuple[str, object]]:
    return [(name, getattr(module, name)) for name in module.__all__]


def failed(request: Request) -> list[str]:
    """A request of a page that was left for another one has not failed."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"{request.url}: {request.failure}"]


@contextlib.contextmanager
def opened(browser: Browser, address: str, **settings: Any) -> Iterator[Page]:
    """A page; in the end, nothing may have been complained of or asked for elsewhere."""
    complaints: list[str] = []
    asked: list[str] = []
    with contextlib.closing(browser.new_context(**settings)) as context:
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.extend(failed(request)))
        page.on("request", lambda request: asked.append(request.url))
        yield page
    # From files, the search cannot read the pages for the lines around what it has found.
    assert complaints == [] or address.startswith("file:")
    assert all(url.startswith((address, "data:")) for url in asked), asked


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (360, 740)], ids=["desk", "phone"])
def test_pages_are_shown_whole_without_a_complaint_and_without_asking_anybody_else(
    chromium: Browser,  # noqa: F811
    address: str,
    size: tuple[int, int],
    colours: Literal["light", "dark"],
) -> None:
    width, height = size
    viewport: ViewportSize = {"width": width, "height": height}
    with opened(chromium, address, viewport=viewport, color_scheme=colours) as page:
        for name in MAIN:
            page.goto(f"{address}{name}.html")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} px wide"
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            bright = sum(int(value) for value in re.findall(r"\d+", ground)[:3]) > 3 * 127
            assert bright == (colours == "light")


@pytest.mark.parametrize("by", ["http", "file"])
def test_the_search_finds_without_a_network(
    chromium: Browser,  # noqa: F811
    address: str,
    site: Path,
    by: str,
) -> None:
    place = address if by == "http" else f"{site.as_uri()}/"
    with opened(chromium, place) as page:
        page.goto(f"{place}index.html")
        page.get_by_role("textbox", name="Search").fill("fencing")
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="Fencing tokens").last).to_be_visible()
        expect(page.locator("ul.search li").first).to_be_visible()


def test_no_option_is_turned_into_a_dash(pages: dict[Path, Links]) -> None:
    for page in pages:
        assert not re.findall(r"(?<=\s)[–—][a-z][a-z-]+", page.read_text(encoding="utf-8")), page
