"""leaderlock on NFS: refused unless asked for, and what holds if it is."""

from __future__ import annotations

import pytest

from tests.nfs.conftest import Start
from tests.nfs.machine import Machine
from tests.nfs.mounts import LOCAL, VERSIONS, Everywhere, error_of, with_lock
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("nfs")]
each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.mark.parametrize("options", [*VERSIONS, LOCAL])
def test_leaderlock_refuses_nfs_unless_it_is_allowed(
    start: Start, everywhere: Everywhere, options: str
) -> None:
    path = everywhere.path("a", options)
    process = start("a")
    error = error_of(process, f"LeaderLock({path!r}).acquire()")
    assert error is not None
    assert error.startswith("NetworkFilesystem")
    assert "on_network_filesystem='allow'" in error
    assert with_lock(process, path).tell("lock.acquire(blocking=False)")


@each_version
@pytest.mark.parametrize("other", ["a", "b"])
def test_a_standby_takes_over_from_a_killed_leader(
    machine: Machine, start: Start, everywhere: Everywhere, version: str, other: str
) -> None:
    leader = with_lock(start("a"), everywhere.path("a", version))
    standby = with_lock(start(other), everywhere.path(other, version))
    assert leader.tell("(lock.acquire(), lock.term)") == (True, 1)
    standby.begin("(lock.acquire(), time.monotonic(), lock.term)")
    machine.until_it_waits(standby)
    killed = machine.tell("time.monotonic()")
    leader.kill()
    acquired, moment, term = standby.answer()
    print(f"\n{version}, {'the same' if other == 'a' else 'another'} client: {moment - killed:.3f} s")
    assert acquired
    assert term == 2


@each_version
def test_a_wait_that_was_given_up_leaves_nothing_behind(
    start: Start, everywhere: Everywhere, version: str
) -> None:
    leader = with_lock(start("a"), everywhere.path("a", version))
    impatient = with_lock(start("b"), everywhere.path("b", version))
    third = with_lock(start("a"), everywhere.path("a", version))
    leader.tell("lock.acquire()")
    assert impatient.tell("lock.acquire(timeout=0.5)") is False
    leader.tell("lock.release()")
    assert third.tell("lock.acquire(timeout=30)")


@each_version
def test_only_its_own_client_can_name_the_holder(
    start: Start, everywhere: Everywhere, version: str
) -> None:
    leader = with_lock(start("a"), everywhere.path("a", version))
    leader.tell("lock.acquire()")
    near = with_lock(start("a"), everywhere.path("a", version))
    far = with_lock(start("b"), everywhere.path("b", version))
    assert near.tell("lock.holder().pid") == leader.pid
    assert far.tell("lock.holder()") is None


@each_version
@pytest.mark.parametrize("other", ["a", "b"])
def test_a_leader_notices_that_its_file_was_deleted(
    start: Start, everywhere: Everywhere, version: str, other: str
) -> None:
    """By another client's hand only when the attribute cache ends (nfs(5), acregmax: 60 s)."""
    leader = with_lock(start("a"), everywhere.path("a", version))
    leader.tell("lock.acquire()")
    start(other).tell(f"os.unlink({everywhere.path(other, version)!r})")
    if other == "b":
        until(lambda: error_of(leader, "lock.check()") is not None, "the cache to end")
    error = error_of(leader, "lock.check()")
    assert error is not None
    assert error.startswith("LockFileReplaced")
