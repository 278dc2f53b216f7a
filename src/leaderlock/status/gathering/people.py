"""The processes around a lock: their visible details, and the names of users."""

from __future__ import annotations

from functools import lru_cache

from leaderlock.kernel.proc.containers import cgroup_of, container_of
from leaderlock.kernel.proc.processes import command_line, identity_of
from leaderlock.status.model import ProcessStatus


def process(pid: int) -> ProcessStatus:
    """The visible details of a process."""
    identity = identity_of(pid)
    if identity is None:
        return ProcessStatus(pid, None, None, None, None, None, None)
    cgroup = cgroup_of(pid)
    return ProcessStatus(
        pid,
        command_line(pid),
        user_name(identity.uid),
        identity.uid,
        container_of(cgroup, identity.pids),
        cgroup,
        identity.state,
    )


@lru_cache
def user_name(uid: int) -> str:
    """The user's name, or the user ID as text."""
    import pwd  # noqa: PLC0415  (Windows has none)

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
