"""The accept queues of real listeners with real connections that wait."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderlock.health import checks
from tests.processes import forked, needs_root, until


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Closed at the end."""
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()


def listener_at(address: object) -> dict[str, Any] | None:
    value: Any = checks.listen_queue()().value
    found = [each for each in value["listeners"] if each["address"] == address]
    assert len(found) <= 1
    return found[0] if found else None


def listening(sockets: list[socket.socket], family: int, address: Any, backlog: int) -> socket.socket:
    listener = socket.socket(family)
    sockets.append(listener)
    listener.bind(address)
    listener.listen(backlog)
    return listener


def connect(sockets: list[socket.socket], listener: socket.socket, count: int) -> None:
    for _ in range(count):
        client = socket.socket(listener.family)
        sockets.append(client)
        client.connect(listener.getsockname())


@pytest.mark.parametrize("kind", ["IPv4", "IPv6", "Unix", "abstract"])
def test_the_connections_that_wait_and_the_limit_are_told(
    tmp_path: Path, sockets: list[socket.socket], kind: str
) -> None:
    if kind == "IPv4":
        listener = listening(sockets, socket.AF_INET, ("127.0.0.1", 0), 8)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    elif kind == "IPv6":
        listener = listening(sockets, socket.AF_INET6, ("::1", 0), 8)
        address = f"[::1]:{listener.getsockname()[1]}"
    elif kind == "Unix":
        address = str(tmp_path / "socket")
        listener = listening(sockets, socket.AF_UNIX, address, 8)
    else:
        address = f"@leaderlock-test-{os.getpid()}"
        listener = listening(sockets, socket.AF_UNIX, "\0" + address[1:], 8)
    assert listener_at(address) == {"address": address, "waiting": 0, "limit": 8, "used": 0.0}
    connect(sockets, listener, 3)
    until(lambda: (listener_at(address) or {})["waiting"] == 3, "three to wait")
    assert (listener_at(address) or {})["used"] == 0.375
    accepted, _ = listener.accept()
    sockets.append(accepted)
    assert (listener_at(address) or {})["waiting"] == 2
    listener.close()
    assert listener_at(address) is None


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_it_is_degraded_over_the_share_and_failing_when_full(
    tmp_path: Path, sockets: list[socket.socket], family: int
) -> None:
    address = ("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "socket")
    listener = listening(sockets, family, address, 4)
    check = checks.listen_queue(degraded=0.5)
    assert check().status == "ok"
    connect(sockets, listener, 2)
    until(lambda: check().status == "degraded")
    assert "2 of 4 connections wait at" in str(check().error)
    connect(sockets, listener, 2)
    until(lambda: check().status == "failing")
    connect(sockets, listener, 1)  # Linux lets one more wait than the limit says
    until(lambda: "5 of 4 connections wait" in str(check().error))
    assert check().status == "failing"


def test_an_inherited_listener_is_told_once_and_other_sockets_are_not(
    sockets: list[socket.socket],
) -> None:
    listener = listening(sockets, socket.AF_INET, ("127.0.0.1", 0), 4)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    sockets.append(listener.dup())
    connect(sockets, listener, 1)
    until(lambda: (listener_at(address) or {})["waiting"] == 1)
    assert forked(lambda: (listener_at(address) or {})["waiting"] == 1) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason=needs_root)
def test_the_queue_of_a_unix_socket_of_another_network_namespace_is_not_known(
    tmp_path: Path, sockets: list[socket.socket]
) -> None:
    address = str(tmp_path / "socket")
    listening(sockets, socket.AF_UNIX, address, 4)

    def child() -> bool:
        assert ctypes.CDLL(None).unshare(0x40000000) == 0  # CLONE_NEWNET
        return listener_at(address) == {
            "address": address,
            "waiting": None,
            "limit": None,
            "used": None,
        }

    assert forked(child) == 0


def test_looking_changes_nothing_at_the_sockets(sockets: list[socket.socket]) -> None:
    listener = listening(sockets, socket.AF_INET, ("127.0.0.1", 0), 4)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(5)  # with which Python makes each new socket object non-blocking
    try:
        assert checks.listen_queue()().status == "ok"
    finally:
        socket.setdefaulttimeout(before)
    assert os.get_blocking(listener.fileno())
    connect(sockets, listener, 1)
    sockets.append(listener.accept()[0])


@pytest.mark.parametrize("degraded", [0, -1, 1.5, float("nan"), "half", None])
def test_a_threshold_that_is_no_share_is_refused(degraded: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="degraded must be a share"):
        checks.listen_queue(degraded=degraded)
