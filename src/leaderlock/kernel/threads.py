"""Native threads and locks, also where gevent or eventlet has patched ``threading``.

A blocking flock in a green thread stops every other greenlet of the worker, so nothing here may be
green. Python keeps no unpatched copy of ``_thread``. But ``_thread`` is a built-in module: a second
instance, made from the same C code, has the original functions even if the first one is patched.
"""

from __future__ import annotations

import _thread
import os
import sys

from leaderlock.errors import NoThreadLeft
from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any


def _unpatched_thread_module() -> ModuleType:
    if is_native(_thread.start_new_thread) and is_native(_thread.allocate_lock):
        return _thread
    import _frozen_importlib  # noqa: PLC0415  (only where `_thread` is patched)

    bootstrap: Any = _frozen_importlib

    spec = bootstrap.ModuleSpec("_thread", bootstrap.BuiltinImporter, origin="built-in")
    module: ModuleType = bootstrap.module_from_spec(spec)
    bootstrap.BuiltinImporter.exec_module(module)
    return module


def is_native(function: object) -> bool:
    """Whether the function is the interpreter's own, and not a green replacement."""
    return isinstance(function, (type(len), type))


def threads_are_green() -> bool:
    """Whether gevent or eventlet has patched `_thread`, so that new threads are green."""
    return not is_native(_thread.start_new_thread)


_native: Any = _unpatched_thread_module()

allocate_lock = _native.allocate_lock
start_new_thread = _native.start_new_thread
get_ident = _native.get_ident
RLock = _native.RLock
TIMEOUT_MAX: float = _native.TIMEOUT_MAX
"""The longest wait, in seconds, that a native lock takes."""


def no_thread(error: BaseException) -> BaseException:
    """`NoThreadLeft` in place of the error of `start_new_thread`; any other error unchanged."""
    is_ours = type(error) is RuntimeError and str(error) == "can't start new thread"
    return NoThreadLeft() if is_ours else error


def is_main_thread() -> bool:
    """Whether the caller's native thread is the process's first one. Always True outside Linux."""
    return sys.platform != "linux" or bool(_native.get_native_id() == os.getpid())


def start_thread(
    function: Callable[..., object], *arguments: object, started: list[int] | None = None
) -> None:
    """Start a native thread with the caller's signal mask.

    Args:
        function, arguments: the function that the thread calls, and its arguments.
        started: the thread's number is appended as the thread starts, even if an exception follows.

    Raises:
        NoThreadLeft: the system starts no more threads.
    """
    try:
        # In C code alone: no signal handler runs between the start and the append.
        ([] if started is None else started).extend(map(start_new_thread, (function,), (arguments,)))
    except RuntimeError as error:
        raise no_thread(error) from error.__cause__


def start_thread_without_signals(
    function: Callable[..., object],
    *arguments: object,
    but: Iterable[int] = (),
    started: list[int] | None = None,
) -> None:
    """Start a native thread that blocks every signal from its start, except those in `but`.

    The kernel gives a signal to any one thread that does not block it. If such a thread took a SIGINT
    at its start, the main thread would go on waiting in flock.

    Args:
        function, arguments: the function that the thread calls, and its arguments.
        but: signals that the thread may take.
        started: the thread's number is appended as the thread starts, even if an exception follows.

    Raises:
        NoThreadLeft: the system starts no more threads.
    """
    # Read first: if a handler raises in the call that changes the mask, that call's result is lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - set(but))
        start_thread(function, *arguments, started=started)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
