"""A schedule under way, step by step, on a clock that the tests turn."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from leaderlock.supervisor.schedule import Schedule, Stopper

TERM, KILL, INT = signal.SIGTERM, signal.SIGKILL, signal.SIGINT


class Turned:
    """A loop's timers, which run when the test turns the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def call_later(self, seconds: float, function: Callable[[], None]) -> Timer:
        timer = Timer(self, self.now + seconds, function)
        self.timers.append(timer)
        return timer

    def turn(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted((t for t in self.timers if t.due <= end), key=lambda t: t.due):
            timer = due[0]
            self.timers.remove(timer)
            self.now = timer.due
            if not timer.cancelled:
                timer.function()
        self.now = end


class Timer:
    def __init__(self, clock: Turned, due: float, function: Callable[[], None]) -> None:
        self.clock, self.due, self.function = clock, due, function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def left(self) -> float:
        return max(self.due - self.clock.now, 0)


class Stop:
    """A stopper, and what it has done when."""

    def __init__(self, text: str) -> None:
        self.clock = Turned()
        self.done: list[tuple[float, object]] = []
        loop: Any = self.clock
        self.stopper = Stopper(
            loop,
            Schedule(text),
            lambda number: self.done.append((self.clock.now, number)),
            lambda: self.done.append((self.clock.now, "given up")),
        )
        self.stopper.step()


def test_each_stage_follows_when_its_time_has_come() -> None:
    stop = Stop("TSTP/0/TERM/25/KILL/5")
    assert stop.done == [(0, signal.SIGTSTP), (0, TERM)]
    assert stop.stopper.last_signal == TERM
    stop.clock.turn(24)
    assert len(stop.done) == 2
    stop.clock.turn(100)
    assert stop.done[2:] == [(25, KILL), (30, "given up")]
    assert stop.stopper.last_signal == KILL


def test_a_last_stage_without_seconds_has_no_end() -> None:
    stop = Stop("TERM/5/INT")
    stop.clock.turn(1e9)
    assert stop.done == [(0, TERM), (5, INT)]


def test_a_last_stage_of_no_seconds_ends_once_the_signal_has_been_acted_on() -> None:
    stop = Stop("TERM/0")
    assert stop.done == [(0, TERM)]  # not within the step, before the loop has looked
    stop.clock.turn(0)
    assert stop.done == [(0, TERM), (0, "given up")]


def test_more_time_never_shortens_a_stage() -> None:
    stop = Stop("TERM/25/KILL/5")
    stop.clock.turn(5)
    stop.stopper.extend(10)
    stop.clock.turn(19)
    assert stop.done == [(0, TERM)]
    stop.clock.turn(1)
    assert stop.done == [(0, TERM), (25, KILL)]


def test_more_time_lasts_from_the_moment_it_is_asked_for() -> None:
    stop = Stop("TERM/25/KILL/5")
    stop.clock.turn(20)
    stop.stopper.extend(10)
    stop.clock.turn(100)
    assert stop.done == [(0, TERM), (30, KILL), (35, "given up")]


def test_more_time_ends_no_stage_that_waits_without_end() -> None:
    stop = Stop("TERM/5/INT")
    stop.clock.turn(6)
    stop.stopper.extend(1)
    stop.clock.turn(1e9)
    assert stop.done == [(0, TERM), (5, INT)]


@pytest.mark.parametrize("after", [0, 10, 26])
def test_a_schedule_that_is_cancelled_sends_nothing_more(after: float) -> None:
    stop = Stop("TERM/25/KILL/5")
    stop.clock.turn(after)
    before = list(stop.done)
    stop.stopper.cancel()
    stop.stopper.extend(3)  # a command that is late may still ask
    stop.clock.turn(1e9)
    assert stop.done == before
