"""What becomes of a lock on NFS when the server restarts, and when its client is out of reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nfs.conftest import Start
from tests.nfs.guest.world import LEASE
from tests.nfs.machine import Machine, Process
from tests.nfs.mounts import TRY, VERSIONS, Everywhere, error_of, is_granted, locked, opened, with_lock
from tests.processes import ChildError, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("nfs")]
OF_4 = ("vers=4.0", "vers=4.2")

SAY_SO = "run(*inside('b'), 'sm-notify', '-f') and None"
WRITE = "(os.pwrite(fd, b'x', 0), os.fsync(fd))"


@pytest.fixture
def connected(machine: Machine) -> Iterator[Machine]:
    """The machine, whose clients reach the server again in the end."""
    try:
        yield machine
    finally:
        machine.tell("set_link('b', True)")


def holders(start: Start, everywhere: Everywhere, versions: tuple[str, ...]) -> dict[str, Process]:
    """In client b, a holder of a lock for each version."""
    return {version: locked(start("b"), everywhere.path("b", version)) for version in versions}


def rivals(start: Start, everywhere: Everywhere, versions: tuple[str, ...]) -> dict[str, Process]:
    """In client a, a process for each of them that has the file open."""
    return {version: opened(start("a"), everywhere.path("a", version)) for version in versions}


@pytest.mark.parametrize(
    ("seconds", "versions"),
    [(0, VERSIONS), (LEASE + 2, ("vers=3", "vers=4.2"))],
    ids=["inside", "past"],
)
def test_a_lock_outlives_a_restart_of_the_server(
    machine: Machine, start: Start, everywhere: Everywhere, seconds: int, versions: tuple[str, ...]
) -> None:
    """Inside the lease and past it: in its grace period it grants nothing but what was held.

    A holder by version 4.0 was seen to lose its lock if the server was away for longer than the lease.
    """
    held, asking = holders(start, everywhere, versions), rivals(start, everywhere, versions)
    machine.tell(f"restart_server({seconds})")
    for rival in asking.values():
        rival.begin(TRY)  # all at once: each waits for the end of the grace period
    granted = []
    for version, rival in asking.items():
        try:
            rival.answer()
        except ChildError as error:
            assert error.kind == "BlockingIOError"  # noqa: PT017  (of each, and then of all)
        else:
            granted.append(version)
    assert granted == []
    for holder in held.values():
        holder.tell(WRITE)
        holder.tell("fcntl.flock(fd, fcntl.LOCK_UN)")
    assert all(is_granted(rival) for rival in asking.values())


def has_answered(process: Process) -> bool:
    try:
        process.answer(10)
    except TimeoutError:
        return False
    return True


def lose(machine: Machine, asking: dict[str, Process]) -> None:
    """Cut client b off until client a has been granted its locks."""
    machine.tell("set_link('b', False)")
    for rival in asking.values():
        rival.begin("fcntl.flock(fd, fcntl.LOCK_EX)")
    for rival in asking.values():
        rival.answer()
    machine.tell("set_link('b', True)")


def test_version_4_passes_the_lock_on_when_the_lease_ends_and_only_a_write_tells_the_holder(
    connected: Machine, start: Start, everywhere: Everywhere
) -> None:
    held, asking = holders(start, everywhere, OF_4), rivals(start, everywhere, OF_4)
    for holder in held.values():
        holder.tell(WRITE)
    lose(connected, asking)
    for holder in held.values():
        error = error_of(holder, WRITE)
        assert error is not None
        assert "Input/output error" in error
        holder.tell("os.fstat(fd).st_size")
        # Its own kernel still counts it as the holder.
        entry = f"FLOCK  ADVISORY  WRITE {holder.pid} "
        assert entry in connected.tell("read('/proc/locks')")
    for version, rival in asking.items():
        rival.tell(WRITE)
        # A new descriptor is as good as any.
        held[version].tell("fd = os.open(path, os.O_RDWR)")
        assert not is_granted(held[version])


def test_a_server_keeps_an_expired_lock_that_nobody_wants_and_version_3_knows_no_lease(
    connected: Machine, start: Start, everywhere: Everywhere
) -> None:
    """Version 4 since Linux 5.19, whose server is courteous; version 3 whoever asks for the lock."""
    held, asking = holders(start, everywhere, VERSIONS), rivals(start, everywhere, VERSIONS)
    connected.tell("set_link('b', False)")
    asking["vers=3"].begin("fcntl.flock(fd, fcntl.LOCK_EX)")
    assert asking["vers=3"].is_silent(2 * LEASE)
    connected.tell("set_link('b', True)")
    for holder in held.values():
        holder.tell(WRITE)
    assert [is_granted(asking[version]) for version in OF_4] == [False, False]
    # What a client of version 3 does when it boots: its statd says that its locks are gone.
    assert asking["vers=3"].lines.empty()
    # It may be lost, and is said again then.
    until(lambda: connected.tell(SAY_SO) or has_answered(asking["vers=3"]), "the lock to be freed")


def test_recover_lost_locks_takes_a_lock_again_without_a_word(
    connected: Machine, start: Start, everywhere: Everywhere
) -> None:
    """Though another client has had it meanwhile, and written."""
    held, asking = holders(start, everywhere, OF_4), rivals(start, everywhere, OF_4)
    parameter = "/sys/module/nfs/parameters/recover_lost_locks"
    assert connected.tell(f"read({parameter!r})") == "N\n"  # the default
    connected.tell(f"write({parameter!r}, 'Y')")
    try:
        connected.tell("set_link('b', False)")
        for rival in asking.values():
            rival.begin("fcntl.flock(fd, fcntl.LOCK_EX)")
        for rival in asking.values():
            rival.answer()
            rival.tell(WRITE)
            rival.tell("fcntl.flock(fd, fcntl.LOCK_UN)")
        connected.tell("set_link('b', True)")
        for holder in held.values():
            holder.tell(WRITE)
        assert [is_granted(rival) for rival in asking.values()] == [False, False]
    finally:
        connected.tell(f"write({parameter!r}, 'N')")


LEAD = (
    "(globals().update(candidate=leaderlock.Election(lock).start("
    "lambda leadership: [0 for tick in leadership.every(0.5)])), candidate.wait(60))[1]"
)


def test_a_leader_that_lost_its_lease_still_counts_as_one_until_it_beats(
    connected: Machine, start: Start, everywhere: Everywhere
) -> None:
    """Two leaders, until then: neither the record in its own cache nor the path tells the first one."""
    paths = [everywhere.path("b", version) for version in OF_4]
    locks = [with_lock(start("b"), path) for path in paths]
    for lock in locks:
        lock.tell("lock.acquire()")
    lose(connected, rivals(start, everywhere, OF_4))
    for lock in locks:
        assert lock.tell("lock.locked()")
        lock.tell("lock.check()")


def test_a_beat_tells_a_leader_that_lost_its_lease(
    connected: Machine, start: Start, everywhere: Everywhere
) -> None:
    leaders = [with_lock(start("b"), everywhere.path("b", version)) for version in OF_4]
    for leader in leaders:
        assert leader.tell(LEAD)
    lose(connected, rivals(start, everywhere, OF_4))
    for leader in leaders:
        until(lambda leader=leader: leader.tell("candidate.state") != "leading", "a beat")  # type: ignore[misc]


def test_a_term_is_not_used_again_if_its_client_is_cut_off_at_once(
    connected: Machine, start: Start, everywhere: Everywhere
) -> None:
    """The record is written through to the server before the lock counts as acquired."""
    leaders, successors = {}, {}
    for version in OF_4:
        leaders[version] = with_lock(start("b"), everywhere.path("b", version))
        successors[version] = with_lock(start("a"), everywhere.path("a", version))
    for leader in leaders.values():
        leader.tell("lock.acquire()")
    connected.tell("set_link('b', False)")
    for successor in successors.values():
        successor.begin("(lock.acquire(), lock.term)")
    assert [successor.answer() for successor in successors.values()] == [(True, 2), (True, 2)]
    assert [leader.tell("(lock.locked(), lock.term)") for leader in leaders.values()] == [
        (True, 1),
        (True, 1),
    ]
