"""The stop schedule, in the form of start-stop-daemon(8)'s ``--retry``: ``TSTP/0/TERM/25/KILL/5``."""

from __future__ import annotations

import math

from leaderlock.supervisor.signals import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.loop import Loop, LoopTimer


class Stage:
    """One signal, and the seconds to wait after it; None waits until the target has ended."""

    __slots__ = ("seconds", "signal")

    def __init__(self, number: int, seconds: float | None) -> None:
        self.signal = number
        self.seconds = seconds


class Schedule:
    """Signals with waits between them.

    Args:
        text: signals and seconds in turn, separated by slashes: ``TERM/25/KILL``. Without seconds
            the next signal follows at once; after the last one the wait has no end, as in ``TERM``.

    Raises:
        ValueError: the text is not a schedule.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.stages: list[Stage] = []
        for word in text.split("/"):
            seconds = _seconds(word)
            if seconds is None:
                self._end_last_stage()
                self.stages.append(Stage(signal_number(word.removeprefix("-")), None))
            elif not self.stages or self.stages[-1].seconds is not None:
                raise ValueError(f"{word!r} stands where a signal is needed, as in TERM/25/KILL")
            else:
                self.stages[-1].seconds = seconds

    def _end_last_stage(self) -> None:
        if self.stages and self.stages[-1].seconds is None:
            self.stages[-1].seconds = 0


def _seconds(word: str) -> float | None:
    """The number in a word, or None if the word names a signal, such as start-stop-daemon's -15."""
    if not word:
        raise ValueError("a part of it is empty; it is written like TERM/25/KILL")
    if not set(word) <= set("0123456789.") or word.count(".") > 1 or word == ".":
        return None  # also for "nan" and "1_000", which float() accepts
    seconds = float(word)
    if not math.isfinite(seconds):
        raise ValueError(f"{word!r} is not a number of seconds")
    return seconds


class Stopper:
    """A schedule under way: sends each stage's signal and waits, stage by stage, until cancelled.

    Args:
        loop: runs the timers of the stages.
        schedule: the stages.
        send: sends a signal to the target.
        given_up: called when the last stage's time has passed too.
    """

    def __init__(
        self,
        loop: Loop,
        schedule: Schedule,
        send: Callable[[int], None],
        given_up: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._rest = list(schedule.stages)
        self._send = send
        self._given_up = given_up
        self._timer: LoopTimer | None = None
        self.last_signal = 0

    def step(self) -> None:
        """Begin the next stage, and all stages that follow without a wait."""
        self._timer = None  # otherwise `extend` would end a last stage that waits without end
        while self._rest:
            stage = self._rest.pop(0)
            self.last_signal = stage.signal
            self._send(stage.signal)
            if stage.seconds is None:
                return
            if stage.seconds > 0 or not self._rest:
                self._timer = self._loop.call_later(stage.seconds, self.step)
                return
        self._given_up()

    def extend(self, seconds: float) -> None:
        """Let the current stage last at least this many seconds from now on."""
        if self._timer is not None and not self._timer.cancelled:
            self._timer.cancel()
            self._timer = self._loop.call_later(max(seconds, self._timer.left()), self.step)

    def cancel(self) -> None:
        """Send no more signals."""
        self._rest.clear()
        if self._timer is not None:
            self._timer.cancel()


ABORT = "ABRT/5/KILL/5"
"""For a command that missed its beat: ABRT for a core dump or traceback, then KILL."""

LAST = "KILL/5"
"""For a command that runs under a lock and has outlived its schedule."""
