"""`LeaderLock`: an exclusive flock(2) with a queue that the kernel keeps, and a fencing token.

The guarantee: while `locked` answers True in this process, no other process holds the lock on the file
that the path named at the acquisition. The kernel drops the lock when the process ends, for any reason.
The caller's duty: do not let the file be removed while it is in use (`check` detects a removal), and
fence effects that may outlive the process by `term`.
"""

from __future__ import annotations

import os
from _warnings import warn  # what `warnings.warn` is, without the import of `warnings`

from leaderlock.errors import LockFileReplaced
from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.kernel.threads import start_new_thread
from leaderlock.lock.gated import Gated, Hold
from leaderlock.lock.holder import standing_of
from leaderlock.lock.leaving import LeavingLock, Nothing
from leaderlock.lock.limit import limit_of, timed_out
from leaderlock.lock.memory_file import MemoryFile
from leaderlock.lock.named_file import lock_file

try:
    from leaderlock.lock import aio
except ImportError:  # Windows has no fcntl: the package can be imported, a lock cannot be made
    pass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.lock.file import OnNetworkFilesystem, Settings
    from leaderlock.lock.holder import Standing
    from leaderlock.lock.record import Record


class LeaderLock(Gated):
    """An exclusive lock between processes, which behaves as `threading.Lock` between threads.

    A waiter costs no wakeups, with or without a timeout, and waiters are served in the order of their
    arrival. When the holder dies, also by SIGKILL, the next one runs within a few milliseconds. A
    forked child does not hold its parent's lock, does not keep it alive and does not release it; an
    exec'ed program does not inherit it. The object may be made before a fork and used after the fork.
    A pickle consists of the path or name and the settings; the process that unpickles it does not hold
    the lock.

    Args:
        path: the lock file; made if it is missing, in a directory that must exist; never removed.
        name: in place of `path`: the name of a file in ``$LEADERLOCK_DIR``, or in a unit's
            ``$RUNTIME_DIRECTORY``, or in the first usable one of ``/run/leaderlock`` (root's) and
            ``leaderlock-<uid>`` in ``/run/lock``, ``/var/tmp`` and ``/tmp``.
        mode: the permissions of a file that is made here, whatever the umask.
        on_network_filesystem: where flock may not exclude other machines, ``"refuse"`` raises
            `NetworkFilesystem`, ``"warn"`` logs, ``"allow"`` does nothing.
        timeout: the longest wait of ``with`` and ``async with``, in seconds; a longer one raises
            `LockTimeout`. -1 waits without limit. `acquire` has a timeout of its own.

    Raises:
        TypeError, ValueError, OverflowError: an argument has a wrong type or value.
        Unsupported: this system has no flock (Windows).
    """

    @names_near_keyword
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        mode: int = 0o600,
        on_network_filesystem: OnNetworkFilesystem = "refuse",
        timeout: float = -1,
    ) -> None:
        if (path is None) == (name is None):
            raise TypeError("a lock takes a path or name=, one of the two")
        self._begin(lock_file(path, name, mode, on_network_filesystem), timeout)

    @classmethod
    @names_near_keyword
    def anonymous(cls, *, name: str = "leaderlock") -> LeaderLock:
        """A lock without a path, for processes that are forked from this one after the lock was made.

        The lock's file is in memory (memfd_create(2)): it needs no writable file system, and nothing
        can delete it. Other programs cannot find it; a server that has exec'ed itself cannot either.

        Raises:
            Unsupported: this system is not Linux.
        """
        lock = cls.__new__(cls)
        lock._begin(MemoryFile(name))
        return lock

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock, waiting for it as `threading.Lock.acquire` does.

        A green thread of gevent or eventlet waits in its hub, which runs on.

        Args:
            blocking: whether to wait at all.
            timeout: the longest wait in seconds; -1 waits without limit.

        Returns:
            True when the lock is held; False when `timeout` has passed, or at once if not `blocking`.

        Raises:
            ValueError, OverflowError: the timeout is negative, NaN, too large, or without `blocking`.
            LeaderLockError: the lock file cannot be used (see `errors`). Nothing is held then.
        """
        if blocking and timeout == -1:
            return self._acquire(None, None)
        return self._acquire(limit_of(blocking, timeout), None)

    def release(self) -> None:
        """Release the lock; any thread of the process may call this.

        Raises:
            NotHeld: this object does not hold the lock in this process.
            LockFileUnusable: the record was overwritten and cannot be mended. The lock is free.
        """
        self._release("released")

    def locked(self) -> bool:
        """Whether this object holds the lock in this process; False if other code has closed it."""
        hold = self._gate.inside
        return hold is not None and hold.is_held and self._pid == os.getpid() and hold.is_open()

    def _current(self) -> Hold:
        hold = self._own_gate().inside
        if hold is None or not hold.is_held:
            raise self._not_held()
        hold.require_open()
        return hold

    @property
    def term(self) -> int:
        """The fencing token: each acquisition, by any process, adds one; `NotHeld` unless held.

        The token never repeats and never goes back as long as the file exists.
        """
        return self._current().term

    def check(self) -> None:
        """Make sure that the path still names the file that is locked.

        Raises:
            LockFileReplaced: the path names no file, or another one, whose lock may be held by now.
            NotHeld: the lock is not held, or other code has closed its descriptor.
        """
        if not self._current().is_current():
            raise LockFileReplaced(
                f"{self.path} was deleted or replaced while process {os.getpid()} held it: another "
                f"process may hold the new file's lock, so stop the work and acquire again"
            )

    def holder(self) -> Record | None:
        """The holder of the lock, or None. Any process may ask; the call does not affect the lock.

        The kernel's lock table decides; the file only adds details. The kernel does not show holders in
        a PID namespace that is not visible from here (another container's).
        """
        standing = self._standing()
        return None if standing is None else standing.holder

    def _standing(self) -> Standing | None:
        return standing_of(self._file)

    @property
    def path(self) -> str:
        """The absolute path of the lock file; ``memfd:NAME`` for an anonymous lock."""
        return self._file.path

    def fileno(self) -> int:
        """The locked descriptor, valid while the lock is held; raises `NotHeld` if it is not held."""
        return self._current().fd

    def __enter__(self) -> LeaderLock:
        """Acquire the lock, within the lock's `timeout`; ``as`` names this lock.

        Raises:
            LockTimeout: the timeout has passed.
            LeaderLockError: for the reasons of `acquire`.
        """
        hold = Hold(self._file)
        try:
            if self._acquire(self._limit, None, hold):
                return self
        except BaseException:  # of a signal handler, perhaps just after the acquisition
            try:
                self._finish(hold)
            except BaseException:
                start_new_thread(self._finish, (hold,))
                raise
            raise
        raise timed_out(self.path, self._limit)

    __exit__ = LeavingLock()

    async def __aenter__(self) -> LeaderLock:
        """Like `__enter__`, without blocking the event loop; cancelling leaves nothing behind."""
        hold = Hold(self._file)
        try:
            if await aio.acquire(self, hold, self._limit):
                return self
        except BaseException:
            try:
                self._finish(hold)
            except BaseException:
                start_new_thread(self._finish, (hold,))
                raise
            raise
        raise timed_out(self.path, self._limit)

    __aexit__ = LeavingLock(Nothing())

    def __getstate__(self) -> tuple[Settings, float]:
        if isinstance(self._file, MemoryFile):
            raise TypeError(
                f"{self.path} cannot be pickled: only processes forked from this one share it, which "
                f"have it without that, by a global variable, say; for others use a path or a name"
            )
        return self._file.settings(), self._timeout

    def __setstate__(self, state: tuple[Settings, float] | Settings) -> None:
        # Version 0.1 had no timeout: its state consists of the file's settings.
        settings, timeout = state if len(state) == 2 else (state, -1.0)
        self._begin(lock_file(*settings), timeout)

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        limit = "" if self._limit is None else f" timeout={self._limit:g}"
        return f"<{state} leaderlock.LeaderLock object {self._file.shown}{limit} at {id(self):#x}>"

    def __del__(self) -> None:
        if hasattr(self, "_gate") and self.locked():
            text = f"{self!r} was never released"
            self.release()  # first, since the warning may be an error
            warn(text, ResourceWarning, 2, source=self)
