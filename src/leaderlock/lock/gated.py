"""Acquiring and releasing a lock in one process, with an owner for each hold at every instruction.

An acquisition is a `Hold`, which has its descriptor before the descriptor is opened. The frame that has
made the hold owns it until the frame sets `is_held`, as its last step; then the gate owns the hold, for
the lock's object. The code that sets `is_held` to False owns the hold until the hold has left the gate.
Each owner releases the hold whatever is raised, and each step of the release can be repeated. If a
signal handler raises again during the release, a native thread continues: no handler ever runs there.
The start of that thread is then the first step, and a single call of C code: CPython calls no handler
before it.
"""

from __future__ import annotations

import os
import time

from leaderlock.errors import NotHeld, Unsupported
from leaderlock.kernel import descriptors
from leaderlock.kernel.threads import RLock, allocate_lock, start_new_thread, threads_are_green
from leaderlock.lock.gate import Gate
from leaderlock.lock.limit import limit_of

try:
    from leaderlock.lock.acquisition import Hold
except ImportError:  # Windows has no fcntl: the package can be imported, a lock cannot be made
    Hold = None  # type: ignore[assignment, misc]

__all__ = ["Gated", "Hold"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.wait import Wait
    from leaderlock.lock.file import LockFile
    from leaderlock.lock.memory_file import MemoryFile

_adoption = allocate_lock()


class Gated:
    """A file's lock, and the gate that admits the threads of this process one at a time."""

    _file: LockFile | MemoryFile

    def _begin(self, file: LockFile | MemoryFile, timeout: float = -1) -> None:
        if Hold is None:
            raise Unsupported("leaderlock needs flock(2), which Windows does not have")
        self._limit, self._timeout = limit_of(True, timeout), timeout
        descriptors.adopt()
        if (
            threads_are_green()
        ):  # import before a fork, a change of user or a wait: green threads need it to wait
            import leaderlock.kernel.offload  # noqa: F401, PLC0415
        self._file = file
        self._gate = Gate()
        self._pid = os.getpid()

    def _own_gate(self) -> Gate:
        """The gate; after a fork, with or without Python's at-fork handlers, an empty one."""
        if self._pid != os.getpid():
            with _adoption:
                if self._pid != os.getpid():
                    if descriptors.owner_pid != os.getpid():  # no at-fork handlers ran
                        descriptors.adopt()
                    if self._gate.inside is None:
                        # A gate that nobody is in has no queue: `Gate.join` makes one behind the hold
                        # inside. A thread that was not forked may have had the mutex.
                        self._gate.mutex = RLock()
                    else:
                        self._gate = Gate()
                    self._pid = os.getpid()
        return self._gate

    def _acquire(self, limit: float | None, wait: Wait | None, hold: Hold | None = None) -> bool:
        """Acquire the lock.

        Args:
            limit: the longest wait in seconds; None waits without limit, 0 does not wait.
            wait: allows another thread to cancel the wait.
            hold: a new hold, for a caller that must know the hold's state after an exception.
        """
        gate = self._gate if self._pid == os.getpid() else self._own_gate()
        if hold is None:
            hold = Hold(self._file)
        try:
            if not gate.try_enter(hold):
                begin = time.monotonic()
                if limit == 0 or not gate.enter(hold, limit, wait):
                    gate.leave(hold)
                    return False
                if limit is not None:
                    limit = max(limit - (time.monotonic() - begin), 0)
            if hold.take(limit, wait):
                hold.is_held = True
                return True
            gate.leave(hold)
        except BaseException:
            try:
                gate.leave(hold)
            except BaseException:
                start_new_thread(gate.leave, (hold,))
                raise
            raise
        return False

    def _release(self, how: str, only: Hold | None = None) -> None:
        """Release the lock.

        Args:
            how: the reason for the end, for the history.
            only: release the lock only if this hold has it.
        """
        gate = self._gate if self._pid == os.getpid() else self._own_gate()
        hold = None
        try:
            with gate.mutex:
                inside = gate.inside
                if inside is not None and inside.is_held and (only is None or inside is only):
                    hold = inside
                    hold.is_held = False
            if hold is None:
                raise self._not_held()
            hold.release(how)
            gate.leave(hold)
        except BaseException:
            if hold is not None:
                try:
                    gate.leave(hold)
                except BaseException:
                    start_new_thread(gate.leave, (hold,))
                    raise
            raise

    def _finish(self, hold: Hold | None) -> None:
        """Release whatever an acquisition has, at any stage; repeatable if interrupted.

        If `_finish` raises, its caller calls `_finish` again in a native thread. The caller does so
        inline: a helper function could be interrupted as it begins.
        """
        gate = self._own_gate()
        if hold is not None:
            if hold.is_held:
                try:
                    self._release("released", hold)
                except NotHeld:  # it was released, or other code has closed the descriptor
                    pass
            else:
                gate.leave(hold)

    def _not_held(self) -> NotHeld:
        return NotHeld(f"{self._file.path} is not held by this object in process {os.getpid()}")
