"""The status says what is wrong with a lock, and what to do: each warning, and when there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from leaderlock.status import WARNINGS, LockStatus, status_of
from leaderlock.status.gathering.opened import MissingLockFile
from tests.processes import Child, holder, needs_root, until
from tests.test_run import run


def codes(path: Path | str) -> list[str]:
    found = [warning.code for warning in status_of(path).warnings]
    assert set(found) <= set(WARNINGS)
    return found


def text_of(status: LockStatus, code: str) -> str:
    return next(warning.text for warning in status.warnings if warning.code == code)


def test_a_lock_that_is_well_has_no_warning(path: Path) -> None:
    with holder(path):
        assert codes(path) == []
    assert codes(path) == []


def test_a_stopped_leader_is_told_of(path: Path) -> None:
    with holder(path) as leader:
        leader.signal(signal.SIGSTOP)
        until(lambda: codes(path) == ["leader-stopped"], "the warning")
        status = status_of(path)
        assert status.holder is not None
        assert status.holder.state == "T"
        assert f"kill -CONT {leader.pid}" in text_of(status, "leader-stopped")
        assert "root; the process is stopped" in run("status", str(path)).stdout or os.geteuid() != 0
        leader.signal(signal.SIGCONT)
        until(lambda: codes(path) == [], "it to go on")


def test_a_leader_in_uninterruptible_sleep_is_told_of(path: Path) -> None:
    """A parent of vfork(2) is in one until its child has exec'ed or ended."""
    program = (
        "import ctypes, os, sys; from leaderlock import LeaderLock\n"
        "lock = LeaderLock(sys.argv[1]); lock.acquire(); print(os.getpid(), flush=True)\n"
        "libc = ctypes.PyDLL(None)\n"
        "libc.vfork() == 0 and (libc.pause(), libc._exit(0))\n"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        until(lambda: path.exists() and "leader-uninterruptible" in codes(path), "the warning")
        assert f"/proc/{leader.pid}/stack" in text_of(status_of(path), "leader-uninterruptible")
    finally:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.communicate()


@contextmanager
def frozen_group() -> Iterator[Path]:
    """A control group of one's own with a freezer, of whichever version there is."""
    for parent, file in (
        ("/sys/fs/cgroup", "cgroup.freeze"),
        ("/sys/fs/cgroup/unified", "cgroup.freeze"),
        ("/sys/fs/cgroup/freezer", "freezer.state"),
    ):
        group = Path(parent, f"leaderlock-test-{os.getpid()}")
        if not Path(parent, "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / file).exists():
                yield group / file
                return
        finally:
            until(lambda group=group: not (group / "cgroup.procs").read_text(), "its end")  # type: ignore[misc]
            group.rmdir()
    pytest.skip("may not make a control group here")


def test_a_frozen_leader_is_told_of(path: Path) -> None:
    with frozen_group() as switch, holder(path) as leader:
        on, off = ("1", "0") if switch.name == "cgroup.freeze" else ("FROZEN", "THAWED")
        (switch.parent / "cgroup.procs").write_text(str(leader.pid))
        switch.write_text(on)
        try:
            until(lambda: codes(path) == ["leader-frozen"], "the warning")
            status = status_of(path)
            assert status.holder is not None
            assert status.holder.frozen
        finally:
            switch.write_text(off)
        until(lambda: codes(path) == [], "it to thaw")


def test_a_lock_taken_by_another_program_is_told_of(path: Path) -> None:
    with LeaderLock(path):
        pass
    with Child(path) as child:
        child.tell("import fcntl; file = open(argv[0], 'r+'); fcntl.flock(file, fcntl.LOCK_EX)")
        status = status_of(path)
    assert [warning.code for warning in status.warnings] == ["foreign-holder"]
    assert status.holder is not None
    assert (status.holder.pid, status.holder.term) == (child.pid, None)
    assert f"that of process {os.getpid()}, term 1" in text_of(status, "foreign-holder")


def test_who_keeps_a_lock_whose_taker_has_gone_is_named(path: Path) -> None:
    """The shells' pattern `exec 9>lock; flock 9`: flock(1) has ended, and the shell holds the lock."""
    path.touch()
    program = 'exec 9<"$0"; flock 9; echo held; read line'
    shell = subprocess.Popen(
        ["bash", "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "held\n"
        status = status_of(path)
        assert [warning.code for warning in status.warnings] == ["kept-by-orphan"]
        assert status.holder is not None
        assert (status.holder.command, status.holder.state) == (None, None)
        assert [keeper.pid for keeper in status.holder.kept_by] == [shell.pid]
        assert f"kill {shell.pid}" in text_of(status, "kept-by-orphan")
        assert f"kept by  {shell.pid}  bash" in run("status", str(path)).stdout
    finally:
        shell.kill()
        shell.communicate()


def test_a_child_that_outlives_its_killed_leader_is_named(path: Path) -> None:
    program = (
        "import os, subprocess, sys; from leaderlock import LeaderLock\n"
        "lock = LeaderLock(sys.argv[1]); lock.acquire(); fd = lock.fileno()\n"
        "child = subprocess.Popen(['sleep', '1000'], pass_fds=[fd])\n"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert leader.stdout is not None
    orphan = int(leader.stdout.readline())
    try:
        assert codes(path) == []
        leader.kill()
        leader.wait()  # the orphan has its standard output, too
        status = status_of(path)
        assert [warning.code for warning in status.warnings] == ["kept-by-orphan"]
        assert "(sleep 1000)" in text_of(status, "kept-by-orphan")
        assert status.holder is not None
        assert status.holder.pid == leader.pid
    finally:
        os.kill(orphan, signal.SIGKILL)
        leader.communicate()
    until(lambda: status_of(path).holder is None, "the lock to be free")


def test_a_leader_whose_first_thread_has_ended_is_no_orphan(path: Path) -> None:
    """Such a process looks as if it had ended (state Z), and is alive."""
    program = (
        "import ctypes, sys, threading, time; from leaderlock import LeaderLock\n"
        "lock = LeaderLock(sys.argv[1]); lock.acquire()\n"
        "def lead():\n    print('leads', flush=True)\n    time.sleep(1000)\n"
        "threading.Thread(target=lead).start()\n"
        "ctypes.CDLL(None).syscall(60, 0)"  # exit(2), of this thread alone
    )
    if os.uname().machine != "x86_64":
        pytest.skip("the number of exit(2) is x86-64's")
    leader = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
    try:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"leads\n"
        until(lambda: codes(path) == ["leader-zombie"], "its first thread to end")
        status = status_of(path)
        assert status.holder is not None
        assert (status.holder.pid, status.holder.kept_by) == (leader.pid, [])
        assert status.holder.term == 1
    finally:
        leader.kill()
        leader.communicate()


def test_a_deleted_file_is_told_of_by_its_old_path(path: Path) -> None:
    with holder(path) as leader:
        inode = path.stat().st_ino
        path.unlink()
        status = status_of(path)
        assert (status.path, status.inode) == (f"{path} (deleted)", inode)
        assert status.holder is not None
        assert status.holder.pid == leader.pid
        assert [warning.code for warning in status.warnings] == ["file-deleted"]
        result = run("status", str(path))
        assert (result.returncode, result.stderr) == (0, "")
        assert f"{path} (deleted)" in result.stdout


def test_two_leaders_after_a_deletion_are_told_of(path: Path) -> None:
    with holder(path) as first:
        path.unlink()
        with holder(path) as second:
            status = status_of(path)
            assert status.holder is not None
            assert status.holder.pid == second.pid
            assert [warning.code for warning in status.warnings] == ["file-deleted"]
            assert f"process {first.pid} holds the lock of a file that was deleted" in text_of(
                status, "file-deleted"
            )


def test_a_path_that_vanishes_while_it_is_looked_at_is_an_error_or_a_status(path: Path) -> None:
    program = (
        "import os, sys\nwhile True:\n"
        "    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600)); os.unlink(sys.argv[1])"
    )
    other = subprocess.Popen([sys.executable, "-c", program, path])
    seen = {"there": 0, "missing": 0}
    try:
        until(path.exists, "it to begin")
        while min(seen.values()) < 20:
            try:
                assert status_of(path).holder is None
                seen["there"] += 1
            except MissingLockFile:
                seen["missing"] += 1
    finally:
        other.kill()
        other.wait()


def test_a_corrupt_record_is_told_of(path: Path) -> None:
    with holder(path):
        path.write_bytes(b"garbage")
        assert codes(path) == ["foreign-holder", "record-corrupt"]
    path.write_bytes(b"garbage")
    assert codes(path) == ["record-corrupt"]


def test_a_file_that_everybody_may_write_is_told_of(path: Path) -> None:
    with holder(path):
        path.chmod(0o666)
        assert codes(path) == ["world-writable"]


def test_a_file_of_another_user_is_told_of(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with holder(path):
        os.chown(path, 65534, -1)
        assert codes(path) == ["foreign-owner"]


def test_a_lease_that_is_nearly_missed_is_told_of(path: Path) -> None:
    program = (
        "import sys, time; from leaderlock import Election\n"
        "def task(leadership):\n    print('leads', flush=True)\n"
        "    for _ in range(15): time.sleep(0.1); leadership.beat()\n"  # noted once a second
        "    time.sleep(1000)\n"
        "Election(sys.argv[1], lease=30).run(task)"
    )
    leader = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
    try:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"leads\n"
        until(lambda: (holder := status_of(path).holder) and holder.last_beat, "the beat")
        status = status_of(path)
        assert status.holder is not None
        assert status.holder.lease == 30
        assert status.holder.last_beat is not None
        assert abs(status.holder.last_beat - time.time()) < 20
        assert status.warnings == []
        assert "lease    30 s, last beat " in run("status", str(path)).stdout
        late = status_of_at(path, time.time() + 25)
        assert "lease-late" in late
    finally:
        leader.kill()
        leader.communicate()


def status_of_at(path: Path, moment: float) -> str:
    """What another process says whose clock is ahead: it has a time namespace's cheaper cousin."""
    program = (
        "import sys, time; now = time.time; ahead = float(sys.argv[2]) - now()\n"
        "time.time = lambda: now() + ahead\n"
        "from leaderlock.status import status_of; print(status_of(sys.argv[1]).warnings)"
    )
    command = [sys.executable, "-c", program, str(path), str(moment)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
