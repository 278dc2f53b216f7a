"""`lease=`: a leader that does not beat is killed, and one that beats, ends or stands by is not."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock import Election, Leadership, only_once
from tests.processes import Child, flocks_of, run_task, until
from tests.supervisor.pid1 import IN_NAMESPACE, needs_namespaces

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these timers")

PROGRAM = """
from leaderlock import Election, only_once
path = argv[0]
terms = []

def say_nothing(leadership):
    terms.append(leadership.term)
    leadership.stopping.wait()

def beat(leadership):
    terms.append(leadership.term)
    for _ in leadership.every(0.05):
        pass
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "leader.lock"


@pytest.fixture
def child(lock: Path) -> Iterator[Child]:
    with Child(lock) as process:
        process.tell(PROGRAM)
        yield process


def test_a_leader_that_does_not_beat_is_killed_and_a_standby_leads(lock: Path, child: Child) -> None:
    with Child(lock) as standby:
        child.tell("candidate = Election(path, lease=1.5).start(say_nothing)")
        assert child.tell("candidate.wait(60)")
        standby.tell(PROGRAM)
        standby.tell("candidate = Election(path, lease=1.5).start(beat)")
        assert standby.tell("candidate.wait(60)")
        until(lambda: standby.tell("terms") == [2], "its task to begin")
        assert child.wait() == -signal.SIGKILL
        assert standby.tell("time.sleep(2) or terms") == [2]


def test_a_standby_does_not_have_to_beat(lock: Path, child: Child) -> None:
    with Child(lock) as standby:
        child.tell("candidate = Election(path).start(beat)")
        assert child.tell("candidate.wait(60)")
        standby.tell(PROGRAM)
        standby.tell("candidate = Election(path, lease=0.2).start(beat)")
        until(lambda: len(flocks_of(lock)) == 2, "it to stand by")
        assert standby.tell("time.sleep(0.6) or candidate.state") == "standby"


@pytest.mark.parametrize("on_return", ["hold", "resign"])
def test_the_lease_ends_with_the_task(child: Child, on_return: str) -> None:
    child.tell(f"election = Election(path, lease=1, on_return={on_return!r})")
    assert child.tell("election.run(lambda leadership: leadership.term)") == 1
    assert child.tell("time.sleep(1.5) or 'alive'") == "alive"


def test_a_task_that_is_asked_to_stop_still_has_to_beat(child: Child) -> None:
    child.tell("candidate = Election(path, lease=1.5).start(lambda leadership: time.sleep(600))")
    child.tell("candidate.wait()")
    child.begin("candidate.stop()")
    assert child.wait() == -signal.SIGKILL


def test_a_candidate_that_has_stopped_is_not_killed(child: Child) -> None:
    child.tell("candidate = Election(path, lease=1).start(say_nothing)")
    child.tell("candidate.wait() and candidate.stop()")
    assert child.tell("time.sleep(1.5) or candidate.state") == "stopped"


def test_each_term_has_a_lease_of_its_own(child: Child) -> None:
    child.tell(
        "def fail_once(leadership):\n"
        "    terms.append(leadership.term)\n"
        "    if leadership.term == 1: raise ArithmeticError\n"
        "    leadership.stopping.wait()"
    )
    child.tell("Election(path, lease=1.5, backoff=(3, 3)).start(fail_once)")
    assert child.tell("time.sleep(1.6) or terms") == [1]  # in the backoff, nobody has to beat
    assert child.wait() == -signal.SIGKILL


def test_a_forked_child_of_the_leader_is_not_killed_with_it(lock: Path, child: Child) -> None:
    child.tell("reader, writer = os.pipe()")
    child.tell(
        "def fork(leadership):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        time.sleep(3)\n"
        "        os.write(2, b'')\n"
        "        open(path + '.lived', 'w').close()\n"
        "        os._exit(0)\n"
        "    leadership.stopping.wait()"
    )
    child.begin("Election(path, lease=1.5).start(fork); None")
    assert child.wait() == -signal.SIGKILL
    until(Path(f"{lock}.lived").exists, "the child to outlive it")


def test_a_lost_leadership_is_not_beaten_for(lock: Path, child: Child) -> None:
    """Whoever ignores that the file was replaced, so that another one may lead, is killed."""
    child.tell(
        "def ignore(leadership):\n"
        "    while True:\n"
        "        try: leadership.beat()\n"
        "        except leaderlock.LeadershipLost: pass\n"
        "        time.sleep(0.05)"
    )
    child.tell("candidate = Election(path, lease=1.5).start(ignore)")
    assert child.tell("candidate.wait() and (time.sleep(2) or candidate.is_leader)")
    lock.unlink()
    assert child.wait() == -signal.SIGKILL


def test_the_decorator_takes_a_lease(child: Child) -> None:
    child.begin("only_once(path=path, lease=0.5)(lambda: time.sleep(600))(); None")
    assert child.wait() == -signal.SIGKILL


def test_a_tick_of_more_than_half_a_lease_is_refused(lock: Path) -> None:
    def task(leadership: Leadership) -> None:
        with pytest.raises(ValueError, match="shorter than twice the tick"):
            leadership.every(31)
        assert next(iter(leadership.every(30))) == 0

    run_task(Election(lock, lease=60, on_return="resign"), task)


def test_a_wait_of_a_lease_is_refused(lock: Path) -> None:
    def task(leadership: Leadership) -> None:
        for seconds, words in ((60, "outlast"), (61.5, "outlast"), (float("nan"), "a number")):
            with pytest.raises(ValueError, match=words):
                leadership.wait(seconds)
        assert not leadership.wait(0.01)

    run_task(Election(lock, lease=60, on_return="resign"), task)


def test_a_lease_that_cannot_be_is_refused_where_it_is_asked_for(lock: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        only_once(path=lock, lease=0.01)(lambda: None)()
    assert not lock.exists()


@needs_namespaces
def test_who_cannot_be_killed_does_not_lead(lock: Path) -> None:
    """PID 1 of a container: the kernel lets no signal from inside kill it."""
    program = f"""
import logging, sys
from leaderlock import Election
logging.basicConfig(stream=sys.stdout)
election = Election({str(lock)!r}, lease=1, backoff=(60, 60))
candidate = election.start(lambda leadership: print("leads"))
print(candidate.wait(0.5), candidate.state)
try:
    election.run(print)
except Exception as error:
    print(type(error).__name__)
"""
    import subprocess

    done = subprocess.run(
        [*IN_NAMESPACE, sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "cannot kill PID 1" in done.stdout
    assert "leads" not in done.stdout
    assert done.stdout.endswith("False standby\nUnsupported\n")
    assert os.path.exists(lock)


def test_the_first_beat_of_a_task_that_begins_to_beat_late_is_recorded(path: Path) -> None:
    with Child(path) as child:
        child.tell(
            "from leaderlock.status import status_of\n"
            "seen = []\n"
            "def task(leadership):\n"
            "    while time.time() < leadership.since + 1.1:\n"  # a beat is recorded once a second
            "        time.sleep(0.05)\n"
            "    leadership.beat()\n"
            "    seen.append(status_of(argv[0]).holder.last_beat)\n"
            "leaderlock.Election(argv[0], lease=60, on_return='resign').run(task)"
        )
        assert child.tell("seen[0] is not None")
