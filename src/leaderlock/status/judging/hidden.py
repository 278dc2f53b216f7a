"""Names the parts of a status that the asking process may not see, the reason, and the remedy."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.status.facts import Asker, LockFacts, SearchFacts


def hidden_from(asker: Asker, facts: LockFacts) -> str | None:
    """One text that names everything hidden of a lock, or None."""
    found = []
    if facts.file.unreadable is not None:
        found.append(
            f"the record (term, since, host): user {asker.user} may not read the file "
            f"({facts.file.unreadable}); ask as root or as user {facts.file.owner_name}"
        )
    if facts.unseen:
        found.append(
            f"command and user of {_some(facts.unseen)}: /proc shows only one's own processes here "
            f"({asker.hidepid or 'proc(5)'}); ask as root, or as a member of the group in its gid= "
            f"option"
        )
    if facts.taker is None and asker.in_pid_namespace:
        found.append(
            "holders outside of this container: the kernel leaves them out of /proc/locks in a PID "
            "namespace that they are not in; ask on the host"
        )
    if facts.waiting and not asker.sees_whole_queue:
        found.append(f"all but the first who wait: Linux {asker.kernel} does not show them (5.13 does)")
    return "; ".join(found) or None


def unsearched_by(asker: Asker, search: SearchFacts) -> str | None:
    """One text that names the places where a search could not look for locks, or None."""
    found = []
    if search.closed:
        found.append(f"the locks in {', '.join(search.closed)}")
    if search.unseen:
        count = f"{search.unseen} locked file{'s' if search.unseen > 1 else ''}"
        found.append(f"{count} of other users, which may or may not be locks of leaderlock")
    if not found:
        return None
    return f"{' and '.join(found)}: user {asker.user} may not look there; ask as root"


def _some(pids: list[int]) -> str:
    names = ", ".join(map(str, pids[:5]))
    word = "process" if len(pids) == 1 else "processes"
    return f"{word} {names}" + (f" and {len(pids) - 5} more" if len(pids) > 5 else "")
