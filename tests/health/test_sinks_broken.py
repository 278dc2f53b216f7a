"""All sinks that cannot deliver, in the real reporter: each is told of, and the tick goes on."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from leaderlock import Election
from leaderlock.health import HealthReporter, sinks
from tests.processes import until


@contextlib.contextmanager
def closed_port(kind: int) -> Iterator[int]:
    """A port on which nobody listens, nor can: it is taken."""
    with socket.socket(socket.AF_INET, kind) as bound:
        bound.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_DGRAM:  # and so it takes nothing from others
            bound.connect(("127.0.0.1", 9))
        yield bound.getsockname()[1]


@pytest.fixture
def refused() -> Iterator[tuple[str, str]]:
    """Addresses for HTTP and for UDP at which nobody answers."""
    with closed_port(socket.SOCK_STREAM) as tcp, closed_port(socket.SOCK_DGRAM) as udp:
        yield f"http://127.0.0.1:{tcp}", f"127.0.0.1:{udp}"


def test_each_is_counted_and_named_and_the_others_get_every_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, str]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "no-manager"))
    monkeypatch.setenv("WATCHDOG_USEC", "garbage")
    os.mkfifo(tmp_path / "fifo")
    http, udp = refused
    told = {
        f"sinks.file('{tmp_path}/gone/health.json')": "FileNotFoundError",
        f"sinks.prometheus('{tmp_path}/gone/x.prom')": "FileNotFoundError",
        f"sinks.fifo('{tmp_path}/fifo')": "no process reads it",
        f"sinks.http('{http}')": "refused",
        f"sinks.healthchecks('{http}')": "refused",
        "sinks.systemd()": "FileNotFoundError",
    }
    told[f"sinks.statsd('{udp}')"] = "refused"
    reports: list[Mapping[str, Any]] = []
    reporter = HealthReporter(
        0.1,
        [],
        [
            sinks.file(tmp_path / "gone" / "health.json"),
            sinks.prometheus(tmp_path / "gone" / "x.prom"),
            sinks.fifo(tmp_path / "fifo"),
            sinks.http(http),
            sinks.healthchecks(http),
            sinks.systemd(),
            sinks.statsd(udp),
            reports.append,
        ],
    )

    def states() -> Mapping[str, Any]:
        return reports[-1]["reporter"]["sinks"] if reports else {}

    candidate = Election(tmp_path / "lock").start(reporter)
    try:
        until(
            lambda: states() and all(states()[name]["errors"] >= 2 for name in told),
            f"errors, in {states()}",
        )
        for name, text in told.items():
            assert text in states()[name]["error"]
        count = len(reports)
        until(lambda: len(reports) > count + 3, "further reports")
        (tmp_path / "gone").mkdir()
        mended = f"sinks.file('{tmp_path}/gone/health.json')"
        until(lambda: states()[mended]["error"] is None, "the file to be written")
    finally:
        candidate.stop()
    assert (tmp_path / "gone" / "health.json").exists()


def test_the_sinks_are_told_of_the_begin_and_the_end_of_a_term(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    collector = sinks.prometheus_collector()
    reporter = HealthReporter(0.1, [], [sinks.fifo(tmp_path / "fifo"), collector])

    candidate = Election(tmp_path / "lock").start(reporter)
    until(lambda: list(collector.collect()), "a report")
    candidate.stop()
    assert list(collector.collect()) == [], "stop() was called"
    content = b""
    while data := os.read(reader, 65536):  # to the end: the FIFO is closed
        content += data
    assert content.endswith(b"\n")
    os.close(reader)
