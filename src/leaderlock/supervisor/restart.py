"""Decides whether a command that has ended is started again, and after which delay."""

from __future__ import annotations

import time

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0


class RestartPolicy:
    """Decides about the restarts of one command.

    Args:
        when: ``"never"``, ``"on-failure"`` (the status is not 0) or ``"always"``.
        limit: the most restarts...
        seconds: ...within this many seconds; after that the command's status is final.
    """

    def __init__(self, when: str = "never", limit: int = 5, seconds: float = 60) -> None:
        if when not in ("never", "on-failure", "always"):
            raise ValueError("never, on-failure or always is needed")
        self._when = when
        self._limit = limit
        self._seconds = seconds
        self._restarts: list[float] = []
        self._delay = FIRST_DELAY
        self.is_exhausted = False

    @property
    def is_never(self) -> bool:
        """Whether no end of the command leads to a restart."""
        return self._when == "never"

    def delay_before_restart(self, status: int, ran: float) -> float | None:
        """Seconds to wait before the restart; None for no restart.

        The delay doubles from 1 s to 30 s. It is 1 s again once the command has run for longer than
        the limit's time.

        Args:
            status: the command's exit status.
            ran: how many seconds the command ran.
        """
        if self._when == "never" or (self._when == "on-failure" and status == 0):
            return None
        now = time.monotonic()
        self._restarts = [moment for moment in self._restarts if now - moment < self._seconds]
        if len(self._restarts) >= self._limit:
            self.is_exhausted = True
            return None
        self._restarts.append(now)
        delay = FIRST_DELAY if ran > self._seconds else self._delay
        self._delay = min(delay * 2, LONGEST_DELAY)
        return delay


def restart_limit(text: str) -> tuple[int, float]:
    """``5/60``: a number of restarts, and a time in seconds.

    Raises:
        ValueError: the text does not have that form.
    """
    count, _, seconds = text.partition("/")
    try:
        limit = (int(count), float(seconds))
    except ValueError:
        limit = (-1, -1)
    if limit[0] < 0 or not 0 < limit[1] < 1e9:
        raise ValueError("a number of restarts and of seconds is needed, as in 5/60")
    return limit
