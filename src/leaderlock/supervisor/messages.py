"""Messages of the supervisor to its operator, on standard error."""

from __future__ import annotations

import os
import select

from leaderlock.wording import printable

_LONGEST = 4000
"""Bytes of a line: a pipe that is writable takes 4096 (PIPE_BUF) without blocking (pipe(7))."""

_stderr = select.poll()
_stderr.register(2, select.POLLOUT)

verbosity = 0
"""0 logs failures, 1 also each action, 2 also each signal and orphan."""


def say(text: str, level: int = 0) -> None:
    """Write a line, if the verbosity is at least `level`.

    Nothing is raised, and the line is lost, if standard error is closed or is a full pipe: while a
    supervisor waits for its reader, it cannot forward signals.
    """
    if level > verbosity:
        return
    # The text may contain a command's name, which can contain any character.
    line = f"leaderlock: {printable(text)}".encode()[:_LONGEST] + b"\n"
    try:
        if _stderr.poll(0) == [(2, select.POLLOUT)]:
            os.write(2, line)
    except OSError:  # EBADF, EPIPE, EAGAIN, ENOSPC: there is no other place to report to
        return
