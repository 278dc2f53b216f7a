"""What a command finds when it starts: its environment, and a bond to us."""

from __future__ import annotations

import os
import sys

from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leaderlock.lock.leader_lock import LeaderLock


def environment(lock: LeaderLock | None) -> dict[str, str]:
    """The command's environment: ours, with the term and the path of the lock."""
    variables = inherited_environment()
    if lock is not None:
        variables["LEADERLOCK_TERM"] = str(lock.term)
        variables["LEADERLOCK_PATH"] = lock.path
    return variables


def inherited_environment() -> dict[str, str]:
    """Our environment as we have found it.

    In the C locale, Python sets ``LC_CTYPE`` for itself and its children (PEP 538). That is no wish of
    whoever has started us: /proc/self/environ shows what was there at the exec.
    """
    variables = dict(os.environ)
    if variables.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
        try:
            fd = os.open("/proc/self/environ", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no /proc
            return variables
        try:
            found = b"\0"
            while more := os.read(fd, 1 << 16):
                found += more
        finally:
            os.close(fd)
        if b"\0LC_CTYPE=" not in found:
            del variables["LC_CTYPE"]
    return variables


_ADDRESSED_TO_US = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
)


def sidecar_environment() -> dict[str, str]:
    """A sidecar's environment: ours, without what a service manager means for the command alone."""
    return {
        name: value for name, value in inherited_environment().items() if name not in _ADDRESSED_TO_US
    }


def passed_sockets() -> list[int]:
    """The descriptors that a service manager has passed (sd_listen_fds(3)): they are the command's."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isascii() or not count.isdecimal():
        return []
    return list(range(3, 3 + min(int(count), 4096)))


def with_own_pid(variables: dict[str, str], pid: int) -> dict[str, str]:
    """The environment of a child that we have started in our place.

    ``LISTEN_PID`` and ``WATCHDOG_PID`` say for whom the rest is meant. If that is us, it is the child.

    Args:
        variables: the environment.
        pid: our process ID, which it may name; this is called in the child.
    """
    for name in named_by_pid(variables, pid):
        variables[name] = str(os.getpid())
        if name == "LISTEN_PID":
            variables.pop("LISTEN_PIDFDID", None)  # of systemd 258: a pidfd's inode, of ours
    return variables


def named_by_pid(variables: Mapping[str, str], pid: int) -> list[str]:
    """Which of these variables name a process ID."""
    return [name for name in ("LISTEN_PID", "WATCHDOG_PID") if variables.get(name) == str(pid)]


def binding() -> Callable[[], None] | None:
    """To be called in the child: under a lock it must not outlive us, or two would do the job."""
    if sys.platform != "linux":
        return None
    from leaderlock.kernel.control import die_with_parent  # noqa: PLC0415  (needs ctypes)

    ours = os.getpid()
    return lambda: die_with_parent(signal.SIGKILL, ours)
