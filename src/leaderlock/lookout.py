"""A leader's look-out: it learns at once when its lock's file is deleted or replaced.

Somebody else may lead by the new file then. A beat finds out as well, when it comes; the look-out is a
native thread that is parked in read(2) meanwhile, and costs nothing until something happens.
"""

from __future__ import annotations

import errno
import os

from leaderlock.kernel.inotify import FileWatch
from leaderlock.kernel.threads import allocate_lock, get_ident, start_thread_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_PATIENCE = 1.0
"""Seconds; the thread has nothing to wait for."""


class LookOut:
    """Calls something, in a thread of its own, whenever a file may have been deleted or replaced.

    Args:
        fd: a descriptor of the file; it may be closed later.
        look: called each time; also for changes that mean nothing, such as a chmod.

    Raises:
        OSError: the kernel does not tell here.
        RuntimeError: the system has no thread left.
    """

    def __init__(self, fd: int, look: Callable[[], object]) -> None:
        self._pid = os.getpid()
        self._look = look
        self._thread = 0
        self._ended = allocate_lock()
        self._ended.acquire()
        self._watch = FileWatch(fd)
        try:
            if self._watch.fileno() > fd:  # see `Descriptor.move_up`
                raise OSError(errno.EMFILE, "its end would hold up the next leader")
            start_thread_without_signals(self._run)
        except BaseException:
            self._watch.close()
            raise

    def _run(self) -> None:
        self._thread = get_ident()
        try:
            self._look()  # what happened before there was a watch
            while self._watch.wait():
                self._look()
        finally:
            self._watch.close()
            self._ended.release()

    def end(self) -> None:
        """Look no more; its thread and its descriptor are gone then, unless this is that thread."""
        if self._pid == os.getpid():
            self._watch.end()
            if self._thread != get_ident():
                self._ended.acquire(True, _PATIENCE)
