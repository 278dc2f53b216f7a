"""`sinks.systemd`: what it sends, when its beats stop, and odd environments.

The socket is the tests' own; `test_sinks_systemd_real.py` has a real systemd.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from leaderlock.health import sinks
from tests.health.sink_reports import a_check, a_critical_failure, a_report
from tests.processes import (
    PATIENCE,
    descriptors_of,
    descriptors_without_garbage,
    forked,
    threads_of,
    until,
)


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))

    def message(self, timeout: float = PATIENCE) -> list[str]:
        """The next one's states."""
        if not select.select([self.socket], [], [], timeout)[0]:
            raise TimeoutError
        return self.socket.recv(65536).decode().split("\n")

    def falls_silent(self) -> None:
        """Wait until nothing comes any more."""
        until(lambda: not self.has_message(0.5), "the beats to stop")

    def has_message(self, timeout: float) -> bool:
        try:
            self.message(timeout)
        except TimeoutError:
            return False
        return True


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory() as place:
        name = f"{place}/notify"
        address = name if request.param == "path" else f"@{name}"
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        manager = Manager(address)
        yield manager
        manager.socket.close()


@pytest.fixture
def beating(monkeypatch: pytest.MonkeyPatch, manager: Manager) -> Iterator[sinks.systemd]:
    """One that beats every 10 ms."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    sink = sinks.systemd()
    yield sink
    sink.stop()


def what_is_new() -> Callable[[], tuple[int, int]]:
    """Counts the threads and descriptors that there are since this call."""
    threads, descriptors = set(threads_of()), set(descriptors_without_garbage())
    return lambda: (len(set(threads_of()) - threads), len(set(descriptors_of()) - descriptors))


def test_ready_goes_once_with_the_first_report_in_which_no_critical_check_fails(
    manager: Manager,
) -> None:
    sink = sinks.systemd()
    sink(a_critical_failure())
    assert manager.message() == ["STATUS=process 4711 leads in term 7: failing; failing: http"]
    degraded = {"disk": a_check("failing"), "a\nb": a_check("degraded"), "fine": a_check()}
    sink(a_report("degraded", checks=degraded))
    assert manager.message() == [
        "STATUS=process 4711 leads in term 7: degraded; failing: disk; degraded: a b",
        "READY=1",
    ]
    sink(a_report())
    assert manager.message() == ["STATUS=process 4711 leads in term 7: ok"]
    sink.stop()
    sink(a_report())  # of a later term
    assert "READY=1" in manager.message()
    sink.stop()


def test_a_status_is_cut_as_systemd_ignores_long_messages(manager: Manager) -> None:
    names = [f"\ud800é{count}" * 20 for count in range(100)]
    sink = sinks.systemd()
    sink(a_report("degraded", checks={name: a_check("degraded") for name in names}))
    states = manager.message()
    assert states[1:] == ["READY=1"]
    assert states[0].startswith("STATUS=process 4711 leads in term 7: degraded; degraded:  é0 é0")
    assert len("\n".join(states).encode()) < 4096
    sink.stop()


def test_beats_come_between_the_reports(manager: Manager, beating: sinks.systemd) -> None:
    beating(a_report())
    assert manager.message() == ["STATUS=process 4711 leads in term 7: ok", "READY=1", "WATCHDOG=1"]
    for _ in range(3):
        assert manager.message() == ["WATCHDOG=1"]


def test_no_beat_comes_before_the_first_good_report(manager: Manager, beating: sinks.systemd) -> None:
    beating(a_critical_failure())
    assert manager.message()[0].startswith("STATUS=")
    assert not manager.has_message(0.3)


def test_beats_stop_when_a_critical_check_fails_and_come_back_when_it_works(
    manager: Manager, beating: sinks.systemd
) -> None:
    report, failure = a_report(), a_critical_failure()
    for each in (report, failure):
        each["reporter"]["interval"] = 3600  # so it is not the lack of reports that stops them
    beating(report)
    beating(failure)
    manager.falls_silent()
    beating(report)
    assert "READY=1" not in manager.message()
    assert manager.message() == ["WATCHDOG=1"]


def test_beats_stop_when_no_report_has_come_for_three_intervals(
    manager: Manager, beating: sinks.systemd
) -> None:
    report = a_report()
    report["reporter"]["interval"] = 0.5
    beating(report)
    manager.message()
    assert manager.message() == ["WATCHDOG=1"]
    manager.falls_silent()


def test_beats_and_their_thread_and_descriptors_end_with_stop(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    new = what_is_new()
    sink = sinks.systemd()
    assert new() == (0, 0), "it was made in the master"
    sink(a_report())
    assert new()[0] == 1
    sink.stop()
    until(lambda: new() == (0, 0), "the thread to end, and its socket to be closed")
    manager.falls_silent()


def test_a_sink_that_was_made_before_the_fork_works_in_each_child(
    manager: Manager, beating: sinks.systemd
) -> None:
    def lead() -> bool:
        beating(a_report(leader={"pid": 4712, "term": 8}))
        first = manager.message()  # by the socket that the child has from its parent
        return first[1:] == ["READY=1", "WATCHDOG=1"] and manager.message() == ["WATCHDOG=1"]

    for _ in range(2):
        assert forked(lead) == 0
        while manager.has_message(0):  # a further beat of this child's
            pass


def test_a_child_of_the_leader_begins_anew(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    # Few beats: nobody reads them, and the queue is short.
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    beating = sinks.systemd()
    beating(a_report())

    def lead() -> bool:
        beating(a_report(leader={"pid": 4712, "term": 8}))
        beating.stop()
        return True

    assert forked(lead) == 0
    anew = ["STATUS=process 4712 leads in term 8: ok", "READY=1", "WATCHDOG=1"]
    until(lambda: manager.message() == anew, "the child's report")
    assert manager.message() == ["WATCHDOG=1"], "the leader's own beats go on"
    beating.stop()


@pytest.mark.parametrize("above", [0, 1, 2])
def test_watchdog_pid_may_be_this_process_or_one_above_it(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, above: int
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    def descendant(levels: int) -> bool:
        if levels:
            return forked(lambda: descendant(levels - 1)) == 0
        sink = sinks.systemd()
        sink(a_report())
        sink.stop()
        return True

    assert descendant(above)
    assert "WATCHDOG=1" in manager.message()


def test_a_watchdog_pid_that_is_somebody_else_s_means_no_beats_and_is_logged(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(other.pid))
    sink = sinks.systemd()
    other.communicate(b"\n")
    assert "is no process above this one" in caplog.text
    sink(a_report())
    assert "WATCHDOG=1" not in manager.message()
    assert not manager.has_message(0.2)
    sink.stop()


@pytest.mark.parametrize("text", ["soon", "-1", "0", "1.5e6", "\u0661", " 1", "9" * 5000])
def test_a_watchdog_usec_that_is_no_number_means_no_beats_and_is_logged(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", text)
    sink = sinks.systemd()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "WATCHDOG_USEC must be a number of microseconds" in record.getMessage()
    sink(a_report())
    assert manager.message() == ["STATUS=process 4711 leads in term 7: ok", "READY=1"]
    sink.stop()


def test_without_a_manager_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "garbage")
    new = what_is_new()
    sink = sinks.systemd()
    sink(a_report())
    assert new() == (0, 0)
    sink.stop()


def test_an_address_that_is_none_is_an_error_at_each_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "garbage")
    sink = sinks.systemd()
    for _ in range(2):
        with pytest.raises(ValueError, match="NOTIFY_SOCKET must be a path"):
            sink(a_report())


def test_a_manager_that_has_gone_is_an_error_and_the_lost_beats_are_logged(
    manager: Manager, beating: sinks.systemd, caplog: pytest.LogCaptureFixture
) -> None:
    beating(a_report())
    manager.socket.close()
    with pytest.raises(ConnectionRefusedError):
        beating(a_report())
    until(lambda: "no beat reaches systemd's watchdog" in caplog.text, "the log")
