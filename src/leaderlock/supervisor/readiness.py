"""Prepares a supervisor before it waits or runs anything: rights, signal dispositions, imports."""

from __future__ import annotations

import os
import sys

from leaderlock.errors import Unsupported
from leaderlock.kernel.signals import signal
from leaderlock.supervisor.spawn import shares_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.supervisor.settings import Settings


def share_group(settings: Settings) -> None:
    """Decide whether the command stays in our group; if so, its processes are found by descent."""
    settings.shares_group = shares_terminal()
    if settings.shares_group and settings.schedule is not None and sys.platform == "linux":
        settings.subreaper = True


def prepare_process(settings: Settings) -> None:
    """Ask the kernel for orphans and for a parent-death signal, and ignore SIGTTIN and SIGTTOU.

    Raises:
        Unsupported: the kernel refuses.
    """
    if not settings.hears_of_all_ends and settings.schedule is not None and not can_watch_by_pidfd():
        settings.collects_for_want_of_pidfds = True
    if (settings.hears_of_all_ends and os.getpid() != 1) or settings.parent_death_signal:
        from leaderlock.kernel import control  # noqa: PLC0415  (needs ctypes)

        if settings.hears_of_all_ends:
            try:
                control.become_subreaper()
            except Unsupported as error:
                if not settings.collects_for_want_of_pidfds:
                    raise
                raise Unsupported(
                    "leaderlock cannot notice when a process that the command leaves behind ends: "
                    f"neither pidfd_open(2) nor PR_SET_CHILD_SUBREAPER works here ({error}). Allow one "
                    "of them in the seccomp profile, or use `leaderlock init`"
                ) from error
        if settings.parent_death_signal:
            control.ask_for_parent_death_signal(settings.parent_death_signal)
    for number in (signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)


def can_watch_by_pidfd() -> bool:
    """Whether pidfd_open(2) and pidfd_send_signal(2) work here.

    Linux before 5.3 lacks them (ENOSYS). Seccomp profiles that are older than these calls forbid them
    (EPERM).
    """
    try:
        fd = os.pidfd_open(os.getpid())
    except (OSError, AttributeError):
        return False
    try:
        signal.pidfd_send_signal(fd, 0)
    except (OSError, AttributeError):
        return False
    finally:
        os.close(fd)
    return True


def import_the_rest(settings: Settings) -> None:
    """Import all that a run may need later: the package may be replaced or removed during the run.

    With a lock, this is called before the wait; without one, after the command was started.
    """
    from leaderlock.supervisor import family, leftovers, vigil  # noqa: F401, PLC0415

    if settings.engine is not None:
        from leaderlock.supervisor import lock_wait, term_watch  # noqa: F401, PLC0415

        settings.engine.import_for_term()
        try:
            from leaderlock.kernel import control  # noqa: F401, PLC0415
        except ImportError:  # not Linux, or no ctypes
            return
