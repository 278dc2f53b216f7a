"""`sinks.statsd`: a real StatsD server has the report's numbers."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderlock.health import sinks
from leaderlock.health.sinks.statsd import LONGEST_DATAGRAM
from tests.health.netdata import PROGRAM, Netdata
from tests.health.sink_reports import a_check, a_critical_failure, a_report
from tests.processes import until

LINE = re.compile(r"[A-Za-z0-9_.-]+:-?[0-9.e+-]+\|g(\|#[^|#]+)?")


@pytest.fixture(scope="module")
def netdata() -> Iterator[Netdata]:
    if PROGRAM is None:
        pytest.skip("netdata is not installed (Debian: netdata-core)")
    # A Unix socket's path must be short.
    with tempfile.TemporaryDirectory() as place, Netdata(Path(place)) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        yield receiver


def address_of(receiver: socket.socket) -> str:
    return f"127.0.0.1:{receiver.getsockname()[1]}"


def datagrams_of(receiver: socket.socket) -> list[bytes]:
    """What has arrived; on one machine, a datagram is there when send returns."""
    receiver.setblocking(False)
    found = []
    try:
        while True:
            found.append(receiver.recv(65536))
    except BlockingIOError:
        return found


def lines_of(receiver: socket.socket) -> list[str]:
    return [line for datagram in datagrams_of(receiver) for line in datagram.decode().split("\n")]


def until_gauge(netdata: Netdata, send: Callable[[], object], name: str, value: float) -> None:
    """Send until it shows, since netdata may have opened its socket and not read from it yet."""

    def shown() -> bool:
        send()
        return netdata.gauges().get(name) == pytest.approx(value)

    until(shown, f"{name} to be {value}, in {netdata.gauges()}")


def test_a_real_server_has_every_number_negative_ones_too(netdata: Netdata) -> None:
    send = sinks.statsd(f"127.0.0.1:{netdata.port}", prefix="plain")
    report = a_report()
    until_gauge(netdata, lambda: send(report), "plain.checks.workers.value.load.1", -1.25)
    send(report)  # a second time: a sign must not make it a step
    gauges = netdata.gauges()
    assert gauges["plain.status"] == 0
    assert gauges["plain.leader.term"] == 7
    assert gauges["plain.leader.failovers"] == 6
    assert gauges["plain.reporter.interval"] == 10
    assert gauges["plain.checks.workers.duration"] == pytest.approx(0.25)
    assert gauges["plain.checks.workers.value.alive"] == 4
    assert gauges["plain.checks.workers.value.full"] == 0
    assert gauges["plain.checks.workers.value.load.0"] == 0.5
    assert not [name for name in gauges if "note" in name or "none" in name]
    until_gauge(netdata, lambda: send(a_critical_failure()), "plain.status", 2)
    assert netdata.gauges()["plain.checks.http.status"] == 2


def test_a_real_server_takes_tags(netdata: Netdata) -> None:
    send = sinks.statsd(f"127.0.0.1:{netdata.port}", "tagged", {"env": "prod", "role": "web"})
    until_gauge(netdata, lambda: send(a_report()), "tagged.checks.workers.value.alive", 4)


def test_the_tags_are_on_each_line_in_dogstatsd_s_form(receiver: socket.socket) -> None:
    sinks.statsd(address_of(receiver), tags={"env": "prod", "odd": "a|b,c#d\ne:f"})(a_report())
    lines = lines_of(receiver)
    assert len(lines) > 10
    assert all(line.endswith("|g|#env:prod,odd:a_b_c_d_e:f") for line in lines)
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line for line in lines if ":-1.25|" in line]
    assert not [line for line in lines if "load.1:0|" in line], "DogStatsD takes a sign for a value's"


def test_names_are_cleaned_of_what_the_protocol_uses(receiver: socket.socket) -> None:
    checks = {"http(http://h:80/?a|b@c#d)": a_check(value={"a.b": 1, "": 2, "ü\n": 3, "…": {"x": 4}})}
    sinks.statsd(address_of(receiver), prefix="my app.x")(a_report(checks=checks))
    lines = lines_of(receiver)
    assert all(LINE.fullmatch(line) for line in lines), lines
    start = "my_app.x.checks.http_http_h_80_a_b_c_d.value"
    assert f"{start}.a_b:1|g" in lines
    assert f"{start}._:2|g" in lines
    assert f"{start}._.x:4|g" in lines


def test_no_datagram_is_longer_than_a_network_passes(receiver: socket.socket) -> None:
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    value = {f"number{count}": -count for count in range(500)}
    value["x" * 5000] = 1
    sinks.statsd(address_of(receiver))(a_report(checks={"many": a_check(value=value)}))
    datagrams = datagrams_of(receiver)
    assert len(datagrams) > 5
    assert max(map(len, datagrams)) <= LONGEST_DATAGRAM
    lines = [line for datagram in datagrams for line in datagram.decode().split("\n")]
    assert all(LINE.fullmatch(line) for line in lines)
    assert len([line for line in lines if ".value.number" in line]) == 2 * 500 - 1
    for datagram in datagrams:  # the 0 before a negative number comes in the same one
        for line in datagram.decode().split("\n"):
            name, _, number = line.partition(":")
            assert not number.startswith("-") or f"{name}:0|g\n{line}" in datagram.decode()


def test_a_unix_datagram_socket_gets_the_same(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as place,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        path = f"{place}/statsd"
        receiver.bind(path)
        for address in (path, f"unix://{path}"):
            sinks.statsd(address)(a_report())
            assert "leaderlock.leader.term:7|g" in lines_of(receiver)


def test_a_server_that_is_not_there_is_an_error_and_its_return_is_noticed(
    receiver: socket.socket,
) -> None:
    address = address_of(receiver)
    send = sinks.statsd(address)
    receiver.close()
    with pytest.raises(ConnectionRefusedError):
        send(a_report())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(("127.0.0.1", int(address.partition(":")[2])))
        send(a_report())
        assert lines_of(back)


def test_one_datagram_that_is_refused_is_an_error_too(receiver: socket.socket) -> None:
    address = address_of(receiver)
    receiver.close()
    report = a_report(checks={})
    report["leader"] = report["reporter"] = {}
    with pytest.raises(ConnectionRefusedError, match="does a StatsD server listen"):
        sinks.statsd(address)(report)


def test_a_unix_socket_or_a_host_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sinks.statsd(str(tmp_path / "statsd"))(a_report())
    with pytest.raises(OSError, match=r"(?i)name"):
        sinks.statsd("no-such-host.invalid:8125")(a_report())


def test_a_unix_socket_whose_queue_is_full_is_an_error_and_no_hang(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as place,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(f"{place}/statsd")
        send = sinks.statsd(f"{place}/statsd")

        def flood() -> None:
            for _ in range(100_000):
                send(a_report())

        with pytest.raises(TimeoutError):
            flood()


@pytest.mark.parametrize(
    "address", ["", ":8125", "host:", "host:0", "host:70000", "a b:1", "::1", "h:x"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address must be"):
        sinks.statsd(address)


def test_an_ipv6_address_is_taken_in_brackets() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
        try:
            receiver.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"no IPv6: {os.strerror(error.errno or 0)}")
        sinks.statsd(f"[::1]:{receiver.getsockname()[1]}")(a_report())
        assert "leaderlock.leader.term:7|g" in lines_of(receiver)


def test_a_prefix_or_tags_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(ValueError, match="prefix must"):
        sinks.statsd(prefix="..")
    with pytest.raises(ValueError, match="tags must fit"):
        sinks.statsd(tags={"x": "y" * LONGEST_DATAGRAM})
