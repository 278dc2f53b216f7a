"""Raises at each instant at which CPython would call a signal handler, one after the other.

Random signals (`benchmarks.interrupts`) rarely hit an instant that lasts for nanoseconds; here each is
hit, and nothing is left to chance. CPython (3.10 to 3.13) calls handlers as a Python function begins,
as a generator goes on after `yield`, after a call of C code, and at a jump back. From 3.12 on
`sys.monitoring` tells of all four, and an exception that its callback raises is the handler's
exception: it comes from the same instruction. Before, `sys.setprofile` tells of functions that begin
and of built-in functions that return, not of types, of jumps and of generators.

What it cannot see: the instants at which a system call in C code is interrupted. The random signals
hit those.
"""

from __future__ import annotations

import sys
import threading
from types import CodeType, FrameType
from typing import Any

GENERATORS = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
AFTER_AWAIT = 2
"""From this argument of RESUME on, CPython calls no handler there."""


class Instants:
    """Counts the instants of the main thread while it is armed, and raises at some of them.

    Args:
        error: what is raised.
    """

    def __init__(self, error: type[BaseException]) -> None:
        self.armed = False
        self.count = 0
        self.struck: list[str] = []
        self._error = error
        self._targets: tuple[int, ...] = ()
        self._main = threading.get_ident()
        if sys.version_info >= (3, 12):
            monitoring = sys.monitoring
            if monitoring.get_tool(monitoring.DEBUGGER_ID) is None:
                monitoring.use_tool_id(monitoring.DEBUGGER_ID, "instants")
            for event, callback in (
                (monitoring.events.PY_START, self._start),
                (monitoring.events.PY_RESUME, self._resume),
                (monitoring.events.C_RETURN, self._return),
                (monitoring.events.JUMP, self._jump),
                (monitoring.events.CALL, _ignore),
            ):
                monitoring.register_callback(monitoring.DEBUGGER_ID, event, callback)

    def arm(self, *targets: int) -> None:
        """From here on, raise at these instants, counted from 1; further ones count from there on."""
        self.count, self.struck, self._targets = 0, [], targets
        if sys.version_info >= (3, 12):
            events = sys.monitoring.events
            sys.monitoring.set_events(
                sys.monitoring.DEBUGGER_ID,
                events.PY_START | events.PY_RESUME | events.JUMP | events.CALL,
            )
        else:
            sys.setprofile(self._profile)
        self.armed = True

    def disarm(self) -> None:
        """Raise no more."""
        self.armed = False
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(sys.monitoring.DEBUGGER_ID, 0)
        else:
            sys.setprofile(None)

    def _strike(self, what: str, code: CodeType) -> None:
        if not self.armed or threading.get_ident() != self._main:
            return
        self.count += 1
        if self._targets and self.count == self._targets[0]:
            self.count, self._targets = 0, self._targets[1:]
            self.struck.append(f"{what} {getattr(code, 'co_qualname', code.co_name)}")
            raise self._error

    def _start(self, code: CodeType, _offset: int) -> None:
        self._strike("the begin of", code)

    def _resume(self, code: CodeType, offset: int) -> None:
        if code.co_code[offset + 1] & 3 < AFTER_AWAIT:
            self._strike("the resumption of", code)

    def _return(self, code: CodeType, _offset: int, function: object, _first: object) -> None:
        self._strike(f"{getattr(function, '__qualname__', function)} returned in", code)

    def _jump(self, code: CodeType, offset: int, to: int) -> None:
        if to <= offset:
            self._strike("a jump back in", code)

    def _profile(self, frame: FrameType, event: str, function: Any) -> None:
        if event == "call" and not frame.f_code.co_flags & GENERATORS:
            self._strike("the begin of", frame.f_code)
        elif event == "c_return":
            self._strike(f"{function.__qualname__} returned in", frame.f_code)


def _ignore(*_: object) -> None:
    """CALL is watched for C_RETURN, which comes with CALL alone."""
