"""flock(2) and how a holder ends, or does not: kill, core dump, stop, disk wait. Without leaderlock."""

from __future__ import annotations

import os
import resource
import signal
import statistics
import time
from pathlib import Path

import pytest

from tests.filesystems import made
from tests.processes import Child, until
from tests.raw_flock import frozen, is_free, locked, opened, queued


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "os._exit", "an exception"])
def test_the_lock_is_free_when_its_process_has_ended_however_it_ended(path: Path, end: str) -> None:
    with locked(path) as child:
        if end.startswith("SIG"):
            child.signal(signal.Signals[end])
        elif end == "os._exit":
            child.begin("os._exit(0)")
        else:
            child.begin("os.close(0)")  # then reading what it is told raises
        child.wait()
        assert is_free(path)


def test_a_killed_holder_is_followed_by_the_waiter_before_its_parent_takes_it_in(path: Path) -> None:
    with locked(path) as first, queued(path) as second:
        first.signal(signal.SIGKILL)
        second.answer()
        until(lambda: state_of(first) == "Z", "the zombie that nobody has waited for")


def state_of(child: Child) -> str:
    return Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]


def test_a_holder_that_is_stopped_keeps_the_lock(path: Path) -> None:
    with locked(path) as first, queued(path) as second:
        first.signal(signal.SIGSTOP)
        until(lambda: state_of(first) == "T", "the stop")
        assert not is_free(path)
        first.signal(signal.SIGKILL)  # which ends also what is stopped
        second.answer()


def test_a_holder_that_hangs_in_a_disk_keeps_the_lock_even_if_it_is_killed(
    path: Path, tmp_path: Path
) -> None:
    with made("ext4", tmp_path) as disk, locked(path) as child:
        child.tell(f"file = open({str(disk / 'file')!r}, 'wb', 0)")
        with frozen(disk):
            child.begin("file.write(b'.')")
            until(lambda: state_of(child) == "D", "the write to hang")
            child.signal(signal.SIGKILL)
            until(lambda: pending_kill(child), "the signal to arrive")
            assert state_of(child) == "D"
            assert not is_free(path)
        child.wait()
        assert is_free(path)


def pending_kill(child: Child) -> bool:
    status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
    return bool(int(status.split("SigPnd:")[1].split()[0], 16) & 1 << signal.SIGKILL - 1)


def test_a_holder_keeps_the_lock_while_its_core_is_written(path: Path, tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
    if pattern.startswith(("|", "/")):
        pytest.skip("cores of this machine go elsewhere than to the working directory")
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if limit == 0:
        pytest.skip("no process of this machine may leave a core")
    with made("ext4", tmp_path) as disk, locked(path) as child:
        child.tell(f"import resource; resource.setrlimit(resource.RLIMIT_CORE, ({limit}, {limit}))")
        child.tell(f"os.chdir({str(disk)!r})")
        with frozen(disk):
            child.begin("os.abort()")
            until(lambda: is_dumping(child), "the core dump to begin")
            until(lambda: state_of(child) == "D", "the core dump to hang")
            assert not is_free(path)
            child.signal(signal.SIGKILL)
            assert not is_free(path)
        child.wait()
        assert is_free(path)
        assert list(disk.glob("core*"))


def is_dumping(child: Child) -> bool:
    return "CoreDumping:\t1" in Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")


@pytest.mark.slow
@pytest.mark.alone
def test_a_big_holder_is_followed_later_than_a_small_one(path: Path) -> None:
    """The kernel takes a dying process's memory apart before it closes its descriptors."""
    small = statistics.median(handover(path, megabytes=1) for _ in range(5))
    big = statistics.median(handover(path, megabytes=500) for _ in range(5))
    assert big > 2 * small


def handover(path: Path, megabytes: int) -> float:
    """Seconds from the SIGKILL until the waiter runs."""
    with opened(path) as first:
        first.tell(
            f"memory = bytearray({megabytes} << 20); memory[::4096] = bytes(len(memory[::4096]))"
        )
        first.tell("flock(fd, LOCK_EX)")
        with queued(path, "(flock(fd, LOCK_EX), time.monotonic())") as second:
            killed = time.monotonic()
            os.kill(first.pid, signal.SIGKILL)
            return float(second.answer()[1]) - killed
