"""One leader among the workers of a real gunicorn, whatever happens to them."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderlock import LeaderLock, Unsupported
from leaderlock.integrations.gunicorn import in_one_worker
from tests.integrations.readable import readable_by_all
from tests.integrations.server import CUT_OFF, WORKERS, Server
from tests.processes import PATIENCE, flocks_of, until, without_a_successor

UVICORN = "uvicorn_worker.UvicornWorker"
CLASSES = ["sync", "gthread", "gevent", UVICORN]
LEAD = "post_fork = in_one_worker(lead, {}, backoff=(0.05, 0.2))"

every_class = pytest.mark.parametrize("worker_class", CLASSES)
with_and_without_preload = pytest.mark.parametrize(
    "preload_app", [False, True], ids=["lazy", "preload"]
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a path short enough for a socket's, which other users may enter."""
    found = tempfile.mkdtemp(prefix="leaderlock-test-")
    os.chmod(found, 0o755)
    yield Path(found)
    shutil.rmtree(found)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


@every_class
@with_and_without_preload
def test_a_killed_leader_is_followed_by_a_worker_that_stood_by(
    directory: Path, worker_class: str, preload_app: bool
) -> None:
    with Server(directory, worker_class, preload_app=preload_app) as server:
        for _ in range(3):
            standing = server.candidates()
            first = server.leader()
            with without_a_successor(first.pid):
                kill(first.pid)
                second = server.leader(not_among=[first.pid])
            assert second.pid in standing
            assert second.term == first.term + 1
            server.until_complete()
        assert server.get() in server.workers()
        server.check_one_leader_at_any_time()


@every_class
def test_a_leader_that_is_terminated_ends_its_task_before_the_next_one_begins(
    directory: Path, worker_class: str
) -> None:
    with Server(directory, worker_class) as server:
        first = server.leader()
        kill(first.pid, signal.SIGTERM)
        server.leader(not_among=[first.pid])
        assert "stop" in [note.event for note in server.notes() if note.pid == first.pid]
        server.check_one_leader_at_any_time()


def test_a_leader_that_is_terminated_while_it_loads_the_application_ends_its_task(
    directory: Path,
) -> None:
    # uvicorn's worker leaves SIGTERM to its default until it serves, and the task runs by then.
    hook = f"""
import time

def load_slowly(server, worker):
    worker.load_wsgi = lambda: (note("loading"), time.sleep(600))

post_fork = in_one_worker(lead, path={str(directory / "leader.lock")!r}, chain=load_slowly)
"""
    with Server(directory, UVICORN, hook).started() as server:
        until(
            lambda: [note.event for note in server.notes()].count("loading") == WORKERS, "all to load"
        )
        first = server.leader()
        kill(first.pid, signal.SIGTERM)
        server.leader(not_among=[first.pid])
        assert "stop" in [note.event for note in server.notes() if note.pid == first.pid]
        server.check_one_leader_at_any_time()


@every_class
def test_the_end_of_a_standby_changes_nothing(directory: Path, worker_class: str) -> None:
    with Server(directory, worker_class) as server:
        leader = server.leader()
        standby = next(iter(server.workers() - {leader.pid}))
        kill(standby, signal.SIGTERM)
        server.until_gone([standby])
        server.until_complete()
        assert server.leader()[1:3] == leader[1:3]
        server.check_one_leader_at_any_time()


@pytest.mark.slow
@every_class
@with_and_without_preload
def test_a_reload_moves_the_leadership_to_a_new_worker(
    directory: Path, worker_class: str, preload_app: bool
) -> None:
    with Server(directory, worker_class, preload_app=preload_app) as server:
        old = server.workers()
        kill(server.arbiter, signal.SIGHUP)
        server.leader(not_among=old)
        server.until_gone(old)
        server.until_complete()
        assert server.get() in server.workers()
        assert {note.event for note in server.notes() if note.pid in old} >= {"start", "stop"}
        server.check_one_leader_at_any_time()


@pytest.mark.slow
@every_class
@with_and_without_preload
def test_an_upgrade_keeps_one_leader_over_both_arbiters(
    directory: Path, worker_class: str, preload_app: bool
) -> None:
    # uvicorn's worker ignores the QUIT that the old arbiter sends it, and is killed after this time.
    with Server(directory, worker_class, preload_app=preload_app, graceful_timeout=1) as server:
        old = server.workers()
        new_arbiter, new = upgrade(server, old)
        assert server.leader().pid in old
        kill(server.arbiter, signal.SIGQUIT)
        server.until_gone([*old, server.arbiter])
        server.leader(among=new)
        assert server.get() in new
        assert len(server.workers(new_arbiter)) == WORKERS
        server.check_one_leader_at_any_time()


def upgrade(server: Server, old: set[int]) -> tuple[int, set[int]]:
    """Have gunicorn start its second arbiter; that and its workers, once all stand for election."""
    kill(server.arbiter, signal.SIGUSR2)
    until(lambda: len(flocks_of(server.lock)) == 2 * WORKERS, "the workers of both arbiters to stand")
    new = server.candidates() - old
    arbiter = next(pid for pid in server.workers() - old if server.workers(pid))
    return arbiter, new


def test_an_upgrade_of_a_daemon_can_let_go_of_the_old_workers_first(directory: Path) -> None:
    pidfile = directory / "pid"
    server = Server(directory, daemon=True, pidfile=str(pidfile))
    assert server.start().wait() == 0
    until(lambda: pidfile.exists() and pidfile.read_text().strip(), "the daemon's PID file")
    server.arbiter = int(pidfile.read_text())
    server.watch(server.arbiter)
    try:
        server.until_complete()
        old = server.workers()
        _, new = upgrade(server, old)
        kill(server.arbiter, signal.SIGWINCH)
        server.leader(among=new)
        server.until_gone(old)
        kill(server.arbiter, signal.SIGQUIT)
        server.until_gone([server.arbiter])
        assert server.leader().pid in new
        assert server.get() in new
        server.check_one_leader_at_any_time()
    finally:
        server.__exit__(None, None, None)


@pytest.mark.slow
@every_class
def test_one_leads_while_workers_are_recycled_under_load(directory: Path, worker_class: str) -> None:
    with Server(directory, worker_class, max_requests=20, max_requests_jitter=10) as server:
        enough = threading.Event()
        served: set[int] = set()

        def load() -> None:
            while not enough.is_set():
                try:
                    served.add(server.get())
                except CUT_OFF:
                    continue  # a worker that ends may drop a connection: that is gunicorn's affair

        clients = [threading.Thread(target=load) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            until(lambda: len(server.terms()) >= 6, "six workers to have led")
        finally:
            enough.set()
            for client in clients:
                client.join()
        assert len(served) > WORKERS
        server.leader()
        server.check_one_leader_at_any_time()


@pytest.mark.parametrize("worker_class", ["sync", "gevent", UVICORN])
def test_a_leader_that_hangs_in_a_request_is_killed_and_followed(
    directory: Path, worker_class: str
) -> None:
    with Server(directory, worker_class, timeout=2) as server:
        leader = server.leader()
        clients = []

        def ask() -> None:
            try:
                server.get("/hang")
            except CUT_OFF:
                return  # it was cut off

        while not any(note.event == "hang" for note in server.notes()):
            clients.append(threading.Thread(target=ask))
            clients[-1].start()
            clients[-1].join(0.05)
        server.leader(not_among=[leader.pid])
        until(lambda: f"WORKER TIMEOUT (pid:{leader.pid})" in server.log(), "the arbiter's word")
        for client in clients:
            client.join(PATIENCE)
        server.check_one_leader_at_any_time()


@every_class
@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGINT])
def test_an_aborted_leader_is_followed(
    directory: Path, worker_class: str, number: signal.Signals
) -> None:
    with Server(directory, worker_class) as server:
        leader = server.leader()
        kill(leader.pid, number)
        server.leader(not_among=[leader.pid])
        server.check_one_leader_at_any_time()


def test_the_first_leader_of_a_gevent_server_finds_as_much_patched_as_the_next(
    directory: Path,
) -> None:
    hook = f"""
def lead_and_look(leadership):
    note(time.sleep.__module__, leadership.term)
    lead(leadership)

post_fork = in_one_worker(lead_and_look, path={str(directory / "leader.lock")!r})
"""
    with Server(directory, "gevent", hook) as server:
        first = server.leader()
        kill(first.pid)
        server.leader(not_among=[first.pid])
        found = {note.term: note.event for note in server.notes() if "gevent" in note.event}
        assert found == {1: "gevent.hub", 2: "gevent.hub"}


def test_more_and_fewer_workers_stand_as_the_arbiter_is_told(directory: Path) -> None:
    with Server(directory) as server:
        leader = server.leader()
        kill(server.arbiter, signal.SIGTTIN)
        until(lambda: len(flocks_of(server.lock)) == WORKERS + 1, "one more to stand")
        assert server.leader().pid == leader.pid
        for number in range(WORKERS, 0, -1):
            kill(server.arbiter, signal.SIGTTOU)
            until(lambda n=number: len(server.workers()) == n, "one less to work")  # type: ignore[misc]
            server.leader(among=server.workers())
        server.check_one_leader_at_any_time()


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_a_killed_arbiter_takes_all_with_it_and_the_next_start_leads_with_a_higher_term(
    directory: Path, worker_class: str
) -> None:
    server = Server(directory, worker_class)
    with server:
        old, first = server.workers(), server.leader()
        kill(server.arbiter)
        server.until_gone(old)
    with server:
        second = server.leader()
        assert second.term > first.term
        server.check_one_leader_at_any_time()


def test_a_leader_that_outlives_its_arbiter_keeps_the_next_server_waiting(directory: Path) -> None:
    # uvicorn's workers do not notice that their arbiter is gone.
    with Server(directory, UVICORN) as server:
        old = server.workers()
        kill(server.arbiter)
        server.start()
        until(lambda: len(flocks_of(server.lock)) == 2 * WORKERS, "the workers of both to stand")
        assert server.leader().pid in old
        for pid in old:
            kill(pid)
        server.leader(among=server.workers())
        server.check_one_leader_at_any_time()


def test_the_lock_is_named_by_the_task_and_the_configuration_file(directory: Path) -> None:
    locks, tasks = directory / "locks", ["lead", "Reporter()", "Reporter().__call__"]
    locks.mkdir(mode=0o700)
    hook = "post_fork = None\n" + "\n".join(
        f"post_fork = in_one_worker({task}, chain=post_fork)" for task in tasks
    )
    with Server(directory, hook=hook, raw_env=[f"LEADERLOCK_DIR={locks}"]).started() as server:
        until(lambda: len(list(locks.iterdir())) == 3, "three locks")
        names = sorted(path.name.rpartition("-")[0] for path in locks.iterdir())
        assert names == ["Reporter", "Reporter.__call__", "lead"]
        suffixes = {path.name.rpartition("-")[2] for path in locks.iterdir()}
        assert len(suffixes) == 1
        server.lock = next(locks.glob("lead-*"))
        until(lambda: len(flocks_of(server.lock)) == WORKERS, "all to stand")
        old = server.workers()
        kill(server.arbiter, signal.SIGHUP)
        server.leader(not_among=old)
        assert len(list(locks.iterdir())) == 3


@pytest.mark.parametrize("configuration", ["examples/gunicorn.conf.py", "contrib/gunicorn.conf.py"])
def test_the_configurations_that_we_hand_out_work(directory: Path, configuration: str) -> None:
    locks = directory / "locks"
    server = Server(directory)
    arguments = ["-c", str(Path(__file__).parents[2] / configuration), "--no-control-socket"]
    path, notes = str(Path(__file__).parent), str(directory / "notes")
    try:
        server.start(*arguments, PYTHONPATH=path, NOTES=notes, LEADERLOCK_DIR=str(locks))
        until(lambda: locks.exists() and list(locks.iterdir()), "a lock")
        [server.lock] = locks.iterdir()
        until(lambda: len(flocks_of(server.lock)) == WORKERS, "all to stand")
        until(lambda: "term 1: " in server.log() + server.output(), "the job to run")
        assert server.get() in server.workers()
    finally:
        server.__exit__(None, None, None)


def test_a_name_can_be_given(directory: Path) -> None:
    locks = directory / "locks"
    server = Server(directory, hook=LEAD.format("name='health'"), raw_env=[f"LEADERLOCK_DIR={locks}"])
    server.lock = locks / "health.lock"
    with server:
        assert server.leader().term == 1
        holder = LeaderLock(server.lock).holder()
        assert holder is not None
        assert holder.name == "health"
        server.check_one_leader_at_any_time()


def test_another_post_fork_hook_is_kept_and_called_first(directory: Path) -> None:
    lock = str(directory / "leader.lock")
    hook = f"""
def mine(server, worker):
    note(f"mine-{{server.pid}}-{{worker.age}}")

post_fork = in_one_worker(lead, path={lock!r}, chain=mine)
"""
    with Server(directory, hook=hook) as server:
        notes = server.notes()
        mine = {note.event for note in notes if note.event.startswith("mine")}
        assert mine == {f"mine-{server.arbiter}-{age}" for age in range(1, WORKERS + 1)}
        assert notes[0].event.startswith("mine")


def test_who_leads_is_said_in_the_servers_own_log(directory: Path) -> None:
    with Server(directory) as server:
        leader = server.leader()
        until(lambda: "leads" in server.log(), "the log")
        line = next(line for line in server.log().splitlines() if "leads" in line)
        assert f"[{leader.pid}] [INFO] process {leader.pid} leads {server.lock}" in line


def test_the_applications_own_logging_is_left_alone(directory: Path) -> None:
    hook = "import logging; logging.basicConfig(level='INFO', format='MINE %(message)s')\n"
    lock = directory / "leader.lock"
    with Server(directory, hook=hook + LEAD.format(f"path={str(lock)!r}")) as server:
        until(lambda: "MINE" in server.output(), "the application's log")
        assert server.output().count("leads") == 1
        assert "leads" not in server.log()


@pytest.mark.parametrize("worker_class", ["sync", "gevent"])
def test_a_server_whose_lock_cannot_be_used_serves_and_says_why(
    directory: Path, worker_class: str
) -> None:
    missing = directory / "missing"
    server = Server(directory, worker_class, hook=LEAD.format(f"path={str(missing / 'lock')!r}"))
    server.lock = missing / "lock"
    server.start()
    try:
        until(lambda: server.log().count("make its directory first") >= WORKERS, "the errors")
        assert f"[ERROR] cannot stand for election: {server.lock}" in server.log()
        assert server.get() in server.workers()
        missing.mkdir()  # and when the operator has done so, it goes on without a restart
        server.until_complete()
        server.check_one_leader_at_any_time()
    finally:
        server.__exit__(None, None, None)


def test_a_task_that_always_fails_neither_spins_nor_stops_the_server(directory: Path) -> None:
    lock = directory / "leader.lock"
    hook = f"post_fork = in_one_worker(fail, path={str(lock)!r}, backoff=(0.5, 60))"
    server = Server(directory, hook=hook)
    server.start()
    try:
        # The second time each worker waits for a second, then for two and so on.
        until(lambda: len(server.terms()) >= 2 * WORKERS, "each worker to fail twice")
        assert server.get() in server.workers()
        until(lambda: "this task always fails" in server.log(), "the traceback")
        times: dict[int, list[int]] = {}
        for note in server.terms():
            times.setdefault(note.pid, []).append(note.time)
        assert all(
            later - earlier >= 0.5e9
            for of_one in times.values()
            for earlier, later in itertools.pairwise(of_one)
        )
        server.check_one_leader_at_any_time()
    finally:
        server.__exit__(None, None, None)


def test_a_deleted_lock_file_is_noticed_and_the_workers_stand_again(directory: Path) -> None:
    with Server(directory) as server:
        first = server.leader()
        server.lock.unlink()
        until(lambda: "was deleted or replaced" in server.log(), "the leader to notice")
        second = server.leader()
        assert server.lock.exists()
        assert first.term == 1
        # A new file begins at 1; a worker that waited on the old one goes on from its term.
        assert second.term in (1, 2)


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ("post_fork = in_one_worker(None)", "task must be a function"),
        ("post_fork = in_one_worker(lead, name='a/b')", "name must be"),
        ("post_fork = in_one_worker(lead, name='a', path='/tmp/a')", "one of the two"),
        ("post_fork = in_one_worker(lead, chain='mine')", "chain must be another post_fork hook"),
        ("post_fork = in_one_worker(lead, path='/tmp/')", "is a directory"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_at_the_start(
    directory: Path, hook: str, says: str
) -> None:
    server = Server(directory, hook=hook)
    try:
        assert server.start("--check-config").wait(PATIENCE) == 1
        assert says in server.output()
    finally:
        server.__exit__(None, None, None)


def nothing(_leadership: object) -> None:
    """A task."""


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: in_one_worker(lambda: None), TypeError),  # type: ignore[arg-type, misc]
        (lambda: in_one_worker(nothing, backoff=(0, 1)), ValueError),
        (lambda: in_one_worker(nothing, on_return="stay"), ValueError),  # type: ignore[arg-type]
        (lambda: in_one_worker(nothing, lease=0.01), ValueError),
        (lambda: in_one_worker(nothing, path="mysql://localhost/a"), Unsupported),
    ],
)
def test_what_cannot_work_is_refused_when_the_hook_is_made(
    call: Callable[[], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        call()


@pytest.fixture
def nobody(directory: Path) -> pwd.struct_passwd:
    """A user that the server may become; the server's notes are already his."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    user = pwd.getpwnam("nobody")
    notes = directory / "notes"
    notes.touch()
    os.chown(notes, user.pw_uid, user.pw_gid)
    return user


@pytest.mark.parametrize("worker_class", [*CLASSES, "asgi"])
@with_and_without_preload
def test_root_gives_the_lock_file_to_the_user_that_its_workers_become(
    directory: Path, nobody: pwd.struct_passwd, worker_class: str, preload_app: bool
) -> None:
    hook = LEAD.format(f"path={str(directory / 'leader.lock')!r}")
    settings = {"user": "nobody", "group": "nogroup", "preload_app": preload_app}
    server = Server(directory, worker_class, hook, **settings)
    server.through = readable_by_all(directory)
    with server:
        first = server.leader()
        assert os.stat(f"/proc/{first.pid}").st_uid == nobody.pw_uid
        status = server.lock.stat()
        assert (status.st_uid, status.st_gid) == (nobody.pw_uid, nobody.pw_gid)
        assert status.st_mode & 0o777 == 0o600
        kill(first.pid)
        second = server.leader(not_among=[first.pid])
        assert second.term == first.term + 1
        server.until_complete()
        old = server.workers()
        kill(server.arbiter, signal.SIGHUP)
        server.leader(not_among=old)
        server.check_one_leader_at_any_time()


def test_workers_that_dropped_their_rights_make_the_file_anew_where_they_may(
    directory: Path, nobody: pwd.struct_passwd
) -> None:
    own = directory / "own"
    own.mkdir()
    os.chown(own, nobody.pw_uid, nobody.pw_gid)
    lock = own / "leader.lock"
    hook = LEAD.format(f"path={str(lock)!r}")
    server = Server(directory, hook=hook, user="nobody", group="nogroup")
    server.lock = lock
    with server:
        lock.unlink()
        until(lambda: lock.exists() and len(flocks_of(lock)) == WORKERS, "all to stand again")
        assert lock.stat().st_uid == nobody.pw_uid
        server.leader()


def test_workers_that_dropped_their_rights_use_a_name_of_their_user(
    directory: Path, nobody: pwd.struct_passwd
) -> None:
    locks = directory / "locks"
    locks.mkdir(mode=0o700)
    os.chown(locks, nobody.pw_uid, nobody.pw_gid)
    server = Server(
        directory,
        hook=LEAD.format("name='health'"),
        raw_env=[f"LEADERLOCK_DIR={locks}"],
        user="nobody",
        group="nogroup",
    )
    server.lock = locks / "health.lock"
    with server:
        assert os.stat(f"/proc/{server.leader().pid}").st_uid == nobody.pw_uid
        server.check_one_leader_at_any_time()
