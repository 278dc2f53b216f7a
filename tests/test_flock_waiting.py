"""flock(2) and its queue: order, conversion, signals, stops, deadlock. Without leaderlock."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterator
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path

import pytest

from tests.processes import Child, ChildError, flocks_of, needs_root, until, until_parked
from tests.raw_flock import is_free, is_held_shared, locked, opened, queued, takes


def queue_of(path: Path) -> list[int]:
    """Who waits, in the kernel's order."""
    return [pid for pid, waits in flocks_of(path) if waits]


def test_without_waiting_a_held_lock_is_refused_with_ewouldblock(path: Path) -> None:
    with locked(path), path.open("ab") as file, pytest.raises(BlockingIOError) as caught:
        flock(file, LOCK_EX | LOCK_NB)
    assert caught.value.errno == errno.EWOULDBLOCK


def test_waiters_get_the_lock_in_the_order_in_which_they_began_to_wait(path: Path) -> None:
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(locked(path))]
        holders += [stack.enter_context(queued(path)) for _ in range(4)]
        while len(holders) > 1:
            assert queue_of(path) == [waiter.pid for waiter in holders[1:]]
            holders.pop(0).kill()
            holders[0].answer()


def test_a_newcomer_can_be_faster_than_a_waiter_that_is_being_woken(path: Path) -> None:
    """The waiter is woken and tries again; nothing is handed over."""
    with opened(path) as waiter, path.open("ab") as file:
        for _ in range(10_000):
            flock(file, LOCK_EX)
            waiter.begin("flock(fd, LOCK_EX)")
            until_parked(path, waiter.pid)
            flock(file, LOCK_UN)
            if takes(file.fileno()):
                until_parked(path, waiter.pid)
                break
            waiter.answer()
            waiter.tell("flock(fd, LOCK_UN)")
        else:
            pytest.fail("the waiter was always faster")


def test_shared_locks_go_together_and_keep_an_exclusive_one_out(path: Path) -> None:
    with locked(path, "LOCK_SH"), locked(path, "LOCK_SH"):
        assert is_held_shared(path)


def test_a_newcomer_that_shares_overtakes_one_who_waits_to_have_it_alone(path: Path) -> None:
    with locked(path, "LOCK_SH") as first, queued(path) as waiter, locked(path, "LOCK_SH"):
        first.kill()
        until_parked(path, waiter.pid)
        assert queue_of(path) == [waiter.pid]


def test_a_refused_conversion_loses_the_lock_that_was_there(path: Path) -> None:
    with path.open("ab") as file, path.open("ab") as other:
        flock(file, LOCK_SH)
        flock(other, LOCK_SH)
        assert not takes(file.fileno(), LOCK_EX)
        flock(other, LOCK_UN)
        assert is_free(path)


def test_of_two_that_convert_one_has_it_alone_while_the_other_believes_it_shares(path: Path) -> None:
    with locked(path, "LOCK_SH") as first, locked(path, "LOCK_SH") as second:
        first.begin("flock(fd, LOCK_EX)")
        until_parked(path, first.pid)
        second.tell("flock(fd, LOCK_EX)")
        until(lambda: flocks_of(path) == [(second.pid, False), (first.pid, True)], "the first to wait")
        second.kill()
        first.answer()


def test_giving_up_exclusiveness_lets_those_in_who_share(path: Path) -> None:
    with locked(path) as first, queued(path, "flock(fd, LOCK_SH)") as second:
        first.tell("flock(fd, LOCK_SH)")
        second.answer()
        assert sorted(flocks_of(path)) == sorted([(first.pid, False), (second.pid, False)])


def test_a_deadlock_is_not_detected(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with locked(one) as first, locked(two) as second:
        for child, path in (first, two), (second, one):
            child.tell(f"other = os.open({str(path)!r}, os.O_RDWR)")
            child.begin("flock(other, LOCK_EX)")
            until_parked(path, child.pid)
        assert flocks_of(one) == [(first.pid, False), (second.pid, True)]
        assert flocks_of(two) == [(second.pid, False), (first.pid, True)]


RAW = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
caught = []
signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
"""
RAW_FLOCK = "(libc.flock(fd, LOCK_EX), ctypes.get_errno())"


def test_a_signal_with_a_handler_ends_the_wait_with_eintr(path: Path) -> None:
    with locked(path), opened(path) as waiter:
        waiter.tell(RAW)
        waiter.begin(RAW_FLOCK)
        until_parked(path, waiter.pid)
        waiter.signal(signal.SIGUSR1)
        assert waiter.answer() == (-1, errno.EINTR)


def test_with_sa_restart_the_wait_goes_on(path: Path) -> None:
    with locked(path) as first, opened(path) as waiter:
        waiter.tell(RAW + "signal.siginterrupt(signal.SIGUSR1, False)")
        waiter.begin(RAW_FLOCK)
        until_parked(path, waiter.pid)
        waiter.signal(signal.SIGUSR1)
        until(lambda: not pending(waiter), "the signal to be taken")
        until_parked(path, waiter.pid)
        first.kill()
        assert waiter.answer() == (0, 0)
        assert waiter.tell("caught") == [1]


def pending(child: Child) -> int:
    """The signals that are sent to the process and not yet taken, as a bit mask."""
    status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
    return int(status.split("ShdPnd:")[1].split()[0], 16)


def test_in_python_the_handler_runs_outside_the_queue_and_the_wait_starts_again_at_its_end(
    path: Path,
) -> None:
    with locked(path) as first, opened(path) as second:
        second.tell("_ = signal.signal(signal.SIGUSR1, lambda *_: os.read(0, 100))")
        second.begin("flock(fd, LOCK_EX)")
        until_parked(path, second.pid)
        with queued(path) as third:
            second.signal(signal.SIGUSR1)
            until(lambda: queue_of(path) == [third.pid], "the handler to run")
            second.begin("what ends the handler")
            until(lambda: queue_of(path) == [third.pid, second.pid], "the wait to go on")
            first.kill()
            third.answer()
            third.kill()
            second.answer()


def test_a_python_handler_that_raises_ends_the_wait(path: Path) -> None:
    with locked(path), queued(path) as waiter:
        waiter.signal(signal.SIGINT)
        with pytest.raises(ChildError, match="KeyboardInterrupt"):
            waiter.answer()
        assert queue_of(path) == []


def test_a_waiter_that_is_stopped_leaves_the_queue_and_comes_back_at_its_end(path: Path) -> None:
    with locked(path), queued(path) as second, queued(path) as third:
        second.signal(signal.SIGSTOP)
        until(lambda: queue_of(path) == [third.pid], "the second to leave")
        second.signal(signal.SIGCONT)
        until(lambda: queue_of(path) == [third.pid, second.pid], "the second to come back")


def test_a_waiter_that_is_killed_leaves_the_queue(path: Path) -> None:
    with locked(path) as first, queued(path) as second, queued(path) as third:
        second.kill()
        until(lambda: queue_of(path) == [third.pid], "the queue to close up")
        first.kill()
        third.answer()


@contextlib.contextmanager
def frozen_group(*children: Child) -> Iterator[Callable[[bool], None]]:
    """The children in a control group that is frozen, as by `docker pause`, and thawed when told."""
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        group = Path(mount, f"leaderlock-flock-{os.getpid()}")
        with contextlib.suppress(OSError):  # no hierarchy of version 2, or one that may only be read
            group.mkdir()
            if (group / "cgroup.freeze").exists():
                break
            group.rmdir()
    else:
        pytest.skip("no control group that freezes can be made here")

    def freeze(on: bool) -> None:
        (group / "cgroup.freeze").write_text(str(int(on)))
        until(lambda: f"frozen {int(on)}" in (group / "cgroup.events").read_text(), "the freezer")

    try:
        for child in children:
            (group / "cgroup.procs").write_text(str(child.pid))
        yield freeze
    finally:
        freeze(False)
        for child in children:
            child.kill()
        until(lambda: "populated 0" in (group / "cgroup.events").read_text(), "the group to be empty")
        group.rmdir()


def test_a_holder_that_is_paused_by_its_control_group_keeps_the_lock(path: Path) -> None:
    with locked(path) as first, queued(path) as second, frozen_group(first) as freeze:
        freeze(True)
        assert queue_of(path) == [second.pid]
        assert not is_free(path)
        first.kill()  # also while frozen
        second.answer()


def test_a_waiter_that_is_paused_by_its_control_group_leaves_the_queue(path: Path) -> None:
    with locked(path), queued(path) as second, queued(path) as third, frozen_group(second) as freeze:
        freeze(True)
        until(lambda: queue_of(path) == [third.pid], "the second to leave")
        freeze(False)
        until(lambda: queue_of(path) == [third.pid, second.pid], "the second to come back")
