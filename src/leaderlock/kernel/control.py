"""prctl(2): bonds between a process, its parent and its orphans. Linux only."""

from __future__ import annotations

import ctypes
import os

from leaderlock.errors import Unsupported

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(signal_number: int, parent: int) -> None:
    """In a child: have the kernel send this process a signal when its parent ends.

    The setting survives exec(2), except of a set-user-ID program. Children do not inherit it.
    """
    ask_for_parent_death_signal(signal_number)
    if os.getppid() != parent:  # the parent ended before the call
        os.kill(os.getpid(), signal_number)


def ask_for_parent_death_signal(signal_number: int) -> None:
    """Have the kernel send this process a signal when its parent ends."""
    _control(_PR_SET_PDEATHSIG, signal_number)


def become_subreaper() -> None:
    """Become the parent of all orphans among our descendants, in place of PID 1."""
    _control(_PR_SET_CHILD_SUBREAPER, 1)


def is_subreaper() -> bool:
    """Whether this process is a subreaper: its orphaned descendants become its children."""
    answer = ctypes.c_int()
    return _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0) == 0 and answer.value != 0


def _control(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise Unsupported(f"prctl({option}) failed: {os.strerror(error)}")
