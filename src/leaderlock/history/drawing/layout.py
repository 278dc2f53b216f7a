"""The two layouts of the drawing of the terms: for a wide screen, and for a phone's."""

from __future__ import annotations

from typing import NamedTuple

CHARACTER = 6.9
"""Pixels of an average character of 13 pixels' height."""


class Layout(NamedTuple):
    """Where things stand in the drawing, in pixels.

    Attributes:
        kind: ``wide`` or ``narrow``, also a part of the drawing's class.
        width: of the whole drawing.
        left, right: the margins beside the bars.
        lanes: so many leaders have a lane each; those before them share one.
        lane: the height of a leader's lane.
        bar_top: from the lane's top to its bar's.
        label: from the drawing's left and from the lane's top to the leader's name.
        label_anchor: which end of the name stands there.
        label_band: the height of a band over the width in which nothing but the name is drawn.
        label_room: characters of the name that have room.
        heading_room: characters of the heading that have room.
        ticks: the most times below the bars.
        tick_from: left of this place no time is written.
        start_row: from the times' row to the row of the start's date.
        tells_more: whether each bar has a tool tip; a touch screen shows none.
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
        """What stands above the drawing; of a long path its end."""
        room = self.heading_room - len("Terms of ")
        return f"Terms of {path if len(path) <= room else '…' + path[1 - room :]}"

    def legend(self, texts: list[str]) -> list[tuple[float, int]]:
        """For each text of the legend: where it begins, and its row."""
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
