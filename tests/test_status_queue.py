"""The status of a lock agrees with the truth: on each file system, with 1, 5 and 500 who wait."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from leaderlock.status import status_of
from tests.locked_files import KINDS, Queue, filesystem, mounted
from tests.processes import Child, flocks, holder, until
from tests.test_run import run

__all__ = ["filesystem"]


@pytest.mark.parametrize("count", [1, 5])
def test_it_agrees_with_the_truth_on_every_file_system(filesystem: Path, count: int) -> None:
    path = filesystem / "leader.lock"
    with holder(path) as leader, Queue(path, count) as queue:
        status = status_of(path)
        assert status.holder is not None
        assert (status.holder.pid, status.holder.term) == (leader.pid, 1)
        assert [process.pid for process in status.waiting] == queue.pids
        assert status.filesystem is not None
        assert status.filesystem.type in KINDS
        assert str(filesystem).startswith(status.filesystem.mount_point)
        assert (status.warnings, status.hidden) == ([], None)


@pytest.mark.slow
@pytest.mark.alone  # others that lock all the time would have the kernel skip entries of its table
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_is_that_in_which_500_get_the_lock(tmp_path: Path, kind: str) -> None:
    with mounted(kind, tmp_path) as point:
        path = point / "leader.lock"
        with holder(path) as leader, Queue(path, 500) as queue:
            printed = json.loads(run("status", "--json", str(path)).stdout)["locks"][0]
            order = [process["pid"] for process in printed["waiting"]]
            assert printed["holder"]["pid"] == leader.pid
            assert order == queue.pids
            leader.kill()
            served = []
            while queue.pids:
                pid = queue.next()
                served.append(pid)
                if len(served) % 100 == 0:
                    status = status_of(path)
                    assert status.holder is not None
                    assert status.holder.pid == pid
                    assert [process.pid for process in status.waiting] == order[len(served) :]
                queue.end(pid)
            assert served == order
            until(lambda: status_of(path).holder is None, "the last one to have gone")


def test_those_who_share_come_before_those_who_wait_for_them(path: Path) -> None:
    """flock -s: the table prints a tree, in which the second sharer stands behind the first's queue."""
    path.touch()
    with holder(path) as leader, Child(path) as one, Child(path) as writer, Child(path) as two:
        for child, mode in ((one, "LOCK_SH"), (writer, "LOCK_EX"), (two, "LOCK_SH")):
            child.tell("import fcntl; file = open(argv[0], 'r+')")
            child.begin(f"fcntl.flock(file, fcntl.{mode})")
            until(lambda child=child: (child.pid, True) in flocks(), "it to wait")  # type: ignore[misc]
        assert [process.pid for process in status_of(path).waiting] == [one.pid, two.pid, writer.pid]
        leader.kill()
        one.answer()
        two.answer()
        assert [process.pid for process in status_of(path).waiting] == [writer.pid]
        assert status_of(path).warnings[0].code == "foreign-holder"
        assert "and 1 more, as they share it" in status_of(path).warnings[0].text


@pytest.mark.slow
@pytest.mark.alone
def test_500_who_wait_are_all_told(path: Path) -> None:
    """How long that takes is measured in benchmarks/status.py."""
    with holder(path), Queue(path, 500) as queue:
        told = json.loads(run("status", "--json", str(path)).stdout)["locks"][0]["waiting"]
        everybody = run("status", "--all", str(path)).stdout
    assert [process["pid"] for process in told] == list(queue.pids)
    assert all(f"  {pid}  " in everybody for pid in queue.pids)


def test_a_long_queue_is_shortened_unless_all_is_asked_for(path: Path) -> None:
    with holder(path), Queue(path, 13) as queue:
        short = run("status", str(path)).stdout
        everybody = run("status", "--all", str(path)).stdout
    assert "waiting  13, next first:" in short
    assert "… and 3 more (--all shows them)" in short
    assert all(f"  {pid}  " in everybody for pid in queue.pids)
    assert [f"  {pid}  " in short for pid in queue.pids] == 10 * [True] + 3 * [False]


def test_a_stopped_waiter_leaves_the_queue_and_comes_back_at_its_end(path: Path) -> None:
    """Linux takes it out, as a signal ends its wait: nobody waits for a process that is stopped."""
    with holder(path), Queue(path, 2) as queue:
        first, second = queue.pids
        os.kill(first, signal.SIGSTOP)
        until(lambda: [p.pid for p in status_of(path).waiting] == [second], "it to leave")
        os.kill(first, signal.SIGCONT)
        until(lambda: [p.pid for p in status_of(path).waiting] == [second, first], "it to be back")


@pytest.mark.slow
@pytest.mark.alone  # others' looks at the table would take as long
def test_a_table_of_10000_lines_hides_nothing(path: Path, tmp_path: Path) -> None:
    crowd = tmp_path / "crowd"
    crowd.mkdir()
    program = (
        "import fcntl, os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (10100, 10100))\n"
        "for n in range(10000): fcntl.flock(os.open(f'{sys.argv[1]}/{n}', 66, 0o600), fcntl.LOCK_EX)\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    if os.geteuid() != 0:
        pytest.skip("needs root, to raise the limit of open files")
    with (
        subprocess.Popen(
            [sys.executable, "-c", program, crowd], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as others,
        holder(path) as leader,
        Queue(path, 3) as queue,
    ):
        assert others.stdout is not None
        assert others.stdin is not None
        assert others.stdout.readline() == b"locked\n"
        assert len(flocks()) >= 1
        status = status_of(path)
        assert status.holder is not None
        assert status.holder.pid == leader.pid
        assert [process.pid for process in status.waiting] == queue.pids
        result = run("status", "--json")
        found = [lock["path"] for lock in json.loads(result.stdout)["locks"]]
        assert str(path) in found
        assert not any(shown.startswith(str(crowd)) for shown in found)
        others.stdin.close()


@pytest.mark.parametrize("name", ["with a blank", "with\na newline", "back\\slash", "tab\there", "ü"])
def test_a_mount_point_may_have_any_name(tmp_path: Path, name: str) -> None:
    with mounted("tmpfs", tmp_path, name) as point:
        path = point / "leader.lock"
        with holder(path) as leader:
            status = status_of(path)
            assert status.holder is not None
            assert status.holder.pid == leader.pid
            assert status.filesystem is not None
            assert status.filesystem.mount_point == str(point)
            text = run("status", str(path)).stdout
            assert text.splitlines()[1].startswith("  leader   ")


def test_it_may_be_asked_in_the_middle_of_a_handover() -> None:
    """Whoever is told to lead did so: nobody is taken for another who holds without leaderlock."""
    # In memory: who writes its record to a disk that is busy is told to be stuck, and is.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        ask_in_the_middle_of_a_handover(Path(directory) / "leader.lock")


def ask_in_the_middle_of_a_handover(path: Path) -> None:
    program = (
        "import sys; from leaderlock import LeaderLock; lock = LeaderLock(sys.argv[1])\n"
        "while True:\n    with lock: pass"
    )
    children = [subprocess.Popen([sys.executable, "-c", program, path]) for _ in range(3)]
    try:
        until(path.exists, "a leader")
        for _ in range(200):
            status = status_of(path)
            if status.warnings:  # a holder may have waited for a processor before it wrote its record
                status = status_of(path)
            assert status.warnings == []
            if status.holder is not None and status.holder.term is not None:
                assert status.holder.pid in [child.pid for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_asking_takes_no_lock(path: Path) -> None:
    path.touch()
    status_of(path)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
