"""Leaders under a debugger, and at limits of processes and of memory, each with a keeper."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.kept import CAN_HAVE_KEEPERS, end_of, keepers_of, keeping, status_of
from tests.native.test_elections import candidate, keeper_of
from tests.processes import Child, ChildError, needs_root, until, until_parked

pytestmark = [
    pytest.mark.skipif(not CAN_HAVE_KEEPERS, reason="needs Linux on x86-64 or aarch64"),
    pytest.mark.skipif(os.geteuid() != 0, reason=needs_root),
    pytest.mark.slow,
]


@contextlib.contextmanager
def traced(pid: int, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that a debugger has attached to; the debugger ends with the block."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as tracer:
        try:
            until(lambda: status_of(pid)["TracerPid"] != "0")
            yield tracer
        finally:
            tracer.kill()


def test_a_keeper_is_made_under_strace_which_does_not_see_it(path: Path, tmp_path: Path) -> None:
    with Child(path) as leader:
        leader.tell("lock = LeaderLock(argv[0]); lock.acquire(); import leaderlock_native as native")
        output = tmp_path / "output"
        with traced(leader.pid, "strace", "-f", "-qq", "-o", str(output), "-p", str(leader.pid)):
            keeper = leader.tell("native.start()")
            assert status_of(keeper)["TracerPid"] == "0"
            with end_of(keeper) as end, Child(path) as standby:
                standby.begin("lock = LeaderLock(argv[0]); lock.acquire()")
                until_parked(path, standby.pid)
                leader.kill()
                standby.answer()
                assert end.wait()
        lines = output.read_text().splitlines()
        assert any("clone(" in line and "CLONE_VM" in line for line in lines)
        assert not any(line.startswith(f"{keeper} ") for line in lines)


def test_a_keeper_is_made_under_gdb_which_does_not_take_it_for_a_thread(tmp_path: Path) -> None:
    with Child() as leader:
        leader.tell("import leaderlock_native as native")
        log = tmp_path / "log"
        command = ["gdb", "-nx", "-batch", "-p", str(leader.pid), "-ex", f"set logging file {log}"]
        command += ["-ex", "set logging enabled on", "-ex", "continue"]
        with traced(leader.pid, *command) as gdb:
            keeper = leader.tell("native.start()")
            assert status_of(keeper)["TracerPid"] == "0"
            assert keepers_of(leader.pid) == [keeper]
            with end_of(keeper) as end:
                os.kill(leader.pid, signal.SIGKILL)
                assert end.wait()
            gdb.wait(60)
        assert f"LWP {keeper}" not in log.read_text()


def test_gdb_looks_at_a_leader_that_has_a_keeper_and_both_go_on() -> None:
    leader, keeper = keeping()
    with leader:
        for pid in (leader.pid, keeper):
            look = ["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "info registers", "-ex", "detach"]
            subprocess.run(look, check=True, capture_output=True, timeout=120)
        assert leader.tell("native.pid()") == keeper
        with end_of(keeper) as end:
            leader.kill()
            assert end.wait()


@contextlib.contextmanager
def group(controller: str) -> Iterator[Path]:
    """A control group of its own, of either version, with a controller; no process is in it yet."""
    old = Path("/sys/fs/cgroup") / controller
    above = old if old.is_dir() else Path("/sys/fs/cgroup")
    made = above / f"leaderlock-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not old.is_dir() and not list(made.glob(f"{controller}.*")):
            pytest.skip(f"the controller {controller} is not enabled in {above}")
        yield made
    finally:
        until(lambda: not (made / "cgroup.procs").read_text())
        made.rmdir()


@pytest.mark.parametrize(("most", "step"), [(1, "pthread_create"), (2, "clone")])
def test_at_the_limit_of_a_control_group_the_keeper_is_refused(
    path: Path, most: int, step: str
) -> None:
    with group("pids") as pids, Child(path) as leader:
        leader.tell("import leaderlock_native as native; lock = LeaderLock(argv[0]); lock.acquire()")
        (pids / "cgroup.procs").write_text(str(leader.pid))
        (pids / "pids.max").write_text(str(most))
        with pytest.raises(ChildError, match=rf"BlockingIOError.*{step}"):
            leader.tell("native.start()")
        assert keepers_of(leader.pid) == []
        assert leader.tell("lock.locked()")
        (pids / "pids.max").write_text("max")
        assert leader.tell("native.start()")
        leader.kill()


def test_the_oom_killer_ends_both_and_the_next_leader_leads(path: Path) -> None:
    with group("memory") as memory, candidate(path) as leader, candidate(path) as standby:
        assert leader.line() == "1"
        keeper = keeper_of(leader)
        until_parked(path, standby.pid)
        limit = memory / "memory.limit_in_bytes"
        (limit if limit.exists() else memory / "memory.max").write_text(str(64 << 20))
        for pid in (leader.pid, keeper):
            (memory / "cgroup.procs").write_text(str(pid))
        with end_of(keeper) as end:
            leader.begin("memory = bytearray(b'x') * (256 << 20)")
            assert standby.line() == "2"
            assert leader.wait() == -signal.SIGKILL
            assert end.wait()
