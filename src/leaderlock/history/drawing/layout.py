"""The two layouts of the drawing of the terms: for a wide screen, and for a phone."""

from __future__ import annotations

from typing import NamedTuple

CHARACTER = 6.9
"""The width in pixels of an average character of 13 pixels' height."""


class Layout(NamedTuple):
    """The positions and sizes in the drawing, in pixels.

    Attributes:
        kind: ``wide`` or ``narrow``, also a part of the drawing's class.
        width: the width of the whole drawing.
        left, right: the margins beside the bars.
        lanes: the most lanes; if there are more leaders, the oldest ones share one lane.
        lane: the height of a leader's lane.
        bar_top: the distance from the lane's top to the bar's top.
        label: the distances from the drawing's left and from the lane's top to the leader's name.
        label_anchor: the end of the name that is placed at `label`.
        label_band: the height of a band over the whole width that contains only the name.
        label_room: the most characters of the name.
        heading_room: the most characters of the heading.
        ticks: the most times below the bars.
        tick_from: no time is written to the left of this position.
        start_row: the distance from the row of the times to the row of the start's date.
        tells_more: whether each bar has a tool tip; a touch screen shows no tool tips.
    """

    kind: str
    width: int
    left: int
    right: int
    lanes: int
    lane: int
    bar_top: int
    label: tuple[int, int]
    label_anchor: str
    label_band: int
    label_room: int
    heading_room: int
    ticks: int
    tick_from: int
    start_row: int
    tells_more: bool

    def heading(self, path: str) -> str:
        """The heading above the drawing; of a long path only the end."""
        room = self.heading_room - len("Terms of ")
        return f"Terms of {path if len(path) <= room else '…' + path[1 - room :]}"

    def legend(self, texts: list[str]) -> list[tuple[float, int]]:
        """For each text of the legend: its horizontal position and its row."""
        places, x, row = [], 12.0, 0
        for text in texts:
            wide = 52 + CHARACTER * len(text)
            if x + wide > self.width and x > 12:
                x, row = 12.0, row + 1
            places.append((x, row))
            x += wide
        return places


WIDE = Layout("wide", 960, 176, 20, 16, 24, 5, (166, 17), "end", 0, 22, 110, 7, 156, 0, True)
"""The name of a leader stands beside its lane, the date of the start beside the times."""

NARROW = Layout("narrow", 360, 12, 20, 10, 34, 18, (12, 13), "", 17, 44, 46, 3, 4, 18, False)
"""The name of a leader stands above its bar, the date of the start below the times."""
