"""flock(2), /proc, PID namespaces and containers: what can be seen from where. Without leaderlock."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.processes import Child, flocks, flocks_of, forked, needs_root, until
from tests.raw_flock import is_free, locked, queued
from tests.supervisor.pid1 import needs_namespaces

NOBODY = 65534


def fdinfo(pid: int, fd: int) -> list[str]:
    """The locks that the description behind a descriptor holds."""
    text = Path(f"/proc/{pid}/fdinfo/{fd}").read_text(encoding="ascii")
    return [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("lock:")]


def test_the_lock_table_names_the_process_that_called_flock_and_those_that_wait(path: Path) -> None:
    with locked(path) as first, queued(path) as second:
        assert flocks_of(path) == [(first.pid, False), (second.pid, True)]


def test_the_lock_table_goes_on_naming_a_process_that_is_dead(path: Path) -> None:
    with locked(path) as parent:
        parent.tell("pipe = os.pipe(); child = os.fork() or (os.read(pipe[0], 1), os._exit(0))")
        child = parent.tell("child")
        parent.kill()
        assert not Path(f"/proc/{parent.pid}").exists()
        assert flocks_of(path) == [(parent.pid, False)]
        assert Path(f"/proc/{child}").exists()


def test_fdinfo_shows_the_lock_in_every_process_that_shares_it(path: Path) -> None:
    with locked(path) as parent:
        parent.tell("pipe = os.pipe(); child = os.fork() or (os.read(pipe[0], 1), os._exit(0))")
        child, fd = parent.tell("(child, fd)")
        assert " FLOCK  ADVISORY  WRITE " in fdinfo(child, fd)[0]
        assert fdinfo(child, fd) == fdinfo(parent.pid, fd)


def test_fdinfo_shows_nothing_of_one_who_waits(path: Path) -> None:
    with locked(path), queued(path) as second:
        [fd] = [
            int(link.name)
            for link in Path(f"/proc/{second.pid}/fd").iterdir()
            if os.readlink(link) == str(path)
        ]
        assert fdinfo(second.pid, fd) == []


def contained(path: Path) -> Child:
    """As `opened`, in a PID namespace of its own."""
    child = Child(path, program=Path(__file__).with_name("contained.py"))
    child.tell("from fcntl import *; fd = os.open(argv[0], os.O_RDWR | os.O_CREAT)")
    assert child.tell("os.getpid()") == 1
    return child


def pid_of(child: Child) -> int:
    """The PID here of the one that is PID 1 there: the child of unshare(1)."""
    return int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text(encoding="ascii"))


def flocks_inside(child: Child, path: Path) -> list[str]:
    """PIDs in the lines about the file in the child's own /proc/locks, with an arrow if they wait."""
    lines = [line.split() for line in child.tell("open('/proc/locks').read()").splitlines()]
    mine = [line for line in lines if line[-3].endswith(f":{path.stat().st_ino}")]
    return sorted({"->" * ("->" in line) + line[-4] for line in mine})


@needs_namespaces
def test_a_lock_excludes_across_containers(path: Path) -> None:
    with contained(path) as inside:
        inside.tell("flock(fd, LOCK_EX)")
        assert not is_free(path)


@needs_namespaces
def test_from_outside_a_container_its_holder_is_seen_by_its_pid_here(path: Path) -> None:
    with contained(path) as inside:
        inside.tell("flock(fd, LOCK_EX)")
        assert flocks_of(path) == [(pid_of(inside), False)]
        assert flocks_inside(inside, path) == ["1"]


@needs_namespaces
def test_in_a_container_a_holder_outside_is_not_listed_nor_are_those_who_wait_for_it(
    path: Path,
) -> None:
    with locked(path) as outside, contained(path) as inside:
        inside.tell("pipe = os.pipe(); child = os.fork() or flock(os.open(argv[0], 0), LOCK_EX)")
        until(lambda: len(flocks_of(path)) == 2, "the one inside to wait")
        assert flocks_of(path)[0] == (outside.pid, False)
        assert flocks_inside(inside, path) == []


@needs_namespaces
def test_in_a_container_a_waiter_outside_is_listed_with_pid_0(path: Path) -> None:
    with contained(path) as inside:
        inside.tell("flock(fd, LOCK_EX)")
        with queued(path) as outside:
            assert flocks_of(path) == [(pid_of(inside), False), (outside.pid, True)]
            assert flocks_inside(inside, path) == ["->0", "1"]


@needs_namespaces
def test_the_end_of_pid_1_frees_the_locks_of_its_whole_container(path: Path) -> None:
    with contained(path) as inside:
        inside.tell("child = os.fork() or (os.setsid(), flock(fd, LOCK_EX), signal.pause())")
        until(lambda: not is_free(path), "the one inside to have it")
        assert flocks_of(path)[0][0] != pid_of(inside)
        os.kill(pid_of(inside), signal.SIGKILL)
        until(lambda: is_free(path), "the container to end")


@pytest.mark.skipif(os.geteuid() != 0, reason=needs_root)
def test_any_user_sees_the_lock_table_and_only_ones_own_descriptors(path: Path) -> None:
    with locked(path) as first:
        inode = path.stat().st_ino

        def looks() -> bool:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            # Not found where /proc is mounted with hidepid.
            with pytest.raises((PermissionError, FileNotFoundError)):
                os.listdir(f"/proc/{first.pid}/fdinfo")
            return (first.pid, False) in flocks(f":{inode}")

        assert forked(looks) == 0
