"""`sinks.http` and `sinks.healthchecks`: a real server gets the report, and its refusals are errors."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderlock import Election
from leaderlock.health import sinks
from tests.health.sink_reports import a_critical_failure, a_report
from tests.pinged import Server, pinged_server


@pytest.fixture
def server() -> Iterator[Server]:
    with pinged_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_the_report_is_posted_as_json_with_the_headers(server: Server) -> None:
    report = a_report()
    sinks.http(f"{server.url}/in?key=1", headers={"Authorization": "Bearer x"})(report)
    [(method, path, headers, body)] = server.got
    assert (method, path) == ("POST", "/in?key=1")
    assert (headers["Content-Type"], headers["Authorization"]) == ("application/json", "Bearer x")
    assert json.loads(body) == report


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_any_answer_but_2xx_is_an_error_and_no_redirection_is_followed(
    server: Server, status: int
) -> None:
    server.status = status
    with pytest.raises(OSError, match=f"the server answered {status}"):
        sinks.http(server.url)(a_report())
    assert len(server.got) == 1


def test_a_host_that_does_not_listen_or_not_answer_is_an_error() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        with pytest.raises(OSError, match="refused"):
            sinks.http(url)(a_report())
        bound.listen()
        with pytest.raises(TimeoutError):
            sinks.http(url, timeout=0.1)(a_report())


@pytest.mark.parametrize("make", [sinks.http, sinks.healthchecks])
@pytest.mark.parametrize("url", ["", "example.org/x", "ftp://example.org", "http://", "http://u:p@h/"])
def test_a_url_that_is_none_is_refused_when_the_sink_is_made(make: Any, url: str) -> None:
    with pytest.raises(ValueError, match="URL must"):
        make(url)


def test_the_name_in_logs_does_not_hold_the_key(server: Server) -> None:
    for make in (sinks.http, sinks.healthchecks):
        name = make(f"{server.url}/secret").__qualname__
        assert server.url in name
        assert "secret" not in name


def test_pings_tell_of_the_start_of_success_and_of_failure(server: Server, tmp_path: Path) -> None:
    sink = sinks.healthchecks(f"{server.url}/uuid?create=1", every=3600)
    Election(tmp_path / "lock", on_return="resign").run(sink.start)
    sink(a_report())
    sink(a_report("degraded"))  # tells the same as the one before
    sink(a_critical_failure())
    sink(a_critical_failure())
    sink(a_report())
    assert server.paths == [f"/uuid{ending}?create=1" for ending in ("/start", "", "/fail", "")]
    assert json.loads(server.got[2][3])["status"] == "failing"


def test_what_was_not_received_is_sent_again_with_the_next_report(server: Server) -> None:
    sink = sinks.healthchecks(f"{server.url}/uuid", every=3600)
    sink(a_report())
    server.status = 500
    with pytest.raises(OSError, match="500"):
        sink(a_critical_failure())
    server.status = 200
    sink(a_critical_failure())
    sink(a_critical_failure())
    assert server.paths == ["/uuid", "/uuid/fail", "/uuid/fail"]


def test_it_pings_again_when_it_is_time(server: Server) -> None:
    sink = sinks.healthchecks(f"{server.url}/uuid", every=0)
    for _ in range(3):
        sink(a_report())
    assert server.paths == ["/uuid"] * 3
