"""Draws the terms in a layout: axis, lanes, bars, gaps and legend."""

from __future__ import annotations

import math
import time
from html import escape

from leaderlock.history.drawing.layout import CHARACTER, WIDE
from leaderlock.history.drawing.style import STYLE
from leaderlock.history.phrases import ending_of, gap_before, leader_of, length_of
from leaderlock.history.summary import Summary
from leaderlock.wording import duration, moment, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.history.drawing.layout import Layout
    from leaderlock.history.reading import History, Term

_TOP, _BAR = 40, 14
_SEEN = 0.75
"""Pixels: a narrower gap is not drawn, since many short gaps would look like one long gap."""

_MARKED = 8
"""Pixels: a narrower bar has no mark at its end, since the mark would hide the bar."""

_DIED = ("killed", "lease missed", "failed", "lost")

_STEPS = (
    *(base * 10**power for power in (-4, -3, -2, -1) for base in (1, 2, 5)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400 * days for days in (1, 2, 7, 14, 28, 56, 91, 182, 365, 730, 1825, 3650)),
)


def draw(
    history: History,
    *,
    now: float | None = None,
    style: bool = True,
    key: str = "timeline",
    layout: Layout = WIDE,
) -> str:
    """The drawing as an SVG document or element, without references to other files, for light and dark.

    Args:
        history: the terms to draw; all text in the history is escaped.
        now: the right end of the axis while a leader leads, in seconds since the epoch; default: now.
        style: whether the drawing contains `STYLE`; if a page's policy forbids that, the page must have
            `STYLE` in its own style sheet.
        key: a prefix of the IDs of title and description; it must differ between drawings on a page.
        layout: the layout, for a wide or a narrow screen.
    """
    now = time.time() if now is None else now
    parts, height = parts_of(history, now, layout)
    return whole(
        history, now, [f"<style>\n{STYLE}</style>"] if style else [], parts, key, layout, height
    )


def whole(
    history: History,
    now: float,
    style: list[str],
    parts: list[str],
    key: str,
    layout: Layout,
    height: int,
    *,
    root: str | None = None,
) -> str:
    """The outermost element, with title and description for screen readers."""
    kind = f" tl-{layout.kind}" if root is None else root
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="timeline{kind}" '
            f'viewBox="0 0 {layout.width} {height}" preserveAspectRatio="xMidYMin" '
            f'role="img" aria-labelledby="{key}-title {key}-text">',
            f'<title id="{key}-title">{escape(f"Terms of {printable(history.path)}")}</title>',
            f'<desc id="{key}-text">{escape(_described(history, now))}</desc>',
            *style,
            *filter(None, parts),
            "</svg>\n",
        ]
    )


def parts_of(history: History, now: float, layout: Layout) -> tuple[list[str], int]:
    """The elements of the drawing, and its height."""
    terms = [term for term in history.terms if math.isfinite(term.since + term.last_sign)]
    lanes = _lanes(terms, layout.lanes)
    axis = _Axis(terms, now, layout)
    bottom = _TOP + (max((lane for lane, _ in lanes.values()), default=0) + 1) * layout.lane
    legend, low = _legend(bottom + 56 + layout.start_row, layout)
    height = low + 18
    parts = [
        f'<rect class="tl-paper" width="{layout.width}" height="{height}"/>',
        _text(12, 22, layout.heading(printable(history.path))),
    ]
    if terms:
        parts += axis.drawn(bottom)
        parts += _gaps(terms, axis, bottom, now)
        parts += _labels(lanes, layout)
        parts += [part for term in terms for part in _bar(term, lanes[_leader(term)][0], axis, now)]
    else:
        parts.append(_text(12, _TOP + 16, "No terms are known.", "tl-faint"))
    return [*parts, *legend], height


class _Axis:
    """The time axis: converts moments to horizontal positions."""

    def __init__(self, terms: list[Term], now: float, layout: Layout) -> None:
        self.layout = layout
        moments = [m for term in terms for m in (term.since, term.last_sign)] or [now]
        self.first, last = min(moments), max(moments)
        if terms and terms[-1].ended is None:
            last = max(last, now)
        else:  # show the time after the last term, but not more than the time before
            last = max(last, min(now, 2 * last - self.first))
        self.span = max(last - self.first, 0.001)
        self.last = self.first + self.span

    def x(self, moment: float) -> float:
        share = (moment - self.first) / self.span
        room = self.layout.width - self.layout.left - self.layout.right
        return self.layout.left + min(max(share, 0.0), 1.0) * room

    def drawn(self, bottom: float) -> list[str]:
        """The lines of the axis, with the times below."""
        layout = self.layout
        most = layout.ticks
        step = next((step for step in _STEPS if self.span / step <= most), self.span / (most - 1))
        try:
            offset = time.localtime(self.first).tm_gmtoff
            time.localtime(self.last)
        except (OverflowError, ValueError, OSError):  # a moment outside the calendar
            return []
        start = math.ceil((self.first + offset) / step) * step - offset
        parts = []
        for tick in (start + number * step for number in range(8)):
            if tick > self.last:
                break
            x = self.x(tick)
            parts.append(f'<path class="tl-grid" d="M{x:.1f} {_TOP} V{bottom + 4}"/>')
            text = _tick(tick, step)
            half = CHARACTER / 2 * len(text)
            if layout.tick_from < x - half and x + half < layout.width - 4:  # not cut off
                parts.append(_text(x, bottom + 19, text, "tl-faint", anchor="middle"))
        begin = f"{moment(self.first)} {time.strftime('%Z', time.localtime(self.first))}"
        parts.append(_text(12, bottom + 19 + layout.start_row, begin, "tl-faint", size=11))
        return parts


def _lanes(terms: list[Term], most: int) -> dict[tuple[int, str], tuple[int, str]]:
    """Each leader's lane, counted from the top, and its label; the newest leader's is the lowest."""
    names = {_leader(term): leader_of(term) for term in terms}
    merged = len(names) - most + 1 if len(names) > most else 0
    lanes = {}
    for number, (leader, name) in enumerate(names.items()):
        lane = number - merged + 1 if merged and number >= merged else 0 if merged else number
        lanes[leader] = (lane, f"{merged} leaders before" if number < merged else name)
    return lanes


def _leader(term: Term) -> tuple[int, str]:
    return term.pid, term.host


def _labels(lanes: dict[tuple[int, str], tuple[int, str]], layout: Layout) -> list[str]:
    parts = []
    (x, y), room = layout.label, layout.label_room
    for lane, name in dict(lanes.values()).items():
        shown = name if len(name) <= room else name[: room - 1] + "…"
        top = _TOP + lane * layout.lane
        if band := layout.label_band:
            parts.append(
                f'<rect class="tl-paper" y="{top - 1}" width="{layout.width}" height="{band}"/>'
            )
        parts.append(_text(x, top + y, shown, anchor=layout.label_anchor, title=name))
    return parts


def _bar(term: Term, lane: int, axis: _Axis, now: float) -> list[str]:
    end = now if term.ended is None else term.last_sign
    layout = axis.layout
    top, left = _TOP + lane * layout.lane + layout.bar_top, axis.x(term.since)
    width = max(axis.x(end) - left, 2.0)
    kind = "leads" if term.ended is None else "died" if term.ended in _DIED else "order"
    title = (
        f"term {term.term}: {leader_of(term)}, from {moment(term.since)}, "
        f"length {length_of(term, now)}, {ending_of(term)}; without a leader before: {gap_before(term)}"
    )
    tip = f"<title>{escape(title)}</title>" if layout.tells_more else ""
    return [
        f'<g class="tl-{kind}">{tip}'
        f'<rect stroke="none" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}"/>'
        f"{_mark(kind, left + width, top) if width >= _MARKED else ''}</g>"
    ]


def _mark(kind: str, x: float, top: float) -> str:
    """A mark at a bar's end with the meaning of its colour, for readers who do not see colours."""
    if kind == "died":
        low, high, left, right = top - 1, top + _BAR + 1, x + 2, x + 11
        cross = f"M{left:.1f} {low} L{right:.1f} {high} M{right:.1f} {low} L{left:.1f} {high}"
        return f'<path class="tl-mark" d="{cross}"/>'
    if kind == "leads":
        return f'<path d="M{x:.1f} {top - 2} l8 {_BAR / 2 + 2} l-8 {_BAR / 2 + 2} z"/>'
    return ""


def _gaps(terms: list[Term], axis: _Axis, bottom: float, now: float) -> list[str]:
    """The times without a leader, and the times perhaps without a leader."""
    parts = []
    for before, term in zip(terms, [*terms[1:], None], strict=True):
        known = before.until is not None
        if before.ended is None or (term is not None and not known and term.gap_at_most is None):
            continue
        left = axis.x(before.until if before.until is not None else before.last_sign)
        right = axis.x(term.since if term is not None else now)
        if right - left < _SEEN:
            continue
        length = (
            gap_before(term) if term is not None else f"until now, {duration(now - before.last_sign)}"
        )
        title = f"nobody led: {length}" if known else f"nobody knows when it ended: {length}"
        parts.append(
            f'<rect class="tl-{"gap" if known else "unknown"}" x="{left:.1f}" y="{_TOP}" '
            f'width="{right - left:.1f}" height="{bottom - _TOP}"><title>{escape(title)}</title></rect>'
        )
    return parts


_LEGEND = (
    ("leads", "leads"),
    ("order", "given up in good order"),
    ("died", "killed, failed, lost, or lease missed"),
    ("gap", "nobody led"),
    ("unknown", "perhaps nobody led"),
)


def _legend(top: int, layout: Layout) -> tuple[list[str], int]:
    """The legend of the colours, and the position of its last row."""
    parts, y = [], top
    places = layout.legend([text for _, text in _LEGEND])
    for (kind, text), (x, row) in zip(_LEGEND, places, strict=True):
        y = top + 22 * row
        rect = f'x="{x:.0f}" y="{y - 11}" width="22" height="{_BAR}"'
        if kind in ("gap", "unknown"):
            parts.append(f'<rect class="tl-{kind}" {rect}/>')
        else:
            parts.append(
                f'<g class="tl-{kind}"><rect stroke="none" {rect}/>{_mark(kind, x + 22, y - 11)}</g>'
            )
        parts.append(_text(x + 28 + 12 * (kind in ("leads", "died")), y, text))
    return parts, y


def _described(history: History, now: float) -> str:
    """The drawing in words, for readers who cannot see it."""
    if not history.terms:
        return "No terms are known."
    last = history.terms[-1]
    led = "leads" if last.ended is None else f"led last ({last.ended})"
    return f"{Summary(history, now).as_text()}. {leader_of(last)} {led}, in term {last.term}."


def _tick(moment: float, step: float) -> str:
    here = time.localtime(moment)
    if step < 1:
        return time.strftime("%H:%M:%S", here) + f"{moment % 1:.4f}"[1:].rstrip("0").rstrip(".")
    if step < 60:
        return time.strftime("%H:%M:%S", here)
    if step < 86400 and (here.tm_hour, here.tm_min) != (0, 0):
        return time.strftime("%H:%M", here)
    return time.strftime("%Y-%m-%d" if step >= 365 * 86400 else "%m-%d", here)


def _text(
    x: float, y: float, text: str, kind: str = "", *, anchor: str = "", size: int = 0, title: str = ""
) -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}"'
    attributes += f' class="{kind}"' if kind else ""
    attributes += f' text-anchor="{anchor}"' if anchor else ""
    attributes += f' font-size="{size}"' if size else ""
    return (
        f"<text {attributes}>{f'<title>{escape(title)}</title>' if title else ''}{escape(text)}</text>"
    )
