"""What the Linux client turns flock into on NFS."""

from __future__ import annotations

import os
import re
import time

import pytest

from tests.nfs.conftest import Start
from tests.nfs.machine import Machine, Process
from tests.nfs.mounts import (
    LOCAL,
    TRY_RECORD,
    VERSIONS,
    Everywhere,
    error_of,
    is_granted,
    locked,
    opened,
)
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("nfs")]
each_version = pytest.mark.parametrize("version", VERSIONS)


@each_version
@pytest.mark.parametrize("other", ["a", "b"])
def test_a_lock_excludes_processes_of_the_same_client_and_of_others(
    start: Start, everywhere: Everywhere, version: str, other: str
) -> None:
    holder = locked(start("a"), everywhere.path("a", version))
    rival = opened(start(other), everywhere.path(other, version))
    assert not is_granted(rival)
    holder.tell("fcntl.flock(fd, fcntl.LOCK_UN)")
    assert is_granted(rival)


def test_with_local_lock_only_the_same_client_is_excluded(start: Start, everywhere: Everywhere) -> None:
    locked(start("a"), everywhere.path("a", LOCAL))
    assert not is_granted(opened(start("a"), everywhere.path("a", LOCAL)))
    assert is_granted(opened(start("b"), everywhere.path("b", LOCAL)))


@each_version
def test_the_server_keeps_a_record_lock_of_the_whole_file(
    machine: Machine, start: Start, everywhere: Everywhere, version: str
) -> None:
    locked(start("a"), everywhere.path("a", version))
    inode = os.stat_result(
        machine.tell(f"tuple(os.stat({everywhere.path('server', version)!r}))")
    ).st_ino
    on_the_server = rf"POSIX +ADVISORY +WRITE \d+ fe:00:{inode} 0 EOF"  # the disk is a virtio device
    assert re.search(on_the_server, machine.tell("read('/proc/locks')"))


@each_version
def test_flock_and_record_locks_exclude_each_other(
    start: Start, everywhere: Everywhere, version: str
) -> None:
    """On a local file system they do not know of each other."""
    holder = locked(start("a"), everywhere.path("a", version))
    rivals = [
        opened(start("a"), everywhere.path("a", version)),
        opened(start("b"), everywhere.path("b", version)),
    ]
    one_byte = "fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1000)"
    assert [is_granted(rival, one_byte) for rival in rivals] == [False, False]
    holder.tell("fcntl.flock(fd, fcntl.LOCK_UN)")
    assert is_granted(rivals[1], one_byte)
    assert not is_granted(holder)


@each_version
def test_one_process_cannot_have_both_kinds_of_lock(
    start: Start, everywhere: Everywhere, version: str
) -> None:
    assert not is_granted(locked(start("a"), everywhere.path("a", version)), TRY_RECORD)


@pytest.mark.parametrize("place", ["server", "a"])
def test_locally_and_with_local_lock_both_kinds_do_not_meet(
    start: Start, everywhere: Everywhere, place: str
) -> None:
    holder = locked(start(place), everywhere.path(place, LOCAL))
    assert is_granted(holder, TRY_RECORD)


@pytest.mark.parametrize("version", ["vers=4.0", "vers=4.2"])
def test_version_4_wants_a_descriptor_open_for_what_is_locked(
    start: Start, everywhere: Everywhere, version: str
) -> None:
    process = opened(start("a"), everywhere.path("a", version))
    for flags, operation in (("O_RDONLY", "LOCK_EX"), ("O_WRONLY", "LOCK_SH")):
        process.tell(f"fd = os.open(path, os.{flags})")
        error = error_of(process, f"fcntl.flock(fd, fcntl.{operation} | fcntl.LOCK_NB)")
        assert error is not None
        assert "Bad file descriptor" in error


def test_version_3_locks_a_descriptor_open_for_reading(start: Start, everywhere: Everywhere) -> None:
    """Against what flock(2) says: the client checks the mode of the descriptor for version 4 only."""
    process = opened(start("a"), everywhere.path("a", "vers=3"))
    process.tell("fd = os.open(path, os.O_RDONLY)")
    assert is_granted(process)
    assert not is_granted(opened(start("b"), everywhere.path("b", "vers=3")))


@each_version
def test_the_lock_table_of_a_client_leaves_out_other_clients(
    machine: Machine, start: Start, everywhere: Everywhere, version: str
) -> None:
    holder = locked(start("a"), everywhere.path("a", version))
    waiters = [opened(start(place), everywhere.path(place, version)) for place in ("a", "b")]
    inode = holder.tell("os.fstat(fd).st_ino")
    for waiter in waiters:
        waiter.begin("fcntl.flock(fd, fcntl.LOCK_EX)")
        machine.until_it_waits(waiter)
    table = machine.tell("read('/proc/locks')")
    here = re.findall(rf"(-> )?FLOCK +ADVISORY +WRITE (\d+) \S+:{inode} 0 EOF", table)
    assert here == [("", str(holder.pid)), ("-> ", str(waiters[0].pid))]


def test_versions_3_and_4_1_tell_a_waiter_and_version_4_0_asks_again(
    machine: Machine, start: Start, everywhere: Everywhere
) -> None:
    """What the client asked, by the count of LOCK requests in mountstats, while the waiters wait.

    Version 4.0 asks after 1 s, 2 s, 4 s and so on; 4.1 every 30 s, lest a message is lost.
    """
    observer = start("b")
    # 4.0 last: its first requests are those to be counted.
    for version in sorted(VERSIONS, key="vers=4.0".__eq__):
        locked(start("a"), everywhere.path("a", version))
        waiter = opened(start("b"), everywhere.path("b", version))
        waiter.begin("fcntl.flock(fd, fcntl.LOCK_EX)")
        machine.until_it_waits(waiter)
    began = time.monotonic()
    before = {version: _lock_requests(observer, version) for version in ("vers=4.0", "vers=4.2")}
    until(lambda: _lock_requests(observer, "vers=4.0") >= before["vers=4.0"] + 3, "three requests")
    asked = _lock_requests(observer, "vers=4.2") - before["vers=4.2"]
    assert asked <= 1 + (time.monotonic() - began) // 30


def _lock_requests(observer: Process, version: str) -> int:
    """How many LOCK requests of a mount the client has sent."""
    stats = observer.tell("open('/proc/self/mountstats').read()")
    [of_mount] = re.findall(rf"mounted on /tmp/b-{version.replace('=', '')} .*?\n\n", stats, re.DOTALL)
    [count] = re.findall(r"\bLOCK: (\d+)", of_mount)
    return int(count)
