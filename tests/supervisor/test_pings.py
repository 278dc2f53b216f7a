"""`leaderlock run --ping`: a real server is told when the command starts and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.pinged import Server, pinged_server
from tests.processes import until, until_parked
from tests.supervisor.pid1 import Running, needs_namespaces, run

SLEEPER = "sleep 1000 & echo up; wait"


@pytest.fixture
def server() -> Iterator[Server]:
    with pinged_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("as_pid1", [pytest.param(True, marks=needs_namespaces), False])
@pytest.mark.parametrize(("status", "ending"), [(0, ""), (3, "/fail"), (127, "/fail")])
def test_the_start_and_the_end_are_told_in_this_order(
    server: Server, status: int, ending: str, as_pid1: bool
) -> None:
    script = "exec nowhere/to/be/found" if status == 127 else f"exit {status}"
    words = ["--ping", f"{server.url}/uuid{'/' if as_pid1 else ''}", "--", "sh", "-c", script]
    result = run("run", *words, as_pid1=as_pid1)
    assert result.returncode == status
    assert "ping" not in result.stderr
    assert server.paths == ["/uuid/start", f"/uuid{ending}"]
    assert {method for method, _, _, _ in server.got} == {"POST"}
    assert server.got[1][3].decode() == f"the command ended with status {status}"


def test_a_command_that_term_has_ended_is_told_as_a_failure(server: Server) -> None:
    with Running("run", "--ping", f"{server.url}/uuid", "--", "sh", "-c", SLEEPER) as running:
        assert running.line() == "up"
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
    assert server.paths == ["/uuid/start", "/uuid/fail"]


def test_a_service_that_knows_only_get_is_asked_so(server: Server) -> None:
    server.without_post = True
    assert run("run", "--ping", f"{server.url}/up?key=1", "--", "true").stderr == ""
    asked = [(method, path) for method, path, _, _ in server.got if method == "GET"]
    assert asked == [("GET", "/up/start?key=1"), ("GET", "/up?key=1")]


def test_each_restart_is_told(server: Server) -> None:
    options = ["--restart", "on-failure", "--restart-limit", "1/60", "--ping", server.url]
    assert run("run", *options, "--", "false").returncode == 1
    assert server.paths == ["/start", "/fail"] * 2


def test_under_a_lock_only_the_one_that_runs_the_command_pings(server: Server, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    command = ["run", "--lock", str(lock), "--ping", server.url, "--"]
    with Running(*command, "sh", "-c", "echo up; read x", stdin=subprocess.PIPE) as first:
        assert first.line() == "up"
        with Running(*command, "sh", "-c", "echo up; exit 5") as second:
            until_parked(lock, second.pid)
            conflict = run(*command[:-1], "-n", "--", "true")
            assert conflict.returncode == 75
            until(lambda: server.paths, "the first ping")
            assert server.paths == ["/start"]
            first.close_input()
            assert second.line() == "up"
            assert (first.wait(), second.wait()) == (1, 5)
    assert sorted(server.paths) == ["/fail", "/fail", "/start", "/start"]


def test_a_service_that_hangs_delays_neither_command_nor_signal_nor_the_next_leader(
    server: Server, tmp_path: Path
) -> None:
    server.answers.clear()
    lock = LeaderLock(tmp_path / "lock")
    # Not a shell: a trap does not run in `read` if the signal came just before read(2) began.
    script = (
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        "print('up', flush=True)\n"
        "signal.sigwait({signal.SIGUSR1})\n"
        "print('got it', flush=True)\n"
        "input()\n"
        "os._exit(4)\n"
    )
    options = ["--lock", str(lock.path), "--ping", f"{server.url}/uuid"]
    command = [sys.executable, "-S", "-c", script]
    with Running("run", *options, "--", *command, stdin=subprocess.PIPE) as running:
        assert running.line() == "up"
        until(lambda: server.paths, "the first ping")
        running.signal(signal.SIGUSR1)
        assert running.line() == "got it"
        assert running.process.stdin is not None
        running.process.stdin.write(b"go on\n")
        running.close_input()
        with lock:
            assert running.process.poll() is None  # it still has to ping
        server.answers.set()
        assert running.wait() == 4
    assert server.paths == ["/uuid/start", "/uuid/fail"]


@pytest.mark.slow
def test_a_service_that_never_answers_is_not_waited_for_without_end(server: Server) -> None:
    server.answers.clear()
    began = time.monotonic()
    result = run("run", "--ping", f"{server.url}/secret", "--", "sh", "-c", "exit 4")
    assert result.returncode == 4
    assert 4 < time.monotonic() - began < 40  # two pings of 5 s, or the 10 s for all
    assert f"the ping /start to {server.url} failed: timed out" in result.stderr
    assert "secret" not in result.stderr


def test_a_service_that_cannot_be_reached_or_refuses_is_told_and_changes_nothing(
    server: Server,
) -> None:
    server.status = 404
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        closed = f"http://127.0.0.1:{bound.getsockname()[1]}"
        for url, reason in ((closed, "Connection refused"), (server.url, "404 Not Found")):
            result = run("run", "--ping", f"{url}/secret", "--", "sh", "-c", "echo ran; exit 6")
            assert (result.returncode, result.stdout) == (6, "ran\n")
            first, second = result.stderr.splitlines()
            assert first.startswith(f"leaderlock: the ping /start to {url} failed: ")
            assert second.startswith(f"leaderlock: the ping /fail to {url} failed: ")
            assert reason in first
            assert "secret" not in result.stderr


def test_a_command_does_not_find_the_address_in_its_environment(server: Server) -> None:
    script = 'test -z "$LEADERLOCK_RUN_PING"'
    environment = {"LEADERLOCK_RUN_PING": f"{server.url}/uuid"}
    assert run("run", "--", "sh", "-c", script, environment=environment).returncode == 0
    assert server.paths == ["/uuid/start", "/uuid"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ping", "hc-ping.com/uuid"], "the URL must begin with http:// or https:// and a host"),
        (["--ping", "ftp://hc-ping.com/"], "the URL must begin with http:// or https:// and a host"),
        (["--ping", "https://me:secret@host/"], "the URL must not hold a password"),
        (["--ping", "http://[::1/"], "Invalid IPv6 URL"),
        (
            ["--ping", "http://h/", "--lock", "l", "--exec"],
            "--exec leaves no parent beside the command",
        ),
    ],
)
def test_an_address_that_cannot_be_pinged_is_wrong_usage(
    options: list[str], message: str, tmp_path: Path
) -> None:
    result = run("run", *options, "--", "touch", str(tmp_path / "ran"))
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "ran").exists()
