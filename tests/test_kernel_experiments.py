"""The experiments are right on each file system, hurt no caller, hang with nobody, and tidy up."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from leaderlock import LeaderLock, LockFileReplaced
from leaderlock.kernel import Result, experiments
from tests.filesystems import LOCAL, made
from tests.processes import Child, descriptors_of, descriptors_without_garbage, needs_root, until
from tests.raw_flock import mounted_at

NAMES = {
    "two processes",
    "two descriptors, one process",
    "a child inherits",
    "a child's close",
    "a child's LOCK_UN",
    "exec, descriptor handed on",
    "SIGKILL to the holder",
    "file deleted and made anew",
    "a read-only descriptor",
}


@pytest.mark.parametrize("kind", [*LOCAL, "fuse-local"])
def test_all_pass_where_the_kernel_keeps_the_lock(tmp_path: Path, kind: str) -> None:
    with made(kind, tmp_path) as place:
        before = set(os.listdir(place))
        results = list(experiments(place))
        assert set(os.listdir(place)) == before
    assert {result.name for result in results} == NAMES
    assert [result for result in results if not result.passed] == []


def test_all_fail_where_there_is_no_flock(tmp_path: Path) -> None:
    with made("fuse-refused", tmp_path) as place:
        results = list(experiments(place))
        assert os.listdir(place) == []
    assert {result.name for result in results} == NAMES
    assert not any(result.passed for result in results)
    assert all("ENOSYS" in result.outcome for result in results)


def test_the_time_until_the_next_has_the_lock_is_measured(tmp_path: Path) -> None:
    measured = {r.name: r.seconds for r in experiments(tmp_path) if r.seconds is not None}
    assert set(measured) == {"SIGKILL to the holder"}
    assert 0 < measured["SIGKILL to the holder"] < 10


@pytest.mark.parametrize("missing", [True, False])
def test_a_directory_that_cannot_be_used_is_one_result_that_says_why(
    tmp_path: Path, missing: bool
) -> None:
    place = tmp_path / "place"
    if not missing:
        place.write_text("a file")
    [result] = experiments(place)
    assert (result.passed, result.consequence) == (False, "broken")
    assert ("No such file" if missing else "Not a directory") in result.outcome


def test_a_read_only_mount_is_one_result_that_says_why(tmp_path: Path) -> None:
    with mounted_at(tmp_path / "place", "-t", "tmpfs", "-o", "ro", "tmpfs") as place:
        [result] = experiments(place)
    assert "Read-only file system" in result.outcome


def test_the_caller_may_have_threads_and_keeps_its_locks_and_descriptors(tmp_path: Path) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        before = descriptors_without_garbage()
        lock = LeaderLock(tmp_path / "mine.lock")
        with lock:
            assert all(result.passed for result in experiments(tmp_path))
            lock.check()
        assert descriptors_of() == before
    finally:
        end.set()
        thread.join()


def test_a_caller_that_stops_early_leaves_nothing_behind(tmp_path: Path) -> None:
    for result in experiments(tmp_path):
        assert result.passed
        assert len(os.listdir(tmp_path)) <= 1  # the experiments go on meanwhile, to their end even
        break
    until(
        lambda: os.listdir(tmp_path) == [], "it to be tidied up"
    )  # where no generator is closed at once


def test_a_caller_that_ignores_its_children_gets_the_same_results(tmp_path: Path) -> None:
    with Child() as child:
        child.tell("ignored = signal.signal(signal.SIGCHLD, signal.SIG_IGN)")
        child.tell("from leaderlock.kernel import experiments")
        passed = child.tell(f"[r.passed for r in experiments({str(tmp_path)!r})]")
    assert passed == [True] * len(NAMES)


def test_a_file_system_that_hangs_is_a_result_and_no_hang(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with made("ext4", tmp_path) as place:
        subprocess.run(["fsfreeze", "--freeze", place], check=True)  # as a disk or server that is gone
        try:
            [result] = experiments(place, limit=1)
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", place], check=True)
        assert not result.passed
        assert result.outcome == "no answer within 1 s"
        until(lambda: laboratories_in(place) == [], "the experiments to end")
        assert os.listdir(place) == ["lost+found"]


def laboratories_in(place: Path) -> list[int]:
    """The processes that run experiments there."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if str(place) in (p.info["cmdline"] or ())]


def test_one_that_hangs_half_way_is_the_last_result(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with made("ext4", tmp_path) as place:

        def freeze_half_way() -> list[Result]:
            running = experiments(place, limit=1)
            results = [next(running)]
            subprocess.run(["fsfreeze", "--freeze", place], check=True)
            try:
                return results + list(running)
            finally:
                subprocess.run(["fsfreeze", "--unfreeze", place], check=True)

        tries = (freeze_half_way() for _ in range(20))  # the experiments may be faster than fsfreeze
        results = next(results for results in tries if not results[-1].passed)
        assert results[0].passed
        assert not results[-1].passed
        assert results[-1].outcome == "no answer within 1 s"
        until(lambda: laboratories_in(place) == [], "the experiments to end")
        assert os.listdir(place) == ["lost+found"]


def test_leaderlock_notices_a_deleted_file_as_the_experiment_says(tmp_path: Path) -> None:
    lock = LeaderLock(tmp_path / "leader.lock")
    with lock:
        os.unlink(lock.path)
        other = os.open(lock.path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # both have it
        with pytest.raises(LockFileReplaced):
            lock.check()
        os.close(other)


@pytest.mark.parametrize("executable", ["", "/not/there", "/bin/false"])
def test_where_no_python_is_known_the_only_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)  # a server that embeds Python may have its own
    [result] = experiments(tmp_path)
    assert (result.passed, result.outcome) == (False, "they could not be run")


def test_a_caller_whose_threads_are_green_gets_the_same_results(tmp_path: Path) -> None:
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys; from leaderlock.kernel import experiments\n"
        "print(sum(result.passed for result in experiments(sys.argv[1])))"
    )
    words = [sys.executable, "-c", program, str(tmp_path)]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(len(NAMES))
