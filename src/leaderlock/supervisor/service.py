"""Between the command and a service manager: we are the command's manager, and a service ourselves.

The command reports its state to us (`NotifySocket`), and must beat if a watchdog was asked for. Under
systemd we pass its reports upward, so that ``Type=notify`` and ``WatchdogSec=`` mean the command.
"""

from __future__ import annotations

from leaderlock.kernel.arguments import whole_number
from leaderlock.kernel.sd_notify import Notifier, microseconds, watchdog_interval
from leaderlock.supervisor.messages import say
from leaderlock.supervisor.notify_socket import NotifySocket
from leaderlock.supervisor.watchdog import Watchdog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leaderlock.supervisor.command import SupervisedCommand
    from leaderlock.supervisor.loop import Loop, LoopTimer
    from leaderlock.supervisor.settings import Settings

_LARGEST_PID = 2**22
"""Linux gives no process a greater number (PID_MAX_LIMIT)."""

_PASSED_UPWARD = (
    "READY",
    "RELOADING",
    "MONOTONIC_USEC",
    "STATUS",
    "ERRNO",
    "WATCHDOG",
    "FDSTOREREMOVE",
    "EXTEND_TIMEOUT_USEC",
)


class Service:
    """The command as a service.

    Args:
        loop: calls back for messages and timers.
        settings: for the watchdog and the ready timeout.
        command: asked which processes belong to it; informed when it has missed a deadline.
        is_last: returns whether leaderlock ends when the current command ends.
    """

    def __init__(
        self, loop: Loop, settings: Settings, command: SupervisedCommand, is_last: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._command = command
        self._is_last = is_last
        self._has_said_stopping = False
        self._socket = NotifySocket(loop, command.belongs, self._on_states)
        self._watchdog: Watchdog | None = None
        self._manager: Notifier | None = None
        try:
            self._manager = Notifier.from_environment()
        except ValueError as error:  # the command must run even without notifications
            say(f"the service manager gets no notifications: {error}")
        self._manager_interval = watchdog_interval() if self._manager else None
        self._interval = settings.watchdog or self._manager_interval
        self._first_manager_interval = self._manager_interval
        self._manager_is_deaf = False
        self._beat: LoopTimer | None = None
        if self._manager_interval is not None:
            self._beat_for_the_command()

    def environment(self) -> dict[str, str]:
        """The variables that the command needs to report to us."""
        variables = {"NOTIFY_SOCKET": self._socket.address}
        if self._interval is not None:
            variables["WATCHDOG_USEC"] = str(int(self._interval * 1e6))
        return variables

    def catch_up(self) -> None:
        """Read the waiting messages: a sender can be identified only until it is reaped."""
        self._socket.read()

    def command_started(self) -> None:
        """Start the command's deadlines."""
        settings = self._settings
        self._watchdog = Watchdog(
            self._loop, settings.watchdog, settings.ready_timeout, self._command.fail
        )

    def command_stopping(self) -> None:
        """Stop the watchdog: a command that is being stopped need not beat."""
        if self._watchdog is not None:
            self._watchdog.disarm()

    def command_continued(self) -> None:
        """Restart the interval: the command and we were stopped together, so neither could beat."""
        if self._watchdog is not None:
            self._watchdog.beat()

    def command_ended(self) -> None:
        """Stop the watchdog: the command is gone. We beat for the manager again."""
        self.command_stopping()
        self._watchdog = None
        if self._manager_interval != self._first_manager_interval:  # back to the first interval
            self._manager_interval = self._first_manager_interval
            if self._manager_interval is not None:
                self.tell_manager(f"WATCHDOG_USEC={int(self._manager_interval * 1e6)}")
        if self._manager_interval is not None and self._beat is None:
            self._beat_for_the_command()

    def say_stopping(self) -> None:
        """Tell the manager once that we are about to end. The end of a command alone is not our end."""
        if not self._has_said_stopping:
            self._has_said_stopping = True
            self.tell_manager("STOPPING=1")

    def tell_manager(self, *states: str, descriptors: Sequence[int] = ()) -> None:
        """Pass states on to the manager above us, if there is one."""
        if self._manager is None or not states:
            return
        try:
            self._manager.send(*states, descriptors=descriptors)
        except OSError as error:  # manager gone, or its queue full; log once, until it works again
            if not self._manager_is_deaf:
                say(f"cannot send {states[0]} to the service manager: {error.strerror}")
            self._manager_is_deaf = True
        else:
            self._manager_is_deaf = False

    def _beat_for_the_command(self) -> None:
        """Beat for the manager until the command beats itself, and while there is no command."""
        assert self._manager_interval is not None
        self.tell_manager("WATCHDOG=1")
        self._beat = self._loop.call_later(self._manager_interval / 2, self._beat_for_the_command)

    def _on_states(self, states: dict[str, str], sender: int, descriptors: list[int]) -> None:
        if self._watchdog is None:
            return
        say(f"process {sender} says {' '.join(f'{k}={v}' for k, v in states.items())}", 2)
        if self._beat is not None and (states.get("READY") == "1" or states.get("WATCHDOG") == "1"):
            self._beat.cancel()
            self._beat = None
            self.tell_manager("WATCHDOG=1")
        self._pass_upward(states)
        if states.get("FDSTORE") == "1":
            self._store(states, descriptors)
        self._obey(states)

    def _store(self, states: dict[str, str], descriptors: list[int]) -> None:
        """Pass on descriptors that the command asks the manager to keep for its next start."""
        if self._manager is None:
            say("FDSTORE=1 is refused: there is no service manager that could keep the descriptors")
        elif descriptors:
            names = [f"{key}={states[key]}" for key in ("FDNAME", "FDPOLL") if key in states]
            self.tell_manager("FDSTORE=1", *names, descriptors=descriptors)

    def _pass_upward(self, states: dict[str, str]) -> None:
        passed = [key for key in _PASSED_UPWARD if key in states]
        if "FDSTOREREMOVE" in states and "FDNAME" in states:
            passed.append("FDNAME")
        # We act on a trigger and on the beats that we watch; they are not passed on.
        if states.get("WATCHDOG", "1") != "1":
            passed.remove("WATCHDOG")
        self.tell_manager(*[f"{key}={states[key]}" for key in passed])

    def _obey(self, states: dict[str, str]) -> None:
        watchdog = self._watchdog
        assert watchdog is not None
        if "STATUS" in states:
            say(f"status: {states['STATUS'][:200]}", 1)
        if pid := whole_number(states.get("MAINPID", ""), _LARGEST_PID):
            self._command.set_main_process(pid)
        if states.get("READY") == "1":
            watchdog.ready()
        if "WATCHDOG_USEC" in states:
            seconds = self._microseconds(states["WATCHDOG_USEC"])
            if seconds is not None:
                self._change_interval(seconds, watchdog)
        if "EXTEND_TIMEOUT_USEC" in states:
            seconds = self._microseconds(states["EXTEND_TIMEOUT_USEC"])
            if seconds is not None:
                watchdog.extend(seconds)
                self._command.extend_stop(seconds)
        if states.get("WATCHDOG") == "1":
            watchdog.beat()
        elif states.get("WATCHDOG") == "trigger":
            watchdog.trigger()
        if states.get("STOPPING") == "1":
            watchdog.disarm()
            if self._is_last():
                self.say_stopping()
            elif self._manager_interval is not None and self._beat is None:
                self._beat_for_the_command()  # the command need not beat, but the manager still waits

    def _change_interval(self, seconds: float, watchdog: Watchdog) -> None:
        """Change our interval and the manager's by the same amount; without one, only the manager's."""
        margin = 0.0
        if self._settings.watchdog is not None or self._manager is None:
            watchdog.set_interval(seconds)
        if self._settings.watchdog is not None and self._first_manager_interval is not None:
            margin = max(self._first_manager_interval - self._settings.watchdog, 0)
        upward = self._settings.watchdog is None or self._manager_interval is not None
        if upward and self._manager is not None:
            self._manager_interval = seconds + margin
            self.tell_manager(f"WATCHDOG_USEC={int((seconds + margin) * 1e6)}")

    def _microseconds(self, text: str) -> float | None:
        seconds = microseconds(text)
        if seconds is None:
            self._socket.ignore(f"{text[:40]!r} is not a number of microseconds")
        return seconds
