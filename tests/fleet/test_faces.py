"""Everything that takes a path takes the URL of an engine: commands, decorators and hooks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import leaderlock.web
from leaderlock import CorruptLockFile, call_once
from leaderlock.engines.catalogue import engine_of
from leaderlock.engines.leased.engine import LeasedEngine
from leaderlock.status import elections
from tests.fleet.servers import Redis, Server
from tests.processes import PATIENCE, Child, until
from tests.web.test_serve import serving
from tests.web.test_site import get

LEADERLOCK = (sys.executable, "-m", "leaderlock")
ENGINES = ("local_postgresql", "local_zookeeper", "local_etcd", "local_redis")

PROGRAM = """
from leaderlock import Election
def task(leadership):
    print(f"leads {leadership.term}")
    for _ in leadership.every(0.1):
        pass
candidate = Election(argv[0], lease=3).start(task)
"""


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest) -> str:
    server: Server = request.getfixturevalue(request.param)
    return own(server, request)


@pytest.fixture
def redis_url(local_redis: Redis, request: pytest.FixtureRequest) -> str:
    return own(local_redis, request)


def own(server: Server, request: pytest.FixtureRequest) -> str:
    """The URL of an election of this test's own."""
    return f"{server.url()}-{abs(hash(request.node.name)) % 10**8}"


@pytest.fixture
def leader(url: str) -> Iterator[tuple[Child, int]]:
    with Child(url) as child:
        child.tell(PROGRAM)
        yield child, int(child.line().removeprefix("leads "))


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LEADERLOCK, *words], capture_output=True, text=True, timeout=PATIENCE)


def asked(port: int, path: str) -> str:
    """What the page answers, with any status."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


@pytest.mark.slow
def test_operators_see_the_leader_and_ask_it_to_resign(url: str, leader: tuple[Child, int]) -> None:
    child, term = leader
    shown = command("status", url)
    assert f"process {child.pid} on {os.uname().nodename} leads, term {term}, since" in shown.stdout
    document = json.loads(command("status", "--json", url).stdout)
    (election,) = document["elections"]
    assert (election["term"], election["leader"]["pid"]) == (term, child.pid)
    until(lambda: str(term) in command("history", url).stdout, "the term in the history")
    asked = command("resign", "--wait", url)
    assert f"asked process {child.pid} on" in asked.stdout
    assert f"term {term} has ended" in asked.stdout
    later = int(child.line().removeprefix("leads "))
    assert later > term
    history = json.loads(command("history", "--json", url).stdout)
    assert [t["ended"] for t in history["terms"] if t["term"] == term] == ["resigned on request"]


@pytest.mark.slow
def test_a_leader_whose_task_has_returned_is_not_asked(url: str) -> None:
    with Child(url) as child:
        child.tell(
            "candidate = leaderlock.Election(argv[0], lease=2).start(lambda _: print('returned'))"
        )
        assert child.line() == "returned"
        # The leader writes it at its next renewal: the command may have asked before.
        for words in (("--wait", url), (url,)):
            asked = command("resign", *words)
            assert asked.returncode == 125, asked.stdout
            assert f"the task of process {child.pid} on" in asked.stderr
            assert "has returned" in asked.stderr
        assert child.tell("candidate.is_leader")


@pytest.mark.slow
def test_a_command_runs_once_in_the_fleet_and_is_killed_with_its_session(url: str) -> None:
    words = ("run", "--lock", url, "--lease", "3")
    leads = (*LEADERLOCK, *words, "--", "sh", "-c", "echo term $LEADERLOCK_TERM $$; exec sleep 1000")
    with subprocess.Popen(leads, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        _, term, pid = first.stdout.readline().split()
        assert command(*words, "-n", "--", "true").returncode == 75
        # The session cannot be renewed, so the kernel kills leaderlock, and with it the command.
        first.send_signal(signal.SIGSTOP)
        state = f"cut -d' ' -f3 /proc/{pid}/stat 2>/dev/null"
        then = command(*words, "--", "sh", "-c", f"echo $LEADERLOCK_TERM $({state})").stdout.split()
        assert int(then[0]) > int(term)
        assert then[1:] in ([], ["Z"]), "the old command ran on"
        assert first.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.slow
def test_doctor_tells_what_the_engine_can_promise(url: str) -> None:
    good = command("doctor", url)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "What it cannot promise" in good.stdout
    assert json.loads(command("doctor", "--json", url).stdout)["verdict"] == "good"


@pytest.mark.slow
def test_the_page_and_watch_follow_an_election(
    url: str, leader: tuple[Child, int], tmp_path: Path
) -> None:
    child, term = leader
    away = "redis://user:hunter2@127.0.0.1:1/0#x"
    lock = tmp_path / "own.lock"
    lock.touch()
    who = f"process {child.pid} on {os.uname().nodename} leads, term {term}"
    shown = engine_of(url).address
    places = (url, str(lock), away)
    with (
        subprocess.Popen(
            [*LEADERLOCK, "status", "--watch", *places],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watching,
        serving("--bind", "127.0.0.1:0", *places) as (_, line),
    ):
        port = int(line.rsplit(":", 1)[1].rstrip("/"))
        page = asked(port, "/")
        assert f"{who}, since" in page
        assert str(lock) in page
        status = json.loads(asked(port, "/status.json"))
        assert [e["leader"]["pid"] for e in status["elections"]] == [child.pid]
        assert [lock["path"] for lock in status["locks"]] == [str(lock)]
        assert len(status["errors"]) == 1
        assert "does not answer" in status["errors"][0]
        until(lambda: str(term) in asked(port, "/history.json"), "the term in the history")
        metrics = asked(port, "/metrics")
        assert f'leaderlock_lock_led{{lock="{shown}"}} 1.0' in metrics
        assert "leaderlock_unreadable_locks 1.0" in metrics
        assert f"{shown}: {who}" in asked(port, "/healthz")
        assert watching.stdout is not None
        told = "".join(_until_line(watching.stdout, f"  {who}"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/events", timeout=PATIENCE) as events:
            lines = map(bytes.decode, events)
            told += "".join(_until_line(lines, f'"term": {term}'))
            assert command("resign", "--wait", url).returncode == 0
            later = int(child.line().removeprefix("leads "))
            told += "".join(_until_line(lines, f'"term": {later}'))
        told += "".join(_until_line(watching.stdout, f"leads, term {later}"))
        everything = page + metrics + asked(port, "/healthz") + str(status)
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=PATIENCE)
    assert watching.returncode == 0
    assert errors.count("redis://user:***@") == 1
    assert "hunter2" not in everything + told + errors


def _until_line(output: Iterable[str], part: str) -> Iterator[str]:
    for line in output:
        yield line
        if part in line:
            return
    pytest.fail(f"no line with {part!r}")


def test_an_engine_that_does_not_answer_delays_the_page_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elections, "_KEPT", 0.0)
    monkeypatch.setattr(elections, "PATIENCE", 0.2)
    path.touch()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody answers
        away = f"redis://user:hunter2@127.0.0.1:{silent.getsockname()[1]}/0#x"
        application = leaderlock.web.wsgi([path, away])
        began = time.monotonic()
        answers = [get(application, "/status.json").json() for _ in range(100)]
        assert time.monotonic() - began < 50 * elections.PATIENCE, "later requests waited, too"
        page = get(application).text
        took = time.monotonic() - began
        silent.setblocking(False)
        questions = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                questions += 1
        assert 1 <= questions <= 1 + took / elections.PAUSE
    for answer in answers:
        assert [lock["path"] for lock in answer["locks"]] == [str(path)]
        (error,) = answer["errors"]
        assert error.startswith("redis://user:***@127.0.0.1:")
        assert "answer" in error
    assert "redis://user:***@127.0.0.1:" in page
    assert "hunter2" not in page


def test_a_url_without_an_engine_is_refused_before_the_page_is_served() -> None:
    for words in (("serve", "--bind", "127.0.0.1:0"), ("status", "--watch")):
        wrong = command(*words, "redis://:hunter2@127.0.0.1/0")
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "must end in the election's name" in wrong.stderr
        unknown = command(*words, "rediz://:hunter2@127.0.0.1/0#x")
        assert (unknown.returncode, unknown.stdout) == (125, "")
        assert "did you mean redis" in unknown.stderr
        assert "hunter2" not in wrong.stderr + unknown.stderr


def test_doctor_and_status_tell_that_no_engine_answers() -> None:
    away = "redis://user:hunter2@127.0.0.1:1/0#x"
    for words, status in ((("doctor", away), 2), (("status", away), 125), (("resign", away), 125)):
        run = command(*words)
        assert run.returncode == status
        assert "does not answer" in run.stdout + run.stderr
        assert "hunter2" not in run.stdout + run.stderr
        assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_a_function_runs_once_in_the_fleet_and_all_get_its_result(url: str) -> None:
    program = (
        "import sys, os\nfrom leaderlock import call_once\n"
        "@call_once(key=sys.argv[2], path=sys.argv[1], lease=5)\n"
        "def migrate():\n    return {'by': os.getpid()}\n"
        "print(migrate()['by'])\n"
    )
    for key in ("v7", "v8"):  # the second time, the engine has the outcome of the first
        words = [sys.executable, "-c", program, url, key]
        runs = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        told = {run.communicate(timeout=PATIENCE)[0] for run in runs}
        assert [run.returncode for run in runs] == [0, 0, 0]
        assert len(told) == 1
        assert int(told.pop()) in {run.pid for run in runs}


def test_an_outcome_that_something_else_wrote_is_refused(redis_url: str) -> None:
    @call_once(key=1, path=redis_url)
    def function() -> int:
        return 7

    engine = engine_of(redis_url)
    assert isinstance(engine, LeasedEngine)
    session = engine.connect()
    try:
        # The note's name is a part of the format: other versions must find it.
        session.write("outcome-6b86b273ff34fce19d6b804eff5a3f57", b"[no json")
    finally:
        session.close()
    with pytest.raises(CorruptLockFile, match="no outcome of call_once"):
        function()


def test_a_hook_and_only_once_take_the_url(redis_url: str) -> None:
    with Child(redis_url) as child:
        child.tell(
            "from leaderlock import only_once\n"
            "@only_once(path=argv[0], lease=3)\n"
            "def begin():\n    print('leads', leaderlock.current_leadership().term)\n"
            "    leaderlock.current_leadership().stopping.wait()\n"
            "candidate = begin()\n"
        )
        assert child.line().startswith("leads ")
        assert child.tell("leaderlock.is_leader(argv[0])")
        child.tell("candidate.stop()")
