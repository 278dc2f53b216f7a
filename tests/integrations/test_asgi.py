"""One leader among the workers of real ASGI servers, whatever happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from websockets.sync.client import unix_connect

from leaderlock import Leadership
from leaderlock.election.at_exit import candidates
from leaderlock.integrations.asgi import in_one_worker
from tests.integrations.asgi_server import END_WITH_A_WORKER, SERVERS, AsgiServer
from tests.processes import flocks_of, until, without_a_successor

every_server = pytest.mark.parametrize("kind", SERVERS)
each_kind_of_task = pytest.mark.parametrize(
    "task", ["lead", "lead_in_loop"], ids=["plain", "coroutine"]
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a path short enough for a socket's."""
    found = tempfile.mkdtemp(prefix="leaderlock-test-")
    yield Path(found)
    shutil.rmtree(found)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


def stopped_terms(server: AsgiServer) -> list[int]:
    return sorted(note.term for note in server.notes() if note.event == "stop")


@pytest.mark.parametrize("kind", [*SERVERS, "granian-plain"])
def test_one_worker_leads_while_all_serve_and_another_one_when_it_is_killed(
    directory: Path, kind: str
) -> None:
    with AsgiServer(directory, kind) as server:
        standing = server.candidates()
        assert server.until_serving() in standing
        first = server.leader()
        if kind in END_WITH_A_WORKER:
            kill(first.pid)
            server.wait()
            return
        with without_a_successor(first.pid):
            kill(first.pid)
            second = server.leader(not_among=[first.pid])
        assert second.pid in standing
        assert second.term == first.term + 1
        server.until_complete()
        assert server.until_serving() in server.candidates()
        server.check_one_leader_at_any_time()


@every_server
def test_a_server_that_stops_has_the_task_end_first_and_then_the_application(
    directory: Path, kind: str
) -> None:
    with AsgiServer(directory, kind) as server:
        server.until_serving()
        kill(server.arbiter, signal.SIGTERM)
        assert server.wait() == 0
        assert stopped_terms(server) == [note.term for note in server.terms()]
        server.check_one_leader_at_any_time()
        notes = server.notes()
        for closed in (note for note in notes if note.event == "closed"):
            of_worker = [note.event for note in notes if note.pid == closed.pid]
            assert of_worker[-1] == "closed"
        # Hypercorn kills the workers that are slower than its first one.
        if kind not in END_WITH_A_WORKER:
            assert len([note for note in notes if note.event == "closed"]) == len(
                [note for note in notes if note.event == "opened"]
            )


@pytest.mark.parametrize("kind", [kind for kind in SERVERS if kind != "hypercorn-trio"])
def test_a_coroutine_that_takes_its_time_to_stop_gets_it(directory: Path, kind: str) -> None:
    with AsgiServer(directory, kind, "stop_slowly") as server:
        server.until_serving()
        kill(server.arbiter, signal.SIGTERM)
        assert server.wait() == 0
        assert stopped_terms(server) == [note.term for note in server.terms()]
        server.check_one_leader_at_any_time()


def test_a_worker_told_to_end_again_and_again_lets_the_task_stop_first(directory: Path) -> None:
    with AsgiServer(directory, "hypercorn", "stop_slowly").started() as server:
        server.until_begun()
        [first] = server.terms()
        for _ in range(10):  # Hypercorn's parent does so twice, a few milliseconds apart
            with contextlib.suppress(ProcessLookupError):  # a pause of the machine, and it has stopped
                kill(first.pid, signal.SIGTERM)
            time.sleep(0.01)
        server.wait()
        assert first.term in stopped_terms(server)


@pytest.mark.slow
@every_server
def test_a_reload_moves_the_leadership_to_a_new_worker(directory: Path, kind: str) -> None:
    with AsgiServer(directory, kind) as server:
        server.until_serving()
        old = server.candidates()
        kill(server.arbiter, signal.SIGHUP)
        server.leader(not_among=old)
        server.until_gone(old)
        server.until_complete()
        assert server.until_serving() in server.candidates()
        ended = [note.term for note in server.terms() if note.pid in old]
        assert [term for term in stopped_terms(server) if term in ended] == ended
        server.check_one_leader_at_any_time()


@pytest.mark.parametrize("kind", [kind for kind in SERVERS if kind != "hypercorn-trio"])
def test_a_coroutine_that_blocks_the_loop_is_killed_with_its_worker_and_another_leads(
    directory: Path, kind: str
) -> None:
    with AsgiServer(directory, kind, "block_the_loop", LEASE="5").started() as server:
        server.said("has not beaten for 80% of its lease of 5 s", "in block_the_loop")
        if kind in END_WITH_A_WORKER:
            server.wait()
            return
        until(lambda: len(server.terms()) == 2, "another leader")
        first, second = server.terms()
        assert second.pid != first.pid
        server.until_complete()
        server.check_one_leader_at_any_time()


def test_a_coroutine_that_merely_waits_outlives_its_lease(directory: Path) -> None:
    with AsgiServer(directory, "uvicorn", "merely_wait", LEASE="2").started() as server:
        server.until_begun()
        [first] = server.terms()
        until(lambda: server.now() - first.time > 5e9, "two leases to pass")
        assert server.terms() == [first]
        assert first.pid in server.candidates()


@every_server
def test_the_applications_own_lifespan_state_and_websockets_work_as_before(
    directory: Path, kind: str
) -> None:
    with AsgiServer(directory, kind, "lead" if kind == "hypercorn-trio" else "look_around") as server:
        assert server.until_serving() in server.candidates()  # which looks for the state
        if kind != "hypercorn-trio":
            assert "sees:the-startup's" in [note.event for note in server.notes()]
        with unix_connect(str(directory / "http"), "ws://localhost/") as socket:
            socket.send("hello")
            assert socket.recv(timeout=60) == "hello"


@pytest.mark.parametrize(
    ("kind", "app"),
    [
        *itertools.product(
            ["uvicorn"], ["bare", "returns_at_once", "raises_in_startup", "ends_after_startup"]
        ),
        *itertools.product(["hypercorn", "granian", "gunicorn"], ["bare"]),
    ],
)
def test_an_application_without_a_lifespan_of_its_own_has_a_leader_too(
    directory: Path, kind: str, app: str
) -> None:
    with AsgiServer(directory, kind, app=app) as server:
        assert server.until_serving() in server.candidates()
        if app == "raises_in_startup":
            server.said("this startup always fails")
        kill(server.arbiter, signal.SIGTERM)
        assert server.wait() == 0
        assert stopped_terms(server) == [note.term for note in server.terms()]


@every_server
def test_a_server_whose_startup_fails_has_no_leader(directory: Path, kind: str) -> None:
    with AsgiServer(directory, kind, app="refuses_to_start").started() as server:
        if kind == "granian":  # it begins the worker again and again, as it was told to
            server.said("no database")
        else:
            server.wait()
        assert server.notes() == []
    assert "no database" in server.output()


@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn"])
def test_an_application_may_have_several_tasks_each_with_its_own_leader(
    directory: Path, kind: str
) -> None:
    with AsgiServer(directory, kind, app="with_another_task") as server:
        other = Path(f"{server.lock}.other")
        until(lambda: {pid for pid, _ in flocks_of(other)} == server.candidates(), "all to stand twice")
        assert [waits for _, waits in flocks_of(other)] == [False, True, True, True]
        assert server.until_serving() in server.candidates()
        kill(server.arbiter, signal.SIGTERM)
        assert server.wait() == 0
        assert flocks_of(other) == flocks_of(server.lock) == []


@pytest.mark.parametrize(
    ("kind", "number"),
    [("uvicorn", signal.SIGINT), ("gunicorn", signal.SIGINT), ("gunicorn", signal.SIGQUIT)],
)
def test_a_server_that_is_hurried_has_the_task_end_too(directory: Path, kind: str, number: int) -> None:
    """gunicorn then leaves the application's shutdown out, and cancels what runs."""
    with AsgiServer(directory, kind) as server:
        server.until_serving()
        kill(server.arbiter, number)
        assert server.wait() == 0
        assert stopped_terms(server) == [note.term for note in server.terms()]
        server.check_one_leader_at_any_time()


def test_an_application_that_gunicorn_has_preloaded_leads_in_its_workers(directory: Path) -> None:
    with AsgiServer(directory, "gunicorn", "lead_in_loop", "full", "--preload") as server:
        assert server.until_serving() in server.candidates()
        assert server.arbiter not in server.candidates()
        first = server.leader()
        kill(first.pid)
        server.leader(not_among=[first.pid])
        server.until_complete()
        server.check_one_leader_at_any_time()


@each_kind_of_task
def test_a_plain_function_and_a_coroutine_lead_alike(directory: Path, task: str) -> None:
    with AsgiServer(directory, "uvicorn", task) as server:
        first = server.leader()
        kill(first.pid, signal.SIGTERM)
        server.leader(not_among=[first.pid])
        assert first.term in stopped_terms(server)
        server.until_complete()
        server.check_one_leader_at_any_time()


@pytest.mark.parametrize("task", ["fail", "fail_in_loop"], ids=["plain", "coroutine"])
def test_a_task_that_always_fails_neither_spins_nor_stops_the_server(
    directory: Path, task: str
) -> None:
    with AsgiServer(directory, "uvicorn", task).started() as server:
        until(lambda: len({note.pid for note in server.terms()}) == 4, "each worker to have failed")
        server.until_serving()
        server.said("the task failed in term 1", "ArithmeticError: this task always fails")
        for pid in {note.pid for note in server.terms()}:
            times = [note.time for note in server.terms() if note.pid == pid]
            assert all(b - a > 0.04e9 for a, b in itertools.pairwise(times))  # the backoff


def test_a_coroutine_that_returns_keeps_the_leadership(directory: Path) -> None:
    with AsgiServer(directory, "uvicorn", "note_and_return", LEASE="1").started() as server:
        server.until_begun()
        [first] = server.terms()
        until(lambda: server.now() - first.time > 2e9, "two leases to pass")
        assert server.terms() == [first]
        kill(first.pid)
        until(lambda: len(server.terms()) == 2, "another one to run it")


def test_a_server_whose_lock_cannot_be_used_serves_and_says_why(directory: Path) -> None:
    lock = str(directory / "later" / "leader.lock")
    with AsgiServer(directory, "uvicorn", LOCK=lock).started() as server:
        server.until_serving()
        server.said("cannot stand for election", lock)
        (directory / "later").mkdir()
        until(server.terms, "a worker to lead as soon as it can")


def test_a_server_that_sends_no_lifespan_says_that_the_task_never_runs(directory: Path) -> None:
    with AsgiServer(
        directory, "uvicorn", "lead_in_loop", "bare", "--lifespan", "off"
    ).started() as server:
        server.until_serving()
        server.said("the server has sent no lifespan messages")
        assert server.notes() == []


def test_a_coroutine_is_refused_under_trio(directory: Path) -> None:
    with AsgiServer(directory, "hypercorn-trio", "lead_in_loop").started() as server:
        server.wait()
        server.said("needs an event loop of asyncio's kind", "give a plain function")
        assert server.notes() == []


@pytest.mark.parametrize("of_thread", [False, True], ids=["main thread", "other thread"])
def test_a_lifespan_of_its_own_is_left_as_it_was_entered(path: Path, of_thread: bool) -> None:
    """As tests of an application do, in a thread too."""

    def count_up(leadership: Leadership) -> None:
        terms.append(leadership.term)
        leadership.stopping.wait()

    async def main() -> None:
        for _ in range(2):
            began = len(terms)
            async with in_one_worker(count_up, path=path)():
                while len(terms) == began:
                    await asyncio.sleep(0.001)
            assert flocks_of(path) == []

    terms: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    if of_thread:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, main()).result()
    else:
        asyncio.run(main())
    assert terms == [1, 2]
    assert signal.getsignal(signal.SIGTERM) is before
    assert not candidates


def test_a_task_that_does_not_stop_is_named_and_the_shutdown_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_later(_: Leadership) -> None:
        began.set()
        may_stop.wait()

    async def main() -> None:
        async with in_one_worker(stop_later, path=path)():
            await asyncio.to_thread(began.wait)

    monkeypatch.setattr("leaderlock.integrations.asgi.EXIT_GRACE", 0.1)
    began, may_stop = threading.Event(), threading.Event()
    asyncio.run(main())
    assert f"the task for {path} did not stop within 0.1 s" in caplog.text
    assert [waits for _, waits in flocks_of(path)] == [False]  # one leader, as long as it works
    may_stop.set()
    until(lambda: flocks_of(path) == [], "it to resign")


async def takes_nothing() -> None: ...


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"task": None}, TypeError),
        ({"task": takes_nothing}, TypeError),
        ({"task": print, "app": 7}, TypeError),
        ({"task": print, "lease": -1}, ValueError),
        ({"task": print, "backoff": (2, 1)}, ValueError),
        ({"task": print, "on_return": "stay"}, ValueError),
    ],
)
def test_bad_arguments_are_refused_at_once(
    arguments: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        in_one_worker(**arguments)  # type: ignore[call-overload]
