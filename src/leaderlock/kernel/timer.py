"""timer_create(2): timers that signal this process, or one of its threads. Linux only."""

from __future__ import annotations

import ctypes
import os
import time

_SIGEV_SIGNAL = 0
_SIGEV_THREAD_ID = 4


class _TimeSpec(ctypes.Structure):
    # `long` for both, even where time_t is wider (musl on 32 bits): the functions under their plain
    # names use the old layout there.
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class _SignalEvent(ctypes.Structure):
    # sigevent(3type): 64 bytes on every architecture; the last of them are a union.
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal_number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("padding", ctypes.c_char * (64 - ctypes.sizeof(ctypes.c_void_p) - 3 * 4)),
    )


def _library() -> ctypes.PyDLL:
    """The library that has the timer calls.

    It is a `PyDLL`, which keeps the GIL during a call: the calls never block, and in a busy process a
    thread that released the GIL would wait for milliseconds to get the GIL back.
    """
    for name in (None, "librt.so.1"):  # glibc before 2.34 has the calls in a separate library
        try:
            library = ctypes.PyDLL(name, use_errno=True)
            library.timer_create  # noqa: B018
        except (OSError, AttributeError):
            continue
        return library
    raise ImportError("the C library has no timer_create")


_calls = _library()
_create = _calls.timer_create
_set = _calls.timer_settime
_get = _calls.timer_gettime
_delete = _calls.timer_delete
_TIMER_ABSTIME = 1
_NOW = ctypes.byref(_TimerSpec(value=_TimeSpec(0, 1)))
_NEVER = ctypes.byref(_TimerSpec())


class Timer:
    """A countdown of some seconds, at whose end the kernel sends a signal; stopped when made.

    The timer belongs to the process: a forked child has no such timer (fork(2)), and exec deletes it
    (execve(2)). The methods do nothing on a timer that no longer exists.

    Args:
        signal_number: the signal to send.
        seconds: the length of the countdown after each `rewind`, on CLOCK_MONOTONIC; less than 2**31.
        thread: the thread of this process that gets the signal (`_thread.get_native_id`); 0: any one.

    Raises:
        OSError: EAGAIN if RLIMIT_SIGPENDING is used up; ENOSYS or EPERM where a sandbox forbids timers.
    """

    __slots__ = ("_id", "_setting")

    def __init__(self, signal_number: int, seconds: float, thread: int = 0) -> None:
        whole = int(seconds)
        value = _TimeSpec(whole, int((seconds - whole) * 1e9))
        self._setting = ctypes.byref(_TimerSpec(value=value))
        self._id = ctypes.c_void_p()
        notify = _SIGEV_THREAD_ID if thread else _SIGEV_SIGNAL
        event = _SignalEvent(None, signal_number, notify, thread)
        if _create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._id)) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def rewind(self) -> None:
        """Start the countdown, from its full length."""
        _set(self._id, 0, self._setting, None)

    def expire_at(self, moment: float) -> None:
        """Let the countdown expire at a moment of CLOCK_MONOTONIC; at once, if the moment has passed.

        The moment is absolute, so a delay of this call does not delay the signal.
        """
        whole = int(moment)
        value = _TimeSpec(whole, max(int((moment - whole) * 1e9), 1))  # two zeros would stop the timer
        _set(self._id, _TIMER_ABSTIME, ctypes.byref(_TimerSpec(value=value)), None)

    def stop(self) -> None:
        """Stop the countdown; `rewind` starts it again."""
        _set(self._id, 0, _NEVER, None)

    def expire(self) -> None:
        """Let the countdown expire now."""
        _set(self._id, 0, _NOW, None)

    def remaining(self) -> float:
        """The seconds that are left; 0.0 if the countdown is stopped."""
        left = _TimerSpec()
        _get(self._id, ctypes.byref(left))
        return float(left.value.seconds + left.value.nanoseconds / 1e9)

    def delete(self) -> None:
        """Delete the timer."""
        _delete(self._id)
