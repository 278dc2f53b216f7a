"""`LeaderLock` and `call_once` in a green thread: it waits by its hub, which runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import flocks_of, holder, until, until_parked
from tests.test_native_threads import Program, libraries, orders

WAYS = {
    "acquire": "lock.acquire()",
    "acquire with a timeout": "assert lock.acquire(timeout=1000)",
    "with": "with lock: pass",
    "with a timeout": "with leaderlock.LeaderLock(path, timeout=1000): pass",
    "call_once": "assert leaderlock.call_once(path=path)(lambda: 7)() == 7",
}
WAITS = """
lock = leaderlock.LeaderLock(path)
def wait():
    {way}
    say("done")

waiter = spawn(wait)
say("started")
before = ticks
told()
while ticks < before + 20:
    sleep(0.001)
say("the hub has run")
told()
"""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@libraries
def test_the_hub_runs_on_while_a_green_thread_waits(
    path: Path, library: dict[str, str], way: str
) -> None:
    with holder(path) as other, Program(library, True, WAITS.replace("{way}", way), path) as program:
        assert program.line() == "started"
        until_parked(path, program.process.pid)
        program.go_on()
        assert program.line() == "the hub has run"
        other.kill()
        assert program.line() == "done"


@orders
@libraries
def test_so_also_if_leaderlock_was_imported_before_the_patch(
    path: Path, library: dict[str, str], patch_first: bool
) -> None:
    body = WAITS.replace("{way}", "lock.acquire()")
    with holder(path) as other, Program(library, patch_first, body, path) as program:
        assert program.line() == "started"
        until_parked(path, program.process.pid)
        program.go_on()
        assert program.line() == "the hub has run"
        other.kill()
        assert program.line() == "done"


TIMES_OUT = """
before = ticks
lock = leaderlock.LeaderLock(path)
say(str(lock.acquire(timeout=0.1)))
say(str(ticks > before))
say(str(lock.acquire(blocking=False)))
told()
say(str(lock.acquire(timeout=1000)))
told()
"""


@libraries
def test_the_time_of_a_green_thread_passes_while_the_hub_runs(
    path: Path, library: dict[str, str]
) -> None:
    with holder(path) as other, Program(library, True, TIMES_OUT, path) as program:
        assert [program.line() for _ in range(3)] == ["False", "True", "False"]
        assert flocks_of(path) == [(other.pid, False)]
        other.kill()
        program.go_on()
        assert program.line() == "True"
        assert flocks_of(path) == [(program.process.pid, False)]


ONE_OBJECT = """
lock = leaderlock.LeaderLock(path)
inside = [0]
def work(name):
    for _ in range(20):
        assert lock.acquire({arguments})
        inside[0] += 1
        assert inside[0] == 1
        sleep(0.001)
        inside[0] -= 1
        lock.release()
    say("done")

for name in range(4):
    spawn(work, name)
told()
"""


@pytest.mark.parametrize("arguments", ["", "timeout=1000"])
@libraries
def test_green_threads_share_one_object(path: Path, library: dict[str, str], arguments: str) -> None:
    body = ONE_OBJECT.replace("{arguments}", arguments)
    with Program(library, True, body, path) as program:
        assert [program.line() for _ in range(4)] == ["done"] * 4


KILLED = """
lock = leaderlock.LeaderLock(path)
def wait():
    with lock:
        say("never")

waiter = spawn(wait)
told()
waiter.kill()
sleep(0)
say("killed")
told()
say(str(lock.acquire(timeout=1000)))
told()
"""


@libraries
def test_a_green_thread_that_is_killed_leaves_the_queue(path: Path, library: dict[str, str]) -> None:
    with holder(path) as other, Program(library, True, KILLED, path) as program:
        until_parked(path, program.process.pid)
        program.go_on()
        assert program.line() == "killed"
        assert flocks_of(path) == [(other.pid, False)]
        program.go_on()
        until_parked(path, program.process.pid)
        other.kill()
        assert program.line() == "True"
        until(lambda: flocks_of(path) == [(program.process.pid, False)])
