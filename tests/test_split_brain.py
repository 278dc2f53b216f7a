"""A lock file that is deleted or replaced under its leader: it notices, lets go and stands again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderlock.lock.journal import AT_ONCE
from tests.processes import (
    Child,
    ChildError,
    descriptors_of,
    flocks_of,
    forked,
    holder,
    settled,
    threads_of,
    until,
    until_parked,
    wakeups_of,
)

# What it does goes to argv[1], one line for each step, in the order of all processes.
STEPS = """
import logging
messages = []
class Keep(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
logging.getLogger("leaderlock").addHandler(Keep())
log = os.open(argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def step(what):
    os.write(log, f"{os.getpid()} {what}\\n".encode())
moments = []
def task(leadership):
    step("begins")
    moments.append((0, time.monotonic()))
    for tick in leadership.every(SECONDS):
        moments.append((tick, time.monotonic()))
        step("beats")
    step("ends")
def start(**options):
    global candidate
    candidate = leaderlock.Election(argv[0], backoff=(0.05, 0.05), **options).start(task)
"""


def standing(path: Path, seconds: float, **options: object) -> Child:
    """A process that stands for election; its leader ticks every so many seconds."""
    child = Child(path, path.with_name("steps"))
    child.tell(STEPS.replace("SECONDS", str(seconds)))
    child.tell(f"start(**{options!r})")
    return child


def leading(path: Path, seconds: float, **options: object) -> Child:
    child = standing(path, seconds, **options)
    assert child.tell("candidate.wait(30)")
    until(lambda: f"{child.pid} beats" in steps(path))
    return child


def steps(path: Path) -> list[str]:
    return path.with_name("steps").read_text().splitlines()


def watched(pid: int) -> bool:
    return any("inotify" in target for target in descriptors_of(pid))


def delete(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace(path: Path) -> None:
    path.with_name("new").touch()
    path.with_name("new").rename(path)


@pytest.mark.parametrize("do", [delete, rename, replace])
def test_a_leader_notices_at_once_and_leads_by_the_new_file(path: Path, do: object) -> None:
    with leading(path, 1000) as leader:  # its next beat is far away
        until(lambda: watched(leader.pid))
        assert callable(do)
        do(path)
        until(lambda: [line.split()[1] for line in steps(path)].count("begins") == 2)
        assert [line.split()[1] for line in steps(path)][:3] == ["begins", "beats", "ends"]
        assert flocks_of(path) == [(leader.pid, False)]
        [said] = [line for line in leader.tell("messages") if "lost" in line]
        assert "was deleted or replaced while process" in said
        assert "another process may hold the new file's lock" in said


def test_a_leader_notices_at_its_next_beat_where_the_kernel_does_not_tell(path: Path) -> None:
    with Child(path, path.with_name("steps")) as leader:
        leader.tell("sys.modules['ctypes'] = None")
        leader.tell(STEPS.replace("SECONDS", "0.05"))
        leader.tell("start()")
        until(lambda: leader.tell("candidate.is_leader"))
        path.unlink()
        until(lambda: [line.split()[1] for line in steps(path)].count("begins") == 2)
        assert not watched(leader.pid)


@pytest.mark.parametrize("what", ["chmod", "utime", "link", "write"])
def test_what_does_not_replace_the_file_disturbs_nobody(path: Path, what: str) -> None:
    with leading(path, 0.05) as leader:
        until(lambda: watched(leader.pid))
        for turn in range(20):
            if what == "chmod":
                path.chmod(0o600 + turn % 2 * 0o40)
            elif what == "utime":
                os.utime(path)
            elif what == "link":
                path.with_name(f"link{turn}").hardlink_to(path)
                path.with_name(f"link{turn}").unlink()
            else:
                path.write_bytes(path.read_bytes())
        beats = len(steps(path))
        until(lambda: len(steps(path)) > beats + 5)
        assert Counter(line.split()[1] for line in steps(path))["begins"] == 1


def leaders(lines: list[str]) -> list[int]:
    """How many led after each step."""
    active: set[str] = set()
    counts = []
    for line in lines:
        pid, what = line.split()
        if what == "begins":
            active.add(pid)
        elif what == "ends":
            active.discard(pid)
        counts.append(len(active))
    return counts


@pytest.mark.parametrize("tells", [True, False])
def test_of_two_groups_one_leads_again_within_a_beat(path: Path, tells: bool) -> None:
    children: list[Child] = []
    with contextlib.ExitStack() as stack:
        for group in range(2):
            for _ in range(3):
                child = stack.enter_context(Child(path, path.with_name("steps")))
                children.append(child)
                if not tells:
                    child.tell("sys.modules['ctypes'] = None")
                child.tell(STEPS.replace("SECONDS", "0.2"))
            if group == 1:
                path.unlink()
            for child in children[-3:]:
                child.tell("start()")
            if group == 0:
                until(lambda: len(flocks_of(path)) == 3)
        everybody = {child.pid for child in children}
        until(lambda: {pid for pid, _ in flocks_of(path)} == everybody, "all to stand on the new file")
        # Who has the new file's lock may not have said so yet.
        until(lambda: leaders(steps(path))[-1] == 1, "one to lead")
        lines = steps(path)
    counts = leaders(lines)
    assert max(counts) <= 2
    first = lines[0].split()[0]
    assert f"{first} ends" in lines
    beats_of_two = [line for line, count in zip(lines, counts, strict=True) if count == 2]
    assert beats_of_two.count(f"{first} beats") <= 1


def test_a_task_that_has_returned_lets_the_others_go_on(path: Path) -> None:
    with Child(path, path.with_name("steps")) as leader, Child(path) as standby:
        leader.tell(STEPS.replace("SECONDS", "1"))
        leader.tell("task = lambda leadership: step('begins')")
        leader.tell("start()")
        assert leader.tell("candidate.wait(30)")
        until(lambda: watched(leader.pid))
        standby.tell("lock = LeaderLock(argv[0])")
        standby.begin("lock.acquire()")
        until_parked(path, standby.pid)
        path.unlink()
        assert standby.answer()
        assert flocks_of(path) == [(standby.pid, False)]
        assert leader.tell("candidate.state") == "resigned"
        assert steps(path) == [f"{leader.pid} begins"]


def test_the_look_out_ends_with_the_term_and_is_not_a_childs(path: Path) -> None:
    with leading(path, 0.05) as leader:
        until(lambda: watched(leader.pid))
        leader.tell("pid = os.fork()\nif pid == 0:\n    time.sleep(1000)")
        child = leader.tell("pid")
        until(lambda: not watched(child))
        threads = len(threads_of(leader.pid))
        assert leader.tell("candidate.stop(30)")
        until(lambda: len(threads_of(leader.pid)) == threads - 2, "two threads to end")
        assert not watched(leader.pid)
        leader.tell("os.kill(pid, 9)")


def hand_over(path: Path, before: Child, leader: Child) -> None:
    """Kill the one before, for whom the other waits, and wait until that one leads and looks out."""
    until_parked(path, leader.pid)
    time.sleep(2 * AT_ONCE)  # or it would be taken for one that has not waited
    before.kill()
    until(lambda: watched(leader.pid))


@contextlib.contextmanager
def taken_over(path: Path, seconds: float) -> Iterator[Child]:
    """One that stands, whose leader was killed, and that leads now: it ticks every so many seconds."""
    with holder(path) as before, standing(path, seconds) as leader:
        until_parked(path, leader.pid)
        threads = len(threads_of(leader.pid))
        hand_over(path, before, leader)
        until(lambda: f"{leader.pid} beats" in steps(path))
        assert len(threads_of(leader.pid)) == threads
        yield leader


@pytest.mark.parametrize("do", [delete, rename, replace])
def test_who_has_taken_over_looks_out_while_it_waits_and_without_a_thread(
    path: Path, do: Callable[[Path], None]
) -> None:
    with taken_over(path, 1000) as leader:
        do(path)
        until(lambda: [line.split()[1] for line in steps(path)].count("begins") == 2)
        assert [line.split()[1] for line in steps(path)][:3] == ["begins", "beats", "ends"]
        [said] = [line for line in leader.tell("messages") if "lost" in line]
        assert "was deleted or replaced while process" in said


def test_looking_out_while_it_waits_costs_no_wakeups(path: Path) -> None:
    with taken_over(path, 1000) as leader:
        before = settled(leader.pid)
        time.sleep(1)
        assert wakeups_of(leader.pid) == before


def test_who_looks_out_while_it_waits_is_stopped_at_once_and_leaves_nothing(path: Path) -> None:
    with taken_over(path, 1000) as leader:
        leader.tell("leadership = candidate._leadership")
        leader.tell(
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    others = [os.pipe() for _ in range(10)]  # by the numbers of what was closed\n"
            "    leadership.stopping\n"
            "    time.sleep(1000)"
        )
        child = leader.tell("pid")
        until(lambda: not watched(child))
        settled(child)
        assert len(threads_of(child)) == 1
        assert leader.tell("candidate.stop(30)")
        for left in ("inotify", "eventfd"):
            assert not [target for target in descriptors_of(leader.pid) if left in target]
        leader.tell("os.kill(pid, 9)")


def test_when_others_ask_whether_to_stop_a_thread_looks_out_as_well(path: Path) -> None:
    with taken_over(path, 1000) as leader:
        threads = len(threads_of(leader.pid))
        leader.tell("leadership = candidate._leadership")
        assert not leader.tell("leadership.stopping.is_set()")
        until(lambda: len(threads_of(leader.pid)) == threads + 1, "the thread to begin")
        path.unlink()
        assert leader.tell("leadership.stopping.wait(30)")
        until(lambda: f"{leader.pid} ends" in steps(path))
        until(lambda: len(threads_of(leader.pid)) == threads, "the thread to end")


def test_a_wait_that_looks_out_ends_in_time(path: Path) -> None:
    with taken_over(path, 0.05) as leader:
        until(lambda: len(steps(path)) > 5)
        (_, begin), *ticks = leader.tell("moments")
        assert all(moment >= begin + tick * 0.05 - 0.001 for tick, moment in ticks)


def test_a_daemoniser_that_closes_the_locks_descriptor_does_not_end_the_task_by_an_error(
    path: Path,
) -> None:
    with taken_over(path, 0.05) as leader:
        leader.tell("messages.clear()")
        leader.tell("os.closerange(900, 2000)  # the lock's")
        until(lambda: any("lost" in line for line in leader.tell("messages")))
        assert not any("failed" in line for line in leader.tell("messages"))


def test_a_task_whose_look_out_was_closed_by_other_code_goes_on(path: Path) -> None:
    with taken_over(path, 0.05) as leader:
        for name in os.listdir(f"/proc/{leader.pid}/fd"):
            if os.readlink(f"/proc/{leader.pid}/fd/{name}") in (
                "anon_inode:inotify",
                "anon_inode:[eventfd]",
            ):
                leader.tell(f"os.close({name})")
        assert not watched(leader.pid)
        beats = len(steps(path))
        until(lambda: len(steps(path)) > beats + 5)
        assert leader.tell("candidate.stop(30)")
        assert Counter(line.split()[1] for line in steps(path))["begins"] == 1
        assert not any("failed" in line for line in leader.tell("messages"))


@pytest.mark.parametrize("how", ["interrupt", "stop"])
def test_a_signal_ends_the_wait_of_a_task_in_the_main_thread(path: Path, how: str) -> None:
    with holder(path) as before, Child(path) as leader:
        leader.tell("from leaderlock import current_leadership")
        leader.tell(
            "signal.signal(signal.SIGTERM, lambda *_: current_leadership()._stopping.set())\n"
            "def task(leadership):\n"
            "    return leadership.wait(1000)\n"
        )
        leader.begin("leaderlock.Election(argv[0], on_return='resign').run(task)")
        hand_over(path, before, leader)
        settled(leader.pid)
        if how == "stop":
            os.kill(leader.pid, signal.SIGTERM)
            assert leader.answer() is True
        else:
            os.kill(leader.pid, signal.SIGINT)
            with pytest.raises(ChildError, match="KeyboardInterrupt"):
                leader.answer()
        assert flocks_of(path) == []
        assert not watched(leader.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_directory_that_is_closed_to_the_leader_is_no_loss_while_it_waits(shared: Path) -> None:
    directory = shared / "closed"
    directory.mkdir(mode=0o755)
    path = directory / "l"
    with holder(path) as before, Child(path) as leader:
        path.chmod(0o666)
        leader.tell("waits = []")
        leader.tell("task = lambda leadership: waits.append(leadership.wait(1000))")
        leader.tell("candidate = leaderlock.Election(argv[0]).start(task)")
        hand_over(path, before, leader)
        settled(leader.pid)
        leader.tell("os.setegid(4242); os.seteuid(4242)")
        directory.chmod(0o700)
        path.touch()  # the kernel tells of that
        settled(leader.pid)
        assert leader.tell("candidate.is_leader and not candidate._leadership.lost and not waits")
        leader.tell("os.seteuid(0)")
        assert leader.tell("candidate.stop(30)")
        assert leader.tell("waits") == [True]


def test_the_look_out_does_not_hold_up_the_next_leader(path: Path) -> None:
    """A dying process's descriptors end from the highest number down, and an inotify's takes 10 ms."""
    with leading(path, 0.05) as leader:
        until(lambda: watched(leader.pid))
        numbers = {
            os.readlink(f"/proc/{leader.pid}/fd/{number}"): int(number)
            for number in os.listdir(f"/proc/{leader.pid}/fd")
        }
        assert numbers[str(path)] > numbers["anon_inode:inotify"]


def test_where_the_lock_has_a_low_number_there_is_no_look_out(path: Path) -> None:
    with Child(path, path.with_name("steps")) as leader:
        leader.tell("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))")
        leader.tell(STEPS.replace("SECONDS", "0.05"))
        leader.tell("start()")
        assert leader.tell("candidate.wait(30)")
        until(lambda: len(steps(path)) > 5)
        assert not watched(leader.pid)
        path.unlink()
        until(lambda: [line.split()[1] for line in steps(path)].count("begins") == 2)


def test_a_user_without_an_instance_of_inotify_left_leads_all_the_same(shared: Path) -> None:
    def lead() -> bool:
        from leaderlock import Election
        from leaderlock.kernel.inotify import FileWatch

        os.setuid(4242)  # the limit is each user's
        fd = os.open(shared, os.O_RDONLY)
        with pytest.raises(OSError, match="inotify"):
            [FileWatch(fd) for _ in range(1_000_000)]
        Election(shared / "l.lock", on_return="resign").run(lambda leadership: leadership.beat())
        return True

    assert forked(lead) == 0
