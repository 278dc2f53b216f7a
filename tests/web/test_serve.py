"""`leaderlock serve`: where it listens, what it says, and what it stands."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import leaderlock.web
import leaderlock.web.server
from tests.processes import PATIENCE, descriptors_without_garbage, holder, threads_of
from tests.test_run import line_of, run, start
from tests.web.server import Events, Server
from tests.web.test_site import get


@contextmanager
def serving(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the line that it prints."""
    process = start("serve", *map(str, arguments))
    try:
        yield process, line_of(process)
    finally:
        process.kill()
        process.communicate()


def asked(address: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("bind", "host", "shown"),
    [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.1"),
        ("localhost:0", "127.0.0.1", "127.0.0.1"),
        ("[::1]:0", "::1", "[::1]"),
        ("0.0.0.0:0", "127.0.0.1", "0.0.0.0"),
    ],
)
def test_it_listens_where_it_is_told_and_warns_if_others_can_reach_it(
    path: Path, bind: str, host: str, shown: str
) -> None:
    path.touch()
    with serving("--bind", bind, path) as (process, line):
        port = re.fullmatch(rf"leaderlock serves http://{re.escape(shown)}:(\d+)/", line)
        assert port
        name = f"[{host}]" if ":" in host else host
        answer = asked((host, int(port[1])), f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
        strange = asked((host, int(port[1])), b"GET / HTTP/1.0\r\nHost: strange.example\r\n\r\n")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    if shown == "0.0.0.0":
        assert "warning: 0.0.0.0 can be reached from other machines" in errors
        assert strange.startswith(b"HTTP/1.0 200 ")
    else:
        assert errors == ""
        assert strange.startswith(b"HTTP/1.0 421 ")


def test_a_proxy_s_host_name_can_be_allowed(path: Path) -> None:
    path.touch()
    with serving("--bind", "127.0.0.1:0", "--host", "status.example", path) as (_, line):
        address = ("127.0.0.1", int(line.rsplit(":", 1)[1].rstrip("/")))
        for host, status in (
            (b"status.example", b"200"),
            (b"localhost", b"200"),
            (b"x.example", b"421"),
        ):
            answer = asked(address, b"GET /healthz HTTP/1.0\r\nHost: " + host + b"\r\n\r\n")
            assert answer.split()[1] in (status, b"503"), host
            assert (b"not answered" in answer) == (status == b"421")


def test_an_address_in_use_is_an_error_of_one_line(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--bind", f"127.0.0.1:{taken.getsockname()[1]}", str(path))
    assert result.returncode == 125
    assert result.stderr.count("\n") == 1
    assert "Address already in use" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--bind", "127.0.0.1:x"), "the port must be a number"),
        (("--bind", "127.0.0.1:65536"), "the port must be a number"),
        (("--bind", ":80"), "an address is needed"),
        (("--port", "80"), "unknown option --port"),
        (("",), "a path must name a file"),
        (("--health", ""), "a path must name a file"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], text: str) -> None:
    result = run("serve", *arguments)
    assert result.returncode == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.0\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
        b"GET /%ff%00/..%2f..%2fetc/passwd HTTP/1.0\r\nHost: localhost\r\n\r\n",
        b"GET /static/../over_wsgi.py HTTP/1.0\r\nHost: localhost\r\n\r\n",
        b"GET //evil.example/ HTTP/1.0\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.0\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_request_that_no_browser_sends_gets_an_error_and_no_traceback(
    path: Path, tmp_path: Path, request_: bytes
) -> None:
    path.touch()
    with Server("serve", path, tmp_path) as server:
        try:
            answer = asked(("127.0.0.1", server.port), request_)
        except ConnectionResetError:  # it has not read all of it
            answer = b""
        assert (
            answer.split()[1:2] in ([], [b"400"], [b"404"], [b"414"], [b"431"])
            or b"Error code: 4" in answer
        )
        assert server.get("/")[0] == 200
        assert "Traceback" not in server.output()


def test_slow_clients_keep_nobody_out_and_take_no_more_threads_than_allowed(
    path: Path, tmp_path: Path
) -> None:
    path.touch()
    with Server("serve", path, tmp_path) as server, ExitStack() as stack:
        address = ("127.0.0.1", server.port)

        def slow_client() -> socket.socket:
            client = stack.enter_context(socket.create_connection(address, timeout=PATIENCE))
            client.sendall(b"GET / HTTP/1.0\r\n")
            return client

        slow = [slow_client() for _ in range(110)]
        for client in slow[:10]:  # the slowest have made room
            assert client.recv(1) == b""
        assert select.select(slow[10:], [], [], 0)[0] == []
        for _ in range(20):
            assert server.get("/")[0] == 200
        assert len(threads_of(server.pid)) < 110
        assert select.select(slow[-50:], [], [], 0)[0] == []
        slow[-1].sendall(b"Host: localhost\r\n\r\n")
        assert slow[-1].recv(12) == b"HTTP/1.0 200"


def test_open_pages_are_not_closed_for_slow_clients(path: Path, tmp_path: Path) -> None:
    path.touch()
    with Server("serve", path, tmp_path) as server, ExitStack() as stack:
        events = stack.enter_context(Events(server))
        assert events.leader() is None
        for _ in range(150):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert server.get("/")[0] == 200
        with holder(path) as leader:
            assert events.leader() == leader.pid


def test_a_request_has_a_deadline_which_a_byte_now_and_then_does_not_put_off(path: Path) -> None:
    class Impatient(leaderlock.web.server.Server):
        request_seconds = 1.0

    path.touch()
    server = Impatient("127.0.0.1", 0, leaderlock.web.wsgi(path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):  # it is closed between two of the bytes
                while not select.select([client], [], [], 0.05)[0]:
                    client.sendall(b"x")
                assert client.recv(1) == b""
            assert 0.9 <= time.monotonic() - began < PATIENCE
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/null")])
def test_a_health_file_that_is_no_regular_file_costs_no_descriptor(
    path: Path, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path.touch()
    make(tmp_path / "h")
    application = leaderlock.web.wsgi(path, tmp_path / "h")
    assert get(application, "/healthz").status == 503
    before = descriptors_without_garbage()
    for _ in range(300):
        assert b"not a regular file" in get(application, "/healthz").body
    assert descriptors_without_garbage() == before
