"""Every lock on the machine that can be seen is found; what a user may not see is said."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderlock import LeaderLock, LeaderLockError, LockFileUnusable, UnsafeLockFile
from leaderlock.cli.status_text import as_text
from leaderlock.kernel.proc.containers import container_of
from leaderlock.status import LockStatus, all_locks, status_of
from leaderlock.status.facts import SearchFacts
from leaderlock.status.gathering.opened import MissingLockFile
from leaderlock.status.survey import survey_of
from tests.processes import Child, holder, needs_root
from tests.test_run import run

NOBODY = 65534

root_only = pytest.mark.skipif(os.geteuid() != 0, reason=needs_root)


def as_nobody(ask: Callable[[], Any], prepare: Callable[[], object] = lambda: None) -> Any:
    """What a function returns, as JSON has it, in a child that has given up root's rights.

    A forked one, as nobody may not be allowed to read the Python that runs here.
    """
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            prepare()
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writable, json.dumps(ask()).encode())
            status = 0
        except BaseException as error:  # noqa: BLE001  (a forked child must not run pytest)
            os.write(2, f"in the forked child: {error!r}\n".encode())
        finally:
            os._exit(status)
    os.close(writable)
    with open(readable, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(answer)


@pytest.fixture
def reachable(shared: Path) -> Path:
    """The path of a lock file to which every user may come, though no other one may change it."""
    shared.chmod(0o755)
    return shared / "leader.lock"


def seen_by_nobody(path: Path, prepare: Callable[[], object] = lambda: None) -> Any:
    def ask() -> object:
        survey = survey_of([str(path)])
        return [lock.as_json() for lock in survey.locks], survey.errors

    status_of(path)  # all that is imported late, while we may
    return as_nobody(ask, prepare)


def own_proc(options: str) -> None:
    """Mount /proc anew for this process alone; a remount would change everybody's."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x00020000) == 0  # CLONE_NEWNS
    # Shared mounts would take this one out to everybody.
    assert libc.mount(b"none", b"/", None, 1 << 18 | 1 << 14, None) == 0  # MS_PRIVATE | MS_REC
    assert libc.mount(b"proc", b"/proc", b"proc", 0, options.encode()) == 0


def test_a_held_lock_is_found_wherever_it_lies(path: Path) -> None:
    assert str(path) not in all_locks()
    with holder(path):
        assert str(path) in all_locks()
    assert str(path) not in all_locks()


def test_files_that_other_programs_lock_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"x" * 1000)
    with Child(tmp_path / "other") as child:
        child.tell("import fcntl; file = open(argv[0], 'r+'); fcntl.flock(file, fcntl.LOCK_EX)")
        assert not [path for path in all_locks() if path.startswith(str(tmp_path))]


@pytest.mark.parametrize("variable", ["LEADERLOCK_DIR", "RUNTIME_DIRECTORY"])
def test_named_locks_are_found_where_their_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("LEADERLOCK_DIR", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv(variable, str(directory))
    lock = LeaderLock(name="jobs")
    with lock:
        pass
    assert lock.path.startswith(str(directory))
    assert lock.path in all_locks()


def test_named_locks_of_the_first_version_are_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [tmp_path / "xdg" / "leaderlock", tmp_path / "tmp" / f"leaderlock-{os.geteuid()}"]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "xdg"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for directory in old:
        directory.mkdir(parents=True)
        with LeaderLock(directory / "jobs.lock"):
            pass
    assert {str(directory / "jobs.lock") for directory in old} <= set(all_locks())


def statuses() -> Iterator[LockStatus]:
    """Of every lock of the machine; those of other tests may have ended since they were found."""
    for path in all_locks():
        with contextlib.suppress(MissingLockFile, UnsafeLockFile):
            yield status_of(path)


def test_an_anonymous_lock_is_found_through_its_holder() -> None:
    lock = LeaderLock.anonymous(name="found-by-its-holder")
    with lock:
        shown = [status for status in statuses() if status.name == lock._file.name]
        assert [status.path for status in shown] == ["memfd:found-by-its-holder"]
        assert shown[0].holder is not None
        assert shown[0].holder.pid == os.getpid()
        assert status_of(lock).path == "memfd:found-by-its-holder"
        assert status_of(lock).warnings == []
        assert "memfd:found-by-its-holder\n" in run("status").stdout


def test_a_deleted_lock_is_found_through_its_holder(path: Path) -> None:
    with holder(path) as leader:
        path.unlink()
        found = [lock for lock in statuses() if lock.path == f"{path} (deleted)"]
        assert [warning.code for warning in found[0].warnings] == ["file-deleted"]
        assert found[0].holder is not None
        assert found[0].holder.pid == leader.pid


@root_only
def test_what_went_away_since_it_was_found_is_no_error(path: Path) -> None:
    """A process that has closed a lock may have opened something else in its place."""
    read_end, write_end = os.pipe()
    path.touch()
    found = [f"/proc/{os.getpid()}/fd/{read_end}", f"{path}.gone", str(path)]
    survey = survey_of([], find=lambda _: SearchFacts(found, [], 0))
    assert [lock.path for lock in survey.locks] == [str(path)]
    assert (survey.errors, survey.is_complete) == ([], True)
    assert len(survey_of(found).errors) == 2
    os.close(read_end)
    os.close(write_end)


def test_a_lock_in_another_mount_namespace_is_found(tmp_path: Path) -> None:
    program = (
        "import sys; from leaderlock import LeaderLock; lock = LeaderLock(sys.argv[1])\n"
        "lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = f'mount -t tmpfs tmpfs "{hidden}" && exec "$0" -c "$1" "{hidden}/leader.lock"'
    inside = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with inside:
        assert inside.stdout is not None
        assert inside.stdin is not None
        if inside.stdout.readline() != b"held\n":
            pytest.skip("may not make a mount namespace")
        reached = f"/proc/{inside.pid}/root{hidden}/leader.lock"
        assert not (hidden / "leader.lock").exists()
        assert reached in all_locks()
        status = status_of(reached)
        assert status.holder is not None
        assert (status.holder.pid, status.holder.term) == (inside.pid, 1)
        inside.stdin.close()


@root_only
def test_a_lock_that_an_orphan_keeps_is_seen_from_inside_its_container(path: Path) -> None:
    """In a PID namespace the kernel leaves the lock of a process that has gone out of its table."""
    path.touch()
    program = (
        'exec 9<"$0"; flock 9; sleep 1000 & until grep -q sleep /proc/$!/comm; do :; done; '
        '"$1" -m leaderlock status --json "$0"; kill $!; exit'
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    result = subprocess.run(
        [*command, "bash", "-c", program, path, sys.executable], capture_output=True, text=True
    )
    if "unshare" in result.stderr:
        pytest.skip("may not make a PID namespace")
    (lock,) = json.loads(result.stdout)["locks"]
    assert [warning["code"] for warning in lock["warnings"]] == ["kept-by-orphan"]
    assert [keeper["command"][:4] for keeper in lock["holder"]["kept_by"]] == ["bash", "slee"]


@root_only
def test_in_a_container_it_is_said_that_holders_outside_are_not_seen(path: Path) -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "leaderlock"]
    with holder(path):
        result = subprocess.run([*command, "status", path], capture_output=True, text=True)
    if "unshare" in result.stderr:
        pytest.skip("may not make a PID namespace")
    assert "leader   nobody" in result.stdout
    assert "hidden   holders outside of this container" in result.stdout


@root_only
def test_another_user_sees_holder_and_queue_and_is_told_what_is_hidden(reachable: Path) -> None:
    with holder(reachable) as leader:
        (lock,), (error,) = seen_by_nobody(reachable, lambda: own_proc("hidepid=0"))
    assert lock["holder"]["pid"] == leader.pid
    assert lock["holder"]["user"] == "root"
    assert lock["holder"]["term"] is None
    assert lock["warnings"] == []
    assert lock["unreadable"] == "Permission denied"
    assert "term, since, host" in lock["hidden"]
    assert "as root" in lock["hidden"]
    assert "cannot be read" in error


@root_only
def test_under_hidepid_the_holder_is_not_taken_for_dead(reachable: Path) -> None:
    with holder(reachable) as leader:
        (lock,), _ = seen_by_nobody(reachable, lambda: own_proc("hidepid=2"))
    assert lock["holder"]["pid"] == leader.pid
    assert lock["holder"]["command"] is None
    assert lock["holder"]["kept_by"] == []
    assert lock["warnings"] == []
    assert f"command and user of process {leader.pid}" in lock["hidden"]
    assert "hidepid=" in lock["hidden"]


@root_only
def test_a_path_in_a_closed_directory_is_an_error_that_names_the_path(path: Path) -> None:
    with holder(path):

        def ask() -> str:
            try:
                status_of(path)
            except LockFileUnusable as error:
                return str(error)
            return "it was shown"

        path.parent.chmod(0o700)
        answer = as_nobody(ask)
    assert str(path) in answer
    assert "Permission denied" in answer


@root_only
def test_another_user_is_told_which_locks_were_not_looked_at(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = reachable.parent / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setenv("LEADERLOCK_DIR", str(closed))
    survey_of([])
    with holder(reachable):
        seen = as_nobody(lambda: survey_of([]).as_json())
    hidden = seen["hidden"]
    assert str(reachable) not in [lock["path"] for lock in seen["locks"]]
    assert str(closed) in hidden
    assert "of other users" in hidden
    assert "ask as root" in hidden


@pytest.mark.parametrize(
    "bad", ["", "nul\0byte", "/", "/dev/null", "/proc/self/fd", "/proc/1/fd/99999"]
)
def test_what_is_no_lock_file_is_refused(bad: str) -> None:
    with pytest.raises(LeaderLockError):
        status_of(bad)


def test_what_is_no_text_in_a_path_and_a_command_does_no_harm(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\x1b[2J\nleader   1  fake.lock")
    with holder(tmp_path / name):
        status = status_of(tmp_path / name)
        text = as_text(status, everything=True, now=time.time())
        result = subprocess.run(
            [sys.executable, "-m", "leaderlock", "status", tmp_path / name], capture_output=True
        )
    assert result.returncode == 0
    assert result.stdout.decode() == text + "\n" or b"ago)" in result.stdout
    for shown in (text, result.stdout.decode()):
        assert shown.isascii() or "…" in shown
        assert "\x1b" not in shown
        assert [line for line in shown.splitlines() if line.startswith("leader ")] == []
        assert r"\xff\x1b[2J\n" in shown.splitlines()[0]


@pytest.mark.parametrize(
    ("cgroup", "pids", "container"),
    [
        ("/system.slice/docker-" + "0123456789abcdef" * 4 + ".scope", [7], "docker 0123456789ab"),
        ("/docker/" + "0123456789abcdef" * 4, [7, 1], "docker 0123456789ab"),
        ("/machine.slice/libpod-" + "ab" * 32 + ".scope/container", [7], "podman abababababab"),
        (
            "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + "ab" * 32 + ".scope",
            [7],
            "containerd abababababab",
        ),
        ("/kubepods/burstable/pod1/" + "ab" * 32, [7], "container abababababab"),
        ("/lxc.payload.web1/system.slice/cron.service", [7], "lxc web1"),
        ("/machine.slice/machine-debian.scope", [7], "machine debian"),
        ("/system.slice/gunicorn.service", [7], None),
        ("/user.slice/user-0.slice/session-1.scope", [7], None),
        ("/", [7, 1], "unnamed (a PID namespace, in which it is 1)"),
        (None, [7], None),
    ],
)
def test_the_container_is_read_from_the_control_group(
    cgroup: str | None, pids: list[int], container: str | None
) -> None:
    assert container_of(cgroup, pids) == container


@root_only
def test_a_leader_in_a_container_is_shown_with_its_record_and_where_it_lives(path: Path) -> None:
    program = (
        "import sys; from leaderlock import LeaderLock; lock = LeaderLock(sys.argv[1])\n"
        "lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    inside = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", program, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with inside:
        assert inside.stdout is not None
        assert inside.stdin is not None
        if inside.stdout.readline() != b"held\n":
            pytest.skip("may not make a PID namespace")
        status = status_of(path)
        inside.stdin.close()
    assert status.holder is not None
    assert status.holder.term == 1
    assert status.holder.pid not in (1, inside.pid)
    assert status.holder.container is not None
    assert status.warnings == []
    assert "in       container " in as_text(status, everything=False, now=time.time())


def test_an_encoding_without_our_characters_is_no_error(path: Path) -> None:
    with holder(path):
        result = subprocess.run(
            [sys.executable, "-m", "leaderlock", "status", path],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
        )
    assert (result.returncode, result.stderr) == (0, b"")
    assert str(path).encode() in result.stdout


@pytest.mark.parametrize("held", [True, False])
def test_the_kernel_s_tables_are_read_as_often_for_many_locks_as_for_a_few(
    tmp_path: Path, held: bool
) -> None:
    program = (
        "import sys, json\n"
        "from leaderlock import LeaderLock\n"
        "from leaderlock.status.survey import survey_of\n"
        "from leaderlock.web.facts import Facts, history_or_why_not\n"
        "directory, held = sys.argv[1], sys.argv[2] == 'True'\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(args[0]) if event == 'open' else None)\n"
        "def reads_of_tables(count):\n"
        "    locks = [LeaderLock(f'{directory}/{count}-{number}.lock') for number in range(count)]\n"
        "    for lock in locks: lock.acquire(); held or lock.release()\n"
        "    paths = [lock.path for lock in locks]\n"
        "    for ask in (survey_of, lambda paths: list(map(history_or_why_not, Facts(paths, None, None)"
        ".survey.locks))):\n"
        "        opened.clear(); assert ask(paths)\n"
        "        shared = [p for p in map(str, opened) if '.lock' not in p and '/fd' not in p]\n"
        "        yield len(shared), shared.count('/proc/locks')\n"
        "    for lock in locks: held and lock.release()\n"
        "list(reads_of_tables(1))\n"
        "print(json.dumps([list(reads_of_tables(3)), list(reads_of_tables(120))]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path, str(held)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    few, many = json.loads(run.stdout)
    assert few == many
    assert all(tables >= 1 for _, tables in few)
