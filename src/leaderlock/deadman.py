"""The dead-man switch: the kernel kills this process unless the process keeps saying that it lives."""

from __future__ import annotations

import errno
import math
import os
import sys
import time

from leaderlock.errors import LeaderLockError, Unsupported
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import get_ident
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.stacks import StackPrinter
    from leaderlock.kernel.timer import Timer

SHORTEST_LEASE = 0.1
"""Seconds. A machine under load lets a healthy process wait for tens of milliseconds."""

LONGEST_LEASE = 1e9
"""Seconds: about 31 years, which every system's clock can count."""

PRINT_AT = 0.8
"""The part of a lease after which every thread's stack is printed."""

INSIST_AT = 0.95
"""The part of a lease after which that is done without the GIL, if it was not to be had before."""


EARLY = 0.02
"""The part of a lease by which stacks may be printed earlier: not every beat puts that off."""


class DeadManSwitch:
    """Kills this process, by SIGKILL, when no `beat` has come for the length of a lease.

    What it guarantees: the kernel holds the countdown, so that it ends the process whatever state that
    is in: looping, deadlocked, with the GIL held by native code, or stopped by SIGSTOP. It is never
    killed before the lease has passed since the last beat. The locks that it held are free then.

    When 80 % of the lease have passed (78 % after many beats in a row), every thread's stack is printed
    to standard error (descriptor 2), under a line that says why; a beat that comes after it still saves
    the process. If native code does not let the GIL go, the stacks come at 95 %, as `faulthandler`
    prints them, without that line. A process that is stopped prints nothing. If standard error is
    closed, or no signal is free for it, that is logged when the switch is armed, and it kills without.

    What it does not: the whole process dies, with all that its other threads are doing: in a server, a
    worker with its requests. A process in uninterruptible sleep (state D: a dead NFS server, say) dies
    only when it wakes. The lease counts CLOCK_MONOTONIC, which stands still while the machine is
    suspended; it goes on while a container is paused. A thread that goes on beating says nothing about
    the others: the one to beat is the one that does the work.

    How to choose the lease: three times the longest that a healthy task is silent (its longest step,
    plus what a loaded machine makes it wait), and no less than a second unless the machine is yours
    alone. A shorter one makes a hung leader's successor come sooner, a longer one is wrong less often.

    Make it before forking; `arm` it in the process that is to be watched. A forked child is not: there,
    a beat does nothing, and `arm` begins anew. After exec nothing is watched. An armed switch that is
    forgotten goes on counting. `beat` may be called in any thread, the others in one at a time.

    Args:
        lease: seconds, at least 0.1.

    Raises:
        ValueError: the lease is not a number of seconds in these bounds.
        Unsupported: this system has no timer_create(2), or Python was built without ctypes.

    Attributes:
        lease: the same.
    """

    def __init__(self, lease: float) -> None:
        if not (math.isfinite(lease) and lease > 0):
            raise ValueError(f"lease must be a positive number of seconds, not {lease!r}")
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
        _timer(signal.SIGKILL, lease).delete()  # whether there are any, while refusing is still cheap

    def arm(self) -> None:
        """Start the countdown in this process; if it is armed, start again.

        Raises:
            Unsupported: this is PID 1 of its container, which the kernel lets nobody kill from inside.
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
        """Start the countdown again; about 3 microseconds. Nothing, unless armed in this process."""
        if self._pid == os.getpid():
            self._timers[0].rewind()  # the one that kills first: the rest of this may be delayed
            now = time.monotonic()
            if now >= self._rewind_others_at:
                self._rewind_others_at = now + EARLY * self.lease
                for timer in self._timers[1:]:
                    timer.rewind()

    def disarm(self) -> None:
        """End the countdown. Nothing, unless armed in this process."""
        if self._pid == os.getpid():
            if self._printer is not None:
                self._printer.stop()  # first: with the countdown gone, it would find that it is due
            self._timers[0].delete()
        self._pid = 0
        self._printer = None
        self._timers = ()

    def __repr__(self) -> str:
        state = "armed" if self._pid == os.getpid() else "not armed"
        return f"<leaderlock.DeadManSwitch lease={self.lease:g} {state}>"


def _load() -> None:
    """Import what arming needs: it costs 8 ms once, and workers that are forked later have it."""
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
            is_due=lambda: kill.remaining() < lease / 2,  # or a beat came meanwhile
        )
    except CannotPrint as error:
        log().warning("the dead-man switch will kill without printing stacks: %s", error)
        return None
