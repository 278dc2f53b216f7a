"""A signal handler that raises at any instant leaves nothing held, no descriptor and no thread."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from benchmarks.surfaces import SURFACES
from leaderlock import LeaderLock, LockTimeout
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.threads import allocate_lock
from leaderlock.kernel.watchers import Watchers

ROOT = Path(__file__).resolve().parent.parent
HITS = {
    "with": 1500,
    "acquire": 1500,
    "acquire-timeout": 1500,
    "contended": 1500,
    "queued": 1000,
    "run": 200,
    "async-with": 200,
    "lead": 200,
}


def interrupts(surface: str, *arguments: str) -> str:
    """What `benchmarks.interrupts` prints."""
    command = [sys.executable, "-m", "benchmarks.interrupts", "--only", surface, *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "held afterwards 0, descriptors left 0, threads left 0" in run.stdout
    return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("surface", HITS)
def test_a_handler_that_raises_at_random_instants_leaves_nothing_behind(surface: str) -> None:
    assert f"{surface}: {HITS[surface]} hits," in interrupts(surface, "--hits", str(HITS[surface]))


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_a_handler_that_raises_at_each_instant_in_turn_leaves_nothing_behind(surface: str) -> None:
    said = interrupts(surface, "--every-instant")
    instants = int(said.partition("each of ")[2].partition(" ")[0])
    assert instants > 40
    assert f"{instants} hits," in said


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.setprofile stops at the first exception")
def test_a_second_exception_at_each_instant_after_the_first_leaves_nothing_behind() -> None:
    interrupts("acquire-timeout", "--every-instant", "--twice")


class Broken(Exception):
    """Raised by a signal handler."""


class Waiter:
    """Broken off when it is released for the first time."""

    def __init__(self) -> None:
        self.releases = 0

    def release(self) -> None:
        self.releases += 1
        if self.releases == 1:
            raise Broken


def test_an_event_whose_setting_was_broken_off_wakes_all_when_it_is_set_again() -> None:
    event, first, second = NativeEvent(), Waiter(), allocate_lock()
    second.acquire()
    with event.releasing(first), event.releasing(second):
        with pytest.raises(Broken):
            event.set()
        event.set()
        assert first.releases == 2
        assert not second.locked()
        event.set()  # which must not mind that the lock is released


def test_watchers_whom_nobody_could_tell_are_told_again() -> None:
    watchers, event, waiter = Watchers(), NativeEvent(), Waiter()
    watchers.append(event)
    with event.releasing(waiter):
        with pytest.raises(Broken):
            watchers.tell()
        watchers.tell()
        assert waiter.releases == 2


def test_the_end_of_a_block_is_used_again_and_keeps_no_lock_alive(tmp_path: Path) -> None:
    ended, refused, holder = (LeaderLock(tmp_path / "a", timeout=0) for _ in range(3))
    with ended:
        ends = LeaderLock.__dict__["__exit__"]._spare
        assert not ends, "in use"
    [end] = ends.values()
    with holder:
        assert not ends
        with pytest.raises(LockTimeout), refused:
            pass
    assert list(ends.values()) == [end]
    locks = [weakref.ref(ended), weakref.ref(refused)]
    del ended, refused
    assert [lock() for lock in locks] == [None, None]
