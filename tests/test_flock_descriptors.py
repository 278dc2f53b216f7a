"""flock(2) and what a lock belongs to: open, dup, fork, exec, threads, close. Without leaderlock."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import threading
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path

import pytest

from tests.processes import Child, flocks_of, forked, until, until_parked
from tests.raw_flock import is_free, locked, opened, takes


def test_two_opens_of_one_process_exclude_each_other(path: Path) -> None:
    with path.open("ab") as first, path.open("ab") as second:
        flock(first, LOCK_EX)
        assert not takes(second.fileno())
        flock(first, LOCK_UN)
        assert takes(second.fileno())


def test_a_lock_that_is_held_is_granted_again_and_undone_by_one_unlock(path: Path) -> None:
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        assert takes(file.fileno())
        flock(file, LOCK_UN)
        assert is_free(path)


def test_opening_through_proc_makes_a_description_of_its_own(path: Path) -> None:
    with path.open("ab") as first, open(f"/proc/self/fd/{first.fileno()}", "ab") as second:
        flock(first, LOCK_EX)
        assert not takes(second.fileno())


def test_a_dup_is_the_same_lock(path: Path) -> None:
    with path.open("ab") as file, os.fdopen(os.dup(file.fileno()), "ab") as dup:
        flock(file, LOCK_EX)
        assert takes(dup.fileno())
        flock(dup, LOCK_UN)
        assert is_free(path)


def test_the_lock_is_free_when_the_last_dup_is_closed(path: Path) -> None:
    with path.open("ab") as file, os.fdopen(os.dup(file.fileno()), "ab") as dup:
        flock(file, LOCK_EX)
        file.close()
        assert not is_free(path)
        dup.close()
        assert is_free(path)


def test_closing_another_descriptor_of_the_file_does_not_unlock(path: Path) -> None:
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        path.read_bytes()
        assert not is_free(path)


def test_a_forked_child_has_the_same_lock(path: Path) -> None:
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        assert forked(lambda: takes(file.fileno())) == 0


def test_the_close_or_the_exit_of_a_forked_child_does_not_unlock(path: Path) -> None:
    with path.open("ab") as file:

        def closes() -> bool:
            file.close()
            return file.closed

        flock(file, LOCK_EX)
        assert forked(closes) == 0
        assert not is_free(path)


def test_the_unlock_of_a_forked_child_unlocks_for_the_parent_too(path: Path) -> None:
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        assert forked(lambda: takes(file.fileno(), LOCK_UN)) == 0
        assert is_free(path)


def test_a_forked_child_keeps_the_lock_of_a_killed_parent(path: Path) -> None:
    with locked(path) as parent:
        parent.tell("pipe = os.pipe(); child = os.fork() or (os.read(pipe[0], 1), os._exit(0))")
        child = parent.tell("child")
        parent.kill()
        assert not is_free(path)
        os.kill(child, 9)
        until(lambda: is_free(path), "the child to end")


def test_a_fork_while_a_thread_waits_shares_what_the_thread_gets(path: Path) -> None:
    with locked(path) as first, opened(path) as parent:
        parent.tell("thread = threading.Thread(target=flock, args=(fd, LOCK_EX)); thread.start()")
        until_parked(path, parent.pid)
        parent.tell("pipe = os.pipe(); child = os.fork() or (os.read(pipe[0], 1), os._exit(0))")
        child = parent.tell("child")
        first.kill()
        parent.tell("thread.join()")
        parent.kill()
        assert not is_free(path)
        os.kill(child, 9)
        until(lambda: is_free(path), "the child to end")


@pytest.mark.parametrize("inheritable", [False, True])
def test_exec_keeps_the_lock_if_the_descriptor_is_not_close_on_exec(
    path: Path, inheritable: bool
) -> None:
    with locked(path) as child:
        child.tell(f"os.set_inheritable(fd, {inheritable})")
        # cat ends with its input, the pipe that tells the child
        child.begin("os.execlp('cat', 'cat')")
        until(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "cat\n", "the exec")
        if inheritable:
            assert not is_free(path)
            child.end()
        until(lambda: is_free(path), "the descriptor to be closed")


SPAWN = """
flags = [(os.POSIX_SPAWN_OPEN, 0, argv[1], os.O_RDONLY, 0)]
os.posix_spawn('/bin/cat', ['cat'], os.environ, file_actions=flags)
"""


def test_a_spawned_child_keeps_the_lock_until_its_exec_closes_the_descriptor(
    path: Path, tmp_path: Path
) -> None:
    """posix_spawn runs its file actions between vfork and exec: here it opens a FIFO, and waits."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Child(path, fifo) as parent:
        parent.tell("from fcntl import *; fd = os.open(argv[0], os.O_RDWR | os.O_CREAT)")
        parent.tell("flock(fd, LOCK_EX)")
        parent.begin(SPAWN)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        until(children.read_text, "the child")
        parent.kill()
        assert not is_free(path)
        with fifo.open("wb"):
            until(lambda: is_free(path), "the exec")


def test_a_thread_that_has_ended_leaves_its_lock_to_the_process(path: Path) -> None:
    with path.open("ab") as file:
        thread = threading.Thread(target=flock, args=(file, LOCK_EX))
        thread.start()
        thread.join()
        assert not is_free(path)


def test_threads_with_one_descriptor_do_not_exclude_each_other(path: Path) -> None:
    with path.open("ab") as file:
        flock(file, LOCK_EX)
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(takes(file.fileno())))
        thread.start()
        thread.join()
        assert got == [True]


def test_threads_with_a_descriptor_each_exclude_each_other(path: Path) -> None:
    with path.open("ab") as file, path.open("ab") as other:
        flock(file, LOCK_EX)
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(takes(other.fileno())))
        thread.start()
        thread.join()
        assert got == [False]


def test_a_wait_whose_descriptor_is_closed_returns_and_holds_nothing(path: Path) -> None:
    with locked(path) as first, opened(path) as waiter, opened(path) as next_one:
        waiter.tell("thread = threading.Thread(target=lambda: got.append(flock(fd, LOCK_EX)))")
        waiter.tell("got = []; thread.start()")
        until_parked(path, waiter.pid)
        waiter.tell("os.close(fd)")
        assert (waiter.pid, True) in flocks_of(path)
        first.kill()
        waiter.tell("thread.join()")
        assert waiter.tell("got") == [None]
        assert next_one.tell("flock(fd, LOCK_EX | LOCK_NB)") is None


def test_a_mapping_keeps_the_lock_after_the_close(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with path.open("ab+") as file:
        file.truncate(mmap.PAGESIZE)
        flock(file, LOCK_EX)
        place = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    assert not is_free(path)
    assert libc.munmap(place, mmap.PAGESIZE) == 0
    assert is_free(path)


def test_a_descriptor_that_is_sent_takes_the_lock_along(path: Path) -> None:
    here, there = socket.socketpair()

    def sender() -> bool:
        with path.open("ab") as file:
            flock(file, LOCK_EX)
            return bool(socket.send_fds(there, [b"."], [file.fileno()]))

    with here, there:
        assert forked(sender) == 0
        _, [received], _, _ = socket.recv_fds(here, 1, 1)
    assert not is_free(path)
    os.close(received)
    assert is_free(path)


def test_a_descriptor_in_an_unread_message_keeps_the_lock(path: Path) -> None:
    here, there = socket.socketpair()
    with here, there:
        with path.open("ab") as file:
            flock(file, LOCK_EX)
            socket.send_fds(there, [b"."], [file.fileno()])
        assert not is_free(path)
        here.close()
        until(lambda: is_free(path), "the message to be thrown away")
