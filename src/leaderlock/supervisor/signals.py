"""Signals: names, which ones are forwarded or end a wait, and how to send them."""

from __future__ import annotations

import errno
import os

from leaderlock.kernel.arguments import whole_number
from leaderlock.kernel.signals import signal
from leaderlock.supervisor.messages import say
from leaderlock.wording import suggestion

# The kernel raises the first seven for our own instructions, so they concern only us. KILL and STOP
# cannot be caught. CHLD, TTIN and TTOU concern the supervisor itself.
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
"""The signals that we forward to the command."""

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
"""The signals that end the wait for the lock."""

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""The sender of these wants an end: afterwards the command is not started again."""


FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH})
"""The signals that a terminal sends to its whole foreground process group."""

SUSPENDING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""The signals that stop a process unless it catches them: only KILL acts before it is continued."""


def signal_number(text: str) -> int:
    """The number of a signal given as ``TERM``, ``SIGTERM``, ``term``, ``RTMIN+3`` or ``15``.

    Raises:
        ValueError: there is no such signal.
    """
    name = text.upper().removeprefix("SIG")
    number = whole_number(name, 1000)
    if number is None:
        base, plus, offset = name.partition("+")
        found = getattr(signal, f"SIG{base}", None)
        above = whole_number(offset, 1000) if plus else 0
        if base.startswith("_") or found is None or above is None:
            raise _no_signal(text)
        number = int(found) + above
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
    """``SIGTERM`` for 15; ``SIGRTMIN+3`` for a real-time signal without a name of its own."""
    return _NAMES.get(number) or f"SIGRTMIN+{number - signal.SIGRTMIN}"


_NAMES = {
    int(getattr(signal, name)): name
    for name in dir(signal)
    if name.startswith("SIG") and name.isalnum() and name not in ("SIGCLD", "SIGIOT", "SIGPOLL")
}

_refused: set[int] = set()


def send(pid: int, number: int, *, group: bool = False, pidfd: int = -1) -> None:
    """Send a signal to a process or to its whole group; do nothing if the target has ended.

    We cannot always send: a command may have changed to another user (EPERM, kill(2)), or a seccomp
    profile may forbid the call. A failure is logged and not raised: the caller is about to wait for the
    target's end, and must still do so.

    Args:
        pid: the ID of the process or group.
        number: the signal.
        group: whether to send the signal to the whole process group.
        pidfd: a pidfd of the process, which is used in place of its ID.
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
