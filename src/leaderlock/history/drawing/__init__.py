"""The terms of a lock as an SVG drawing: one lane per leader, one bar per term, red for gaps."""

from __future__ import annotations

from leaderlock.history.drawing.drawing import draw
from leaderlock.history.drawing.file import draw_for_any_screen
from leaderlock.history.drawing.layout import NARROW, WIDE
from leaderlock.history.drawing.style import FONTS, STYLE

__all__ = ["FONTS", "NARROW", "STYLE", "WIDE", "draw", "draw_for_any_screen"]
