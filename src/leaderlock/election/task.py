"""Checks of a task or a callback, before anything waits for it."""

from __future__ import annotations

# CO_VARARGS and CO_COROUTINE of a code object's flags: `inspect`, which names them, takes 8 ms.
_VARIABLE_ARGUMENTS = 0x04
_COROUTINE = 0x80


def require_task(task: object, what: str = "the task") -> None:
    """Refuse an object that cannot run as a task or a callback, before anything waits for it.

    Raises:
        TypeError: `task` is not callable, is a coroutine function, or takes no argument.
    """
    if not callable(task):
        raise TypeError(f"{what} must be a function of one argument, not {task!r}")
    refuse_coroutine(task)
    code = getattr(task, "__code__", None)
    if code is None or code.co_flags & _VARIABLE_ARGUMENTS:
        return
    bound = getattr(task, "__self__", None) is not None
    if code.co_argcount - bound < 1:
        raise TypeError(f"{what} must take one argument, the leadership: {task!r} takes none")


def refuse_coroutine(function: object) -> None:
    """Raise TypeError for an ``async def``: a thread could only call it and never await it."""
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _COROUTINE:
        raise TypeError(f"a plain function is needed, not a coroutine function: {function!r}")
