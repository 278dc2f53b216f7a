"""The first steps of `run` and `init`, before other imports: keep signals, and distrust PYTHONPATH."""

from __future__ import annotations

import os
import sys

from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_WANTED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

_arrived: list[int] = []


def begin(arguments: Sequence[str]) -> None:
    """Prepare the process, if it is to run a command.

    - The kernel drops a signal to PID 1 that has no handler (pid_namespaces(7)), even a TERM that comes
      during our imports: a handler keeps it. Nothing can keep a signal from before Python's start.
    - The directories in ``PYTHONPATH`` are meant for the command. A `socket.py` there must not replace
      Python's own module, so these directories are searched last.

    Args:
        arguments: the program's arguments, as in `sys.argv`.
    """
    if len(arguments) < 2 or arguments[1] not in ("run", "init"):
        return
    if os.getpid() == 1:
        for number in _WANTED:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, lambda number, _frame: _arrived.append(number))
    path = os.environ.get("PYTHONPATH")
    if path and not sys.flags.ignore_environment:
        named = {os.path.abspath(place) for place in path.split(os.pathsep)}
        sys.path.sort(key=lambda place: os.path.abspath(place) in named)


def arrived() -> list[int]:
    """Return the signals that were kept, and forget them."""
    taken = _arrived[:]
    _arrived.clear()
    return taken
