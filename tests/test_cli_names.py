"""Which lock a word of the command line means: `--name`, and a bare word that is no path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.processes import Child
from tests.test_directory import OWN_RUN, needs_root

LEADERLOCK = (sys.executable, "-m", "leaderlock")


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "locks"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with LeaderLock(name="jobs"):
        pass
    return tmp_path / "locks"


def leaderlock(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LEADERLOCK, *words], capture_output=True, text=True)


def path_told(*words: str) -> str:
    run = leaderlock(*words)
    assert not run.stderr
    document = json.loads(run.stdout)
    path: str = document["locks"][0]["path"] if "locks" in document else document["path"]
    return path


@pytest.mark.parametrize("command", ["status", "history", "doctor"])
@pytest.mark.parametrize("words", [["--name", "jobs"], ["--name=jobs"], ["jobs"]])
def test_a_name_is_the_lock_of_that_name(locks: Path, command: str, words: list[str]) -> None:
    assert path_told(command, "--json", *words) == str(locks / "jobs.lock")


@pytest.mark.parametrize("command", ["status", "history", "doctor"])
def test_a_file_of_the_current_directory_goes_before_a_name(locks: Path, command: str) -> None:
    with LeaderLock("jobs"):
        pass
    assert path_told(command, "--json", "jobs") == os.path.abspath("jobs")
    assert path_told(command, "--json", "./jobs") == os.path.abspath("jobs")
    assert path_told(command, "--json", "--name", "jobs") == str(locks / "jobs.lock")


def test_status_shows_several_names_and_paths(locks: Path) -> None:
    for path in ("other.lock", locks / "b.lock"):
        with LeaderLock(path):
            pass
    run = leaderlock("status", "--json", "--name", "jobs", "--name", "b", "other.lock")
    assert [lock["path"] for lock in json.loads(run.stdout)["locks"]] == [
        str(locks / "jobs.lock"),
        str(locks / "b.lock"),
        os.path.abspath("other.lock"),
    ]


@pytest.mark.parametrize("command", ["status", "history"])
def test_a_name_that_nobody_has_is_an_error_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "none"))
    run = leaderlock(command, "--name", "leaderlock-test-unused")
    assert (run.returncode, run.stdout) == (125, "")
    assert "has the name 'leaderlock-test-unused'" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    run = leaderlock(command, "leaderlock-test-unused")
    assert run.returncode == 125
    assert f"{os.getcwd()}/leaderlock-test-unused does not exist" in run.stderr
    assert not (tmp_path / "none").exists()


def test_doctor_looks_at_the_directory_of_a_name_that_nobody_has_used(locks: Path) -> None:
    assert path_told("doctor", "--json", "--name", "leaderlock-test-unused") == str(locks)


@pytest.mark.parametrize("command", ["status", "history", "doctor", "serve"])
@pytest.mark.parametrize("name", ["a/b", "", ".hidden"])
def test_what_cannot_be_a_name_is_wrong_usage(command: str, name: str) -> None:
    run = leaderlock(command, "--name", name)
    assert run.returncode == 2
    assert "name must be" in run.stderr


@pytest.mark.parametrize("command", ["history", "doctor"])
def test_a_path_and_a_name_are_too_much_for_one_lock(command: str) -> None:
    run = leaderlock(command, "--name", "jobs", "jobs")
    assert run.returncode == 2
    assert "one lock is enough" in run.stderr


@needs_root
def test_root_finds_the_name_of_another_user_and_of_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = (
        "__import__('subprocess').run([sys.executable, '-m', 'leaderlock', {}, 'beat', '--json'], "
        "capture_output=True, text=True, cwd='/').stdout"
    )
    monkeypatch.delenv("LEADERLOCK_DIR")
    with Child("mkdir -m 0700 /run/unit", program=OWN_RUN) as child:
        child.tell(
            "def lead(user):\n"
            "    read, write = os.pipe()\n"
            "    if (pid := os.fork()) == 0:\n"
            "        os.setgroups([]); os.setgid(user); os.setuid(user)\n"
            "        lock = LeaderLock(name='beat'); lock.acquire()\n"
            "        os.write(write, lock.path.encode()); signal.pause()\n"
            "    return pid, os.read(read, 4096).decode()\n"
        )
        child.tell("import logging; a, first = lead(65534)")
        assert child.tell("first") == "/run/lock/leaderlock-65534/beat.lock"
        for command in ("'status'", "'history'"):
            assert child.tell("first") in child.tell(ask.format(command))
        child.tell("os.kill(a, 9); os.waitpid(a, 0); b, second = lead(4242)")
        told = child.tell(ask.format("'status'"))
        assert child.tell("first") in told
        assert child.tell("second") in told
        assert child.tell(ask.format("'history'")) == ""  # of which?
        child.tell("__import__('shutil').rmtree('/run/lock/leaderlock-65534')")
        child.tell("__import__('shutil').rmtree('/run/lock/leaderlock-4242')")
        child.tell("os.kill(b, 9); os.waitpid(b, 0); os.environ['RUNTIME_DIRECTORY'] = '/run/unit'")
        child.tell("c, third = lead(0); del os.environ['RUNTIME_DIRECTORY']")
        assert child.tell("third") == "/run/unit/beat.lock"
        assert "/run/unit/beat.lock" in child.tell(ask.format("'history'"))
        child.tell("os.kill(c, 9)")


def test_the_names_of_a_user_are_completed(locks: Path) -> None:
    assert "jobs" in leaderlock("completion", "--list", "names").stdout.split()
