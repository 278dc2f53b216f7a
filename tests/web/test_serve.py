"""`leaderlock serve`: where it listens, what it says, and what it stands."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.processes import PATIENCE, until
from tests.test_run import line_of, run, start
from tests.web.server import Server


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


def test_many_idle_connections_take_no_more_threads_than_allowed(path: Path, tmp_path: Path) -> None:
    path.touch()
    with Server("serve", path, tmp_path) as server, ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        idle = [stack.enter_context(socket.create_connection(address)) for _ in range(100)]
        with socket.create_connection(address, timeout=PATIENCE) as refused:
            assert refused.recv(1) == b""
        assert select.select(idle, [], [], 0)[0] == []
        for connection in idle:
            connection.close()

        def is_served() -> bool:
            try:
                return server.get("/")[0] == 200
            except ConnectionError:
                return False

        until(is_served, "room for another connection")
