"""The environment that a command gets at its start, and the parent-death signal that binds it to us."""

from __future__ import annotations

import os
import sys

from leaderlock.kernel.arguments import whole_number
from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leaderlock.engines.engine import Engine, Tenure


def environment(engine: Engine | None, tenure: Tenure | None) -> dict[str, str]:
    """The command's environment: ours, with the term and the place of the election."""
    variables = inherited_environment()
    if engine is not None and tenure is not None:
        variables["LEADERLOCK_TERM"] = str(tenure.term)
        variables["LEADERLOCK_PATH"] = engine.address
    return variables


def inherited_environment() -> dict[str, str]:
    """Our environment as it was when we were started.

    In the C locale, Python sets ``LC_CTYPE`` for itself and its children (PEP 538). The command should
    not inherit that: /proc/self/environ shows whether ``LC_CTYPE`` was set at the exec.
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
    """A sidecar's environment: ours, without a service manager's variables, which are the command's."""
    return {
        name: value for name, value in inherited_environment().items() if name not in _ADDRESSED_TO_US
    }


def passed_sockets() -> list[int]:
    """The descriptors that a service manager has passed to the command (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = whole_number(os.environ.get("LISTEN_FDS", ""), 2**31 - 1) or 0
    return list(range(3, 3 + min(count, 4096)))


def with_own_pid(variables: dict[str, str], pid: int) -> dict[str, str]:
    """The environment of a child that replaces us as the receiver of the variables.

    ``LISTEN_PID`` and ``WATCHDOG_PID`` name the process that the other variables are meant for. Where
    they name us, the result names the child.

    Args:
        variables: the environment.
        pid: our process ID, which the variables may contain; the child calls this function.
    """
    for name in named_by_pid(variables, pid):
        variables[name] = str(os.getpid())
        if name == "LISTEN_PID":
            variables.pop("LISTEN_PIDFDID", None)  # systemd 258: the inode of our pidfd
    return variables


def named_by_pid(variables: Mapping[str, str], pid: int) -> list[str]:
    """The names of the variables whose value is this process ID."""
    return [name for name in ("LISTEN_PID", "WATCHDOG_PID") if variables.get(name) == str(pid)]


def binding() -> Callable[[], None] | None:
    """A function for the child to call: under a lock it must die with us, or two could do the job."""
    if sys.platform != "linux":
        return None
    from leaderlock.kernel.control import die_with_parent  # noqa: PLC0415  (needs ctypes)

    ours = os.getpid()
    return lambda: die_with_parent(signal.SIGKILL, ours)
