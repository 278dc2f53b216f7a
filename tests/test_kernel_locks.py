"""`lock_table` tells every kind of lock, which file, and which descriptors keep it."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock.kernel import Lock, lock_table
from leaderlock.kernel.proc.mounts import place_of
from leaderlock.kernel.proc.queues import queue_on
from leaderlock.kernel.proc.table import once
from tests.filesystems import LOCAL, made
from tests.processes import Child, forked, needs_root
from tests.raw_flock import locked, mounted_at, queued

OFD_SETLK = 37


def table_of(path: Path) -> list[Lock]:
    table = lock_table(path)
    assert table is not None
    return table


def test_holders_and_waiters_stand_in_their_order(path: Path) -> None:
    with locked(path) as holder, queued(path) as first, queued(path) as second:
        table = table_of(path)
        assert [(lock.pid, lock.waiting) for lock in table] == [
            (holder.pid, False),
            (first.pid, True),
            (second.pid, True),
        ]
        assert {(lock.kind, lock.exclusive, lock.start, lock.end) for lock in table} == {
            ("flock", True, 0, None)
        }
        [everywhere] = [lock for lock in lock_table() or () if lock.pid == holder.pid]
        assert (everywhere.device, everywhere.inode) == (table[0].device, table[0].inode)


def test_the_other_kinds_are_told_apart(path: Path) -> None:
    with path.open("w") as file, path.open("w") as other:
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 100)
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 200, 5, 0)
        fcntl.fcntl(other, OFD_SETLK, whole)
        table = {lock.kind: lock for lock in table_of(path)}
        assert set(table) == {"posix", "ofd"}
        assert (table["posix"].pid, table["posix"].start, table["posix"].end) == (os.getpid(), 100, 109)
        assert (table["ofd"].pid, table["ofd"].start, table["ofd"].end) == (None, 200, 204)
        assert table["ofd"].descriptors == ((os.getpid(), other.fileno()),)


def test_a_shared_lock_is_told_as_one(path: Path) -> None:
    with locked(path, "LOCK_SH"), locked(path, "LOCK_SH"):
        assert [lock.exclusive for lock in table_of(path)] == [False, False]


@pytest.mark.parametrize("kind", [*LOCAL, "fuse-local"])
def test_a_file_is_found_by_the_numbers_that_the_kernel_prints(tmp_path: Path, kind: str) -> None:
    with made(kind, tmp_path) as place:
        path = place / "leader.lock"
        with locked(path) as holder:
            [lock] = table_of(path)
            assert (lock.pid, lock.descriptors[0][0]) == (holder.pid, holder.pid)
            with path.open() as file:
                assert [entry.pid for entry in queue_on(*place_of(file.fileno())) or ()] == [holder.pid]


def test_a_file_in_a_btrfs_subvolume_is_found(tmp_path: Path) -> None:
    with made("btrfs", tmp_path) as place:
        inside = place / "inside"
        subprocess.run(["btrfs", "-q", "subvolume", "create", inside], check=True)
        path = inside / "leader.lock"
        with locked(path) as holder:
            assert os.stat(inside).st_dev != os.stat(place).st_dev
            assert [lock.pid for lock in table_of(path)] == [holder.pid]


def test_a_file_of_an_overlay_that_was_copied_up_is_found(tmp_path: Path) -> None:
    with made("tmpfs", tmp_path) as upper:
        lower, place = tmp_path / "lower", tmp_path / "merged"
        lower.mkdir()
        (lower / "leader.lock").write_text("from the image")
        for name in ("files", "work"):
            (upper / name).mkdir()
        layers = f"lowerdir={lower},upperdir={upper}/files,workdir={upper}/work"
        for _ in range(2):  # the second time it is in the upper layer from the start
            with mounted_at(place, "-t", "overlay", "-o", layers, "overlay"):
                path = place / "leader.lock"
                with locked(path) as holder:
                    assert [lock.pid for lock in table_of(path)] == [holder.pid]
                    assert (upper / "files" / "leader.lock").exists()


def test_a_descriptor_kept_by_an_orphan_is_found(path: Path) -> None:
    with locked(path) as holder:
        orphan = holder.tell("os.fork() or signal.pause()")
        holder_pid = holder.pid
        os.kill(holder_pid, 9)
        holder.wait()
        [lock] = table_of(path)
        assert lock.pid == holder_pid
        assert [pid for pid, _ in lock.descriptors] == [orphan]


def test_a_lock_that_proc_locks_leaves_out_in_a_container_is_found(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    # In a PID namespace: the one who locked has ended, and its child has the descriptor.
    program = (
        "import fcntl, os, sys; from leaderlock.kernel import lock_table\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "if os.fork() == 0:\n"
        "    fcntl.flock(fd, fcntl.LOCK_EX)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "listed = [lock for lock in lock_table() if lock.inode == os.fstat(fd).st_ino]\n"
        "print(listed, lock_table(sys.argv[1]))"
    )
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program, str(path)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert told.startswith("[] [Lock(kind='flock', pid=None, waiting=False, exclusive=True,"), told
    assert "descriptors=((1, 3),)" in told


@pytest.mark.slow
@pytest.mark.alone
def test_among_ten_thousand_locks_none_is_missed(path: Path) -> None:
    with Child(path) as child:
        child.tell("fd = os.open(argv[0], os.O_RDWR | os.O_CREAT)")
        child.tell("from fcntl import LOCK_EX, flock, lockf")
        child.tell("[lockf(fd, LOCK_EX, 1, 2 * n) for n in range(10_000)] and None")
        child.tell("flock(fd, LOCK_EX)")
        table = lock_table()
        assert table is not None
        assert len([lock for lock in table if lock.pid == child.pid]) == 10_001
        with path.open() as file:
            assert [entry.pid for entry in queue_on(*place_of(file.fileno())) or ()] == [child.pid]


def test_what_is_hidden_is_left_out_and_the_rest_is_told(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with locked(path) as holder:
        program = (
            "import os, sys; from leaderlock.kernel import lock_table\n"
            "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "print([(lock.pid, lock.descriptors) for lock in lock_table(f'/proc/self/fd/{fd}')])"
        )
        script = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
        words = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
            sys.executable,
            "-c",
            program,
            str(path),
        ]
        told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert told.strip() == f"[({holder.pid}, ())]"


def test_without_proc_there_is_no_table(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    program = "from leaderlock.kernel import lock_table; print(lock_table())"
    script = 'umount -l /proc && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", program]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "None\n"


def test_a_missing_file_is_an_error_that_names_it(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=path.name):
        lock_table(path)


def test_a_process_that_ends_meanwhile_is_no_error(path: Path) -> None:
    with locked(path) as holder:
        for _ in range(20):
            assert forked(lambda: True) == 0
            assert [lock.pid for lock in table_of(path)] == [holder.pid]


def test_a_lock_that_the_kernel_gives_twice_is_told_once() -> None:
    """As between two pieces of the table, when others lock meanwhile."""
    holder = b": FLOCK  ADVISORY  WRITE 417 fe:00:131 0 EOF"
    waiter = b": -> FLOCK  ADVISORY  WRITE %d fe:00:131 0 EOF"
    other = b": FLOCK  ADVISORY  WRITE 90 fe:00:132 0 EOF"
    given = [b"1" + holder, b"1" + waiter % 500, b"2" + other]
    again = [b"3" + holder, b"3" + waiter % 501]
    assert once([*given, *again]) == [*again, b"2" + other]
    assert once(given) == given
