"""`Pings`: tells a monitoring service about each run of the command, at its start and at its end.

A thread sends the pings one after another, so that a service that does not answer delays neither the
command nor a signal. The thread reports each result to the loop by a pipe.
"""

from __future__ import annotations

import os
from collections import deque

from leaderlock.kernel.threads import start_thread_without_signals
from leaderlock.supervisor.messages import say
from leaderlock.supervisor.ping import import_client, ping, place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.loop import Loop, LoopTimer

STEP = 5.0
"""Timeout in seconds of each network step: connecting, and each read of the answer."""

LAST_GRACE = 10.0
"""Seconds that leaderlock waits at its end for its last pings."""

_MOST_WAITING = 20
"""The most pings that wait. More mean that the service hangs and the command restarts often."""


class Pings:
    """Sends ``URL/start`` when the command starts; when it ends, ``URL`` (status 0) or ``URL/fail``.

    Create it before the wait for the lock, so that everything a ping needs is imported by then.

    Args:
        loop: calls back after each ping.
        url: the URL of the check; `place_of` must have accepted it.
    """

    def __init__(self, loop: Loop, url: str) -> None:
        from http.client import HTTPException  # noqa: PLC0415  (needs 10 MB; imported only with a ping)

        import_client()
        self._failures = (OSError, HTTPException, ValueError)  # ValueError: an invalid host name
        self._loop = loop
        self._url = url
        self._waiting: deque[tuple[str, str]] = deque()
        self._failed: deque[tuple[str, str]] = deque()
        self._is_sending = False
        self._done: Callable[[], None] | None = None
        self._limit: LoopTimer | None = None
        self._sent_reader, self._sent_writer = os.pipe2(os.O_CLOEXEC)
        loop.on_readable(self._sent_reader, self._on_sent)

    def started(self) -> None:
        """Ping that the command has been started."""
        self._send("/start", "the command starts")

    def ended(self, status: int) -> None:
        """Ping that the command has ended, with its exit status."""
        self._send("" if status == 0 else "/fail", f"the command ended with status {status}")

    def finish(self, done: Callable[[], None]) -> None:
        """Call `done` when all pings are sent, or after `LAST_GRACE` seconds."""
        self._done = done
        if not self._is_sending:
            done()
            return
        self._limit = self._loop.call_later(LAST_GRACE, self._give_up)

    def _send(self, ending: str, text: str) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._complain(ending, f"{_MOST_WAITING} earlier pings still wait")
            return
        self._waiting.append((ending, text))
        self._send_next()

    def _send_next(self) -> None:
        if self._is_sending or not self._waiting:
            return
        try:
            start_thread_without_signals(self._in_thread, *self._waiting[0])
        except RuntimeError as error:  # the system has no thread left
            self._complain(self._waiting.popleft()[0], str(error))
            return
        self._waiting.popleft()
        self._is_sending = True

    def _in_thread(self, ending: str, text: str) -> None:
        try:
            ping(self._url, ending, text.encode(), STEP)
        except self._failures as error:
            self._failed.append((ending, str(error)))
        finally:
            os.write(self._sent_writer, b".")

    def _on_sent(self) -> None:
        os.read(self._sent_reader, 1)
        self._is_sending = False
        while self._failed:
            self._complain(*self._failed.popleft())
        self._send_next()
        if self._done is not None and not self._is_sending:
            if self._limit is not None:
                self._limit.cancel()
            self._done()

    def _give_up(self) -> None:
        say(
            f"the last ping to {place_of(self._url)} has not ended after {LAST_GRACE:g} s: leaderlock "
            f"does not wait for it"
        )
        assert self._done is not None
        self._done()

    def _complain(self, ending: str, reason: str) -> None:
        # Without the URL's path: the path is a secret.
        say(f"the ping {ending or 'of success'} to {place_of(self._url)} failed: {reason}")
