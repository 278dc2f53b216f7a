"""The drawing of the terms: every one is in it, all text is text, and it is whole by itself."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from leaderlock.history import drawing as timeline
from leaderlock.history.drawing.layout import NARROW, WIDE, Layout
from leaderlock.history.phrases import gap_before, length_of
from leaderlock.history.reading import History, Term
from leaderlock.history.summary import Summary, leaderless_since
from leaderlock.wording import duration, moment

NOW = 1_800_000_000.0
SVG = "{http://www.w3.org/2000/svg}"


def a_term(number: int, since: float, until: float = 0, ended: str = "", **more: Any) -> Term:
    """A term that began and ended so many seconds before `NOW`."""
    slot = {
        "term": number,
        "pid": 400 + number,
        "host": "web-1",
        "since": NOW - since,
        "waited": 0.0,
        "lease": None,
        "beat": 0,
        "until": NOW - until if ended else 0,
        "ended": ended,
    }
    return Term({**slot, **more})


def a_history(*terms: Term) -> History:
    for before, term in itertools.pairwise(terms):
        term._follow(before)
    return History("/run/app/leader.lock", list(terms), 0)


def a_life() -> History:
    """Resigned, then a gap; killed while another waited; killed while nobody did; leads."""
    return a_history(
        a_term(1, 1000, 800, "resigned"),
        a_term(2, 700),
        a_term(3, 500, waited=5.0, beat=NOW - 400),
        a_term(4, 300),
    )


def drawn(history: History, **more: Any) -> ET.Element:
    return ET.fromstring(timeline.draw(history, now=NOW, **more))


def bars(svg: ET.Element) -> list[tuple[str, str]]:
    """The kind and the tool tip of each bar; the legend's have no tool tip."""
    groups = [(g.get("class", ""), g.findtext(f"{SVG}title")) for g in svg.iter(f"{SVG}g")]
    return [(kind, title) for kind, title in groups if title]


def test_each_term_has_a_bar_that_tells_who_led_how_long_and_how_it_ended() -> None:
    kinds = bars(drawn(a_life()))
    assert [kind for kind, _ in kinds] == ["tl-order", "tl-died", "tl-died", "tl-leads"]
    first, second, third, last = [title for _, title in kinds]
    assert first.startswith("term 1: 401 on web-1, from ")
    assert first.endswith("length 3 min 20 s, resigned; without a leader before: –")
    assert second.endswith("length 3 min 20 s, killed; without a leader before: 1 min 40 s")
    assert third.endswith("length > 1 min 40 s, killed; without a leader before: none")
    assert last.endswith("length 5 min, leads; without a leader before: < 1 min 40 s")


def test_a_time_without_a_leader_is_drawn_where_it_was_and_a_doubtful_one_otherwise() -> None:
    svg = drawn(a_life())
    areas = {r.get("class"): r for r in svg.iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None}
    assert set(areas) == {"tl-gap", "tl-unknown"}
    # 1,000 s are drawn over the width between the margins.
    scale = (WIDE.width - WIDE.left - WIDE.right) / 1000
    for kind, start in (("tl-gap", 200), ("tl-unknown", 600)):
        assert float(areas[kind].get("x", "")) == pytest.approx(WIDE.left + start * scale, abs=0.1)
        assert float(areas[kind].get("width", "")) == pytest.approx(100 * scale, abs=0.1)


def test_it_tells_in_words_what_it_shows() -> None:
    svg = drawn(a_life(), key="x")
    assert svg.get("role") == "img"
    assert svg.get("aria-labelledby") == "x-title x-text"
    assert {e.get("id"): e.text for e in (svg[0], svg[1])} == {
        "x-title": "Terms of /run/app/leader.lock",
        "x-text": "4 terms, 3 failovers, longest gap 1 min 40 s, 10 to 20 % of the time without a "
        "leader. 404 on web-1 leads, in term 4.",
    }


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "&<\"'>]]>", "a\x00b\x1b[2J\udc80\ufffe"]
)
def test_whatever_a_host_or_path_is_called_is_text(hostile: str) -> None:
    history = a_history(a_term(1, 100, host=hostile))
    history.path = f"/tmp/{hostile}"
    svg = drawn(history)
    assert {element.tag.removeprefix(SVG) for element in svg.iter()} <= {
        *("svg", "title", "desc", "style", "rect", "text", "path", "g")
    }
    text = "".join(svg.itertext())
    assert "script" not in hostile or hostile in text
    text.encode()


def test_it_is_light_or_dark_as_its_reader_is_and_a_page_may_have_the_style_elsewhere() -> None:
    whole = timeline.draw(a_life())
    assert "@media (prefers-color-scheme: dark)" in whole
    part = timeline.draw(a_life(), style=False)
    assert "<style" not in part
    assert "style=" not in part
    assert 'class="tl-gap"' in part


def test_no_more_lanes_than_fit_however_many_have_led() -> None:
    one = drawn(a_history(*[a_term(n, 5000 - 10 * n, 4991 - 10 * n, "exited") for n in range(1, 500)]))
    assert len(bars(one)) == 499
    assert "484 leaders before" in "".join(one.itertext())
    few = drawn(a_history(*[a_term(n, 500 - 10 * n, 491 - 10 * n, "exited") for n in range(1, 17)]))
    assert one.get("viewBox") == few.get("viewBox")
    assert "leaders before" not in "".join(few.itertext())


def test_what_no_clock_can_have_shown_makes_no_trouble() -> None:
    back = a_history(a_term(1, 100, 50, "exited"), a_term(2, 4000, 3000, "exited"), a_term(3, -9000))
    numbers = [
        float(rect.get(name, ""))
        for rect in drawn(back).iter(f"{SVG}rect")
        for name in ("width", "height")
    ]
    assert all(0 <= number < 2000 for number in numbers)
    far = drawn(a_history(a_term(1, math.inf), a_term(2, -1e300), a_term(3, 0, 0, "exited")))
    assert len(bars(far)) == 2
    assert "No terms are known." in "".join(drawn(a_history()).itertext())
    assert moment(1e300) == moment(math.nan) == "unknown"


def test_a_lock_that_is_long_unused_is_not_squeezed_to_nothing() -> None:
    [(_, title)] = bars(drawn(a_history(a_term(1, 90 * 86400, 90 * 86400 - 60, "exited"))))
    assert "length 1 min" in title
    svg = drawn(a_history(a_term(1, 90 * 86400, 90 * 86400 - 60, "exited")))
    rect = svg.find(f"{SVG}g/{SVG}rect")
    assert rect is not None
    assert float(rect.get("width", "")) > 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0008, "0.8 ms"),
        (0.0123, "12 ms"),
        (0.9996, "1 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (187000, "2 d 3 h"),
        (math.inf, "unknown"),
    ],
)
def test_a_length_of_time_is_said_in_its_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_not_known_is_said_not_to_be() -> None:
    killed, after_a_hole = a_term(1, 100), a_term(7, 50)
    killed.ended = "killed"
    assert length_of(killed, NOW) == "unknown"
    assert gap_before(after_a_hole) == "unknown"
    assert gap_before(killed) == "–"


def test_the_share_without_a_leader_is_between_what_is_known_and_what_may_be() -> None:
    summary = Summary(a_life(), NOW)
    assert (summary.leaderless_least, summary.leaderless_most) == pytest.approx((0.1, 0.2))
    assert summary.endings == {"resigned": 1, "killed": 2}
    over = a_history(a_term(1, 100, 25, "exited"))
    assert Summary(over, NOW).share() == "0 %"  # who stops it on purpose misses nobody
    died = a_history(a_term(1, 100, 25, "failed"))
    assert Summary(died, NOW).share() == "25 %"
    assert leaderless_since(over, NOW) == "25 s"
    assert leaderless_since(a_life(), NOW) is None
    assert Summary(a_history(), NOW).as_text() == "0 terms, 0 failovers"


@pytest.mark.parametrize("span", [0.01, 3, 100, 5000, 90_000, 4e6, 1e8])
@pytest.mark.parametrize("offset", [0.0, 0.3, 0.9])
def test_no_label_below_the_axis_runs_into_another(span: float, offset: float) -> None:
    history = a_history(a_term(1, span + offset))
    labels = re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)" class="tl-faint"( text-anchor="middle")?[^>]*>([^<]*)<',
        timeline.draw(history, now=NOW),
    )
    places = []
    for x, _, centred, text in labels:
        width = len(text) * (7.6 if centred else 6.6)  # of 13 and of 11 pixels, and widely set
        left = float(x) - width / 2 if centred else float(x)
        places.append((left, left + width, text))
    places.sort()
    assert len(places) > 1
    for before, after in itertools.pairwise(places):
        assert before[1] <= after[0] + 12, (before, after)


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_text_runs_into_another_or_over_the_edge(layout: Layout) -> None:
    """By the widest that a character of the common fonts is on average."""
    many = [a_term(n, 900 - 9 * n, 895 - 9 * n, "exited", host="h" * 90) for n in range(1, 90)]
    for terms in ([a_term(1, 1.5, 1.499, "exited"), a_term(2, 1.4985, 1.498, "exited")], many):
        history = a_history(*terms)
        history.path = "/run/" + 40 * "long/" + "leader.lock"
        placed: dict[str, list[tuple[float, float]]] = {}
        for text in drawn(history, layout=layout).iter(f"{SVG}text"):
            own = "".join(text.itertext()).removeprefix(text.findtext(f"{SVG}title") or "")
            wide = len(own) * (5.9 if text.get("font-size") else 6.9)
            start = float(text.get("x", ""))
            start -= {"end": wide, "middle": wide / 2, None: 0}[text.get("text-anchor")]
            placed.setdefault(text.get("y", ""), []).append((start, start + wide))
        assert len(placed) > 4
        for row in placed.values():
            row.sort()
            assert row[0][0] >= 0
            assert row[-1][1] <= layout.width
            assert all(left[1] <= right[0] for left, right in itertools.pairwise(row))


def test_the_file_has_both_layouts_and_the_page_s_narrow_one_tells_the_same() -> None:
    both = timeline.draw_for_any_screen(a_life(), now=NOW)
    svg = ET.fromstring(both)
    assert [part.get("class") for part in svg if part.get("class")] == ["tl-wide", "tl-narrow"]
    narrow = drawn(a_life(), layout=NARROW)
    assert [group.get("class") for group in narrow.iter(f"{SVG}g")] == [
        *("tl-order", "tl-died", "tl-died", "tl-leads"),
        *("tl-leads", "tl-order", "tl-died"),
    ]
    assert [narrow[0].text, narrow[1].text] == [svg[0].text, svg[1].text]
