"""Prints every thread's stack to standard error after some seconds, also if the GIL is stuck.

`faulthandler` can print all stacks from a signal handler, without the GIL. But such a dump reads frames
and code that running threads may be freeing: in a healthy process that kept starting threads and
compiling code, about one in 50 such dumps ended in a segmentation fault. So a separate thread, parked
in the kernel, asks for the GIL first and prints once it holds the GIL, as no other thread runs then.
If that thread does not get the GIL in time, the signal handler prints, in the same thread: no thread
of the application is ever interrupted.
"""

from __future__ import annotations

import _thread
import faulthandler
import fcntl
import os
import sys

from leaderlock.kernel.handlers import DEFAULT, NOTHING, handler_of, set_handler
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import allocate_lock, start_thread_without_signals
from leaderlock.kernel.timer import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Real-time signals that are rarely used (kernel/flock.py has the next ones): the first two without a
# handler are taken. Only the parked thread receives them.
SIGNALS = (55, 54, 53, 52, 51, 50)
_STDERR = 2

_insisting = (0, DEFAULT)


class CannotPrint(Exception):
    """Standard error, a signal, a thread or a timer is not available: the text says which."""


class StackPrinter:
    """A parked thread that prints the stacks, once in each countdown that is not rewound.

    Args:
        heading: the text to print above the stacks.
        seconds: when to ask for the GIL and print, and when to print without the GIL.
        is_due: called before printing with the GIL; False if the countdown was rewound in between.

    Raises:
        CannotPrint: the thread could not be set up.

    Attributes:
        timers: the caller rewinds them; they are stopped at first.
    """

    def __init__(self, heading: str, seconds: tuple[float, float], is_due: Callable[[], bool]) -> None:
        _check_stderr()
        self.timers: tuple[Timer, ...] = ()
        self._heading = heading.encode()
        self._seconds = seconds
        self._is_due = is_due
        self._signals = _take_signals()
        self._stopped = False
        self._error: OSError | None = None
        self._ready = allocate_lock()
        self._ready.acquire()
        # The thread takes no signal that is meant for the application. It waits for the first signal,
        # and the second signal may interrupt it.
        try:
            start_thread_without_signals(self._run, but=[self._signals[1]])
        except RuntimeError as error:
            raise CannotPrint(str(error)) from error
        self._ready.acquire()
        if self._error is not None:
            raise CannotPrint(f"timer_create: {self._error.strerror}") from self._error

    def stop(self) -> None:
        """End the thread, which then deletes the timers."""
        self._stopped = True
        self.timers[1].stop()
        self.timers[0].expire()  # the kernel sends the signal, and only if the thread still exists

    def _run(self) -> None:
        try:
            thread = _thread.get_native_id()
            for number, seconds in zip(self._signals, self._seconds, strict=True):
                self.timers += (Timer(number, seconds, thread),)
        except OSError as error:
            self._error = error
            self._stopped = True
        finally:
            self._ready.release()
        while not self._stopped:
            signal.sigwait({self._signals[0]})
            self._print_if_due()
        for timer in self.timers:
            timer.delete()

    def _print_if_due(self) -> None:
        if self._is_due() and not self._stopped:
            self.timers[1].stop()
            _print_stacks(self._heading)


def _check_stderr() -> None:
    # A program that was started without descriptor 2 has no sys.__stderr__. A file that got the number
    # later, a database's socket perhaps, must not receive stacks.
    if sys.__stderr__ is None:
        raise CannotPrint("there was no standard error when Python started")
    try:
        access = fcntl.fcntl(_STDERR, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError as error:  # EBADF
        raise CannotPrint("standard error (descriptor 2) is closed") from error
    if access == os.O_RDONLY:
        raise CannotPrint("standard error (descriptor 2) is open for reading only")


def _take_signals() -> tuple[int, int]:
    """The signal that asks for the GIL, and the signal whose handler prints without the GIL.

    The handler stays when the switch is disarmed, and does no harm. Without the handler, a pending
    signal, which outlives its timer before Linux 6.13, would end the process.
    """
    global _insisting  # noqa: PLW0603  (signal dispositions belong to the process)
    handlers = {number: handler_of(number) for number in SIGNALS}
    free = [number for number in SIGNALS if handlers[number] in (DEFAULT, NOTHING)]
    ours = [number for number in SIGNALS if (number, handlers[number]) == _insisting]
    if not free or len(free + ours) < 2:
        raise CannotPrint(f"fewer than two of the signals {SIGNALS} are without a handler")
    if not ours:
        ours = [free.pop()]
        # faulthandler restores this handler on unregister(), and when the interpreter ends. The default
        # handler would let a timer that still runs end the process before its lease.
        set_handler(ours[0], NOTHING)
        # Not a duplicate of the descriptor, which would miss a log rotation by dup2(2).
        faulthandler.register(ours[0], file=_STDERR, all_threads=True, chain=False)
        _insisting = ours[0], handler_of(ours[0])
    return free[0], ours[0]


def _print_stacks(heading: bytes) -> None:
    """Print the stacks in one write without the GIL, since standard error may be a full pipe."""
    try:
        copy = os.memfd_create("leaderlock-stacks")
    except (AttributeError, OSError):  # Python built for an old glibc; EMFILE in a hung process
        _write(heading)
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        return
    try:
        os.write(copy, heading)
        faulthandler.dump_traceback(copy, all_threads=True)
        _write(os.pread(copy, os.fstat(copy).st_size, 0))
    finally:
        os.close(copy)


def _write(text: bytes) -> None:
    try:
        while text:
            text = text[os.write(_STDERR, text) :]
    except OSError:  # EBADF, EPIPE, EIO, ENOSPC, EAGAIN: the pipe, terminal or disk is gone or full
        pass
