"""The history: no acquisition is lost, and each term's end is told as it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leaderlock import Election, LeaderLock, LeaderLockError
from leaderlock.election.leadership import Leadership
from leaderlock.history.reading import History, Term, current, history_of
from leaderlock.lock import journal, record
from tests.processes import Child, flocks_of, holder, until, until_parked
from tests.test_term import CYCLE, FACTORY

LEADING = "candidate = leaderlock.Election(argv[0], **{}).start({})"
BEATING = "lambda leadership: [0 for tick in leadership.every(0.05)]"


def terms_of(path: Path) -> list[Term]:
    return history_of(path).terms


def endings(path: Path) -> list[str | None]:
    return [term.ended for term in terms_of(path)]


@pytest.mark.slow
def test_no_acquisition_is_lost_over_a_thousand_sigkills(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "terms"
    log.touch()
    newest = 0
    with Child(path, log) as factory:
        factory.tell(FACTORY.replace("CYCLE", CYCLE))
        for _ in range(100):  # no more terms in a round than are kept
            factory.tell(f"kill_many(10, {random.randrange(10**6)})")
            history = history_of(path)
            numbers = [term.term for term in history.terms]
            first = max(newest + 1, numbers[-1] - journal.TERMS + 1)
            assert numbers[-(numbers[-1] - first + 1) :] == list(range(first, numbers[-1] + 1))
            assert history.damaged == 0
            newest = numbers[-1]
            logged = [int(line) for line in log.read_bytes().split(b"\n")[:-1]]
            assert logged[-1] <= newest
    assert newest > 1000


def test_a_term_tells_of_its_leader_and_its_end(path: Path) -> None:
    lock = LeaderLock(path)
    before = time.time()
    with lock:
        running = terms_of(path)
        assert [(t.term, t.ended, t.until, t.gap) for t in running] == [(1, None, None, None)]
    [term] = terms_of(path)
    assert (term.pid, term.host, term.lease) == (os.getpid(), os.uname().nodename, None)
    assert term.until is not None
    assert before <= term.since <= term.until <= time.time()
    assert term.ended == "released"


def test_the_gap_is_measured_from_the_end_before_it(path: Path) -> None:
    for _ in range(2):
        with LeaderLock(path):
            pass
    first, second = terms_of(path)
    assert first.until is not None
    assert second.gap == pytest.approx(second.since - first.until)
    assert second.gap_at_most is None


def test_who_was_killed_while_another_waited_ended_when_the_other_began(path: Path) -> None:
    with holder(path) as leader, Child(path) as standby:
        standby.begin("LeaderLock(argv[0]).acquire()\nanswer = True")
        until_parked(path, standby.pid)
        time.sleep(0.02)  # as long as it takes to tell a wait from none
        leader.kill()
        until(lambda: len(terms_of(path)) == 2)
    killed, following = terms_of(path)
    assert (killed.ended, killed.until) == ("killed", following.since)
    assert (following.gap, following.gap_at_most) == (0, None)
    assert following.waited >= 0.02


SILENT = "lambda leadership: time.sleep(600)"


@pytest.mark.parametrize(
    ("task", "is_noted"), [(SILENT, False), (BEATING, True)], ids=["silent", "beating"]
)
def test_a_wait_and_a_lease_are_told_also_of_a_leader_that_never_came_to_note_them(
    path: Path, task: str, is_noted: bool
) -> None:
    with holder(path) as first, Child(path) as standby:
        standby.tell(LEADING.format({"lease": 60}, task))
        until_parked(path, standby.pid)
        time.sleep(0.02)
        first.kill()
        assert standby.tell("candidate.wait(30)")
        if is_noted:
            until(lambda: _slot(path, 2), "the leader's own entry")
        running = terms_of(path)[1]
        assert (running.ended, running.lease) == (None, 60)
        assert 0.02 <= running.waited < 60
        assert bool(_slot(path, 2)) is is_noted
        standby.kill()
    with LeaderLock(path):
        killed = terms_of(path)[1]
        assert (killed.ended, killed.lease) == ("killed", 60)
        assert killed.waited == pytest.approx(running.waited, abs=0.001)
        assert _slot(path, 2)
    assert endings(path) == ["killed", "killed", "released"]


def _slot(path: Path, term: int) -> bytes:
    with path.open("rb") as file:
        file.seek(journal.place_of(term))
        return file.read(journal.SLOT_SIZE).strip(b"\0")


def test_who_was_killed_while_nobody_waited_ended_nobody_knows_when(path: Path) -> None:
    with holder(path) as leader:
        leader.kill()
    with LeaderLock(path):
        killed, following = terms_of(path)
        assert (killed.ended, killed.until) == ("killed", None)
        assert following.gap is None
        assert following.gap_at_most == pytest.approx(following.since - killed.since)


def test_the_last_leader_killed_is_not_said_to_lead(path: Path) -> None:
    with holder(path) as leader:
        leader.kill()
        until(lambda: not flocks_of(path))
    assert endings(path) == ["killed"]


def test_a_lock_of_another_program_does_not_make_the_last_leader_lead(path: Path) -> None:
    with holder(path) as leader:
        leader.kill()
    with subprocess.Popen(["flock", path, "sh", "-c", "echo; read _"], stdin=-1, stdout=-1) as other:
        assert other.stdout
        other.stdout.readline()
        assert endings(path) == ["killed"]
        other.communicate()


def test_a_task_that_is_done_or_stopped_has_resigned(path: Path) -> None:
    Election(path, on_return="resign").run(lambda leadership: None)
    candidate = Election(path).start(lambda leadership: None)
    assert candidate.wait(30)
    candidate.stop()
    assert endings(path) == ["resigned", "resigned"]


def test_a_task_that_raises_has_failed(path: Path) -> None:
    def fail(leadership: Leadership) -> None:
        if leadership.term == 1:
            raise ValueError

    Election(path, backoff=(0.01, 0.01), on_return="resign").run(fail)
    assert endings(path) == ["failed", "resigned"]


@pytest.mark.parametrize("task", [BEATING, "lambda leadership: None"])
def test_a_leader_whose_process_ends_in_good_order_has_exited(path: Path, task: str) -> None:
    with Child(path) as leader:
        leader.tell(LEADING.format({}, task))
        assert leader.tell("candidate.wait(30)")
        assert leader.end() == 0
    assert endings(path) == ["exited"]


def test_a_leader_that_misses_its_lease_is_told_from_one_that_is_killed(path: Path) -> None:
    with Child(path) as hung, Child(path) as standby:
        hung.tell("import signal")
        hung.tell(LEADING.format({"lease": 2}, BEATING))
        assert hung.tell("candidate.wait(30)")
        standby.tell(LEADING.format({}, BEATING))
        until_parked(path, standby.pid)
        hung.signal(signal.SIGSTOP)
        assert hung.wait() == -signal.SIGKILL
        assert standby.tell("candidate.wait(30)")
        with Child(path) as third:
            third.tell(LEADING.format({"lease": 100}, BEATING))
            until_parked(path, third.pid)
            standby.kill()
            assert third.tell("candidate.wait(30)")
            assert endings(path) == ["lease missed", "killed", None]
    assert [term.lease for term in terms_of(path)] == [2, None, 100]


def test_beats_are_noted_and_a_lease_is_over_when_the_task_has_returned(path: Path) -> None:
    began = time.time()
    candidate = Election(path, lease=30).start(
        lambda leadership: all(tick < 30 for tick in leadership.every(0.05))
    )
    until(lambda: candidate.wait(30) and terms_of(path)[0].lease is None, "the task to return")
    [term] = terms_of(path)
    assert term.last_beat is not None
    assert began < term.last_beat <= time.time()
    candidate.stop()


def test_only_the_last_terms_are_kept(path: Path) -> None:
    lock = LeaderLock(path)
    for _ in range(journal.TERMS + 20):
        with lock:
            pass
    assert [term.term for term in terms_of(path)] == list(range(21, journal.TERMS + 21))
    assert path.stat().st_size <= journal.SIZE


def test_garbage_costs_the_terms_that_it_hits_and_is_counted(path: Path) -> None:
    lock = LeaderLock(path)
    for _ in range(5):
        with lock:
            pass
    with path.open("r+b") as file:
        file.seek(journal.place_of(2) + 300)
        file.write(b"garbage")
        file.seek(journal.place_of(4))
        file.write(os.urandom(64))
    history = history_of(path)
    assert [term.term for term in history.terms] == [1, 3, 5]
    assert history.damaged == 2
    assert history.terms[1].gap is None  # nobody knows when the term before it ended


def test_half_a_slot_at_the_files_end_is_counted(path: Path) -> None:
    lock = LeaderLock(path)
    for _ in range(3):
        with lock:
            pass
    os.truncate(path, journal.place_of(3) + 100)
    history = history_of(path)
    assert endings(path) == ["released", "released", "killed"]  # the last, as the record has it
    assert history.damaged == 1


def test_a_term_that_others_wrote_over_is_put_back_at_its_end(path: Path) -> None:
    with LeaderLock(path):
        path.write_bytes(b"")
    assert endings(path) == ["released"]


def test_a_full_disk_costs_the_history_and_not_the_lock(tiny: Path) -> None:
    path = tiny / "leader.lock"
    program = f"from leaderlock import LeaderLock; LeaderLock({str(path)!r}).acquire()"
    with LeaderLock(path):
        pass
    with open(tiny / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass
    size = path.stat().st_size
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True) for _ in range(12)]
    assert not any(run.returncode for run in runs)
    assert b"has a gap: No space left on device" in runs[-1].stderr
    os.unlink(tiny / "filler")
    with LeaderLock(path) as _:
        history = history_of(path)
    assert history.terms[-1].term == 14
    assert size > record.SIZE


def test_a_leader_without_rights_to_write_more_is_none_the_worse(path: Path) -> None:
    with Child(path) as child:
        child.tell("import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)")
        child.tell(f"resource.setrlimit(resource.RLIMIT_FSIZE, ({record.SIZE}, {record.SIZE}))")
        assert child.tell("lock = LeaderLock(argv[0])\nanswer = lock.acquire()") is not False
        child.tell("lock.release()")
    assert endings(path) == ["killed"]  # as far as its record tells


def test_an_anonymous_lock_has_a_history_too() -> None:
    lock = LeaderLock.anonymous()
    with lock:
        history = history_of(lock)
    assert [term.ended for term in history.terms] == [None]


def test_the_current_term_is_read_without_the_others(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        fd = os.open(path, os.O_RDONLY)
        try:
            term = current(fd)
        finally:
            os.close(fd)
        assert term is not None
        assert (term.term, term.pid) == (1, os.getpid())


def test_what_is_no_lock_file_has_no_history(path: Path) -> None:
    with pytest.raises(LeaderLockError, match="nobody has used this lock yet"):
        history_of(path)
    path.write_bytes(b"garbage" * 1000)
    history: History = history_of(path)
    assert history.terms == []
    assert history.damaged > 0
