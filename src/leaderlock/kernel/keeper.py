"""The keeper of this process, made by leaderlock-native where that is installed.

The kernel frees the memory of a dying process before it closes the process's descriptors, so the lock
of a killed leader is held until then: 120 ms for 1.5 GB. A keeper shares the memory, so nothing is
freed while it lives, and the lock is released at once. It ends after its leader, and then frees it.

It is made when a task has begun, in a thread of its own: it serves the end of a term, and must not
delay its begin. A process keeps it from term to term, since it costs nothing while it waits.
"""

from __future__ import annotations

import os

from leaderlock.errors import NoThreadLeft
from leaderlock.kernel import descriptors
from leaderlock.kernel.proc.keepers import children_of, is_keeper
from leaderlock.kernel.threads import start_thread_without_signals
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

native: Any = None
try:
    import leaderlock_native as native
except ImportError:  # the extra is not installed, or this is no Linux that it is made for
    pass

VARIABLE = "LEADERLOCK_KEEPER"
"""The environment variable that turns keepers off, with the value 0."""

_WALL = 0x40000000
"""wait(2) for children without a signal at their end, too; Python has no name for it."""


def is_installed() -> bool:
    """Whether leaderlock-native is there."""
    return native is not None


def is_forbidden() -> bool:
    """Whether the environment says that no process shall have a keeper."""
    return os.environ.get(VARIABLE) == "0"


def start_keeper() -> None:
    """Have a thread make this process's keeper, unless there is one; what fails is logged at debug."""
    if native is None or is_forbidden() or native.pid():
        return
    try:
        start_thread_without_signals(_start)
    except NoThreadLeft as error:
        log().debug("process %d has no keeper: %s", os.getpid(), error)


def _start() -> None:
    _reap_those_of_an_earlier_program()
    why = try_to_start()
    if why is not None:
        log().debug("process %d has no keeper: %s", os.getpid(), why)


def try_to_start() -> str | None:
    """Make this process's keeper, unless there is one; the reason if that fails."""
    try:
        native.start(first=list(descriptors.registered))
    except OSError as error:
        # EAGAIN: the user's or the container's limit of processes; EPERM: a sandbox.
        return str(error.strerror)
    return None


def stop() -> None:
    """End this process's keeper, if it has one."""
    native.stop()


def _reap_those_of_an_earlier_program() -> None:
    """Wait for keepers that ended when this process executed its program: no plain wait sees them."""
    own = native.pid()
    try:
        children = children_of(os.getpid())
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # no CONFIG_PROC_CHILDREN
        return
    for child in children:
        if child != own and is_keeper(child):
            try:
                os.waitpid(child, os.WNOHANG | _WALL)
            except ChildProcessError:  # another part of the program has waited for it
                continue


if native is not None:
    os.register_at_fork(after_in_child=native.forget)
