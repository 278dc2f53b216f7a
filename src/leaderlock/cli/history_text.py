"""The terms of a lock as lines that fit into a terminal: no date is wrapped or cut."""

from __future__ import annotations

import os
import sys
import textwrap

from leaderlock.history.phrases import HEADINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBERS = ("term", "length", "gap before")
"""The right-aligned columns."""

_LEADER = 1
"""The index of the only column that may be cut: it begins with the process ID."""

_SHORTEST_LEADER = 16


def columns() -> int | None:
    """The width of the terminal, or the value of ``COLUMNS``; None for a pipe or a file."""
    if not sys.stdout.isatty():
        return None
    text = os.environ.get("COLUMNS", "")
    if text.isdecimal() and len(text) < 6 and int(text) > 0:
        return int(text)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):  # no terminal; no descriptor
        return None


def table(rows: Sequence[tuple[str, ...]], width: int | None) -> list[str]:
    """A line of headings, and one line for each term; two lines for each term if the width is small."""
    cells = [HEADINGS, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    too_much = 0 if width is None else 2 * len(widths) + sum(widths) - width
    if too_much > 0:
        if widths[_LEADER] - too_much < _SHORTEST_LEADER:
            return _in_two_lines(rows, width or 0)
        widths[_LEADER] -= too_much
    return ["  " + "  ".join(_aligned(row, widths)).rstrip() for row in cells]


def fill(text: str, width: int | None) -> str:
    """A sentence, wrapped between its words."""
    return text if width is None else textwrap.fill(text, max(width, 20), break_on_hyphens=False)


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        _cut(text, size).rjust(size) if heading in NUMBERS else _cut(text, size).ljust(size)
        for heading, text, size in zip(HEADINGS, row, widths, strict=True)
    ]


def _in_two_lines(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """First line: a term's number, start, length and end; second line: the leader and the gap."""
    lines = []
    numbers = max(len(row[0]) for row in rows)
    lengths = max(len(row[3]) for row in rows)
    for term, leader, start, length, ended, gap in rows:
        lines.append(f"{term:>{numbers}}  {start}  {length:>{lengths}}  {ended}")
        before = f"  gap before: {gap}"
        room = max(width - numbers - 2 - len(before), _SHORTEST_LEADER)
        lines.append(f"{'':>{numbers}}  {_cut(leader, room)}{before}")
    return lines


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: max(size - 1, 0)] + "…"
