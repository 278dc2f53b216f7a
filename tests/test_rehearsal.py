"""What is walked through before it counts leaves no trace, and what is said later is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Child, flocks_of, holder, until

LOGGED = """
import logging, tempfile
from leaderlock import Election, current_leadership, only_once
from leaderlock.election import rehearsal
path, log = argv
logging.basicConfig(filename=log, level=logging.INFO, format="%(message)s")

def lead(leadership):
    leadership.stopping.wait()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "leader.lock"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def child(lock: Path, log: Path) -> Iterator[Child]:
    with Child(lock, log) as process:
        process.tell(LOGGED)
        yield process


def test_a_rehearsal_says_nothing_and_leaves_nothing(child: Child, log: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tmp"
    directory.mkdir()
    child.tell(f"tempfile.tempdir = {str(directory)!r}")
    descriptors = child.tell("len(os.listdir('/proc/self/fd'))")
    child.tell("rehearsal.rehearse_before_fork()")
    assert child.tell("rehearsal.is_learnt")
    assert list(directory.iterdir()) == []
    assert log.read_text() == ""
    assert child.tell("threading.active_count()") == 1
    # The decoy, by which a wait is called off, stays open for the next one.
    assert child.tell("len(os.listdir('/proc/self/fd'))") <= descriptors + 1


def test_a_rehearsal_where_nothing_can_be_written_is_left_out(child: Child) -> None:
    child.tell("tempfile.tempdir = '/proc'")
    child.tell("rehearsal.rehearse_before_fork()")
    assert child.tell("Election(path).run(lambda leadership: leadership.term)") == 1


def test_nobody_takes_a_rehearsal_for_a_leadership(child: Child) -> None:
    """Looked at before each line of it, as another thread would."""
    child.tell(
        "import contextvars\n"
        "seen = []\n"
        "def look(frame, event, argument):\n"
        "    seen.append(contextvars.Context().run(current_leadership))\n"
        "    return look\n"
        "sys.settrace(look)\n"
        "rehearsal.rehearse_in_place()\n"
        "sys.settrace(None)"
    )
    assert child.tell("len(seen) > 1000 and set(seen) == {None}")


def test_a_standby_learns_before_it_parks_and_stands_by(lock: Path, child: Child) -> None:
    with holder(lock):
        child.tell("candidate = Election(path).start(lead)")
        until(lambda: any(pid == child.pid for pid, _ in flocks_of(lock)), "it to stand by")
        assert child.tell("rehearsal.is_learnt")
        assert child.tell("candidate.state") == "standby"
        assert child.tell("candidate.stop(60)")


@pytest.mark.parametrize(
    "start",
    [
        "Election(path).start(lead)",
        "Election(path).start(lambda leadership: leadership.wait(600))",
        "Election(path).start(lambda leadership: [None for _ in leadership.every(600)])",
        "Election(path).start(lambda leadership: (leadership.beat(), time.sleep(600)))",
        "Election(path).start(lambda leadership: None)",
        "only_once(path=path)(lambda: time.sleep(600))()",
    ],
)
@pytest.mark.parametrize("takes_over", [False, True], ids=["at once", "after another"])
def test_who_leads_is_said_once(
    lock: Path, child: Child, log: Path, start: str, takes_over: bool
) -> None:
    if takes_over:
        with Child(lock, log) as first:
            first.tell("lock = LeaderLock(argv[0]); lock.acquire()")
            child.tell(f"candidate = {start}")
            until(lambda: len(flocks_of(lock)) == 2, "it to stand by")
            child.tell("time.sleep(0.05)")
            first.tell("lock.release()")
    else:
        child.tell(f"candidate = {start}")
    term = 2 if takes_over else 1
    line = f"process {child.pid} leads {lock}, term {term}"
    until(lambda: line in log.read_text(), "the line")
    assert log.read_text().count(" leads ") == 1


def test_that_it_led_is_said_before_that_it_resigned(lock: Path, child: Child, log: Path) -> None:
    with Child(lock, log) as first:
        first.tell("lock = LeaderLock(argv[0]); lock.acquire()")
        child.tell("candidate = Election(path, on_return='resign').start(lambda leadership: None)")
        until(lambda: len(flocks_of(lock)) == 2, "it to stand by")
        child.tell("time.sleep(0.05)")
        first.tell("lock.release()")
        until(lambda: " resigned " in log.read_text(), "its end")
    said = [line.split(" ")[2] for line in log.read_text().splitlines()]
    assert said == ["leads", "resigned"]
