"""A leader's watch: the leader learns at once that its lock's file is deleted or replaced.

After a replacement, another process may lead by the new file. A beat finds this too, but later. A task
that waits in `Leadership.wait` or `Leadership.every` watches in its own thread during the wait. For any
other task there is a native thread; but each thread delays the death of a killed process, and so the
next leader. Both kinds of thread are parked in poll(2), and cost nothing until an event comes.
"""

from __future__ import annotations

import errno
import math
import os
import time

from leaderlock.kernel.descriptors import FOR_WATCHES, Descriptor
from leaderlock.kernel.inotify import FileWatch
from leaderlock.kernel.native_thread import NativeThread
from leaderlock.kernel.pipes import wait_readable
from leaderlock.kernel.threads import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.event import NativeEvent
    from leaderlock.lock.leader_lock import LeaderLock


_PATIENCE = 1.0
"""Seconds that `end` waits for the thread; the thread itself has nothing to wait for."""


class ReplacementWatch:
    """Calls `look` whenever the file may have changed: in an event loop, in `wait`, or in a thread.

    Args:
        look: called at each change, also at harmless changes, such as a chmod; and called once before
            the first change, for changes from before the watch was open.
        lock: the lock that is held.
    """

    def __init__(self, look: Callable[[], object], lock: LeaderLock) -> None:
        self._pid = os.getpid()
        self._look = look
        self._thread: NativeThread | None = None
        self._has_looked = False
        self._is_rung = False
        self._ends = False
        self._mutex = RLock()  # a signal handler may look at `stopping` as well
        self._bell = Descriptor()
        self._watch = FileWatch()
        self._lock = lock
        self._fd = -1

    def open(self) -> None:
        """Begin to watch; the owner of the watch calls `end`, whatever is raised.

        Other code may close the lock's descriptor later; `look` detects that.

        Raises:
            OSError: the kernel does not report changes here.
            NotHeld: other code has closed the lock's descriptor already.
        """
        self._fd = fd = self._lock.fileno()
        try:
            self._open_watch(fd)
            if self._watch.fileno() > fd:  # see `Descriptor.move_up`
                raise OSError(errno.EMFILE, "its end would hold up the next leader")
            self._bell.open_by(os.eventfd, 0)
            self._bell.move_up(FOR_WATCHES)
        except OSError:
            self.end()
            raise

    def _open_watch(self, fd: int) -> None:
        self._watch.open(fd)
        if os.path.isabs(self._lock.path):  # a file in memory has no directory
            self._watch.watch_directories(self._lock.path)

    def fileno(self) -> int:
        """See `Watch.fileno`."""
        return self._watch.fileno()

    def read(self) -> None:
        """See `Watch.read`; raises OSError if other code has closed the descriptor (EBADF)."""
        if self._watch.has_news():
            self._look_again()

    def start(self) -> None:
        """Watch in a thread from now on, unless one runs already; does nothing in a forked child.

        Raises:
            RuntimeError: the system has no thread left.
        """
        if self._pid != os.getpid():  # the mutex may be locked for good
            return
        with self._mutex:
            if not self.has_thread and not self._ends:
                self._thread = NativeThread(self._run)
                self._thread.start()

    @property
    def has_thread(self) -> bool:
        """Whether the watch runs in a thread."""
        return self._thread is not None and self._thread.has_started

    def wait(self, event: NativeEvent, seconds: float | None) -> bool:
        """Watch in this thread until the event is set, or for some seconds; return whether it is set.

        No other thread may call `end` during the wait.
        """
        if self._pid != os.getpid():  # the descriptors are the parent's, or closed
            return event.wait(seconds)
        until = math.inf if seconds is None else time.monotonic() + seconds
        with event.releasing(self):
            if self._is_rung:  # by an event that was cleared since
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
        """End a wait, since its event is set."""
        if self._pid == os.getpid() and self._bell.is_open():
            self._is_rung = True
            os.eventfd_write(self._bell.fd, 1)

    def _sleep(self, seconds: float | None = None) -> bool:
        """Wait for a change or the bell; False if no descriptor is left to wait for."""
        try:
            # Not open: an exception interrupted `_open_anew`, and poll(2) would wait without end; or
            # other code has closed the descriptors, and their numbers may be reused.
            if not (self._bell.is_open() and self._watch.is_open()):
                raise OSError(errno.EBADF, "the look-out is not open")
            wait_readable(self._watch.fileno(), self._bell.fd, seconds=seconds)
            if self._watch.has_news():
                self._look_again()
        except OSError:  # EBADF: other code has closed it, and perhaps also the lock's descriptor
            is_open = self._open_anew()
            self._look_again()
            return is_open
        return True

    def _open_anew(self) -> bool:
        """Open new descriptors; return whether that succeeded.

        os.closerange(4, 4096) closes the watch first and the lock some 10 ms later, since the kernel
        takes that long to close an inotify. A look between the two finds the lock still held.
        """
        self._watch.close()
        self._bell.close_if_open()
        self._watch = FileWatch()
        self._bell = bell = Descriptor()
        try:
            self._open_watch(self._fd)
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
        self._look_again()
        # Rung: the task must stop anyway.
        while not (self._is_rung or self._ends) and self._sleep():
            pass

    def end(self) -> None:
        """End the watch. On return, its descriptors and its thread (unless the caller) are gone."""
        if self._pid != os.getpid():
            return
        with self._mutex:
            self._ends = True
        if self._thread is not None and self._thread.has_started:
            self.release()
            self._thread.wait(_PATIENCE)
        self._watch.close()
        self._bell.close_if_open()
