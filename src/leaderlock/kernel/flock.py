"""A blocking flock that another thread can call off, at no cost while it waits.

flock(2) takes no timeout, and nothing but a signal ends its wait; Python's `fcntl.flock` starts it
again after one. So a wait is called off in two steps: the waiter's descriptor number is first pointed
at a decoy by dup2(2), then its thread is sent a signal. The kernel (or Python) starts the call again,
finds the decoy, and returns. The order makes it free of races: a thread that has not entered the call
yet finds the decoy without any signal, and a lock that is granted at that very moment dies with the
last reference to the real description, which is the one that the interrupted call holds.
(`tests/test_wait.py` shows each.)
"""

from __future__ import annotations

import fcntl
import os
import sys

from leaderlock.errors import Unsupported
from leaderlock.kernel import descriptors
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import (
    RLock,
    allocate_lock,
    get_ident,
    start_new_thread,
    start_thread_without_signals,
    threads_are_green,
)
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

# Real-time signals that nobody has a use for; the first one without a handler is taken. A handler is
# needed (an ignored signal wakes nobody) and does nothing. macOS has no real-time signals: SIGURG,
# which is ignored by default.
INTERRUPTING_SIGNALS = (59, 58, 57, 56) if sys.platform == "linux" else (16,)

_shared_signal = 0
_decoy = descriptors.Descriptor(inherited=True)


class Wait:
    """One wait that can be called off from any thread; used once.

    `before_parking` is called just before the wait blocks.
    """

    __slots__ = (
        "_by_signal",
        "_descriptor",
        "_fd",
        "_interrupt",
        "_mutex",
        "_thread",
        "before_parking",
        "cancelled",
    )

    def __init__(self, before_parking: Callable[[], None] | None = None) -> None:
        self.cancelled = False
        self.before_parking = before_parking
        self._mutex = RLock()  # a signal handler may call off what its thread is just calling off
        self._interrupt: Callable[[], object] | None = None
        self._by_signal = False

    def cancel(self) -> None:
        """End the wait, or the next one: `blocking` and `flock` return False."""
        self.cancelled = True
        if self._by_signal:
            # In a thread of its own, where no signal handler can run half way: one that calls this off
            # as well, and then waits for the waiter, would wait for what it has interrupted.
            try:
                start_new_thread(self._call_off, ())
                return
            except RuntimeError:  # no thread is to be had
                pass
        self._call_off()

    def _call_off(self) -> None:
        self.cancelled = True
        with self._mutex:
            if self._interrupt is not None:
                self._interrupt()

    def blocking(self, call: Callable[[], object], interrupt: Callable[[], None]) -> bool:
        """Run `call`, which `cancel` ends by calling `interrupt`; False if it was called off."""
        with self._mutex:
            if self.cancelled:
                return False
            self._interrupt = interrupt
        try:
            call()
        finally:
            self._interrupt = None  # first: another exception may break off the wait for the mutex
            with self._mutex:
                pass
        return not self.cancelled

    def flock(self, fd: int, timeout: float | None = None) -> bool:
        """Wait for the exclusive lock of `fd`; False if it was called off or `timeout` seconds passed.

        After False the descriptor may be a decoy: the caller closes it and uses it for nothing else.
        Once the interpreter has begun to end, no new thread can time a wait (CPython ends it before its
        first line): the lock is then tried once.
        """
        if timeout is not None and sys.is_finalizing():
            return _try_once(fd)
        if _decoy.fd < 0:
            _open_decoy()
        self._by_signal = True
        self._thread = get_ident()
        self._fd = fd
        self._descriptor = descriptors.registered.get(fd)
        stopped = None
        if timeout is not None:
            stopped = allocate_lock()
            stopped.acquire()
        # Asked first, for a handler that raises takes the result of the change with it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        if blocked:
            blocked = blocked.intersection(INTERRUPTING_SIGNALS)
        # All in one function: each one more costs a standby a page or two (`Hold`).
        try:
            if blocked:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
            if stopped is not None:  # one parked thread, no wakeups
                start_thread_without_signals(_after, stopped, timeout, self._call_off)
            if self.before_parking is not None:
                self.before_parking()
            with self._mutex:
                if self.cancelled:
                    return False
                self._interrupt = self._interrupt_flock
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError:
                if self.cancelled:  # EBADF, which is how a decoy answers
                    return False
                raise
            return not self.cancelled
        finally:
            try:
                self._interrupt = None  # first: another exception may break off the wait for the mutex
                with self._mutex:  # no signal is sent to a thread that has left the call
                    pass
            finally:
                if stopped is not None:  # first, or the timer's thread would stay for its time
                    stopped.release()
                if blocked:
                    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)

    def _interrupt_flock(self) -> None:
        """Called with the mutex. The waiter may have gone, and its number may be another file's now."""
        _open_decoy()
        if descriptors.replace(self._fd, self._descriptor, _decoy.fd):
            signal.pthread_kill(self._thread, install_handler())


def wait_here(fd: int, timeout: float | None) -> bool:
    """Wait for the exclusive lock of `fd`, for as long as it takes or `timeout` seconds.

    A green thread waits by its hub, which runs on; a native thread waits in the kernel for it. If the
    green thread is killed meanwhile, the native one has ended when the exception goes on.

    Returns:
        False if the time has passed; the descriptor may be a decoy then, and after an exception, as
        after `Wait.flock`.
    """
    if threads_are_green():
        from leaderlock.kernel import green, offload  # noqa: PLC0415  (`Gated._begin` has imported both)

        hub = green.hub_here()
        if hub is not None:
            wait = Wait()
            return offload.in_native_thread(hub, lambda: wait.flock(fd, timeout), wait.cancel)
    if timeout is not None:
        return Wait().flock(fd, timeout)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return True


def _try_once(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _after(stopped: LockType, seconds: float, function: Callable[[], None]) -> None:
    """Call a function after some seconds, unless the lock is released before."""
    if not stopped.acquire(True, max(seconds, 0)):
        function()


def _open_decoy() -> None:
    """Have the decoy open before it is needed: at the descriptor limit it could not be had then."""
    if not _decoy.is_open():
        _decoy.forget()  # a daemoniser may have closed every descriptor
        # flock answers EBADF on an O_PATH descriptor, and nobody else can hold a lock through it.
        _decoy.open("/", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)


def close_unlocked(descriptor: descriptors.Descriptor, *, on_network: bool = False) -> None:
    """Close a descriptor whose wait is over without the lock: it may be a decoy, or lost by now."""
    if descriptors.are_same(descriptor.fd, _decoy.fd):
        descriptor.close()
    else:
        descriptor.close_if_open(on_network=on_network)


def forget_lost(descriptor: descriptors.Descriptor, path: str) -> None:
    """Other code has closed a descriptor during its wait: leave the number alone, and say so."""
    descriptor.forget()
    log().warning(
        "%s: other code in process %d has closed the descriptor that waited for the lock "
        "(os.closerange, a daemoniser); it queues up again",
        path,
        os.getpid(),
    )


def share_signal(number: int) -> None:
    """Let waits be called off by a signal that has a handler of the caller's, which does not mind."""
    global _shared_signal  # noqa: PLW0603  (signal dispositions belong to the process)
    _shared_signal = number


def install_handler() -> int:
    """Give a signal a handler that does nothing, and return its number."""
    if _shared_signal:
        return _shared_signal
    try:
        from leaderlock.kernel import handlers  # noqa: PLC0415  (only waits that are called off need it)
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
