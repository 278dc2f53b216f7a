"""One watcher of the locks for all open event streams of a process; it informs each of them."""

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

    from leaderlock.status.elections import Elections
    from leaderlock.status.survey import Survey

RETRY = 500
"""Milliseconds until a browser opens a new stream after the end of the previous one."""

HEARTBEAT = 10.0
"""Seconds of silence after which a line is sent, which finds out whether the client is still there."""

LONGEST = 25.0
"""Seconds after which a stream ends, so that a server can shut down in good order.

A server waits for its requests, usually for 30 s, and cannot tell them to end.
"""


class TooManyStreamsError(Exception):
    """The maximum number of streams is already open."""


class Feed:
    """Tells its listeners about each change.

    A thread runs and looks at the locks only while there are listeners. A forked child starts without
    listeners and without a thread.

    Args:
        paths: the lock files; if empty, and without elections, all locks.
        elections: the elections in engines, or None.
        health: a file whose changes are reported too, or None.
        most: the maximum number of listeners.
    """

    def __init__(
        self, paths: Sequence[str], elections: Elections | None, health: str | None, most: int
    ) -> None:
        self._paths = paths
        self._elections = elections
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
        """Have `wake` called, in another thread, whenever `after` has a new message.

        Raises:
            TooManyStreamsError: the maximum number of listeners is reached.
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
        """Stop calling `wake`."""
        with self._mutex:
            self._listeners.discard(wake)

    def after(self, number: int) -> tuple[int, bytes]:
        """The newest message and its number; an empty message if `number` is the newest."""
        with self._mutex:
            if self._newest is None or self._number == number:
                return number, b""
            return self._number, self._newest

    def _run(self) -> None:
        watcher = None
        try:
            watcher = Watcher(self._paths, self._elections)
            before: object = None
            while self._goes_on():
                survey = watcher.look()
                now = (
                    survey.locks,
                    [election._replace(ends=None) for election in survey.elections],
                    [history.as_json() for history in survey.histories],
                    survey.errors,
                    survey.hidden,
                    self._health_changed(),
                )
                if now != before:
                    before = now
                    self._tell(survey)
                watcher.wait()
        except Exception:  # noqa: BLE001  (no descriptor left: the streams go on without changes)
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
            with contextlib.suppress(RuntimeError):  # its event loop is closed
                wake()

    def _health_changed(self) -> tuple[int, int] | None:
        if self._health is None:
            return None
        try:
            status = os.stat(self._health)
        except OSError:  # missing, or in an unreadable directory
            return None
        return status.st_mtime_ns, status.st_ino
