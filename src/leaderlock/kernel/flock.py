"""A blocking flock that another thread can cancel, at no cost while it waits.

flock(2) takes no timeout, and only a signal interrupts its wait; Python's `fcntl.flock` then starts the
call again. So a wait is cancelled in two steps: dup2(2) points the waiter's descriptor number at a
decoy, then a signal interrupts the waiter's thread. The kernel (or Python) starts the call again, finds
the decoy, and returns. This order prevents races: a thread that has not entered the call yet finds the
decoy without any signal. If the lock is granted at that very moment, the kernel releases the lock with
the last reference to the real description, which the interrupted call holds.
(`tests/test_wait.py` shows each case.)
"""

from __future__ import annotations

import fcntl
import functools
import os
import sys

from leaderlock.errors import Unsupported
from leaderlock.kernel import descriptors
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import (
    allocate_lock,
    get_ident,
    start_thread_without_signals,
    threads_are_green,
)
from leaderlock.kernel.wait import INTERRUPTING_SIGNALS, Wait, shared_signal
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

_decoy = descriptors.Descriptor(inherited=True)


def flock(fd: int, wait: Wait, timeout: float | None = None) -> bool:
    """Wait for the exclusive lock of `fd`; False if cancelled or after `timeout` seconds.

    After False the descriptor may be a decoy: the caller must close the descriptor and do nothing more
    with it. Once the interpreter has begun to end, no new thread can time a wait (CPython ends the
    thread before its first line): this then tries the lock once, without waiting.
    """
    if timeout is not None and sys.is_finalizing():
        return _try_once(fd)
    if _decoy.fd < 0:
        _open_decoy()
        _import_handlers()
    wait.is_by_signal = True
    interrupt = functools.partial(_interrupt, fd, descriptors.registered.get(fd), get_ident())
    stopped = None
    if timeout is not None:
        stopped = allocate_lock()
        stopped.acquire()
    # Read first: if a handler raises in the call that changes the mask, its result is lost.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    if blocked:
        blocked = blocked.intersection(INTERRUPTING_SIGNALS)
    # For speed: see "How it is built". All steps are in one function.
    try:
        if blocked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        if stopped is not None:  # one parked thread, no wakeups
            start_thread_without_signals(_after, stopped, timeout, wait._call_off)
        if wait.before_parking is not None:
            wait.before_parking()
        with wait._mutex:
            if wait.cancelled:
                return False
            wait._interrupt = interrupt
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            if wait.cancelled:  # EBADF, from flock on the decoy
                return False
            raise
        return not wait.cancelled
    finally:
        try:
            wait._interrupt = None  # first: an exception may interrupt the wait for the mutex
            with wait._mutex:  # so that no signal reaches a thread that has left the call
                pass
        finally:
            if stopped is not None:  # first: or the timer's thread waits for its full time
                stopped.release()
            if blocked:
                signal.pthread_sigmask(signal.SIG_BLOCK, blocked)


def _interrupt(fd: int, descriptor: descriptors.Descriptor | None, thread: int) -> None:
    """Called with the wait's mutex held. The waiter may be gone, and `fd` may have a new owner."""
    _open_decoy()
    if descriptors.replace(fd, descriptor, _decoy.fd):
        signal.pthread_kill(thread, install_handler())


def wait_here(fd: int, timeout: float | None) -> bool:
    """Wait for the exclusive lock of `fd`, for at most `timeout` seconds; None: without a limit.

    A green thread waits through its hub, which keeps running; a native thread waits in the kernel on
    its behalf. If the green thread is killed, the native one ends before the exception leaves here.

    Returns:
        False if the time has passed. The descriptor may then be a decoy, also after an exception: see
        `flock`.
    """
    if threads_are_green():
        from leaderlock.kernel import green, offload  # noqa: PLC0415  (`Gated._begin` has imported both)

        hub = green.hub_here()
        if hub is not None:
            wait = Wait()
            return offload.in_native_thread(hub, lambda: flock(fd, wait, timeout), wait.cancel)
    if timeout is not None:
        return flock(fd, Wait(), timeout)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return True


def _try_once(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _after(stopped: LockType, seconds: float, function: Callable[[], None]) -> None:
    """Call a function after some seconds, unless the lock `stopped` is released earlier."""
    if not stopped.acquire(True, max(seconds, 0)):
        function()


def _open_decoy() -> None:
    """Open the decoy early: at the descriptor limit, a cancellation could not open one."""
    if not _decoy.is_open():
        _decoy.forget()  # a daemoniser may have closed every descriptor
        # flock fails with EBADF on an O_PATH descriptor, and nobody can hold a lock through one.
        _decoy.open("/", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)


def _import_handlers() -> None:
    """Import early: at the descriptor limit, a cancellation could not import, and the wait not end."""
    if not shared_signal():
        # For speed: see "How it is built". contextlib.suppress costs a standby nine pages.
        try:
            import leaderlock.kernel.handlers  # noqa: F401, PLC0415  (ctypes, 7 ms)
        except ImportError:  # a Python without ctypes: see `install_handler`
            return


def close_unlocked(descriptor: descriptors.Descriptor, *, on_network: bool = False) -> None:
    """Close a descriptor whose wait ended without the lock: it may be a decoy, or closed by others."""
    if descriptors.are_same(descriptor.fd, _decoy.fd):
        descriptor.close()
    else:
        descriptor.close_if_open(on_network=on_network)


def forget_lost(descriptor: descriptors.Descriptor, path: str) -> None:
    """Forget a descriptor that other code has closed during its wait, and log a warning."""
    descriptor.forget()
    log().warning(
        "%s: other code in process %d has closed the descriptor that waited for the lock "
        "(os.closerange, a daemoniser); it queues up again",
        path,
        os.getpid(),
    )


def install_handler() -> int:
    """Give a signal a handler that does nothing, and return its number."""
    if number := shared_signal():
        return number
    try:
        from leaderlock.kernel import handlers  # noqa: PLC0415  (only a cancellation needs it)
    except ImportError as error:
        raise Unsupported(
            "a blocked wait cannot be called off: this Python was built without ctypes"
        ) from error
    for number in INTERRUPTING_SIGNALS:
        current = handlers.handler_of(number)
        if current == handlers.DEFAULT:
            handlers.set_handler(number, handlers.NOTHING)
        elif current != handlers.NOTHING:
            continue
        return number
    raise Unsupported(
        f"a blocked wait cannot be called off: the signals {INTERRUPTING_SIGNALS} have other handlers"
    )
