"""What the supervisor tells its operator, on standard error."""

from __future__ import annotations

import os
import select

from leaderlock.wording import printable

_LONGEST = 4000
"""Bytes of a line: a pipe that is writable takes 4096 (PIPE_BUF) without blocking (pipe(7))."""

_stderr = select.poll()
_stderr.register(2, select.POLLOUT)

verbosity = 0
"""0 tells what went wrong, 1 also what is done, 2 each signal and orphan."""


def say(text: str, level: int = 0) -> None:
    """Write a line, if that much is wanted.

    Nothing is raised, and the line is lost, if standard error is closed or is a pipe that is full: a
    supervisor that waited for its reader would forward no signal meanwhile.
    """
    if level > verbosity:
        return
    # A command may call itself anything.
    line = f"leaderlock: {printable(text)}".encode()[:_LONGEST] + b"\n"
    try:
        if _stderr.poll(0) == [(2, select.POLLOUT)]:
            os.write(2, line)
    except OSError:  # EBADF, EPIPE, EAGAIN, ENOSPC: there is nowhere to say that, either
        return
