"""What a supervisor is told to do: each field is an option of ``leaderlock run``."""

from __future__ import annotations

import os

from leaderlock.supervisor.restart import RestartPolicy
from leaderlock.supervisor.schedule import Schedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from leaderlock.lock.leader_lock import LeaderLock

DEFAULT_SCHEDULE = "TERM/25/KILL/5"


class Settings:
    """All of them, with their defaults.

    Attributes:
        command: the program and its arguments.
        lock: acquired before the command starts, released after it has ended.
        limit: the longest wait for it, in seconds; None waits without end, 0 not at all.
        schedule: how the command is stopped; None only forwards signals, as tini does.
        whole_group: whether signals go to the command's process group.
        subreaper: whether orphans become our children though we are not PID 1.
        collects_for_want_of_pidfds: whether we are a subreaper only because pidfds are not to be had.
        shares_group: whether the command stays in our process group: others at our terminal do as well.
        follow: whether a daemon that the command leaves behind, with status 0, is the command then.
        parent_death_signal: what the kernel sends us when our parent ends; 0 for nothing.
        sidecars: commands that run beside it.
        log_sidecar: a command that reads the command's output.
        sidecar_grace: seconds a sidecar has to end by itself.
        sidecar_exit: what to do when one ends first.
        restart: when the command is started again.
        resign_on_failure: whether the lock is given away before a restart.
        watchdog: seconds from beat to beat, as asked of the command; None for no watchdog.
        ready_timeout: seconds until the command must say ``READY=1``; None if it need not.
        ping: the URL of a check that is told of each start and end; None for none.
        expected_statuses: exit statuses that become 0.
        passes_notify: whether the command finds the service manager's socket, if there is one, as we
            have found it, and speaks with the manager itself.
        warns_of_orphans: whether each orphan that is taken in is worth a line.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.lock: LeaderLock | None = None
        self.limit: float | None = None
        self.schedule: Schedule | None = Schedule(DEFAULT_SCHEDULE)
        self.whole_group = False
        self.subreaper = False
        self.follow = False
        self.shares_group = False
        self.collects_for_want_of_pidfds = False
        self.parent_death_signal = 0
        self.sidecars: list[list[str]] = []
        self.log_sidecar: list[str] | None = None
        self.sidecar_grace = 2.0
        self.sidecar_exit: Literal["stop", "restart", "ignore"] = "stop"
        self.restart = RestartPolicy()
        self.resign_on_failure = False
        self.watchdog: float | None = None
        self.ready_timeout: float | None = None
        self.ping: str | None = None
        self.expected_statuses: frozenset[int] = frozenset()
        self.passes_notify = False
        self.warns_of_orphans = False

    @property
    def hears_of_all_ends(self) -> bool:
        """Whether SIGCHLD tells of the end of all that the command leaves behind."""
        return os.getpid() == 1 or self.subreaper or self.collects_for_want_of_pidfds

    @property
    def is_service(self) -> bool:
        """Whether the command is to tell how it is: to us, or to a manager above us."""
        wanted = self.watchdog is not None or self.ready_timeout is not None
        return wanted or (bool(os.environ.get("NOTIFY_SOCKET")) and not self.passes_notify)
