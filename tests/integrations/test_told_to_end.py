"""A worker that was told to end, and still serves its last requests, does not begin to lead."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import pytest

from tests.integrations.asgi_server import AsgiServer
from tests.integrations.server import CUT_OFF, WORKERS, Server
from tests.processes import until

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
