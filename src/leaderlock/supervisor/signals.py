"""Signals by name, and which of them are forwarded or end a wait."""

from __future__ import annotations

from leaderlock.kernel.signals import signal

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
            raise ValueError(f"there is no signal {text!r}")
        number = int(found) + (int(offset) if plus else 0)
    if number not in signal.valid_signals():
        raise ValueError(f"there is no signal {text!r}")
    return number


def signal_name(number: int) -> str:
    """``SIGTERM`` for 15; real-time signals that have no name of their own as ``SIGRTMIN+3``."""
    import signal as named  # noqa: PLC0415  (for its enum)

    try:
        return named.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
