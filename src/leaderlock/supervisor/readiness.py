"""What a supervisor does before anything waits or runs: rights, dispositions, and imports."""

from __future__ import annotations

import os

from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.supervisor.settings import Settings


def prepare_process(settings: Settings) -> None:
    """Ask the kernel for orphans and for a signal when our parent ends; let no terminal stop us.

    Raises:
        Unsupported: the kernel refuses.
    """
    if settings.subreaper or settings.parent_death_signal:
        from leaderlock.kernel import control  # noqa: PLC0415  (needs ctypes)

        if settings.subreaper:
            control.become_subreaper()
        if settings.parent_death_signal:
            control.ask_for_parent_death_signal(settings.parent_death_signal)
    for number in (signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)


def import_the_rest(settings: Settings) -> None:
    """Import all that a run may need later, since the package may be replaced or removed meanwhile.

    Called before the wait for the lock; without a lock while the command already runs.
    """
    from leaderlock.supervisor import family, leftovers, vigil  # noqa: F401, PLC0415

    if settings.lock is not None:
        from leaderlock.supervisor import lookout, queue  # noqa: F401, PLC0415
    if settings.lock is not None and os.name == "posix":
        try:
            from leaderlock.kernel import control, handlers, inotify  # noqa: F401, PLC0415
        except ImportError:  # not Linux, or no ctypes
            return
