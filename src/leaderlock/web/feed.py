"""One look-out for all open event streams of a process: what it sees goes to each of them."""

from __future__ import annotations

import contextlib
import os
import threading

from leaderlock.kernel.threads import start_thread_without_signals
from leaderlock.log import log
from leaderlock.status.watcher import Watcher
from leaderlock.wording import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leaderlock.status.survey import Survey

RETRY = 500
"""Milliseconds after which a browser opens the next stream, when one has ended."""

HEARTBEAT = 10.0
"""Seconds of silence after which something is sent: that tells whether the client is still there."""

LONGEST = 25.0
"""Seconds after which a stream ends, so that a server that is to stop in good order can.

It waits for its requests, as a rule for 30 s, and has no means to tell them.
"""


class TooManyStreamsError(Exception):
    """No more of them may be open at the same time."""


class Feed:
    """Tells its listeners of each change.

    There is a thread, and a look at the locks, only while somebody listens. After a fork the child has
    no listeners, and begins anew.

    Args:
        paths: of the locks; none means all.
        health: a file whose changes are told of too, or None.
        most: listeners at the same time.
    """

    def __init__(self, paths: Sequence[str], health: str | None, most: int) -> None:
        self._paths = paths
        self._health = health
        self._most = most
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._listeners: set[Callable[[], object]] = set()
        self._runs = False
        self._newest: bytes | None = None
        self._number = 0

    def join(self, wake: Callable[[], object]) -> None:
        """Have a function called, in another thread, whenever `after` has something new.

        Raises:
            TooManyStreamsError: so many listen already.
        """
        if self._pid != os.getpid():
            self._begin()
        with self._mutex:
            if len(self._listeners) >= self._most:
                raise TooManyStreamsError(f"{self._most} event streams are open, and no more may be")
            self._listeners.add(wake)
            if not self._runs:
                self._runs, self._newest = True, None
                start_thread_without_signals(self._run)

    def leave(self, wake: Callable[[], object]) -> None:
        """Call it no more."""
        with self._mutex:
            self._listeners.discard(wake)

    def after(self, number: int) -> tuple[int, bytes]:
        """The newest message and its number; nothing if that is the number given."""
        with self._mutex:
            if self._newest is None or self._number == number:
                return number, b""
            return self._number, self._newest

    def _run(self) -> None:
        watcher = None
        try:
            watcher = Watcher(self._paths)
            before: object = None
            while self._goes_on():
                survey = watcher.look()
                now = (survey.locks, survey.errors, survey.hidden, self._health_changed())
                if now != before:
                    before = now
                    self._tell(survey)
                watcher.wait()
        except Exception:  # noqa: BLE001  (no descriptor left: the streams go on without news)
            log().exception("the status page cannot watch its locks")
            with self._mutex:
                self._runs = False
        finally:
            if watcher is not None:
                watcher.close()

    def _goes_on(self) -> bool:
        with self._mutex:
            self._runs = bool(self._listeners)
            return self._runs

    def _tell(self, survey: Survey) -> None:
        with self._mutex:
            self._number += 1
            data = json_text(survey.as_json())
            self._newest = f"id: {self._number}\nevent: status\ndata: {data}\n\n".encode()
            listeners = list(self._listeners)
        for wake in listeners:
            with contextlib.suppress(RuntimeError):  # its event loop has been closed
                wake()

    def _health_changed(self) -> tuple[int, int] | None:
        if self._health is None:
            return None
        try:
            status = os.stat(self._health)
        except OSError:  # missing, or in a directory closed to us
            return None
        return status.st_mtime_ns, status.st_ino
