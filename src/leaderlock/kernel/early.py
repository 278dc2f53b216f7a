"""What `run` and `init` do before anything else is imported: keep signals, and distrust PYTHONPATH."""

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

    - As PID 1, a signal without a handler is lost (pid_namespaces(7)), also a TERM that comes while we
      are still imported: it is kept. Before Python has started, nothing can keep it.
    - What ``PYTHONPATH`` names is meant for the command. A `socket.py` there must not be imported in
      place of Python's own, so these directories are searched last.

    Args:
        arguments: the program's, as in `sys.argv`.
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
    """Take the signals that have been kept."""
    taken = _arrived[:]
    _arrived.clear()
    return taken
