"""The dead-man switch: the kernel kills this process unless the process beats in time."""

from __future__ import annotations

import errno
import os
import sys
import time

from leaderlock.errors import LeaderLockError, Unsupported
from leaderlock.kernel.arguments import names_near_keyword, positive_seconds
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import get_ident
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.stacks import StackPrinter
    from leaderlock.kernel.timer import Timer

SHORTEST_LEASE = 0.1
"""Seconds. On a loaded machine, a healthy process waits for tens of milliseconds."""

LONGEST_LEASE = 1e9
"""Seconds: about 31 years, which every system's clock can count."""

PRINT_AT = 0.8
"""The part of a lease after which every thread's stack is printed."""

INSIST_AT = 0.95
"""The part of a lease after which stacks are printed without the GIL, if it could not be acquired."""


EARLY = 0.02
"""The part of a lease by which stacks may be printed too early: not every beat rewinds that timer."""


class DeadManSwitch:
    """Kills this process, by SIGKILL, when no `beat` has come for the length of a lease.

    Guarantees: the kernel runs the countdown, so a process dies in any state: looping, deadlocked, with
    the GIL held by native code, or stopped by SIGSTOP. The process is never killed before the lease has
    passed since the last beat. After the kill, the locks that the process held are free.

    When 80 % of the lease have passed (78 % after many beats in a row), every thread's stack is printed
    to standard error (descriptor 2), under a line with the reason; a later beat still saves the
    process. If native code does not release the GIL, `faulthandler` prints the stacks at 95 %, without
    that line. A stopped process prints nothing. If standard error is closed, or no signal is free for
    the printing, `arm` logs that, and the switch kills without printing.

    Limits: the whole process dies, with all work of its other threads: in a server, a worker with its
    requests. A process in uninterruptible sleep (state D: a dead NFS server, for example) dies only
    when it wakes. The lease counts CLOCK_MONOTONIC, which stops while the machine is suspended, and
    runs on while a container is paused. A thread that beats proves nothing about the other threads: let
    the thread beat that does the work.

    How to choose the lease: take three times the longest silence of a healthy task (its longest step,
    plus its delays on a loaded machine), and at least a second unless no other program uses the
    machine. With a shorter lease, a hung leader's successor comes sooner; a longer lease kills a
    healthy process less often.

    Make the switch before forking; `arm` it in the process to be watched. A forked child is not
    watched: there, a beat does nothing, and `arm` begins a new countdown. After exec, nothing is
    watched. The countdown of an armed switch goes on when the object is dropped. Any thread may call
    `beat`; only one thread at a time may call the other methods.

    Args:
        lease: seconds, at least 0.1.

    Raises:
        TypeError, ValueError: the lease is not a number of seconds in these bounds.
        Unsupported: this system has no timer_create(2), or Python was built without ctypes.

    Attributes:
        lease: the lease in seconds.
    """

    @names_near_keyword
    def __init__(self, lease: float) -> None:
        lease = positive_seconds("lease", lease)
        if lease < SHORTEST_LEASE:
            raise ValueError(
                f"lease must be at least {SHORTEST_LEASE} s, not {lease!r}: a loaded machine lets a "
                f"healthy process wait for longer"
            )
        if lease > LONGEST_LEASE:
            raise ValueError(f"lease must be at most {LONGEST_LEASE:g} s, not {lease!r}")
        self.lease = lease
        self._pid = 0
        self._timers: tuple[Timer, ...] = ()
        self._printer: StackPrinter | None = None
        self._rewind_others_at = 0.0
        _load()
        _timer(signal.SIGKILL, lease).delete()  # a system without timers is refused here, early

    def arm(self) -> None:
        """Start the countdown in this process; start again if the switch is armed.

        Raises:
            Unsupported: this is PID 1 of its container: the kernel ignores a SIGKILL from inside.
            LeaderLockError: the user's limit of pending signals is used up.
        """
        if os.getpid() == 1:
            # pid_namespaces(7); tests/test_deadman.py shows it.
            raise Unsupported(
                "the dead-man switch (lease=) cannot kill PID 1: run this under an init, such as "
                "`leaderlock init -- COMMAND` or `docker run --init`"
            )
        self.disarm()
        kill = _timer(signal.SIGKILL, self.lease)
        self._printer = _stack_printer(kill, self.lease)
        self._timers = (kill, *self._printer.timers) if self._printer else (kill,)
        self._pid = os.getpid()
        self._rewind_others_at = 0
        self.beat()

    def beat(self) -> None:
        """Start the countdown again, in some 3 microseconds; no effect unless armed in this process."""
        if self._pid == os.getpid():
            self._timers[0].rewind()  # the timer that kills comes first: the rest may be delayed
            now = time.monotonic()
            if now >= self._rewind_others_at:
                self._rewind_others_at = now + EARLY * self.lease
                for timer in self._timers[1:]:
                    timer.rewind()

    def disarm(self) -> None:
        """End the countdown; no effect unless armed in this process."""
        if self._pid == os.getpid():
            if self._printer is not None:
                self._printer.stop()  # first: without a countdown, the printer would print
            self._timers[0].delete()
        self._pid = 0
        self._printer = None
        self._timers = ()

    def __repr__(self) -> str:
        state = "armed" if self._pid == os.getpid() else "not armed"
        return f"<leaderlock.DeadManSwitch lease={self.lease:g} {state}>"


def _load() -> None:
    """Import the modules for `arm`: that costs 8 ms once, and workers forked later have them."""
    if not sys.platform.startswith("linux"):
        raise Unsupported(
            "the dead-man switch (lease=) needs the timers of Linux (timer_create); "
            f"on {sys.platform}, leave lease= out"
        )
    try:
        import leaderlock.kernel.stacks  # noqa: PLC0415
        import leaderlock.kernel.timer  # noqa: F401, PLC0415
    except ImportError as error:
        raise Unsupported(
            f"the dead-man switch (lease=) needs timer_create, called through ctypes: {error}; "
            "leave lease= out, or use a Python that has ctypes"
        ) from error


def _timer(signal_number: int, seconds: float) -> Timer:
    from leaderlock.kernel.timer import Timer  # noqa: PLC0415  (ctypes)

    try:
        return Timer(signal_number, seconds)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise LeaderLockError(
                "no timer is left for the dead-man switch (lease=): the user's pending signals are at "
                "their limit; raise it (ulimit -i, LimitSIGPENDING=)"
            ) from error
        # ENOSYS and EPERM come from sandboxes (seccomp).
        raise Unsupported(
            f"the dead-man switch (lease=) has no timer here: timer_create: {error.strerror}; "
            "leave lease= out"
        ) from error


def _stack_printer(kill: Timer, lease: float) -> StackPrinter | None:
    from leaderlock.kernel.stacks import CannotPrint, StackPrinter  # noqa: PLC0415  (ctypes)

    heading = (
        f"leaderlock: process {os.getpid()} has not beaten for {PRINT_AT:.0%} of its lease of "
        f"{lease:g} s, and is killed at its end. The switch was armed by thread {get_ident():#018x}.\n"
    )
    try:
        return StackPrinter(
            heading,
            (PRINT_AT * lease, INSIST_AT * lease),
            is_due=lambda: kill.remaining() < lease / 2,  # False if a beat came meanwhile
        )
    except CannotPrint as error:
        log().warning("the dead-man switch will kill without printing stacks: %s", error)
        return None
