"""Between a service manager and the command: sockets, stored descriptors, and what is for whom."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PATIENCE, until
from tests.supervisor.pid1 import LEADERLOCK, Running, needs_namespaces
from tests.supervisor.told import Told, managing

# As sd_listen_fds(3) has it, it answers with the name that it has accepted under.
SERVER = """\
import os, socket, sys
assert os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["LISTEN_PID"]
assert os.environ["LISTEN_FDS"] == "1"
with socket.socket(fileno=3) as listening:
    for _ in range(int(sys.argv[1])):
        connection, _ = listening.accept()
        connection.sendall(b"served " + connection.recv(100))
        connection.close()
"""


@pytest.mark.parametrize("as_pid1", [pytest.param(True, marks=needs_namespaces), False])
@pytest.mark.parametrize(
    "options", [["run"], ["run", "--lock", "{}/lock"], ["run", "-F", "--lock", "{}/lock"], ["init"]]
)
def test_socket_activation_works_through_leaderlock(
    tmp_path: Path, options: list[str], as_pid1: bool
) -> None:
    place = str(tmp_path / "socket")
    activate = ["systemd-socket-activate", "--listen", place, f"--setenv=PATH={os.environ['PATH']}"]
    options = [option.format(tmp_path) for option in options]
    command = [sys.executable, "-S", "-c", SERVER, "1"]
    with Running(
        *options, "--", *command, program=[*activate, *LEADERLOCK], as_pid1=as_pid1
    ) as running:
        with socket.socket(socket.AF_UNIX) as client:
            until(lambda: client.connect_ex(place) == 0, "the socket")
            client.settimeout(PATIENCE)
            client.sendall(b"x")
            assert client.recv(100) == b"served x", running.said()
        assert running.wait() == 0


def test_a_sidecar_gets_neither_the_managers_variables_nor_its_sockets(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    found = "env; ls -l /proc/self/fd; cat"
    # The shell takes its own number for leaderlock's, which it becomes.
    script = f"""\
exec 3<&{reader} {reader}<&-
export LISTEN_FDS=1 LISTEN_FDNAMES=x LISTEN_PID=$$ WATCHDOG_PID=$$ WATCHDOG_USEC=9000000
exec {" ".join(LEADERLOCK)} run --sidecar "sh -c '{found}'" -- \\
    sh -c 'readlink /proc/self/fd/3 >&2; cat'"""
    with (
        managing(tmp_path) as manager,
        Running(
            *("-c", script),
            program=["bash"],
            environment=manager.environment,
            stdin=subprocess.PIPE,
            pass_fds=[reader],
        ) as running,
    ):
        os.close(writer)
        pipe = os.readlink(f"/proc/self/fd/{reader}")
        os.close(reader)
        running.until_said(pipe)  # the command has it
        running.close_input()
        lines = running.rest()
        assert running.wait() == 0
    assert any(line.startswith("PATH=") for line in lines)
    assert not [line for line in lines if line.startswith(("LISTEN_", "WATCHDOG_", "NOTIFY_"))]
    assert not [line for line in lines if "3 -> " + pipe in line]


def test_descriptors_to_be_stored_are_passed_up_with_their_names(tmp_path: Path) -> None:
    address = str(tmp_path / "manager")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(address)
        bound.settimeout(PATIENCE)
        with Told(environment={"NOTIFY_SOCKET": address}) as running:
            running.tell("inside, outside = os.pipe(); os.write(outside, b'kept'); os.close(outside)")
            running.tell(
                "socket.send_fds(manager, [b'FDSTORE=1\\nFDNAME=one\\nFDPOLL=0'], [inside]);"
                " notify('FDSTOREREMOVE=1\\nFDNAME=two')"
            )
            message, [fd], _, _ = socket.recv_fds(bound, 4096, 10)
            assert message == b"FDSTORE=1\nFDNAME=one\nFDPOLL=0"
            assert os.read(fd, 10) == b"kept"
            os.close(fd)
            assert set(bound.recv(4096).split(b"\n")) == {b"FDSTOREREMOVE=1", b"FDNAME=two"}


def test_descriptors_that_nobody_can_store_are_refused_aloud() -> None:
    with Told("--watchdog", "1000") as running:
        running.tell("notify('FDSTORE=1')")
        running.until_said("FDSTORE=1 is refused")


def test_a_changed_interval_is_passed_up_and_taken_back_at_a_restart(tmp_path: Path) -> None:
    with managing(tmp_path) as manager:
        environment = {**manager.environment, "WATCHDOG_USEC": "30000000"}
        with Told("--restart", "always", "--watchdog", "20", environment=environment) as running:
            running.tell("notify('WATCHDOG_USEC=500000000')")
            manager.until("WATCHDOG_USEC=510000000")
            running.begin("os._exit(0)")
            manager.until("WATCHDOG_USEC=30000000")


def test_stopping_goes_up_once_when_leaderlock_itself_is_to_end(tmp_path: Path) -> None:
    with managing(tmp_path) as manager:
        with Told("--restart", "always", environment=manager.environment) as running:
            running.tell("notify('STOPPING=1'); notify('STATUS=first')")
            assert manager.message() == "STATUS=first"
            running.begin("os._exit(0)")
            assert running.line().startswith("up ")
            running.tell("notify('STATUS=second')")
            assert manager.message() == "STATUS=second"
            running.signal(15)
            assert manager.message() == "STOPPING=1"
            assert running.wait() == 128 + 15
        assert manager.is_silent(0)
