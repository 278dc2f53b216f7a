"""The drawing as a file: one document for wide and for narrow windows."""

from __future__ import annotations

from leaderlock.history.drawing.drawing import parts_of, whole
from leaderlock.history.drawing.layout import NARROW, WIDE
from leaderlock.history.drawing.style import STYLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.history.reading import History


def draw_for_any_screen(history: History, *, now: float) -> str:
    """The SVG document with both layouts: a tall and narrow window shows the narrow one.

    A picture (``<img>``) always shows the wide layout: its height follows from the wide layout, so the
    aspect ratio of its place never selects the narrow one.
    """
    parts, height = parts_of(history, now, WIDE)
    narrow, narrow_height = parts_of(history, now, NARROW)
    switch = (
        f".tl-narrow {{ display: none; }}\n@media (max-width: 600px) and "
        f"(max-aspect-ratio: {NARROW.width}/{narrow_height}) {{\n"
        f".tl-wide {{ display: none; }}\n.tl-narrow {{ display: inline; }}\n}}\n"
    )
    return whole(
        history,
        now,
        [f"<style>\n{STYLE}{switch}</style>"],
        [
            '<g class="tl-wide">',
            *parts,
            "</g>",
            f'<svg class="tl-narrow" width="{WIDE.width}" '
            f'height="{WIDE.width * narrow_height / NARROW.width:.0f}" '
            f'viewBox="0 0 {NARROW.width} {narrow_height}">',
            *narrow,
            "</svg>",
        ],
        "timeline",
        WIDE,
        height,
        root="",
    )
