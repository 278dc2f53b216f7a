"""The settings of a supervisor: each field is an option of ``leaderlock run``."""

from __future__ import annotations

import os

from leaderlock.supervisor.restart import RestartPolicy
from leaderlock.supervisor.schedule import Schedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from leaderlock.engines.engine import Engine

DEFAULT_SCHEDULE = "TERM/25/KILL/5"


class Settings:
    """All settings, with their defaults.

    Attributes:
        command: the program and its arguments.
        engine: the election to win before the command starts; None runs the command without one.
        limit: the longest wait for the election, in seconds; None waits for ever, 0 does not wait.
        schedule: how the command is stopped; None only forwards signals, as tini does.
        whole_group: whether signals go to the command's process group.
        subreaper: whether orphans become our children although we are not PID 1.
        collects_for_want_of_pidfds: whether we are a subreaper only because pidfds do not work here.
        shares_group: whether the command stays in our process group, because others at our terminal do.
        follow: whether a daemon that the command leaves behind, with status 0, becomes the command.
        parent_death_signal: the signal that the kernel sends us when our parent ends; 0 for none.
        sidecars: commands that run beside the command.
        log_sidecar: a command that reads the command's output.
        sidecar_grace: seconds that a sidecar has to end by itself.
        sidecar_exit: what to do when a sidecar ends first.
        restart: when the command is started again.
        resign_on_failure: whether another process may lead before a restart.
        watchdog: the longest time in seconds between the command's beats; None for no watchdog.
        ready_timeout: seconds until the command must send ``READY=1``; None if it need not.
        ping: the URL of a check that gets a ping at each start and end; None for no pings.
        expected_statuses: exit statuses that become 0.
        passes_notify: whether the command gets the service manager's socket from our environment
            unchanged, and speaks with the manager itself.
        below_pid1: whether PID 1 is our own other half, `outer`.
        warns_of_orphans: whether each orphan that is reaped is logged as a warning.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.engine: Engine | None = None
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
        self.below_pid1 = False
        self.warns_of_orphans = False

    @property
    def hears_of_all_ends(self) -> bool:
        """Whether SIGCHLD reports the end of every process that the command leaves behind."""
        return os.getpid() == 1 or self.subreaper or self.collects_for_want_of_pidfds

    @property
    def can_be_continued(self) -> bool:
        """Whether a shell could continue us after a stop: nobody can if we lead our session."""
        return not self.below_pid1 and os.getpid() != os.getsid(0)

    @property
    def is_service(self) -> bool:
        """Whether the command reports its state, to us or to a manager above us."""
        wanted = self.watchdog is not None or self.ready_timeout is not None
        return wanted or (bool(os.environ.get("NOTIFY_SOCKET")) and not self.passes_notify)
