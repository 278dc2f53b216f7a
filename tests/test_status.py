"""`leaderlock status`: agrees with the kernel about who holds and who waits, in their order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

import leaderlock.status
from leaderlock import LeaderLock
from leaderlock.status import status_of
from tests.processes import holder, needs_root
from tests.test_run import end_of, line_of, run, start, wait_until_queued
from tests.test_term import crafted

SCHEMA = json.loads(
    Path(leaderlock.status.__file__).with_name("status.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture
def lock(tmp_path: Path) -> LeaderLock:
    return LeaderLock(tmp_path / "status.lock")


def test_it_shows_the_holder_its_term_and_the_queue_in_order(lock: LeaderLock) -> None:
    with lock:
        waiting = []
        for _ in range(3):
            process = start("run", "--lock", lock.path, "--", "true")
            wait_until_queued(lock, process.pid)
            waiting.append(process)
        (shown,) = json.loads(run("status", "--json", lock.path).stdout)["locks"]
        text = run("status", lock.path).stdout
    pids = [process.pid for process in waiting]
    assert [process["pid"] for process in shown["waiting"]] == pids
    assert shown["path"] == lock.path
    assert shown["holder"]["pid"] == os.getpid()
    assert shown["holder"]["term"] == 1
    assert shown["holder"]["since"] > 0
    assert f"leader   {os.getpid()}" in text
    assert "waiting  3, next first:" in text
    assert [text.index(f"  {pid}  ") for pid in pids] == sorted(text.index(f"  {p}  ") for p in pids)
    for process in waiting:
        assert end_of(process) == 0


def test_a_free_lock_has_no_leader(lock: LeaderLock) -> None:
    with lock:
        pass
    assert "leader   nobody" in run("status", lock.path).stdout
    (shown,) = json.loads(run("status", "--json", lock.path).stdout)["locks"]
    assert (shown["holder"], shown["waiting"]) == (None, [])


def test_a_lock_held_by_another_program_shows_its_process_and_no_term(lock: LeaderLock) -> None:
    with lock:
        pass  # leaves a record, which is not the other program's
    flock = subprocess.Popen(
        ["flock", lock.path, "sh", "-c", "echo held; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert line_of(flock) == "held"
    text = run("status", lock.path).stdout
    (shown,) = json.loads(run("status", "--json", lock.path).stdout)["locks"]
    end_of(flock)
    assert shown["holder"]["pid"] == flock.pid
    assert shown["holder"]["term"] is None
    assert "unknown: it was not locked by leaderlock" in text


def test_without_a_path_every_named_lock_is_shown(tmp_path: Path) -> None:
    environment = {**os.environ, "LEADERLOCK_DIR": str(tmp_path / "locks")}

    def leaderlock(*arguments: str) -> str:
        command = [sys.executable, "-m", "leaderlock", *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return result.stdout

    def shown() -> list[str]:
        paths = [lock["path"] for lock in json.loads(leaderlock("status", "--json"))["locks"]]
        return [path for path in paths if path.startswith(f"{tmp_path}/")]

    assert shown() == []
    for name in ("one", "two"):
        leaderlock("run", "--name", name, "--", "true")
    assert shown() == [f"{tmp_path}/locks/{n}.lock" for n in ("one", "two")]


def test_a_missing_file_is_an_error_and_the_others_are_shown(lock: LeaderLock) -> None:
    with lock:
        pass
    missing = f"{lock.path}.missing"
    result = run("status", missing, lock.path)
    assert result.returncode == 125
    assert missing in result.stderr
    assert "does not exist" in result.stderr
    assert lock.path in result.stdout


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo"])
def test_what_is_no_lock_file_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(tmp_path / "target")
    else:
        os.mkfifo(path)
    result = run("status", str(path))
    assert (result.returncode, result.stdout) == (125, "")
    assert str(path) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "garbage",
    [b"garbage", crafted(b'{"term":7}'), crafted(b'{"term":7,"pid":"me"'), crafted(b'[{"term":7,')],
)
def test_garbage_in_the_file_does_not_hide_the_holder(lock: LeaderLock, garbage: bytes) -> None:
    with lock:
        Path(lock.path).write_bytes(garbage)
        (shown,) = json.loads(run("status", "--json", lock.path).stdout)["locks"]
    assert shown["holder"]["pid"] == os.getpid()
    assert shown["holder"]["term"] is None


def test_a_reader_that_goes_away_makes_no_traceback(lock: LeaderLock) -> None:
    with lock:
        pass
    script = f"{sys.executable} -m leaderlock status {lock.path} | :"
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_the_schema_is_one_and_refuses_what_is_no_status(lock: LeaderLock) -> None:
    VALIDATOR.check_schema(SCHEMA)
    with lock:
        document = json.loads(run("status", "--json", lock.path).stdout)
    VALIDATOR.validate(document)
    for change in (
        {"version": 2},
        {"time": "now"},
        {"locks": [{**document["locks"][0], "device": "fe:00"}]},
        {"locks": [{**document["locks"][0], "holder": {"pid": 1}}]},
    ):
        with pytest.raises(ValidationError):
            VALIDATOR.validate({**document, **change})


def test_every_lock_of_the_machine_meets_the_schema(path: Path) -> None:
    with holder(path) as leader:
        path.unlink()  # so that there is one with a warning
        VALIDATOR.validate(json.loads(run("status", "--json").stdout))
        lock = {"version": 1, "time": 0, "locks": [status_of(path).as_json()], "hidden": None}
        assert lock["locks"][0]["holder"]["pid"] == leader.pid  # type: ignore[index]
        VALIDATOR.validate(lock)


def test_rich_is_not_needed_off_a_terminal(lock: LeaderLock) -> None:
    program = (
        "import sys; sys.modules['rich'] = None; from leaderlock.cli import main\n"
        "main(['status', sys.argv[1]]); print([n for n in ('ctypes', 'json') if n in sys.modules])"
    )
    with lock:
        command = [sys.executable, "-c", program, lock.path]
        result = subprocess.run(command, capture_output=True, text=True)
    assert f"leader   {os.getpid()}" in result.stdout
    assert result.stdout.endswith("\n[]\n")  # nothing that is slow to load
    assert result.stderr == ""


@pytest.mark.parametrize("command", ["status", "status {}", "status --json {}", "resign {}"])
def test_without_proc_no_lock_seems_to_be_free(command: str, path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    words = [sys.executable, "-m", "leaderlock", *command.format(path).split()]
    script = 'umount -l /proc && exec "$@"'
    with LeaderLock(path):
        run = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *words],
            capture_output=True,
            text=True,
            env={**os.environ, "LEADERLOCK_DIR": str(path.parent)},
        )
    assert run.stderr == "leaderlock: who holds a lock is read from /proc/locks: mount /proc here\n"
    assert (run.stdout, run.returncode) == ("", 125)
