"""A leader's look-out: it learns at once when its lock's file is deleted or replaced.

Somebody else may lead by the new file then. A beat finds out as well, when it comes. Meanwhile it is
the task's own thread that looks out, while it waits by `Leadership.wait` or `Leadership.every`. For any
other task there is a native thread: but a process dies the later for each that it has, and the next
leader waits for that. Both are parked in poll(2), and cost nothing until something happens.
"""

from __future__ import annotations

import errno
import math
import os
import time

from leaderlock.kernel.descriptors import FOR_WATCHES, Descriptor
from leaderlock.kernel.inotify import FileWatch
from leaderlock.kernel.pipes import wait_readable
from leaderlock.kernel.threads import RLock, allocate_lock, get_ident, start_thread_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.event import NativeEvent
    from leaderlock.lock.leader_lock import LeaderLock


_PATIENCE = 1.0
"""Seconds; the thread has nothing to wait for."""


class ReplacementWatch:
    """Calls something whenever a file may have been deleted or replaced: in `wait`, or in a thread.

    Args:
        look: called each time; also for changes that mean nothing, such as a chmod. And once before
            that, for what happened before there was a watch.
        lock: the lock that is held.
    """

    def __init__(self, look: Callable[[], object], lock: LeaderLock) -> None:
        self._pid = os.getpid()
        self._look = look
        self._thread = 0
        self._threads: list[int] = []
        self._has_looked = False
        self._is_rung = False
        self._ends = False
        self._ended = allocate_lock()
        self._ended.acquire()
        self._mutex = RLock()  # a signal handler may look at `stopping` as well
        self._bell = Descriptor()
        self._watch = FileWatch()
        self._lock = lock
        self._fd = -1

    def open(self) -> None:
        """Begin to look out; whoever has made this calls `end`, whatever is raised.

        Other code may close the lock's descriptor later, which `look` tells.

        Raises:
            OSError: the kernel does not tell here.
            NotHeld: other code has closed the lock's descriptor already.
        """
        self._fd = fd = self._lock.fileno()
        try:
            self._watch.open(fd)
            if self._watch.fileno() > fd:  # see `Descriptor.move_up`
                raise OSError(errno.EMFILE, "its end would hold up the next leader")
            self._bell.open_by(os.eventfd, 0)
            self._bell.move_up(FOR_WATCHES)
        except OSError:
            self.end()
            raise

    def start(self) -> None:
        """Look out in a thread from now on, if that is not done already; not in a forked child.

        Raises:
            RuntimeError: the system has no thread left.
        """
        if self._pid != os.getpid():  # the mutex may be held for good
            return
        with self._mutex:
            if not self._threads and not self._ends:
                start_thread_without_signals(self._run, started=self._threads)

    @property
    def has_thread(self) -> bool:
        """Whether it looks out in a thread."""
        return bool(self._threads)

    def wait(self, event: NativeEvent, seconds: float | None) -> bool:
        """Look out in this thread until the event is set, or for some seconds; whether it is set.

        Nobody calls `end` meanwhile.
        """
        if self._pid != os.getpid():  # the descriptors are the parent's, or closed
            return event.wait(seconds)
        until = math.inf if seconds is None else time.monotonic() + seconds
        with event.releasing(self):
            if self._is_rung:  # by an event that somebody has cleared since
                self._is_rung = False
                if self._bell.is_open():
                    os.eventfd_read(self._bell.fd)
            if not self._has_looked:
                self._look_again()
            while not event.is_set():
                remaining = until - time.monotonic()
                if remaining <= 0:
                    break
                if not self._sleep(remaining):
                    return event.wait(remaining)
            return event.is_set()

    def release(self) -> None:
        """End a wait: the event is set."""
        if self._pid == os.getpid() and self._bell.is_open():
            self._is_rung = True
            os.eventfd_write(self._bell.fd, 1)

    def _sleep(self, seconds: float | None = None) -> bool:
        """Wait for news or the bell; False if there is nothing to wait for any more."""
        try:
            # Broken off in `_open_anew`, where poll(2) would wait without end; or closed by other code,
            # and the numbers may be somebody else's by now.
            if not (self._bell.is_open() and self._watch.is_open()):
                raise OSError(errno.EBADF, "the look-out is not open")
            wait_readable(self._watch.fileno(), self._bell.fd, seconds=seconds)
            if self._watch.has_news():
                self._look_again()
        except OSError:  # EBADF: other code has closed it, and the lock's descriptor as well, perhaps
            is_open = self._open_anew()
            self._look_again()
            return is_open
        return True

    def _open_anew(self) -> bool:
        """Go on with new descriptors; whether there are some.

        os.closerange(4, 4096) closes the watch first and the lock some 10 ms later, as the kernel takes
        so long to close an inotify. Who looks in between finds the lock still held.
        """
        self._watch.close()
        self._bell.close_if_open()
        self._watch = FileWatch()
        self._bell = bell = Descriptor()
        try:
            self._watch.open(self._fd)
            self._is_rung = False
            bell.open_by(os.eventfd, 0)
            bell.move_up(FOR_WATCHES)
        except OSError:  # the lock's descriptor is closed by now
            self._watch.close()
            bell.close_if_open()
            return False
        return True

    def _look_again(self) -> None:
        self._has_looked = True
        self._look()

    def _run(self) -> None:
        self._thread = get_ident()
        try:
            self._look_again()
            # Rung: the task is to stop anyway.
            while not (self._is_rung or self._ends) and self._sleep():
                pass
        finally:
            self._ended.release()

    def end(self) -> None:
        """Look no more; its thread and its descriptors are gone then, unless this is that thread."""
        if self._pid != os.getpid():
            return
        with self._mutex:
            self._ends = True
        if self.has_thread:
            self.release()
            if self._thread != get_ident() and self._ended.acquire(True, _PATIENCE):
                self._ended.release()  # for one who comes again
        self._watch.close()
        self._bell.close_if_open()
