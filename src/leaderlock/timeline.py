"""The terms of a lock as a drawing (SVG): a lane a leader, a bar a term, red where nobody led."""

from __future__ import annotations

import math
import time
from html import escape

from leaderlock.printable import printable
from leaderlock.summary import Summary
from leaderlock.wording import duration, ending_of, gap_before, leader_of, length_of, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.history import History, Term

WIDTH = 960
_LEFT, _RIGHT = 176, 20
_TOP, _LANE, _BAR = 40, 24, 14
_LANES = 16
"""So many leaders have a lane each; those before them share one."""

_LABEL = 22
"""Characters of a leader's name that have room beside its lane."""

_SEEN = 0.75
"""Pixels; a gap that is narrower is not drawn, or many short ones would look like one long one."""

_MARKED = 8
"""Pixels; a narrower bar has no mark at its end, which would hide it."""

_DIED = ("killed", "lease missed", "failed", "lost")

_STEPS = (
    *(base * 10**power for power in (-4, -3, -2, -1) for base in (1, 2, 5)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400 * days for days in (1, 2, 7, 14, 28, 56, 91, 182, 365, 730, 1825, 3650)),
)

FONTS = (
    "system-ui, 'Segoe UI', Roboto, Ubuntu, Cantarell, 'Noto Sans', 'Liberation Sans', 'DejaVu Sans', "
    "FreeSans, Helvetica, Arial, sans-serif"
)
"""What text is written in: the first that is there."""

STYLE = f"""\
.timeline {{ font-family: {FONTS}; font-size: 13px; }}
.timeline text {{ fill: #1f2933; }}
.timeline .tl-faint {{ fill: #52606d; }}
.timeline .tl-paper {{ fill: #ffffff; }}
.timeline .tl-grid {{ stroke: #cbd2d9; stroke-width: 1; }}
.timeline .tl-leads {{ fill: #1a7f4b; stroke: #1a7f4b; }}
.timeline .tl-order {{ fill: #2f6fa7; stroke: #2f6fa7; }}
.timeline .tl-died {{ fill: #b4541a; stroke: #b4541a; }}
.timeline .tl-mark {{ fill: none; stroke-width: 2; }}
.timeline .tl-gap {{ fill: #d92d20; fill-opacity: 0.3; stroke: #d92d20; stroke-width: 1; }}
.timeline .tl-unknown {{ fill: none; stroke: #52606d; stroke-width: 1; stroke-dasharray: 3 2; }}
@media (prefers-color-scheme: dark) {{
.timeline text {{ fill: #e6e9ec; }}
.timeline .tl-faint {{ fill: #a5b0bb; }}
.timeline .tl-paper {{ fill: #14181d; }}
.timeline .tl-grid {{ stroke: #3b4651; }}
.timeline .tl-leads {{ fill: #4cc38a; stroke: #4cc38a; }}
.timeline .tl-order {{ fill: #6cb0e6; stroke: #6cb0e6; }}
.timeline .tl-died {{ fill: #f0a35e; stroke: #f0a35e; }}
.timeline .tl-gap {{ fill: #ff7b72; stroke: #ff7b72; }}
.timeline .tl-unknown {{ stroke: #a5b0bb; }}
}}
"""
"""For a page that shows drawings without a style of their own; it holds for them alone."""


def draw(
    history: History, *, now: float | None = None, style: bool = True, key: str = "timeline"
) -> str:
    """The SVG document, or element: it needs nothing else, and follows the reader's light or dark.

    Args:
        history: what to draw; all text in it is escaped.
        now: the right end while somebody leads, in seconds since the epoch; by default now.
        style: whether `STYLE` is in it; a page whose policy forbids that has it in its own.
        key: begins the IDs of its title and description, which must differ between drawings on a page.
    """
    now = time.time() if now is None else now
    terms = [term for term in history.terms if math.isfinite(term.since + term.last_sign)]
    heading = f"Terms of {printable(history.path)}"
    lanes = _lanes(terms)
    axis = _Axis(terms, now)
    bottom = _TOP + (max((lane for lane, _ in lanes.values()), default=0) + 1) * _LANE
    height = bottom + 74
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="timeline" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-labelledby="{key}-title {key}-text">',
        f'<title id="{key}-title">{escape(heading)}</title>',
        f'<desc id="{key}-text">{escape(_described(history, now))}</desc>',
        f"<style>\n{STYLE}</style>" if style else "",
        f'<rect class="tl-paper" width="{WIDTH}" height="{height}"/>',
        _text(12, 22, heading if len(heading) <= 110 else heading[:109] + "…"),
    ]
    if terms:
        parts += axis.drawn(bottom)
        parts += _gaps(terms, axis, bottom, now)
        parts += _labels(lanes)
        parts += [part for term in terms for part in _bar(term, lanes[_leader(term)][0], axis, now)]
    else:
        parts.append(_text(12, _TOP + 16, "No terms are known.", "tl-faint"))
    parts += _legend(bottom + 56)
    return "\n".join([*filter(None, parts), "</svg>\n"])


class _Axis:
    """From moments to places."""

    def __init__(self, terms: list[Term], now: float) -> None:
        moments = [m for term in terms for m in (term.since, term.last_sign)] or [now]
        self.first, last = min(moments), max(moments)
        if terms and terms[-1].ended is None:
            last = max(last, now)
        else:  # of a long time after the last term no more than there was before
            last = max(last, min(now, 2 * last - self.first))
        self.span = max(last - self.first, 0.001)
        self.last = self.first + self.span

    def x(self, moment: float) -> float:
        share = (moment - self.first) / self.span
        return _LEFT + min(max(share, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT)

    def drawn(self, bottom: float) -> list[str]:
        """Its lines, with the times below."""
        step = next((step for step in _STEPS if self.span / step <= 7), self.span / 5)
        try:
            offset = time.localtime(self.first).tm_gmtoff
            time.localtime(self.last)
        except (OverflowError, ValueError, OSError):  # a moment that no calendar has
            return []
        start = math.ceil((self.first + offset) / step) * step - offset
        parts = []
        for tick in (start + number * step for number in range(8)):
            if tick > self.last:
                break
            x = self.x(tick)
            parts.append(f'<path class="tl-grid" d="M{x:.1f} {_TOP} V{bottom + 4}"/>')
            if _LEFT + 34 < x < WIDTH - 34:  # it would be cut off, or run into the start's date
                parts.append(_text(x, bottom + 19, _tick(tick, step), "tl-faint", anchor="middle"))
        begin = f"{moment(self.first)} {time.strftime('%Z', time.localtime(self.first))}"
        parts.append(_text(12, bottom + 19, begin, "tl-faint", size=11))
        return parts


def _lanes(terms: list[Term]) -> dict[tuple[int, str], tuple[int, str]]:
    """Each leader's lane, counted from above, and its label; the newest leader's is the lowest."""
    names = {_leader(term): leader_of(term) for term in terms}
    merged = len(names) - _LANES + 1 if len(names) > _LANES else 0
    lanes = {}
    for number, (leader, name) in enumerate(names.items()):
        lane = number - merged + 1 if merged and number >= merged else 0 if merged else number
        lanes[leader] = (lane, f"{merged} leaders before" if number < merged else name)
    return lanes


def _leader(term: Term) -> tuple[int, str]:
    return term.pid, term.host


def _labels(lanes: dict[tuple[int, str], tuple[int, str]]) -> list[str]:
    parts = []
    for lane, name in dict(lanes.values()).items():
        shown = name if len(name) <= _LABEL else name[: _LABEL - 1] + "…"
        parts.append(_text(_LEFT - 10, _TOP + lane * _LANE + 17, shown, anchor="end", title=name))
    return parts


def _bar(term: Term, lane: int, axis: _Axis, now: float) -> list[str]:
    end = now if term.ended is None else term.last_sign
    top, left = _TOP + lane * _LANE + (_LANE - _BAR) // 2, axis.x(term.since)
    width = max(axis.x(end) - left, 2.0)
    kind = "leads" if term.ended is None else "died" if term.ended in _DIED else "order"
    title = (
        f"term {term.term}: {leader_of(term)}, from {moment(term.since)}, "
        f"length {length_of(term, now)}, {ending_of(term)}; without a leader before: {gap_before(term)}"
    )
    return [
        f'<g class="tl-{kind}"><title>{escape(title)}</title>'
        f'<rect stroke="none" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}"/>'
        f"{_mark(kind, left + width, top) if width >= _MARKED else ''}</g>"
    ]


def _mark(kind: str, x: float, top: float) -> str:
    """At a bar's end, what its colour says: not everybody sees that."""
    if kind == "died":
        low, high, left, right = top - 1, top + _BAR + 1, x + 2, x + 11
        cross = f"M{left:.1f} {low} L{right:.1f} {high} M{right:.1f} {low} L{left:.1f} {high}"
        return f'<path class="tl-mark" d="{cross}"/>'
    if kind == "leads":
        return f'<path d="M{x:.1f} {top - 2} l8 {_BAR / 2 + 2} l-8 {_BAR / 2 + 2} z"/>'
    return ""


def _gaps(terms: list[Term], axis: _Axis, bottom: float, now: float) -> list[str]:
    """Where nobody led, and where perhaps nobody did."""
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


def _legend(y: float) -> list[str]:
    parts, x = [], 12.0
    for kind, text in (
        ("leads", "leads"),
        ("order", "given up in good order"),
        ("died", "killed, failed, lost, or lease missed"),
        ("gap", "nobody led"),
        ("unknown", "perhaps nobody led"),
    ):
        rect = f'x="{x:.0f}" y="{y - 11:.0f}" width="22" height="{_BAR}"'
        if kind in ("gap", "unknown"):
            parts.append(f'<rect class="tl-{kind}" {rect}/>')
        else:
            parts.append(
                f'<g class="tl-{kind}"><rect stroke="none" {rect}/>{_mark(kind, x + 22, y - 11)}</g>'
            )
        parts.append(_text(x + 28 + 12 * (kind in ("leads", "died")), y, text))
        x += 52 + 6.9 * len(text)
    return parts


def _described(history: History, now: float) -> str:
    """What the drawing shows, for those who do not see it."""
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
