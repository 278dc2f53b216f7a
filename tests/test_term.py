"""The fencing token: it never repeats and never goes back, whatever happens to holder and file."""

from __future__ import annotations

import binascii
import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock import CorruptLockFile, LeaderLock, LockFileReplaced
from leaderlock.lock import record
from tests.processes import Child, ChildError, descriptors_of, flocks_of, holder, until, until_parked

# Reports every term in the order of acquisition: O_APPEND, inside the lock. Killed at any instant, so a
# line may be missing, but none can be out of order; 8 bytes each, or SIGKILL could break one off at the
# end of a page.
CYCLE = """
            lock.acquire()
            os.write(log, b'%7d\\n' % lock.term)
            lock.release()
"""
TIMED_CYCLE = """
            if lock.acquire(timeout=0.0003):
                os.write(log, b'%7d\\n' % lock.term)
                lock.release()
"""
# Forks its workers, having imported everything: an interpreter's start would take longer than the rest.
FACTORY = """
def worker():
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        log = os.open(argv[1], os.O_WRONLY | os.O_APPEND)
        lock = LeaderLock(argv[0])
        while True:
CYCLE
    return pid

def kill_many(times, seed):
    import random
    chance = random.Random(seed)
    workers = [worker() for _ in range(4)]
    for _ in range(times):
        time.sleep(chance.uniform(0, 0.004))
        victim = chance.randrange(4)
        os.kill(workers[victim], signal.SIGKILL)
        os.waitpid(workers[victim], 0)
        workers[victim] = worker()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
"""


def require_increasing(log: Path) -> list[int]:
    lines = log.read_bytes().split(b"\n")
    terms = [int(line) for line in lines[:-1]]
    assert terms == sorted(set(terms)), "a term was repeated or went back"
    return terms


def test_the_term_survives_a_thousand_sigkills_at_random_instants(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "terms"
    log.touch()
    with Child(path, log) as factory:
        factory.tell(FACTORY.replace("CYCLE", CYCLE))
        factory.tell(f"kill_many(1000, {random.randrange(10**6)})")
    terms = require_increasing(log)
    assert len(terms) > 1000
    lock = LeaderLock(path)
    with lock:
        assert lock.term > terms[-1]


def test_the_term_survives_sigkills_while_others_wait_with_timeouts(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "terms"
    log.touch()
    with Child(path, log) as factory:
        factory.tell(FACTORY.replace("CYCLE", TIMED_CYCLE))
        factory.tell(f"kill_many(200, {random.randrange(10**6)})")
    assert len(require_increasing(log)) > 100


def test_terms_of_several_processes_count_without_a_gap(path: Path) -> None:
    lock = LeaderLock(path)
    with Child(path) as other:
        other.tell("lock = LeaderLock(argv[0])")
        for turn in range(5):
            with lock:
                assert lock.term == 2 * turn + 1
            assert other.tell("lock.acquire() and lock.term") == 2 * turn + 2
            other.tell("lock.release()")


def test_the_term_is_the_same_for_as_long_as_the_lock_is_held(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        first = lock.term
        assert not LeaderLock(path).acquire(timeout=0.02)
        assert lock.term == first


# The record alone: every way to break one copy of it.

terms = st.integers(1, 2**63)
labels = st.text(max_size=200).map(record.host_and_name)
SECOND = 10**9
times = st.integers(SECOND, 4 * 10**9 * SECOND)
waits = st.none() | st.floats(0, 9e6)
leases = st.none() | st.floats(0.001, 1e9)


@given(term=terms, since=times, label=labels, waited=waits, lease=leases)
def test_a_record_is_two_equal_copies_whatever_is_in_it(
    term: int, since: int, label: bytes, waited: float | None, lease: float | None
) -> None:
    content = record.encode(term, since, label, waited, lease)
    assert len(content) == record.SIZE
    assert content[: record.COPY_SIZE] == content[record.COPY_SIZE :]
    assert record.last_term(content, "x") == term
    fields = record.decode(content)
    assert fields is not None
    assert (fields["term"], fields["pid"]) == (term, os.getpid())
    assert fields["since"] == pytest.approx(since / SECOND, abs=1e-6)
    assert (fields.get("waited") or 0) == pytest.approx(waited or 0, abs=0.001)
    assert (fields.get("lease") or 0) == pytest.approx(lease or 0, rel=1e-5)


def test_the_longest_names_leave_room_for_the_largest_numbers() -> None:
    longest = f'"host":"{"h" * 64}","name":"{"n" * (record._NAMES_LENGTH - 66 - 2)}"'.encode()
    content = record.encode(2**63, 4 * 10**9 * SECOND, longest, 9e6, 1.23456e-07)
    assert len(content) == record.SIZE
    fields = record.decode(content)
    assert fields is not None
    assert fields["host"] == "h" * 64


def test_a_long_name_is_cut_and_the_hosts_is_not() -> None:
    fields = record.decode(record.encode(1, SECOND, record.host_and_name("n" * 200)))
    assert fields is not None
    assert fields["host"] == os.uname().nodename
    assert fields["name"] == "n" * (record._NAMES_LENGTH - len(fields["host"]) - 4)  # 4 quotes


@pytest.mark.parametrize("field", ['"waited":"long"', '"lease":[]', '"term":1.5', '"host":7'])
def test_what_is_of_another_form_is_no_record_though_its_checksum_is_right(field: str) -> None:
    label = record.host_and_name("x") + b"," + field.encode()
    assert record.decode(record.encode(1, SECOND, label)) is None


@given(term=terms, data=st.data())
def test_one_damaged_copy_changes_nothing(term: int, data: st.DataObject) -> None:
    content = bytearray(record.encode(term, SECOND, record.host_and_name("x")))
    copy = data.draw(st.integers(0, 1)) * record.COPY_SIZE
    begin = data.draw(st.integers(0, record.COPY_SIZE - 1))
    rubbish = data.draw(st.binary(min_size=1, max_size=record.COPY_SIZE - begin))
    content[copy + begin : copy + begin + len(rubbish)] = rubbish
    assert record.last_term(bytes(content), "x") == term


@given(term=terms, kept=st.integers(0, record.SIZE))
def test_a_write_that_breaks_off_anywhere_never_repeats_a_term(term: int, kept: int) -> None:
    label = record.host_and_name("x")
    before, after = record.encode(term, SECOND, label), record.encode(term + 1, 2 * SECOND, label)
    # term + 1 was not used yet, since the write had not returned; it may be used or skipped.
    assert record.last_term(after[:kept] + before[kept:], "x") in (term, term + 1)


@given(term=terms, kept=st.integers(0, record.SIZE))
def test_a_file_that_was_cut_short_is_read_right_or_not_at_all(term: int, kept: int) -> None:
    content = record.encode(term, SECOND, record.host_and_name("x"))[:kept]
    if kept == 0:
        assert record.last_term(content, "x") == 0
    elif kept < record.COPY_SIZE:
        with pytest.raises(CorruptLockFile):
            record.last_term(content, "x")
    else:
        assert record.last_term(content, "x") == term


@given(content=st.binary(min_size=1, max_size=2 * record.SIZE))
def test_garbage_is_never_taken_for_a_record(content: bytes) -> None:
    with pytest.raises(CorruptLockFile, match="/some/path"):
        record.last_term(content, "/some/path")
    assert record.decode(content) is None


# The file.


def crafted(text: bytes) -> bytes:
    """A file's content with the right checksum, as anybody can make who may write the file."""
    body = b" " + text.ljust(record.COPY_SIZE - 23) + b"\n"
    return (b"leaderlock 1 %08x" % binascii.crc32(body) + body) * 2


GARBAGE = [
    b"x",
    b"0\n",
    b"1234",
    b"\0" * 512,
    os.urandom(512),
    b"leaderlock 1 " + b"0" * 499,
    crafted(b'{"term":soon,"pid":1}'),
    crafted(b'{"term":1'),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    lock = LeaderLock(path)
    for blocking in (True, False):
        with pytest.raises(CorruptLockFile, match=str(path)) as caught:
            lock.acquire(blocking)
        assert "remove it" in str(caught.value)
        assert not lock.locked()
    assert path.read_bytes() == garbage
    assert flocks_of(path) == []
    path.unlink()
    assert lock.acquire(blocking=False)
    lock.release()


@pytest.mark.parametrize("damage", [b"", b"garbage", b"x" * 4096], ids=["truncated", "short", "long"])
def test_what_is_written_over_a_held_lock_is_mended_at_its_release(path: Path, damage: bytes) -> None:
    lock = LeaderLock(path)
    for _ in range(3):
        lock.acquire()
        lock.release()
    with Child(path) as other:
        other.tell("lock = LeaderLock(argv[0])")
        with lock:
            assert lock.term == 4
            path.write_bytes(damage)
            lock.check()
            other.begin("lock.acquire() and lock.term")
            until_parked(path, other.pid)
        assert other.answer() == 5


def test_garbage_that_a_killed_holder_could_not_mend_is_an_error_for_those_who_wait(path: Path) -> None:
    with holder(path) as other, Child(path) as waiter:
        waiter.begin("lock = LeaderLock(argv[0]); lock.acquire()")
        until_parked(path, waiter.pid)
        path.write_bytes(b"garbage")
        other.kill()
        with pytest.raises(ChildError, match="CorruptLockFile") as caught:
            waiter.answer()
        assert str(path) in str(caught.value)
        assert flocks_of(path) == []
        assert path.read_bytes() == b"garbage"


def test_a_process_that_knows_the_term_goes_on_from_it_after_a_truncation(path: Path) -> None:
    lock = LeaderLock(path)
    for _ in range(3):
        lock.acquire()
        lock.release()
    path.write_bytes(b"")
    with lock:
        assert lock.term == 4


@pytest.mark.parametrize("replace", [True, False], ids=["replaced", "deleted"])
def test_a_file_that_goes_while_it_is_held_is_told_to_the_holder(path: Path, replace: bool) -> None:
    lock = LeaderLock(path)
    with lock, Child(path) as other:
        path.unlink()
        if replace:
            path.write_bytes(b"")
        with pytest.raises(LockFileReplaced):
            lock.check()
        # Nothing can keep the other one from it: that is what check() is for.
        assert other.tell("LeaderLock(argv[0]).acquire(blocking=False)") is True


@pytest.mark.parametrize("timeout", [-1, 300])
@pytest.mark.parametrize("replace", [True, False], ids=["replaced", "deleted"])
def test_those_who_wait_for_a_file_that_goes_start_over_on_the_new_one(
    path: Path, replace: bool, timeout: int
) -> None:
    with holder(path) as old, Child(path) as waiter, Child(path) as new:
        waiter.tell("lock = LeaderLock(argv[0])")
        waiter.begin(f"lock.acquire(timeout={timeout})")
        until_parked(path, waiter.pid)
        path.unlink()
        if replace:
            new.tell("lock = LeaderLock(argv[0]); lock.acquire()")
            old.tell("lock.release()")
            until_parked(path, waiter.pid)  # on the new file
            new.tell("lock.release()")
        else:
            old.tell("lock.release()")
        assert waiter.answer() is True
        waiter.tell("lock.check()")
        assert flocks_of(path) == [(waiter.pid, False)]


def test_the_timeout_counts_over_all_files_that_were_waited_for(path: Path) -> None:
    with holder(path) as old, Child(path) as waiter, Child(path) as new:
        waiter.tell("lock = LeaderLock(argv[0])")
        waiter.begin("(time.monotonic(), lock.acquire(timeout=6), time.monotonic())")
        until_parked(path, waiter.pid)
        path.unlink()
        new.tell("lock = LeaderLock(argv[0]); lock.acquire()")
        time.sleep(3)
        released = time.monotonic()
        old.tell("lock.release()")
        begin, got, end = waiter.answer()
        assert not got
        assert begin + 6 <= end < released + 6  # it would be later if it began anew with each file


def test_a_moved_file_that_comes_back_is_the_same_lock(path: Path) -> None:
    with holder(path) as other:
        path.rename(path.with_suffix(".away"))
        path.with_suffix(".away").rename(path)
        assert not LeaderLock(path).acquire(blocking=False)
        other.tell("lock.check(); lock.release()")


CUTS = {
    "to nothing": "os.truncate(argv[0], 0)",
    "to a part of the first copy": "os.truncate(argv[0], 100)",
    "to one copy": "os.truncate(argv[0], 256)",
    "to a hole": "os.truncate(argv[0], 0); os.truncate(argv[0], 600)",
    "by a shell": "os.system(f'> {argv[0]}')",
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_one_who_waits_goes_on_from_the_term_of_a_killed_holder_whose_file_was_cut_short(
    path: Path, cut: str
) -> None:
    with Child(path) as leader, Child(path) as waiter:
        waiter.tell("lock = LeaderLock(argv[0])  # before there is any term")
        leader.tell("lock = LeaderLock(argv[0])")
        leader.tell("for _ in range(4): lock.acquire(); lock.release()")
        leader.tell("lock.acquire()")
        assert leader.tell("lock.term") == 5
        waiter.begin("lock.acquire() and lock.term")
        until_parked(path, waiter.pid)
        leader.tell(cut)
        leader.kill()
        assert waiter.answer() == 6
        assert record.greatest_term(path.read_bytes()[: record.SIZE]) == 6


def test_one_who_has_only_waited_remembers_the_term_whatever_way_it_waited(path: Path) -> None:
    ways = ("lock.acquire(timeout=0.05)", "lock.acquire(blocking=False)")
    with holder(path) as leader, Child(path) as before, Child(path) as after:
        leader.tell("lock.release()")
        leader.tell("for _ in range(4): lock.acquire(); lock.release()")
        for way in ways:
            with Child(path) as waiter:
                waiter.tell("lock = LeaderLock(argv[0])")
                leader.tell("lock.acquire()")
                term = leader.tell("lock.term")
                assert waiter.tell(way) is False
                leader.tell("os.truncate(argv[0], 0); os.close(lock.fileno())")
                assert waiter.tell("lock.acquire() and lock.term") == term + 1
                waiter.tell("lock.release()")
        before.tell("lock = LeaderLock(argv[0])")
        leader.tell("lock.acquire()")
        term = leader.tell("lock.term")
        before.begin("lock.acquire() and lock.term")
        until_parked(path, before.pid)
        leader.tell("os.truncate(argv[0], 0)")
        after.tell("lock = LeaderLock(argv[0])")
        after.begin("lock.acquire() and lock.term")
        until_parked(path, after.pid)
        leader.kill()
        assert before.answer() == term + 1
        before.kill()
        assert after.answer() == term + 2


def test_a_candidate_that_waits_goes_on_from_the_term_too(path: Path) -> None:
    with holder(path) as leader, Child(path) as standby:
        leader.tell("lock.release(); lock.acquire()")
        standby.tell(
            "candidate = leaderlock.Election(argv[0]).start(\n"
            "    lambda leadership: print(leadership.term, flush=True))"
        )
        until_parked(path, standby.pid)
        os.truncate(path, 0)
        leader.kill()
        assert standby.line() == "3"


def test_a_leader_mends_its_file_as_soon_as_it_is_overwritten(path: Path) -> None:
    with Child(path) as leader:
        leader.tell(
            "candidate = leaderlock.Election(argv[0]).start(\n"
            "    lambda leadership: leadership.stopping.wait())"
        )
        assert leader.tell("candidate.wait(60)")
        until(lambda: any("inotify" in target for target in descriptors_of(leader.pid)))
        path.write_bytes(b"garbage")
        until(lambda: record.greatest_term(path.read_bytes()[: record.SIZE]) == 1, "it to be mended")
        leader.kill()
        with LeaderLock(path) as lock:
            assert lock.term == 2
