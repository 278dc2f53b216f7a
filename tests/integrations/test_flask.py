"""The Flask extension in real servers: whoever serves stands for election, and nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from flask import Flask

from leaderlock import LeaderLock
from leaderlock.integrations.flask import Leader
from tests.integrations.fleet import BIN, EXAMPLES, HERE, Fleet, free_port, get_page
from tests.processes import until

GUNICORN = [BIN / "gunicorn", "--no-control-socket", "-b", "127.0.0.1:0", "-w", "4"]
UWSGI = [BIN / "uwsgi", "--http-socket", "127.0.0.1:0", "--master", "--processes", "4", "--need-app"]
UWSGI += ["--die-on-term", "--binary-path", sys.executable]


def flask(app: str, port: int, *options: str) -> list[object]:
    return [sys.executable, "-m", "flask", "--app", app, "run", "--port", port, *options]


def edit(module: Path) -> None:
    """Change a module as an editor does, so that a reloader starts its program again."""
    status = module.stat()
    os.utime(module, ns=(status.st_atime_ns, status.st_mtime_ns + 2_000_000_000))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The application as a file of its own, which the test may change."""
    copy = tmp_path / "my_site.py"
    copy.write_text((HERE / "flask_site.py").read_text())
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("worker_class", ["sync", "gevent", "gthread"])
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["lazy", "preload"])
def test_the_example_in_gunicorn(tmp_path: Path, worker_class: str, preload: list[str]) -> None:
    command = [*GUNICORN, "-k", worker_class, *preload, "flask_app:app"]
    with Fleet(tmp_path, command) as fleet:
        fleet.check_failover(4, replaced=True)
        assert fleet.until_standing(4) == fleet.workers()
        assert "leads" in fleet.output().split("[INFO]", 1)[1], "the server's log says who leads"


def test_the_example_in_four_development_servers(tmp_path: Path) -> None:
    commands = [flask(str(EXAMPLES / "flask_app.py"), free_port()) for _ in range(4)]
    with Fleet(tmp_path, *commands) as fleet:
        fleet.check_failover(4)


@pytest.mark.parametrize("lazy", [[], ["--lazy-apps"]], ids=["loaded by the master", "lazy-apps"])
def test_the_example_in_uwsgi(tmp_path: Path, lazy: list[str]) -> None:
    with Fleet(tmp_path, [*UWSGI, *lazy, "--module", "flask_app:app"]) as fleet:
        fleet.check_failover(4, replaced=True)
        assert fleet.until_standing(4) == fleet.workers()


@pytest.mark.parametrize("app", ["flask_site:app", "flask_site:create_app()"])
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["lazy", "preload"])
def test_a_worker_that_is_terminated_ends_its_task_first(
    tmp_path: Path, app: str, preload: list[str]
) -> None:
    with Fleet(tmp_path, [*GUNICORN, *preload, app]) as fleet:
        fleet.until_standing(4)
        first = fleet.leader()
        os.kill(first.pid, signal.SIGTERM)
        fleet.leader(not_among=[first.pid])
        assert "stop" in {note.event for note in fleet.notes() if note.pid == first.pid}
        fleet.check_one_leader_at_any_time()


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["lazy", "preload"])
def test_what_a_worker_forks_does_not_stand(tmp_path: Path, preload: list[str]) -> None:
    port = free_port()
    command = [*GUNICORN, "-b", f"127.0.0.1:{port}", *preload, "flask_site:app"]
    with Fleet(tmp_path, command) as fleet:
        fleet.until_standing(4)
        assert get_page(port, "/fork") == "0"
        assert fleet.until_standing(4) == fleet.workers()


@pytest.mark.parametrize("app", ["my_site:app", "my_site:create_app"])
def test_the_reloaders_parent_never_leads_and_a_reload_ends_the_task_first(
    tmp_path: Path, site: Path, app: str
) -> None:
    port = free_port()
    with Fleet(tmp_path, flask(app, port, "--debug")) as fleet:
        for _ in range(3):
            [child] = fleet.until_standing(1)
            assert child != fleet.arbiter
            assert child in fleet.workers()
            assert get_page(port) == str(child)
            loaded = len([note for note in fleet.notes() if note.event == "load"])
            edit(site)
            fleet.leader(not_among=[child])
            events = [note.event for note in fleet.notes() if note.pid == child]
            assert events[-1] == "stop"
            assert loaded < len([note for note in fleet.notes() if note.event == "load"])
        fleet.check_one_leader_at_any_time()


@pytest.mark.parametrize("options", [["--no-reload", "--debug"], ["--no-debug"]])
def test_without_the_reloader_the_process_itself_leads(tmp_path: Path, options: list[str]) -> None:
    with Fleet(tmp_path, flask("flask_site", free_port(), *options)) as fleet:
        assert fleet.until_standing(1) == {fleet.arbiter}


def test_commands_and_test_clients_do_not_stand(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    client = "import flask_site as s; s.app.testing = True; assert s.app.test_client().get('/').data"
    for command in (
        [sys.executable, "-m", "flask", "--app", "flask_site", "routes"],
        [sys.executable, "-m", "flask", "--app", "flask_site", "run", "--help"],
        [sys.executable, "-c", client],
    ):
        subprocess.run(command, env=fleet.environment, check=True, capture_output=True)
    assert {note.event for note in fleet.notes()} == {"load"}
    assert not fleet.lock.exists()


def test_under_another_server_a_process_stands_at_its_first_request(tmp_path: Path) -> None:
    port = free_port()
    command = [BIN / "waitress-serve", "--listen", f"127.0.0.1:{port}", "flask_site:app"]
    with Fleet(tmp_path, command) as fleet:
        until(lambda: "Serving on" in fleet.output(), "the server")
        assert not fleet.candidates()
        assert get_page(port) == str(fleet.arbiter)
        assert fleet.until_standing(1) == {fleet.arbiter}


def test_an_application_that_cannot_be_loaded_is_the_servers_affair(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from flask import Flask\n"
        "from leaderlock.integrations.flask import Leader\n"
        "from tests.integrations.served import lead\n"
        "app = Flask(__name__)\n"
        "Leader(app).task(name='example')(lead)\n"
        "raise ArithmeticError('in the midst of it')\n"
    )
    with Fleet(tmp_path, flask("broken", free_port(), "--no-debug")) as fleet:
        assert fleet.process().wait(60) == 1
        assert fleet.output().count("ArithmeticError: in the midst of it") == 1
    assert not fleet.leaders()


HANGING = """
from flask import Flask
from leaderlock.integrations.flask import Leader
from tests.integrations.served import HangsInItsFirstTerm, stop
app = Flask(__name__)
Leader(app).task(name="example", lease=2)(HangsInItsFirstTerm(stop))
"""


def test_a_leader_that_hangs_is_killed_by_its_lease(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    with Fleet(tmp_path, [*GUNICORN, "hanging:app"]) as fleet:
        until(lambda: "hang" in {note.event for note in fleet.notes()}, "the leader to hang")
        [hung] = [note.pid for note in fleet.notes() if note.event == "hang"]
        assert fleet.leader(not_among=[hung]).term > 1
        fleet.check_one_leader_at_any_time()


SLOW = """
import time
from flask import Flask
from leaderlock.integrations.flask import Leader
from tests.integrations.served import lead
app = Flask(__name__)
leader = Leader(app)
@leader.task(name="example")
def report(leadership):
    needed_by_the_task
    lead(leadership)
while not leader._tasks[0].election.lock.locked():
    time.sleep(0.01)
time.sleep(0.3)  # in which the task would begin, and fail
needed_by_the_task = True
"""


def test_a_task_waits_until_the_module_has_been_imported(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    with Fleet(tmp_path, flask("slow", free_port(), "--no-debug")) as fleet:
        fleet.until_standing(1)
        assert "NameError" not in fleet.output()


def test_a_task_of_the_wrong_form_is_refused_where_it_is_decorated() -> None:
    leader = Leader(Flask(__name__))
    with pytest.raises(TypeError, match="must take one argument, the leadership"):
        leader.task(lambda: None)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="not a coroutine function"):

        @leader.task
        async def report(_leadership: object) -> None: ...

    with pytest.raises(ValueError, match="backoff"):
        leader.task(name="example", backoff=(0, 0))(print)


def test_start_stands_at_once(tmp_path: Path) -> None:
    path = tmp_path / "leader.lock"
    leader = Leader(Flask(__name__))
    leader.task(path=path, on_return="resign")(lambda _leadership: None)
    leader.start()
    until(lambda: path.exists() and LeaderLock(path).holder() is None, "the task to be done")


def test_first_requests_in_many_threads_make_one_candidate(tmp_path: Path) -> None:
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "")
    leader = Leader(app)
    ran: list[int] = []
    for number in range(20):
        path = tmp_path / f"{number}.lock"
        leader.task(path=path, on_return="resign")(lambda leadership: ran.append(leadership.term))
    threads = 8
    together = threading.Barrier(threads)

    def ask() -> None:
        together.wait()
        app.test_client().get("/")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        askers = [threading.Thread(target=ask) for _ in range(threads)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    finally:
        sys.setswitchinterval(before)
    until(lambda: len(ran) >= 20, "the tasks")
    for number in range(20):
        lock = LeaderLock(tmp_path / f"{number}.lock")
        with lock:
            assert lock.term == 2, "a second candidate of the same process has led"
