"""Names the parts of a lock's status that this process may not see, the reason, and the remedy."""

from __future__ import annotations

import os

from leaderlock.kernel.proc.processes import is_there
from leaderlock.kernel.proc.queues import shows_whole_queue
from leaderlock.kernel.proc.surroundings import hidepid, in_pid_namespace
from leaderlock.status.people import user_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.status.model import HolderStatus, ProcessStatus
    from leaderlock.status.opened import Opened


def hidden_from_us(
    opened: Opened, holder: HolderStatus | None, waiting: list[ProcessStatus]
) -> str | None:
    """One text that names everything hidden, or None."""
    found = []
    if opened.unreadable is not None:
        found.append(
            f"the record (term, since, host): user {user_name(os.geteuid())} may not read the file "
            f"({opened.unreadable}); ask as root or as user {user_name(opened.status().st_uid)}"
        )
    unseen = [person.pid for person in waiting if person.state is None]
    if holder is not None and holder.state is None:
        unseen.insert(0, holder.pid)
    unseen = [pid for pid in unseen if pid and is_there(pid)]
    if unseen:
        found.append(
            f"command and user of {_some(unseen)}: /proc shows only one's own processes here "
            f"({hidepid() or 'proc(5)'}); ask as root, or as a member of the group in its gid= option"
        )
    if holder is None and in_pid_namespace():
        found.append(
            "holders outside of this container: the kernel leaves them out of /proc/locks in a PID "
            "namespace that they are not in; ask on the host"
        )
    if waiting and not shows_whole_queue():
        found.append(
            f"all but the first who wait: Linux {os.uname().release} does not show them (5.13 does)"
        )
    return "; ".join(found) or None


def _some(pids: list[int]) -> str:
    names = ", ".join(map(str, pids[:5]))
    word = "process" if len(pids) == 1 else "processes"
    return f"{word} {names}" + (f" and {len(pids) - 5} more" if len(pids) > 5 else "")
