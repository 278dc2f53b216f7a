"""How a lock is acquired and released in one process: who owns what, from which instruction to which.

An acquisition is a `Hold`, which has its descriptor before this is opened. The frame that has made the
hold owns it until it sets `is_held`, as its last step; the gate owns it then, for the lock's object.
Whoever sets `is_held` to False owns it until it has left the gate. Each owner lets go of the hold
whatever is raised, and each step of that can be repeated. If a signal handler raises once more
meanwhile, a native thread goes on, where no handler is ever called. To start it is the first step then,
and a single call of C code: CPython calls no handler before that.
"""

from __future__ import annotations

import os
import time

from leaderlock.errors import NotHeld, Unsupported
from leaderlock.kernel import descriptors
from leaderlock.kernel.threads import allocate_lock, start_new_thread, threads_are_green
from leaderlock.lock.gate import Gate
from leaderlock.lock.limit import limit_of

try:
    from leaderlock.lock.acquisition import Hold
except ImportError:  # Windows has no fcntl: the package can be imported, a lock cannot be made
    Hold = None  # type: ignore[assignment, misc]

__all__ = ["Gated", "Hold"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.flock import Wait
    from leaderlock.lock.file import LockFile
    from leaderlock.lock.memory_file import MemoryFile

_adoption = allocate_lock()


class Gated:
    """A file's lock, and the gate by which the threads of this process come to it one at a time."""

    _file: LockFile | MemoryFile

    def _begin(self, file: LockFile | MemoryFile, timeout: float = -1) -> None:
        if Hold is None:
            raise Unsupported("leaderlock needs flock(2), which Windows does not have")
        self._limit, self._timeout = limit_of(True, timeout), timeout
        descriptors.adopt()
        if (
            threads_are_green()
        ):  # before a fork, a change of user or a wait: green threads wait by these
            import leaderlock.kernel.offload  # noqa: F401, PLC0415
        self._file = file
        self._gate = Gate()
        self._pid = os.getpid()

    def _own_gate(self) -> Gate:
        """The gate; after a fork, with or without Python's at-fork handlers, a new one, unheld."""
        if self._pid != os.getpid():
            with _adoption:
                if self._pid != os.getpid():
                    if descriptors.owner_pid != os.getpid():  # no at-fork handlers: see there
                        descriptors.adopt()
                    self._gate = Gate()
                    self._pid = os.getpid()
        return self._gate

    def _acquire(self, limit: float | None, wait: Wait | None, hold: Hold | None = None) -> bool:
        """Acquire it.

        Args:
            limit: the longest wait in seconds; None without end, 0 for none at all.
            wait: by which it can be called off.
            hold: a new one, of a caller who wants to know in the end what has become of it.
        """
        gate = self._gate if self._pid == os.getpid() else self._own_gate()
        if hold is None:
            hold = Hold(self._file)
        try:
            with gate.mutex:  # as `Gate.try_enter` does, without a call: see `Hold`
                enters = gate.inside is None
                if enters:
                    gate.inside = hold
            if not enters:
                begin = time.monotonic()
                if not (gate.try_enter(hold) if limit == 0 else gate.enter(hold, limit, wait)):
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
        """Release it.

        Args:
            how: what the history says of it.
            only: nothing is released unless it is held by this one.
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
        """Let go of what an acquisition has, however far it has come; again, if it was broken off.

        Whoever calls it calls it again, in a native thread, if this raises: a function for that could
        be broken off as it begins.
        """
        gate = self._own_gate()
        if hold is not None:
            if hold.is_held:
                try:
                    self._release("released", hold)
                except NotHeld:  # it was released; or the descriptor was closed by other code
                    pass
            else:
                gate.leave(hold)

    def _not_held(self) -> NotHeld:
        return NotHeld(f"{self._file.path} is not held by this object in process {os.getpid()}")
