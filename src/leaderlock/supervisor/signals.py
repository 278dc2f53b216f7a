"""Signals: their names, which of them are forwarded or end a wait, and sending them."""

from __future__ import annotations

import errno
import os

from leaderlock.kernel.signals import signal
from leaderlock.supervisor.messages import say
from leaderlock.wording import suggestion

# What the kernel raises for a process's own instructions is that process's alone; KILL and STOP
# cannot be caught; CHLD, TTIN and TTOU mean the supervisor itself.
_NOT_FORWARDED = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGSYS,
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGTTIN,
    signal.SIGTTOU,
}

FORWARDED: frozenset[int] = frozenset(signal.valid_signals() - _NOT_FORWARDED)
"""Sent on to the command."""

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
"""They end the wait for the lock."""

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""Whoever sends them wants an end: the command is not started again after one."""


FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH})
"""A terminal sends them to its whole foreground process group."""

SUSPENDING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""A process that does not catch them is stopped, and acts on nothing but KILL until it is continued."""


def signal_number(text: str) -> int:
    """The number of a signal given as ``TERM``, ``SIGTERM``, ``term``, ``RTMIN+3`` or ``15``.

    Raises:
        ValueError: there is no such signal.
    """
    name = text.upper().removeprefix("SIG")
    if name.isdecimal():
        number = int(name)
    else:
        base, plus, offset = name.partition("+")
        found = getattr(signal, f"SIG{base}", None)
        if base.startswith("_") or found is None or (plus and not offset.isdecimal()):
            raise _no_signal(text)
        number = int(found) + (int(offset) if plus else 0)
    if number not in signal.valid_signals():
        raise _no_signal(text)
    return number


def _no_signal(text: str) -> ValueError:
    word, known = text.upper(), _NAMES.values()
    if word.startswith("SIG"):
        near = suggestion(word, known, prefix="SIG")
    else:
        near = suggestion(word, [name.removeprefix("SIG") for name in known])
    return ValueError(f"there is no signal {text!r}{near}")


def signal_name(number: int) -> str:
    """``SIGTERM`` for 15; real-time signals that have no name of their own as ``SIGRTMIN+3``."""
    return _NAMES.get(number) or f"SIGRTMIN+{number - signal.SIGRTMIN}"


_NAMES = {
    int(getattr(signal, name)): name
    for name in dir(signal)
    if name.startswith("SIG") and name.isalnum() and name not in ("SIGCLD", "SIGIOT", "SIGPOLL")
}

_refused: set[int] = set()


def send(pid: int, number: int, *, group: bool = False, pidfd: int = -1) -> None:
    """Send a process a signal, or its whole group; nothing happens if it has ended.

    Whether it can be sent at all is not ours to choose: a command may have become another user's
    (EPERM, kill(2)), or a seccomp profile may forbid it. No failure is raised, since whoever sends is
    about to wait for an end, and must still do so.

    Args:
        pid: the process, or the group's ID.
        number: the signal.
        group: whether to send it to the whole process group.
        pidfd: a pidfd of the process, which is used in place of its number.
    """
    try:
        if group:
            os.killpg(pid, number)
        elif pidfd >= 0:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
    except OSError as error:
        if error.errno != errno.ESRCH and pid not in _refused:
            _refused.add(pid)
            say(
                f"cannot send {signal_name(number)} to {'group' if group else 'process'} {pid}: "
                f"{error.strerror}; leaderlock still waits for its end"
            )
