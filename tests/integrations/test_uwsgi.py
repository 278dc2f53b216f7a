"""`in_one_worker` in real uWSGI servers: exactly one worker leads, whatever becomes of the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import Unsupported
from leaderlock.integrations.uwsgi import in_one_worker
from tests.integrations.uwsgi_server import (
    BUILDS,
    OSAFTERFORK,
    PROCESSES,
    Build,
    Serve,
    build,
    in_each_mode,
    serve,
)
from tests.processes import descriptors_of, flocks_of, until

__all__ = ["build", "serve"]  # fixtures


def blocked_signals(pid: int) -> dict[int, set[int]]:
    """The signals that each thread of a process blocks."""
    blocked = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        text = (thread / "status").read_text()
        mask = int(text.partition("SigBlk:")[2].split()[0], 16)
        blocked[int(thread.name)] = {n for n in range(1, 65) if mask & 1 << n - 1}
    return blocked


def takes_signals_in_main_thread_only(pid: int) -> bool:
    ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    return all(
        ending.isdisjoint(blocked) if thread == pid else ending <= blocked
        for thread, blocked in blocked_signals(pid).items()
    )


@in_each_mode
def test_one_worker_leads_and_the_next_one_when_it_is_killed(serve: Serve, mode: list[str]) -> None:
    server = serve(*mode)
    workers = server.complete()
    term = 0
    for _ in range(4):
        leader = server.leader(after=term)
        term = leader.term
        assert leader.pid in workers
        server.kill(leader.pid)
        workers = server.complete(without={leader.pid})
    server.leader(after=term, among=workers)
    server.check_one_at_a_time()


@in_each_mode
def test_the_master_has_no_part_in_it(serve: Serve, mode: list[str]) -> None:
    server = serve(*mode)
    assert server.process.pid not in server.complete()
    assert str(server.lock) not in descriptors_of(server.process.pid)
    assert [waits for _, waits in flocks_of(server.lock)] == [False, *[True] * (PROCESSES - 1)]
    for pid in server.candidates():  # one descriptor each, and none that was inherited
        assert descriptors_of(pid).count(str(server.lock)) == 1


HOLDS_IN_MASTER = """
from leaderlock import LeaderLock

lock = LeaderLock("masters.lock")
assert lock.acquire()
from uwsgi_app import application
"""


@pytest.mark.parametrize("options", [[], *OSAFTERFORK.values()], ids=["default", *OSAFTERFORK])
def test_workers_do_not_keep_a_lock_of_the_master_alive(
    serve: Serve, tmp_path: Path, options: list[str]
) -> None:
    server = serve("--enable-threads", "--master", *options, app=HOLDS_IN_MASTER)
    workers = server.complete()
    lock = str(tmp_path / "masters.lock")
    assert lock in descriptors_of(server.process.pid)
    until(lambda: not any(lock in descriptors_of(pid) for pid in workers), "the workers to close it")
    assert "Traceback" not in server.log


@in_each_mode
def test_a_new_worker_leads_after_a_reload(serve: Serve, mode: list[str]) -> None:
    server = serve(*mode)
    workers = server.complete()
    leader = server.leader()
    server.kill(server.process.pid, signal.SIGHUP)
    new = server.complete(without=workers)
    server.until_stopped(leader.term)
    server.leader(after=leader.term, among=new)
    server.check_one_at_a_time()


def test_a_worker_that_has_served_its_requests_is_asked_to_stop(serve: Serve) -> None:
    server = serve("--max-requests", "5", "--min-worker-lifetime", "0")
    server.complete()
    leader = server.leader()
    server.serve_until_gone(leader.pid)
    server.until_stopped(leader.term)
    server.leader(after=leader.term)
    server.complete(without={leader.pid})
    server.check_one_at_a_time()


def test_workers_that_are_reloaded_one_by_one_keep_one_leader(serve: Serve, tmp_path: Path) -> None:
    touched = tmp_path / "reload"
    touched.touch()
    server = serve("--lazy-apps", "--touch-chain-reload", str(touched))
    workers = server.complete()
    leader = server.leader()
    os.utime(touched, (2**31, 2**31))
    new = server.complete(without=workers)
    server.until_stopped(leader.term)
    server.leader(after=leader.term, among=new)
    server.check_one_at_a_time()


@pytest.mark.parametrize("options", [[], ["--no-orphans"]], ids=["default", "no-orphans"])
def test_workers_end_with_their_master_and_the_next_server_goes_on(
    serve: Serve, options: list[str]
) -> None:
    server = serve(*options)
    workers = server.complete()
    leader = server.leader()
    server.process.kill()
    server.process.wait()
    until(lambda: not server.candidates(), "the orphans to end")
    server.start()
    server.leader(after=leader.term, among=server.complete(without=workers))
    server.check_one_at_a_time()


@pytest.mark.parametrize(
    "options",
    [[], ["--lazy-apps"], ["--skip-atexit-teardown"], ["--threads", "2"], *OSAFTERFORK.values()],
    ids=lambda options: " ".join(options) or "default",
)
def test_the_task_is_asked_to_stop_when_the_server_ends(serve: Serve, options: list[str]) -> None:
    server = serve(*options)
    workers = server.complete()
    server.leader()
    # uWSGI's own request threads block signals too, but a moment after their birth.
    until(lambda: all(takes_signals_in_main_thread_only(pid) for pid in workers), "signals blocked")
    server.kill(server.process.pid, signal.SIGTERM)
    server.process.wait(30)
    assert server.events()[-1].what == "stop"
    assert not server.candidates()
    server.check_one_at_a_time()


WITHOUT_LEADERLOCK = """
import os
os.write(2, b"loaded by a worker\\n")
def application(environ, start_response):
    pass
"""


def test_py_call_osafterfork_without_leaderlock_ends_the_workers_from_python_3_13_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "plain.py").write_text(WITHOUT_LEADERLOCK)
    build = BUILDS["pypi"]()
    options = ["--http-socket", "127.0.0.1:0", "--master", "--lazy-apps", "--py-call-osafterfork"]
    with subprocess.Popen(
        [build.program, *build.options, *options, "--module", "plain"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as server:
        assert server.stderr is not None
        endings = ("loaded by a worker", "killed by signal 6")
        seen = next(end for line in server.stderr for end in endings if end in line)
        os.killpg(server.pid, signal.SIGKILL)
    assert seen == endings[sys.version_info >= (3, 13)]


STARTS_THREADS = """
import threading
from leaderlock.integrations.uwsgi import in_one_worker

def wait_until_stop(leadership):
    with open("thread", "w") as file:
        file.write(str(threading.get_native_id()))
    leadership.stopping.wait()

def task(leadership):
    threading.Thread(target=wait_until_stop, args=[leadership], daemon=True).start()
    leadership.stopping.wait()

in_one_worker(task, path=os.environ["EXAMPLE_LOCK"])

def application(environ, start_response):
    start_response("200 OK", [])
    return []
"""


def test_no_thread_of_a_task_takes_the_servers_signals(serve: Serve, tmp_path: Path) -> None:
    """uWSGI's handler would end the process from there, and CPython's end then wait for ever."""
    server = serve("--enable-threads", "--master", app=STARTS_THREADS)
    workers = server.complete()
    thread = tmp_path / "thread"
    until(lambda: thread.exists() and thread.read_text(), "the task's own thread")
    assert any(int(thread.read_text()) in blocked_signals(pid) for pid in workers)
    assert all(takes_signals_in_main_thread_only(pid) for pid in workers)


def test_with_skip_atexit_the_task_ends_with_its_process(serve: Serve) -> None:
    server = serve("--skip-atexit")
    server.complete()
    leader = server.leader()
    server.kill(leader.pid, signal.SIGTERM)
    server.leader(after=leader.term)
    assert not any(event.what == "stop" for event in server.events() if event.term == leader.term)
    server.check_one_at_a_time()


@pytest.mark.parametrize("options", [[], ["--lazy-apps"]], ids=["default", "lazy-apps"])
@pytest.mark.parametrize("processes", [1, 2])
def test_it_works_without_a_master(serve: Serve, options: list[str], processes: int) -> None:
    app = "from uwsgi_app import application"
    server = serve("--enable-threads", *options, app=app, processes=processes)
    workers = server.complete()
    assert server.leader().pid in workers
    assert server.process.pid in workers
    server.kill(server.leader().pid, signal.SIGTERM)
    server.until_stopped(1)
    if processes == 2:
        server.leader(after=1)
    server.check_one_at_a_time()


STOPS_SLOWLY = """
import time
from leaderlock.integrations.uwsgi import in_one_worker

def task(leadership):
    def say(event):
        with open(os.environ["EXAMPLE_LOG"], "a") as log:
            log.write(f"{os.getpid()} {leadership.term} {time.monotonic()} {event}\\n")
    say("start")
    leadership.wait(1000)
    say("asked")
    while not os.path.exists("go"):
        time.sleep(0.01)
    say("stop")

in_one_worker(task, path=os.environ["EXAMPLE_LOCK"])

def application(environ, start_response):
    pass
"""


def test_a_second_signal_does_not_cut_the_stop_short(serve: Serve, tmp_path: Path) -> None:
    server = serve("--enable-threads", "--master", app=STOPS_SLOWLY)
    server.complete()
    leader = server.leader()
    server.kill(leader.pid, signal.SIGINT)
    until(lambda: server.events()[-1].what == "asked", "the task to be asked")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        server.kill(leader.pid, number)
    (tmp_path / "go").touch()
    server.leader(after=leader.term)
    assert [e.what for e in server.events() if e.term == leader.term] == ["start", "asked", "stop"]
    server.check_one_at_a_time()


OWN_HOOKS = """
def say(text):
    os.write(2, f"{text} in worker {uwsgi.worker_id()} mule {uwsgi.mule_id()}\\n".encode())

def spooler(environment):
    pass

uwsgi.post_fork_hook = lambda: say("by hand")
uwsgi.atexit = lambda: say("at exit")
uwsgi.spooler = spooler
"""
DECORATED = """
from uwsgi_app import application
import uwsgidecorators

@uwsgidecorators.postfork
def broken():
    say("decorated")
    raise ArithmeticError("broken hook")
"""
DECORATED_BEFORE = """
import uwsgidecorators

@uwsgidecorators.postfork
def fine():
    say("decorated")

from uwsgi_app import application
"""
NO_DECORATORS = """
sys.modules["uwsgidecorators"] = None  # as where it is not installed
from uwsgi_app import application
"""


@pytest.mark.parametrize(
    ("app", "hooks"),
    [
        (OWN_HOOKS + DECORATED, ["by hand", "decorated"]),
        (DECORATED_BEFORE.replace("import", OWN_HOOKS + "import", 1), ["decorated"]),
        (OWN_HOOKS + NO_DECORATORS, ["by hand"]),
    ],
    ids=["decorated after", "decorated before", "no decorators"],
)
def test_other_hooks_are_kept_and_only_workers_stand(
    serve: Serve, tmp_path: Path, app: str, hooks: list[str]
) -> None:
    (tmp_path / "spool").mkdir()
    app += "\nassert uwsgi.spooler is spooler or 'uwsgidecorators' in globals()\n"
    server = serve(
        *("--enable-threads", "--master", "--mule", "--spooler", "spool", "--die-on-term"),
        app=app,
        processes=2,
    )
    server.logs(*(f"{hook} in worker {n} mule 0" for hook in hooks for n in (0, 1, 2)))
    server.logs(*(f"{hook} in worker 0 mule 1" for hook in hooks))
    assert server.leader().pid in server.complete()
    server.kill(server.process.pid, signal.SIGTERM)
    server.process.wait(30)
    assert server.events()[-1].what == "stop"
    assert "at exit in worker 1" in server.log
    assert "at exit in worker 2" in server.log
    server.check_one_at_a_time()


def test_a_lock_that_cannot_be_used_stops_no_worker(serve: Serve, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    app = f"os.environ['EXAMPLE_LOCK'] = {str(missing / 'lock')!r}\nfrom uwsgi_app import application"
    server = serve("--enable-threads", "--master", app=app, processes=2)
    server.logs(f"leaderlock: cannot stand for election: {missing}")
    server.get()
    missing.mkdir()
    server.leader()
    assert "DAMN" not in server.log, "a worker died"


def test_missing_threads_are_a_clear_error_in_the_log(serve: Serve, build: Build) -> None:
    # Since 2.0.27 threads cannot be had switched off, so it has to be pretended.
    app = "uwsgi.has_threads = 0\n" if build.version >= (2, 0, 27) else ""
    server = serve("--master", "--need-app", app=app + "from uwsgi_app import application")
    assert server.process.wait(30) != 0
    assert "Unsupported: uWSGI runs no Python threads" in server.log
    assert "--enable-threads" in server.log


def test_a_subinterpreter_is_a_clear_error_in_the_log(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("def application(environ, start_response): pass")
    app = "from uwsgi_app import application"
    mounts = ["--enable-threads", "--mount", "/other=other.py", "--mount", "/app=app.py"]
    server = serve(*mounts, app=app)
    server.logs("Unsupported: uWSGI has loaded this application in a subinterpreter")
    assert "--single-interpreter" in server.log


def test_two_applications_in_one_interpreter_each_have_a_leader(serve: Serve, tmp_path: Path) -> None:
    app = "from uwsgi_app import application"
    (tmp_path / "other.py").write_text(
        "from uwsgi_app import application, report\n"
        "from leaderlock.integrations.uwsgi import in_one_worker\n"
        "in_one_worker(report, path='other.lock')\n"
    )
    server = serve(
        *("--enable-threads", "--master", "--single-interpreter"),
        *("--mount", "/app=app.py", "--mount", "/other=other.py"),
        app=app,
    )
    server.complete()
    until(lambda: len(flocks_of(tmp_path / "other.lock")) == PROCESSES, "candidates for the other")


def test_an_application_has_a_lock_of_its_own_without_a_name(serve: Serve, tmp_path: Path) -> None:
    app = f"""
    os.environ["LEADERLOCK_DIR"] = {str(tmp_path / "locks")!r}
    del os.environ["EXAMPLE_LOCK"]
    from uwsgi_app import application
    """
    server = serve("--enable-threads", "--master", app=app)
    server.leader()
    (lock,) = (tmp_path / "locks").glob("report-*.lock")
    assert len(flocks_of(lock)) >= 1


def test_outside_of_uwsgi_it_is_a_clear_error() -> None:
    with pytest.raises(Unsupported, match="not a uWSGI server"):
        in_one_worker(lambda leadership: None)


def test_a_task_that_cannot_run_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="function of one argument"):
        in_one_worker("report")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes none"):
        in_one_worker(lambda: None)  # type: ignore[arg-type, misc]
