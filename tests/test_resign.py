"""`leaderlock resign`: real leaders, asked by the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from leaderlock.history.reading import history_of
from leaderlock.lock import journal, resigning
from tests.processes import Child, holder, until, until_parked

LEADERLOCK = (sys.executable, "-m", "leaderlock")
NOBODY = 65534

WAITS = """
def task(leadership):
    print('leads', leadership.term, flush=True)
    while not leadership.wait(600):
        pass
    print('stops', flush=True)
"""
STARTS = "candidate = leaderlock.Election(argv[0], backoff=(0.01, 0.01)).start(task)"


def resign(path: Path, *options: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LEADERLOCK, "resign", *options, str(path)], capture_output=True, text=True, user=user
    )


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a FIFO"),
        (os.mkdir, "a directory"),
        (lambda path: path.symlink_to("/dev/null"), "a symlink"),
    ],
)
def test_what_is_no_lock_file_is_refused_and_not_written(
    path: Path, make: Callable[[Path], object], kind: str
) -> None:
    make(path)
    refused = resign(path)
    assert refused.returncode == 125
    assert f"{path} is {kind}" in refused.stderr


def until_heeded(path: Path, term: int) -> None:
    """The leader says so once its task has begun."""

    def is_heeded() -> bool:
        with path.open("rb") as file:
            return resigning.answer_of(file.fileno(), term) is not None

    until(is_heeded, "the leader to listen")


def candidate(path: Path, task: str = WAITS, start: str = STARTS) -> Child:
    child = Child(path)
    child.tell(task + start)
    return child


def test_the_leader_resigns_the_next_one_leads_and_it_stands_again(path: Path) -> None:
    with candidate(path) as first:
        assert first.line() == "leads 1"
        with candidate(path) as second:
            until_parked(path, second.pid)
            until_heeded(path, 1)
            asked = resign(path, "--wait")
            assert (asked.returncode, asked.stderr) == (0, "")
            assert f"asked process {first.pid}" in asked.stdout
            assert f"process {second.pid} leads now" in asked.stdout
            assert first.line() == "stops"
            assert second.line() == "leads 2"
            until_parked(path, first.pid)
            until_heeded(path, 2)
            assert resign(path).returncode == 0
            assert second.line() == "stops"
            assert first.line() == "leads 3"
    assert [term.ended for term in history_of(path).terms[:2]] == ["resigned on request"] * 2


def test_without_another_candidate_it_leads_again_and_the_command_says_so(path: Path) -> None:
    with candidate(path) as leader:
        assert leader.line() == "leads 1"
        until_heeded(path, 1)
        asked = resign(path)
        assert f"no other process waits: process {leader.pid} leads again" in asked.stdout
        assert leader.line() == "stops"
        assert leader.line() == "leads 2"


@pytest.mark.parametrize("steps", ["every", "beat"])
def test_a_task_that_ticks_or_beats_learns_it_too(path: Path, steps: str) -> None:
    loop = {
        "every": "    for _ in leadership.every(600): pass\n",
        "beat": "    while not leadership.stopping.wait(0.05): leadership.beat()\n",
    }
    task = f"def task(leadership):\n    print('leads', leadership.term, flush=True)\n{loop[steps]}"
    with candidate(path, task) as leader:
        assert leader.line() == "leads 1"
        until_heeded(path, 1)
        assert resign(path, "--wait").returncode == 0
        assert leader.line() == "leads 2"


def test_election_run_stands_again_as_well_and_returns_what_the_last_task_returns(path: Path) -> None:
    with Child(path) as leader:
        leader.tell(WAITS + "    return leadership.term")
        leader.begin("leaderlock.Election(argv[0], backoff=(0.01, 0.01)).run(task)")
        assert leader.line() == "leads 1"
        until_heeded(path, 1)
        assert resign(path).returncode == 0
        assert leader.line() == "stops"
        assert leader.line() == "leads 2"


def test_a_block_that_leads_in_a_coroutine_is_cancelled(path: Path) -> None:
    with Child(path) as leader:
        leader.tell(
            "import asyncio\n"
            "async def main():\n"
            "    async with leaderlock.Election(argv[0]).lead() as leadership:\n"
            "        print('leads', leadership.term, flush=True)\n"
            "        await asyncio.Event().wait()\n"
        )
        leader.begin("asyncio.run(main())")
        assert leader.line() == "leads 1"
        until_heeded(path, 1)
        assert resign(path, "--wait").returncode == 0
        with pytest.raises(Exception, match="given up on request") as caught:
            leader.answer()
        assert caught.value.kind == "LeadershipLost"  # type: ignore[attr-defined]
    assert history_of(path).terms[0].ended == "resigned on request"


def test_a_leader_whose_task_has_returned_is_not_asked(path: Path) -> None:
    task = "def task(leadership): print('returned', flush=True)\n"
    with candidate(path, task) as leader:
        assert leader.line() == "returned"
        until_heeded(path, 1)
        leader.tell("candidate._watchers.until(lambda: candidate._ended, None)")
        for options in ((), ("--wait",)):
            asked = resign(path, *options)
            assert (asked.returncode, asked.stdout) == (125, "")
            assert f"kill -TERM {leader.pid}" in asked.stderr
            assert "task of" in asked.stderr
        assert leader.tell("candidate.is_leader") is True


def test_a_request_that_a_task_overtakes_by_its_return_is_told(path: Path) -> None:
    task = "def task(leadership):\n    print('leads', flush=True)\n    go.wait()\n"
    with candidate(path, "go = threading.Event()\n" + task) as leader:
        assert leader.line() == "leads"
        until_heeded(path, 1)
        with path.open("r+b") as file:  # written, and no event for the leader
            os.pwrite(file.fileno(), resigning._line(resigning._RESIGN, 1), journal.place_of(1) + 416)
        with subprocess.Popen([*LEADERLOCK, "history", path], stdout=subprocess.DEVNULL) as reader:
            assert reader.wait() == 0
        leader.tell("go.set(); candidate._watchers.until(lambda: candidate._ended, None)")
        assert leader.tell("candidate.is_leader") is True


def test_a_plain_lock_does_not_listen(path: Path) -> None:
    with holder(path) as process:
        asked = resign(path)
        assert (asked.returncode, asked.stdout) == (125, "")
        assert f"process {process.pid}, and nobody there listens" in asked.stderr
        assert len(asked.stderr.splitlines()) == 1


def test_where_nobody_leads_the_status_is_1(path: Path) -> None:
    with LeaderLock(path):
        pass
    asked = resign(path, "--wait")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == f"leaderlock: nobody leads {path}\n"


def test_what_cannot_be_asked_is_said_in_one_line(path: Path) -> None:
    with LeaderLock.anonymous() as lock:
        for place, says in (
            (path, "does not exist"),
            (Path(f"/proc/{os.getpid()}/fd/{lock.fileno()}"), "anonymous"),
            (path.parent, "is a directory"),
        ):
            asked = resign(place)
            assert (asked.returncode, asked.stdout) == (125, "")
            assert says in asked.stderr
            assert len(asked.stderr.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_whoever_may_not_write_to_the_file_may_not_ask() -> None:
    with Child() as leader:
        directory = leader.tell("__import__('tempfile').mkdtemp()")
        os.chmod(directory, 0o755)
        path = Path(directory) / "leader.lock"
        try:
            leader.tell(WAITS + f"leaderlock.Election({str(path)!r}).start(task)")
            assert leader.line() == "leads 1"
            until_heeded(path, 1)
            path.chmod(0o644)
            asked = leader.tell(
                "__import__('subprocess').run([sys.executable, '-c', "
                "'import sys, os, json; from leaderlock.cli import resign, main; os.setgroups([]); "
                f'os.setuid({NOBODY}); sys.exit(main(["resign", "{path}"]))\'], '
                "capture_output=True, text=True, cwd='/').__dict__"
            )
            assert asked["returncode"] == 125
            assert "Permission denied; ask as the user of the lock file" in asked["stderr"]
            assert leader.is_silent(0.2)
        finally:
            path.unlink()
            os.rmdir(directory)


@pytest.mark.parametrize("what", ["of another term", "without a checksum", "of a stranger's"])
def test_what_is_no_request_for_this_term_counts_for_nothing(path: Path, what: str) -> None:
    line = {
        "of another term": resigning._line(resigning._RESIGN, 501),
        "without a checksum": resigning._line(resigning._RESIGN, 1)[:-20] + b"0" * 20,
        "of a stranger's": b"resign 1" + b"\xff" * 40,
    }[what]
    with candidate(path) as leader:
        assert leader.line() == "leads 1"
        until_heeded(path, 1)
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), line, journal.place_of(1) + resigning._REQUEST)
            os.utime(file.fileno())
        assert resign(path, "--wait").returncode == 0  # it has looked by now
        assert leader.line() == "stops"
        assert leader.line() == "leads 2"


def test_a_leader_that_is_killed_instead_ends_the_wait(path: Path) -> None:
    deaf = "def task(leadership):\n    print('leads', flush=True)\n    threading.Event().wait()\n"
    with candidate(path, deaf) as leader:
        assert leader.line() == "leads"
        until_heeded(path, 1)
        asking = subprocess.Popen(
            [*LEADERLOCK, "resign", "--wait", path], stdout=subprocess.PIPE, text=True
        )
        assert asking.stdout is not None
        assert asking.stdout.readline().startswith("asked process")
        leader.kill()
        assert "has ended" in asking.stdout.read()
        assert asking.wait() == 0
        asking.stdout.close()


def test_leaderlock_run_stops_its_command_and_queues_again(path: Path) -> None:
    runs = []
    command = (
        "trap 'echo stopped; exit 0' TERM; echo $LEADERLOCK_TERM; while :; do sleep 600 & wait; done"
    )
    for _ in range(2):
        process = subprocess.Popen(
            [*LEADERLOCK, "run", "--lock", path, "--", "sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        runs.append(process)
        if len(runs) == 1:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
    first, second = runs
    assert first.stdout is not None
    assert first.stderr is not None
    assert second.stdout is not None
    try:
        until_parked(path, second.pid)
        until_heeded(path, 1)
        asked = resign(path, "--wait")
        assert f"process {second.pid} leads now" in asked.stdout
        assert first.stdout.readline() == "stopped\n"
        assert "asked to resign" in first.stderr.readline()
        assert second.stdout.readline() == "2\n"
        until_parked(path, first.pid)
        until_heeded(path, 2)
        assert resign(path).returncode == 0
        assert second.stdout.readline() == "stopped\n"
        assert first.stdout.readline() == "3\n"
    finally:
        for process in reversed(runs):
            process.terminate()
            process.communicate()
    assert [term.ended for term in history_of(path).terms[:2]] == ["resigned on request"] * 2


def test_the_history_stays_whole_whatever_was_asked(path: Path) -> None:
    with candidate(path) as leader:
        for term in (1, 2, 3):
            assert leader.line() == f"leads {term}"
            until_heeded(path, term)
            assert resign(path, "--wait").returncode == 0
            assert leader.line() == "stops"
        history = history_of(path)
    assert history.damaged == 0
    assert [term.term for term in history.terms][:3] == [1, 2, 3]
