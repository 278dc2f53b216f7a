"""The waits of one acquisition: each can be called off by another thread, and ends at a limit."""

from __future__ import annotations

import math
import os
import time

from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.pipes import wait_readable, wait_writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from leaderlock.kernel.wait import Wait

    Result = TypeVar("Result")


class CalledOff(Exception):
    """The wait was cancelled, or its limit has passed."""


class Waiting:
    """Waits for descriptors and for time, in poll(2), without further wakeups.

    Args:
        wait: allows another thread to cancel the waits.
        limit: the longest time of all waits together, in seconds; None: without a limit.
    """

    def __init__(self, wait: Wait | None = None, limit: float | None = None) -> None:
        self._wait = wait
        self._until = math.inf if limit is None else time.monotonic() + limit
        self._bell = Descriptor()

    def run(self, function: Callable[[], Result]) -> Result:
        """Call a function, whose waits `Wait.cancel` ends.

        Raises:
            CalledOff: the wait was cancelled before the function began, or by the function.
        """
        self._bell.open_by(os.eventfd, 0)
        try:
            results: list[Result] = []
            if self._wait is None:
                return function()
            self._wait.blocking(lambda: results.append(function()), self._ring)
            if not results:
                raise CalledOff
            return results[0]
        finally:
            self._bell.close_if_open()

    def _ring(self) -> None:
        if self._bell.is_open():
            os.eventfd_write(self._bell.fd, 1)

    def readable(self, fd: int, seconds: float | None = None) -> bool:
        """Wait until a descriptor is readable; False after some seconds.

        Raises:
            CalledOff: cancelled, or the limit has passed.
        """
        until = math.inf if seconds is None else time.monotonic() + seconds
        while True:
            self.require_going_on()
            end = min(until, self._until)
            left = None if end == math.inf else max(end - time.monotonic(), 0)
            fds = (self._bell.fd,) if fd < 0 else (fd, self._bell.fd)
            woken = wait_readable(*fds, seconds=left)
            self.require_going_on()
            if woken:
                return True
            if time.monotonic() >= until:
                return False
            if time.monotonic() >= self._until:
                raise CalledOff

    def answers(self, fd: int, seconds: float, *, writable: bool = False) -> bool:
        """Wait for a server's part in a step that a limit of 0 allows; may end early, with False.

        Args:
            fd: the descriptor of a connection.
            seconds: the longest wait. The limit of all waits does not apply.
            writable: wait until the descriptor is writable, in place of readable.

        Raises:
            CalledOff: cancelled.
        """
        self.require_going_on()
        wait = wait_writable if writable else wait_readable
        woken = wait(fd, self._bell.fd, seconds=seconds)
        self.require_going_on()
        return woken

    def sleep(self, seconds: float) -> None:
        """Pause for some seconds.

        Raises:
            CalledOff: cancelled, or the limit has passed.
        """
        if seconds > 0:
            self.readable(-1, seconds)

    def require_going_on(self) -> None:
        """Raise `CalledOff` if the wait was cancelled. A limit of 0 allows steps that do not wait."""
        if self._wait is not None and self._wait.cancelled:
            raise CalledOff

    @property
    def is_limited(self) -> bool:
        """Whether the caller waits for a limited time only, and wants an error at once."""
        return self._until != math.inf
