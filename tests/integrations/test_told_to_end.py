"""A worker that was told to end, and still serves its last requests, does not begin to lead."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from leaderlock.kernel import lock_table
from tests.integrations.asgi_server import AsgiServer
from tests.integrations.server import CUT_OFF, WORKERS, Server
from tests.processes import holder, until

UVICORN = "uvicorn_worker.UvicornWorker"


def end_while_requests_are_served(server: Server) -> None:
    """Tell the server to end while each worker answers a request; only the leader may stand then."""
    leader = server.leader()
    clients: list[threading.Thread] = []

    def ask() -> None:
        try:
            server.get("/slow", timeout=60)
        except CUT_OFF:  # the server may end first
            return

    def busy() -> set[int]:
        return {note.pid for note in server.notes() if note.event == "slow"}

    def all_are_busy() -> bool:
        before = len([note for note in server.notes() if note.event == "slow"])
        clients.append(threading.Thread(target=ask))
        clients[-1].start()
        until(
            lambda: len([n for n in server.notes() if n.event == "slow"]) > before, "it to be answered"
        )
        return len(busy()) == WORKERS

    until(all_are_busy, "a request in each worker")
    assert len(server.candidates()) == WORKERS
    os.kill(server.arbiter, signal.SIGTERM)
    until(lambda: server.candidates() <= {leader.pid}, "the standbys to leave the queue")
    Path(f"{server.directory}/notes.over").touch()
    for client in clients:
        client.join()
    until(lambda: not server.candidates(), "the leader to end")
    assert [note.pid for note in server.terms()] == [leader.pid]


@pytest.mark.parametrize(
    "worker_class",
    [
        "sync",
        pytest.param("gthread", marks=pytest.mark.slow),
        "gevent",
        pytest.param("asgi", marks=pytest.mark.slow),
    ],
)
def test_a_worker_of_gunicorn_that_ends_leaves_the_queue_before_its_last_requests(
    tmp_path: Path, worker_class: str
) -> None:
    with Server(tmp_path, worker_class, threads=50 if worker_class == "gthread" else 1) as server:
        end_while_requests_are_served(server)


@pytest.mark.parametrize("kind", ["uvicorn", pytest.param("uvicorn-worker", marks=pytest.mark.slow)])
def test_a_worker_of_an_asgi_server_that_ends_leaves_the_queue_before_its_last_requests(
    tmp_path: Path, kind: str
) -> None:
    with AsgiServer(tmp_path, kind) as server:
        end_while_requests_are_served(server)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hypercorn", "granian"])
def test_a_server_that_is_told_to_end_passes_the_leadership_to_another_server_at_once(
    kind: str,
) -> None:
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="leaderlock-test-"))  # short enough for a socket
        stack.callback(shutil.rmtree, directory)
        shared = {"LOCK": str(directory / "leader.lock"), "NOTES": str(directory / "notes")}
        servers = []
        for name in ("first", "second"):
            (directory / name).mkdir()
            server = AsgiServer(directory / name, kind, "", "full", "--workers", "2", **shared)
            server.lock, server._notes = directory / "leader.lock", directory / "notes"
            stack.enter_context(server.started())
            servers.append(server)
            number = 2 * len(servers)
            until(lambda s=server, n=number: len(s._standing_and_ready()) == n, "all to stand")  # type: ignore[misc]
        first, second = servers
        of_first = first.candidates() & first.processes()
        leader = first.leader(among=of_first)
        os.kill(first.arbiter, signal.SIGTERM)
        first.wait()
        successor = second.leader(among=second.processes())
        assert [note.pid for note in second.terms()] == [leader.pid, successor.pid]
        assert leader.term in [note.term for note in second.notes() if note.event == "stop"]
        second.check_one_leader_at_any_time()


TOLD_WHILE_IT_STARTS = """
import asyncio, os, signal
from leaderlock.integrations.asgi import in_one_worker

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        handled = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, handled.set)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR2)  # an event loop handles signals in their order
        await handled.wait()
        print("told to end", flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

app = in_one_worker(lambda leadership: leadership.stopping.wait(), app=app, path="leader.lock")
"""


@pytest.mark.parametrize(
    "command",
    [
        ["uvicorn", "--port", "0"],
        ["hypercorn", "-b", "127.0.0.1:0"],
        ["gunicorn", "-k", UVICORN, "-b", "127.0.0.1:0", "--no-control-socket"],
        ["gunicorn", "-k", "asgi", "-b", "127.0.0.1:0", "--no-control-socket"],
    ],
    ids=["uvicorn", "hypercorn", "uvicorn-worker", "asgi"],
)
def test_a_worker_that_is_told_to_end_while_it_starts_never_stands(
    tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "my_site.py").write_text(TOLD_WHILE_IT_STARTS)
    with subprocess.Popen(
        [sys.executable, "-m", *command, "my_site:app"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as server:
        assert server.stdout is not None
        try:
            for _ in range(2):  # an arbiter starts the next worker, if it does not end
                if server.stdout.readline() != "told to end\n":
                    break
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
    assert not (tmp_path / "leader.lock").exists()


PLAIN_CANDIDATE = """
import asyncio, os
from leaderlock import only_once

@only_once(path="leader.lock")
def task():
    raise AssertionError("it must not lead")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        task()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("told to end", flush=True)
        while not os.path.exists("over"):
            await asyncio.sleep(0.01)
        await send({"type": "lifespan.shutdown.complete"})
"""


def test_a_candidate_that_an_application_starts_leaves_the_queue_when_uvicorn_is_told_to_end(
    tmp_path: Path,
) -> None:
    (tmp_path / "my_site.py").write_text(PLAIN_CANDIDATE)
    path = tmp_path / "leader.lock"

    def waiting() -> int:
        return sum(lock.waiting for lock in lock_table(path) or ())

    with (
        holder(path),
        subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "--port", "0", "my_site:app"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as server,
    ):
        assert server.stdout is not None
        try:
            until(lambda: waiting() == 1, "the candidate to stand by")
            server.terminate()
            assert server.stdout.readline() == "told to end\n"
            until(lambda: waiting() == 0, "the candidate to leave the queue")
            assert server.poll() is None
        finally:
            (tmp_path / "over").touch()
            server.terminate()
