"""What undoes a fault later: a stopped process goes on, a link is whole again."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable


class Undoing:
    """Functions, each with the time at which it is due."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()  # of two that are due at once, the first one comes first

    def later(self, milliseconds: int, undo: Callable[[], object]) -> None:
        """Call a function after so many milliseconds."""
        due = time.monotonic() + milliseconds / 1000
        heapq.heappush(self._entries, (due, next(self._numbers), undo))

    def next_due(self) -> float:
        """CLOCK_MONOTONIC at which the next one is due; infinite without any."""
        return self._entries[0][0] if self._entries else math.inf

    def run_due(self, until: float) -> None:
        """Call those that are due by a time; infinite: all."""
        while self._entries and self._entries[0][0] <= until:
            heapq.heappop(self._entries)[2]()
