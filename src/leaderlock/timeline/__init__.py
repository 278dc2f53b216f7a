"""The terms of a lock as a drawing (SVG): a lane a leader, a bar a term, red where nobody led."""

from __future__ import annotations

from leaderlock.timeline.drawing import draw
from leaderlock.timeline.file import draw_for_any_screen
from leaderlock.timeline.layout import NARROW, WIDE
from leaderlock.timeline.style import FONTS, STYLE

__all__ = ["FONTS", "NARROW", "STYLE", "WIDE", "draw", "draw_for_any_screen"]
