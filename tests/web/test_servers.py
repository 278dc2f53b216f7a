"""The status page in real servers: gunicorn, uvicorn, and our own."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from leaderlock.health import sinks
from tests.health.sink_reports import a_report
from tests.processes import Child, holder, threads_of, until, until_parked
from tests.web.server import Events, Server

STREAMING = ["serve", "gthread", "gevent", "uvicorn"]


@pytest.mark.parametrize("kind", ["serve", "sync", "gthread", "gevent", "uvicorn"])
def test_every_page_is_served(kind: str, path: Path, tmp_path: Path) -> None:
    sinks.file(tmp_path / "health.json")(a_report())
    with holder(path) as leader, Server(kind, path, tmp_path) as server:
        for page, part in (
            ("/", f"<dd>{leader.pid} "),
            ("/style.css", ".timeline"),
            ("/page.js", "EventSource"),
            ("/icon.svg", "<svg"),
            ("/status.json", f'"pid": {leader.pid}'),
            ("/history.json", f'"pid": {leader.pid}'),
            ("/metrics", "leaderlock_lock_led"),
            ("/healthz", f"good: process {leader.pid} leads {path}; healthy: "),
        ):
            status, headers, body = server.get(page)
            assert status == 200, page
            assert part in body.decode(), page
            assert headers["content-security-policy"].startswith("default-src 'none'; ")
            assert headers["content-length"] == str(len(body))
            status, of_head, nothing = server.get(page, "HEAD")
            assert (status, nothing, of_head["content-type"]) == (200, b"", headers["content-type"])
        assert server.get("/", "POST")[0] == 405
        assert server.get("/nothing")[0] == 404
        assert server.get("/", Host="evil.example")[0] == 421
        assert server.get("/", Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize("kind", STREAMING)
def test_the_stream_tells_of_a_kill_and_of_who_leads_then(
    kind: str, path: Path, tmp_path: Path
) -> None:
    with holder(path) as leader, Child(path) as standby, Server(kind, path, tmp_path) as server:
        standby.begin("lock = LeaderLock(argv[0]); lock.acquire()")
        until_parked(path, standby.pid)
        with Events(server) as events, Events(server) as others:
            assert (events.status, events.type) == (200, "text/event-stream")
            assert events.leader() == others.leader() == leader.pid
            leader.kill()
            events.until_leader(standby.pid)
            others.until_leader(standby.pid)
            standby.kill()
            events.until_leader(None)


@pytest.mark.parametrize("kind", STREAMING)
def test_no_more_streams_than_allowed_and_one_ends_when_its_client_goes(
    kind: str, path: Path, tmp_path: Path
) -> None:
    with holder(path) as leader:
        # No beat and no end: the server must learn from the connection that the client has gone. Our
        # own one has no settings for that: what is left to it is less than its streams last.
        never = {"HEARTBEAT": 3600, "LONGEST": 3600, "STREAMS": 2}
        with Server(kind, path, tmp_path, **never) as server:
            streams = [Events(server) for _ in range(32 if kind == "serve" else 2)]
            assert [stream.leader() for stream in streams] == [leader.pid] * len(streams)
            with Events(server) as refused:
                assert refused.status == 503
            assert server.get("/")[0] == 200
            streams.pop().close()

            def is_let_in() -> bool:
                with Events(server) as another:
                    return another.status == 200 and another.leader() == leader.pid

            until(is_let_in, "the stream of the client that went to end")
            for stream in streams:
                stream.close()


@pytest.mark.parametrize("kind", ["gthread", "uvicorn"])
def test_a_stream_ends_by_itself_so_that_its_server_can_stop(
    kind: str, path: Path, tmp_path: Path
) -> None:
    with holder(path) as leader, Server(kind, path, tmp_path, LONGEST=2) as server:
        with Events(server) as events:
            assert events.next() == {"retry": "500"}
            assert events.leader() == leader.pid
            assert events.next() is None
        with Events(server) as events:
            assert events.leader() == leader.pid
            assert server.end() in (0, -signal.SIGTERM)  # uvicorn sends itself the signal again


def test_nothing_watches_while_nobody_listens(path: Path, tmp_path: Path) -> None:
    with holder(path), Server("serve", path, tmp_path) as server:
        server.get("/")
        until(lambda: len(threads_of(server.pid)) == 1, "the request's thread to end")
        with Events(server) as events:
            events.leader()
            assert len(threads_of(server.pid)) == 3  # one serves the stream, one watches
        until(lambda: len(threads_of(server.pid)) == 1, "both to end")


def test_a_worker_that_serves_one_request_at_a_time_is_not_held_by_a_stream(
    path: Path, tmp_path: Path
) -> None:
    with holder(path), Server("sync", path, tmp_path) as server:
        with Events(server) as events:
            assert events.next() == {"retry": "5000", "event": "status", "data": "{}"}
            assert events.next() is None
        assert server.get("/")[0] == 200


def test_a_new_health_report_is_told_of(path: Path, tmp_path: Path) -> None:
    with (
        holder(path) as leader,
        Server("uvicorn", path, tmp_path, LONGEST=3600) as server,
        Events(server) as events,
    ):
        assert events.leader() == leader.pid
        sinks.file(server.health)(a_report())
        assert events.leader() == leader.pid


@pytest.mark.parametrize("kind", ["mounted", "uvicorn-root"])
def test_it_can_be_mounted_below_any_place(kind: str, path: Path, tmp_path: Path) -> None:
    with holder(path) as leader, Server(kind, path, tmp_path) as server:
        place = "" if kind == "uvicorn-root" else "/ops/leader"  # uvicorn puts it before the path
        status, headers, _ = server.get(place or "/")
        if place:  # a link of the page would lead beside it otherwise
            assert (status, headers["location"]) == (308, "./leader/")
        status, _, body = server.get(f"{place}/status.json")
        assert (status, json.loads(body)["locks"][0]["holder"]["pid"]) == (200, leader.pid)
        _, _, page = server.get(f"{place}/")
        assert b'href="/' not in page
        assert b'src="/' not in page
        with Events(server, f"{place}/events") as events:
            assert events.leader() == leader.pid


def test_our_own_server_ends_at_a_signal_also_while_it_streams(path: Path, tmp_path: Path) -> None:
    with holder(path), Server("serve", path, tmp_path) as server, Events(server) as events:
        events.leader()
        assert server.end() == 0
        assert "Traceback" not in server.output()
