"""A process that does what `tests.processes.Child` tells it to: the other end of its pipes."""

from __future__ import annotations

import ast
import builtins
import os
import sys
from typing import Any

sys.path.pop(0)  # this directory is no part of what is tested

import signal
import threading
import time

import leaderlock
from leaderlock import LeaderLock

COMMON = {
    "LeaderLock": LeaderLock,
    "leaderlock": leaderlock,
    "os": os,
    "signal": signal,
    "sys": sys,
    "threading": threading,
    "time": time,
}


_print = builtins.print


def print_whole_lines(
    *values: object, sep: str = " ", end: str = "\n", file: Any = None, flush: bool = False
) -> None:
    """`print` by one write(2): an answer could come between a text and its newline otherwise."""
    if file is None and sys.stdout is sys.__stdout__:
        os.write(1, (sep.join(map(str, values)) + end).encode())
    else:
        _print(*values, sep=sep, end=end, file=file, flush=flush)


def answer_to(source: str, names: dict[str, Any]) -> tuple[object, ...]:
    try:
        try:
            code = compile(source, "<told>", "eval")
        except SyntaxError:
            exec(compile(source, "<told>", "exec"), names)
            return ("value", None)
        value = eval(code, names)
        plain = isinstance(value, (bool, int, float, str, bytes, list, tuple, dict, set, type(None)))
        return ("value", value if plain else repr(value))
    except BaseException as error:  # noqa: BLE001  (KeyboardInterrupt too: it is the answer)
        return ("error", type(error).__name__, str(error))


def main() -> None:
    # A shell that runs the tests in the background has them begin with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    builtins.print = print_whole_lines  # type: ignore[assignment]
    # Answers go to a copy of standard output, which a program may close.
    out = os.dup(1)
    names: dict[str, Any] = dict(COMMON, argv=sys.argv[1:])
    while line := sys.stdin.readline():
        reply = answer_to(ast.literal_eval(line), names)
        os.write(out, f"{reply!r}\n".encode())


main()
