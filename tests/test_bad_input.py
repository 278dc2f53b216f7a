"""Files and systems that cannot be used: a clear error with path and remedy each, and nothing held."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderlock import (
    LeaderLock,
    LeaderLockError,
    LockFileReplaced,
    LockFileUnusable,
    UnsafeLockFile,
)
from leaderlock.kernel import lock_table
from leaderlock.kernel.proc import mounts
from tests.processes import (
    Child,
    ChildError,
    descriptors_of,
    descriptors_without_garbage,
    flocks_of,
    holder,
    until,
    until_parked,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534


def refused(path: Path, kind: type[LeaderLockError], *words: str) -> LeaderLockError:
    """Every way to acquire raises the same error, which says what the words say, and leaves nothing."""
    lock = LeaderLock(path)
    before = descriptors_without_garbage()
    ways: list[Callable[[], object]] = [
        lambda: lock.acquire(blocking=False),
        lambda: lock.acquire(timeout=1),
        lock.__enter__,
    ]
    for way in ways:
        with pytest.raises(kind) as caught:
            way()
        for word in (str(path), *words):
            assert word in str(caught.value)
        assert not lock.locked()
    assert descriptors_of() == before
    with pytest.raises(kind) as caught:
        lock.acquire()
    return caught.value


def test_a_directory_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, UnsafeLockFile, "is a directory", "give the path of a regular file")


def test_a_path_that_ends_in_a_slash_is_refused_when_the_lock_is_made(tmp_path: Path) -> None:
    with pytest.raises(UnsafeLockFile, match="is a directory"):
        LeaderLock(f"{tmp_path}/")


def test_a_fifo_is_refused_without_a_wait_for_its_other_end(path: Path) -> None:
    os.mkfifo(path)
    refused(path, UnsafeLockFile, "is a FIFO", "give the path of a regular file")


def test_a_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        refused(path, UnsafeLockFile, "is a socket", "give the path of a regular file")


@needs_root
def test_a_device_is_refused_and_not_touched(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # as /dev/null
    refused(path, UnsafeLockFile, "is a device", "give the path of a regular file")


def test_a_symlink_is_refused_and_its_target_not_made(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    path.symlink_to(target)
    refused(path, UnsafeLockFile, "is a symlink", "give the path of the file itself")
    assert not target.exists()
    target.write_bytes(b"precious")
    refused(path, UnsafeLockFile, "is a symlink")
    assert target.read_bytes() == b"precious"


def test_a_directory_on_the_way_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with LeaderLock(tmp_path / "link" / "x.lock"):
        assert (tmp_path / "real" / "x.lock").exists()


def test_a_missing_directory_is_named_and_not_made(tmp_path: Path) -> None:
    error = refused(tmp_path / "no" / "x.lock", LockFileUnusable, "No such file", "make its directory")
    assert isinstance(error, OSError)
    assert not (tmp_path / "no").exists()


def test_a_file_where_a_directory_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "x.lock", LockFileUnusable, "a part of the path is not a directory")


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    refused(tmp_path / ("x" * 300), LockFileUnusable, "shorter name")


def test_errors_of_the_system_are_os_errors_with_errno_and_filename(tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.lock"
    with pytest.raises(OSError, match="No such file") as caught:
        LeaderLock(path).acquire()
    assert caught.value.errno == 2
    assert caught.value.filename == str(path)


KINDS: dict[str, Callable[[Path], object]] = {
    "a directory": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a symlink": lambda path: path.symlink_to(__file__),
    "a regular file": Path.touch,
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_takes_the_files_place_while_it_is_held_is_noticed(
    path: Path, make: Callable[[Path], object]
) -> None:
    lock = LeaderLock(path)
    with lock:
        path.unlink()
        make(path)
        with pytest.raises(LockFileReplaced, match=str(path)):
            lock.check()
    if not stat.S_ISREG(path.lstat().st_mode):
        with pytest.raises(LeaderLockError, match=str(path)):
            lock.acquire()


@pytest.mark.parametrize("make", list(KINDS.values())[:3], ids=list(KINDS)[:3])
def test_what_takes_the_files_place_while_it_is_waited_for_is_an_error(
    path: Path, make: Callable[[Path], object]
) -> None:
    with holder(path) as other, Child(path) as waiter:
        waiter.begin("lock = LeaderLock(argv[0]); lock.acquire()")
        until_parked(path, waiter.pid)
        path.unlink()
        make(path)
        other.tell("lock.release()")
        with pytest.raises(ChildError) as caught:
            waiter.answer()
        assert caught.value.kind in ("UnsafeLockFile", "LockFileUnusable")
        assert str(path) in caught.value.text
        assert not [link for link in descriptors_of(waiter.pid) if str(path) in link]


def test_a_directory_that_was_taken_away_is_an_error_of_ours(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    lock = LeaderLock(directory / "x.lock")
    with lock:
        directory.rename(tmp_path / "away")
        with pytest.raises(LockFileReplaced):
            lock.check()
        directory.touch()  # a file has its name now
        with pytest.raises(LeaderLockError, match=str(directory)):
            lock.check()
    with pytest.raises(LeaderLockError, match=str(directory)):
        lock.acquire()


@needs_root
def test_a_directory_that_cannot_be_searched_any_more_is_an_error_of_ours(tmp_path: Path) -> None:
    # A server that acquires as root and then drops its rights.
    directory = tmp_path / "d"
    directory.mkdir(mode=0o700)
    with Child(directory / "x.lock") as child:
        child.tell(f"lock = LeaderLock(argv[0]); lock.acquire(); os.setuid({NOBODY})")
        with pytest.raises(ChildError) as caught:
            child.tell("lock.check()")
        assert caught.value.kind == "LockFileUnusable"
        assert str(directory) in caught.value.text
        with pytest.raises(ChildError, match="LockFileUnusable"):
            child.tell("lock.holder()")
        child.tell("lock.release()")
        with pytest.raises(ChildError, match="LockFileUnusable"):
            child.tell("lock.acquire()")


# Other users.


def as_nobody(*arguments: str | os.PathLike[str]) -> Child:
    child = Child(*arguments)
    child.tell(f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})")
    return child


@needs_root
def test_the_file_of_another_user_is_refused(path: Path) -> None:
    path.touch()
    os.chown(path, NOBODY, NOBODY)
    refused(path, UnsafeLockFile, f"belongs to user {NOBODY}", "choose a path of your own")
    assert path.read_bytes() == b""


@needs_root
def test_the_file_of_root_may_be_used_by_others_who_may_write_it(shared: Path) -> None:
    # Also in a sticky directory, where fs.protected_regular refuses O_CREAT on files of others.
    path = shared / "x.lock"
    lock = LeaderLock(path, mode=0o666)
    with lock:
        pass
    with as_nobody(path) as child:
        assert child.tell("lock = LeaderLock(argv[0]); lock.acquire()") is None
        assert child.tell("lock.term") == 2
        assert not lock.acquire(blocking=False)
        child.tell("lock.release()")
    with Child(path) as child:  # a server that drops its rights between two terms
        child.tell("lock = LeaderLock(argv[0]); lock.acquire(); lock.release()")
        child.tell(f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})")
        child.tell("lock.acquire()")
        assert child.tell("lock.term") == 4
    with lock:
        assert lock.term == 5


@needs_root
def test_a_file_that_may_not_be_written_is_named(shared: Path) -> None:
    path = shared / "x.lock"
    with LeaderLock(path), as_nobody(path) as child:
        with pytest.raises(ChildError, match="Permission denied") as caught:
            child.tell("LeaderLock(argv[0]).acquire()")
        assert caught.value.kind == "LockFileUnusable"
        assert str(path) in caught.value.text
        assert "write permission" in caught.value.text


@needs_root
def test_a_directory_that_may_not_be_written_is_named(shared: Path) -> None:
    shared.chmod(0o755)
    with as_nobody(shared / "x.lock") as child:
        with pytest.raises(ChildError, match="Permission denied") as caught:
            child.tell("LeaderLock(argv[0]).acquire()")
        assert "write permission on the file and its directory" in caught.value.text


# File systems, mounted for real.


def fill(directory: Path) -> Path:
    filler = directory / "filler"
    status = os.statvfs(directory)
    with open(filler, "wb", buffering=0) as file:
        file.write(b"x" * status.f_bavail * status.f_frsize)
    assert os.statvfs(directory).f_bavail == 0
    return filler


def test_a_full_file_system_is_an_error_and_the_lock_works_once_there_is_space(tiny: Path) -> None:
    path = tiny / "x.lock"
    filler = fill(tiny)
    refused(path, LockFileUnusable, "write the record", "No space left", "free some space")
    assert flocks_of(path) == []
    filler.unlink()
    lock = LeaderLock(path)
    with lock:
        assert lock.term == 1


def test_a_file_that_has_a_record_needs_no_more_space(tiny: Path) -> None:
    path = tiny / "x.lock"
    lock = LeaderLock(path)
    with lock:
        pass
    fill(tiny)
    with lock:
        assert lock.term == 2


def test_a_waiter_that_cannot_write_its_record_lets_the_next_one_have_the_lock(tiny: Path) -> None:
    path = tiny / "x.lock"
    with holder(path) as other, Child(path) as first, Child(path) as second:
        for waiter in (first, second):
            waiter.begin("lock = LeaderLock(argv[0]); lock.acquire()")
            until_parked(path, waiter.pid)
        os.truncate(path, 0)
        filler = fill(tiny)
        other.kill()
        for waiter in (first, second):
            with pytest.raises(ChildError, match="No space left"):
                waiter.answer()
        assert flocks_of(path) == []
        filler.unlink()


def test_a_record_that_cannot_be_mended_at_release_is_an_error_but_the_lock_is_free(tiny: Path) -> None:
    path = tiny / "x.lock"
    lock = LeaderLock(path)
    lock.acquire()
    os.truncate(path, 0)
    filler = fill(tiny)
    with pytest.raises(LockFileUnusable, match="No space left"):
        lock.release()
    assert not lock.locked()
    assert flocks_of(path) == []
    filler.unlink()
    with lock:
        assert lock.term == 2


def test_no_inode_left_is_an_error(tiny: Path) -> None:
    for number in range(os.statvfs(tiny).f_favail):
        (tiny / str(number)).touch()
    refused(tiny / "x.lock", LockFileUnusable, "No space left")


def test_a_read_only_file_system_is_named_with_what_to_do(tiny: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    refused(tiny / "x.lock", LockFileUnusable, "Read-only", "LeaderLock.anonymous()")


def test_a_file_system_that_becomes_read_only_loses_no_lock(tiny: Path) -> None:
    path = tiny / "x.lock"
    lock = LeaderLock(path)
    with lock:
        pass
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    refused(path, LockFileUnusable, "Read-only")
    subprocess.run(["mount", "-o", "remount,rw", tiny], check=True)
    with lock:
        assert lock.term == 2


def test_locks_on_a_mounted_file_system_show_their_holder(tiny: Path) -> None:
    with holder(tiny / "x.lock") as other:
        record = LeaderLock(tiny / "x.lock").holder()
        assert record is not None
        assert record.pid == other.pid


MOUNTS = [
    (rb"36 35 0:52 / /mnt/a\040b rw,noatime shared:1 - nfs4 server:/x\134y rw,vers=4.2", "nfs4", True),
    (b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue", "ext3", False),
    (b"41 35 0:61 / /home rw - fuse.sshfs me@there: rw,user_id=0", "fuse.sshfs", True),
    (b"42 35 0:62 / /x rw shared:1 master:2 propagate_from:3 - cifs //s/x rw", "cifs", True),
    (b"43 35 0:63 / / rw - overlay overlay rw,lowerdir=/a,upperdir=/b", "overlay", False),
]


@pytest.mark.parametrize(("line", "kind", "network"), MOUNTS, ids=[kind for _, kind, _ in MOUNTS])
def test_mountinfo_is_understood(line: bytes, kind: str, network: bool) -> None:
    mount = mounts._parse(line)
    assert (mount.kind, mount.is_network) == (kind, network)
    if kind == "nfs4":
        assert (mount.mount_point, mount.source) == ("/mnt/a b", "server:/x\\y")


# Limits.

LIMIT = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
def leave(free):
    # The lowest free number counts: the limit is on numbers, not on how many are open.
    filler = [os.open('/', os.O_RDONLY) for _ in range(30)]
    limit = max(filler) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    for _ in range(free):
        os.close(filler.pop())
    return filler
"""


def test_no_descriptor_left_is_an_error_that_tells_the_remedy(path: Path) -> None:
    with Child(path) as child:
        child.tell(LIMIT)
        child.tell("lock = LeaderLock(argv[0]); filler = leave(0)")
        with pytest.raises(ChildError) as caught:
            child.tell("lock.acquire()")
        assert caught.value.kind == "LockFileUnusable"
        assert str(path) in caught.value.text
        assert "ulimit -n" in caught.value.text
        child.tell("os.close(filler.pop())")
        assert child.tell("lock.acquire()") is True


def test_no_descriptor_left_for_a_wait_is_an_error_and_not_a_wait_without_end(path: Path) -> None:
    with holder(path) as other, Child(path) as child:
        child.tell(LIMIT)
        child.tell("lock = LeaderLock(argv[0]); lock.holder(); filler = leave(1)")
        with pytest.raises(ChildError) as caught:
            child.tell("lock.acquire(timeout=30)")
        assert caught.value.kind == "LockFileUnusable"
        assert flocks_of(path) == [(other.pid, False)]


def test_a_waiter_can_be_called_off_at_the_descriptor_limit(path: Path) -> None:
    with holder(path) as other, Child(path) as child:
        child.tell(LIMIT)
        child.tell(
            "candidate = leaderlock.Election(argv[0]).start(lambda leadership: None)\n"
            "lock = LeaderLock(argv[0])\n"
            "waiter = threading.Thread(target=lock.acquire, kwargs={'timeout': 10})\n"
            "waiter.start()\n"
        )
        until(lambda: sum(lock.waiting for lock in lock_table(path) or ()) == 2, "both to queue")
        child.tell("import leaderlock.kernel.handlers")  # ctypes opens files itself when first loaded
        child.tell("filler = leave(0)")
        assert child.tell("candidate.stop(30)") is True
        child.tell("waiter.join()")
        assert flocks_of(path) == [(other.pid, False)]


@needs_root
def test_no_thread_left_for_the_timer_is_an_error_and_holds_nothing(shared: Path) -> None:
    path = shared / "x.lock"
    path.touch()
    os.chown(path, 4242, 4242)
    with Child(path) as child:
        child.tell(
            "import resource\n"
            "holder = os.open(argv[0], os.O_RDWR); import fcntl; fcntl.flock(holder, fcntl.LOCK_EX)\n"
            "lock = LeaderLock(argv[0])\n"
            "os.setuid(4242)\n"  # a user whose threads can be counted
            "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
        )
        with pytest.raises(ChildError):
            child.tell("lock.acquire(timeout=30)")
        child.tell("fcntl.flock(holder, fcntl.LOCK_UN)")
        assert child.tell("lock.acquire(timeout=0)") is True


def test_descriptors_that_are_closed_between_two_uses_do_no_harm(path: Path) -> None:
    with holder(path) as other, Child(path) as child:
        child.tell("lock = LeaderLock(argv[0]); keep = os.dup2(1, 100)")
        assert child.tell("lock.acquire(timeout=0.02)") is False
        # All but the two that the child is spoken to through.
        child.tell("mine = max(int(n) for n in os.listdir('/proc/self/fd') if int(n) < 100)")
        child.tell(
            "for n in list(os.listdir('/proc/self/fd')):\n"
            "    try: link = os.readlink(f'/proc/self/fd/{n}')\n"
            "    except OSError: continue\n"
            "    if not link.startswith('pipe:'): os.close(int(n))\n"
        )
        child.tell("others = [os.open('/dev/null', os.O_RDONLY) for _ in range(20)]")
        assert child.tell("lock.acquire(timeout=0.02)") is False
        assert child.tell("all(os.fstat(n).st_rdev == os.stat('/dev/null').st_rdev for n in others)")
        other.tell("lock.release()")
        assert child.tell("lock.acquire(timeout=30)") is True


def test_an_anonymous_lock_whose_descriptor_was_closed_says_so() -> None:
    with Child() as child:
        child.tell("lock = LeaderLock.anonymous(name='x')")
        child.tell("os.close(lock._file._descriptor.fd)")
        with pytest.raises(ChildError) as caught:
            child.tell("lock.acquire()")
        assert caught.value.kind == "Unsupported"
        assert "memfd:x" in caught.value.text


def test_an_anonymous_locks_number_that_leads_elsewhere_is_left_alone(
    tmp_path: Path,
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"")
    with Child(precious) as child:
        child.tell("lock = LeaderLock.anonymous(name='x'); n = lock._file._descriptor.fd; os.close(n)")
        assert child.tell("os.open(argv[0], os.O_RDWR) == n")
        with pytest.raises(ChildError, match="memfd:x"):
            child.tell("lock.acquire()")
        child.tell("del lock")
        assert child.tell("os.fstat(n).st_size") == 0
    assert precious.read_bytes() == b""
