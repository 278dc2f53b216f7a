"""A worker that was told to end, and still serves its last requests, does not begin to lead."""

from __future__ import annotations

import os
import signal
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
