"""HTTP and TCP checks against real servers, well-behaved and not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from leaderlock.health import checks
from tests.health.leading import entry_of


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        path, _, query = self.path.partition("?")
        self.send_response(int(path.strip("/") or 200))
        self.send_header("Location", "/500")
        self.end_headers()
        self.wfile.write(query.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[Any]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen: list[Any] = []
    server.seen = seen  # type: ignore[attr-defined]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("code", "status"), [(200, "ok"), (204, "ok"), (302, "ok"), (404, "failing"), (503, "failing")]
)
def test_the_status_and_the_latency_of_an_answer(code: int, status: str) -> None:
    with serving() as (port, seen):
        check = checks.http(f"http://127.0.0.1:{port}/{code}?ready=1", headers={"Host": "app.example"})
        result = check()
    assert result.status == status
    assert isinstance(result.value, dict)
    assert result.value["status"] == code
    assert result.value["latency"] > 0
    assert (result.error is None) is (status == "ok")
    assert len(seen) == 1  # a redirect is not followed
    assert seen[0][0] == f"/{code}?ready=1"
    assert seen[0][1]["Host"] == "app.example"
    assert seen[0][1]["User-Agent"].startswith("leaderlock/")


def test_the_name_is_the_url_without_its_query_which_may_hold_a_token() -> None:
    assert checks.http("http://app.example:81/healthz?token=1").name == "http://app.example:81/healthz"
    assert checks.http("https://[::1]").name == "https://[::1]/"
    assert checks.tcp("db:5432").name == checks.tcp(("db", 5432)).name == "tcp:db:5432"
    assert checks.tcp("[::1]:80").name == "tcp:[::1]:80"


def test_an_answer_slower_than_allowed_is_degraded() -> None:
    with serving() as (port, _):
        result = checks.http(f"http://127.0.0.1:{port}/", slow=1e-9)()
        assert result.status == "degraded"
        assert "is slow" in str(result.error)
        assert checks.tcp(("127.0.0.1", port), slow=1e-9)().status == "degraded"
        assert checks.tcp(f"127.0.0.1:{port}", slow=1000)().status == "ok"


def test_a_port_where_nobody_listens_is_a_failure(path: Path) -> None:
    with socket.socket() as bound:  # and does not listen: the port cannot go to anyone else
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        for check in (checks.http(f"http://127.0.0.1:{port}/"), checks.tcp(("127.0.0.1", port))):
            entry = entry_of(path, check)
            assert entry["status"] == "failing"
            assert entry["error"].startswith("ConnectionRefusedError")


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n"])
def test_a_server_that_talks_nonsense_or_hangs_up_is_a_failure(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(Exception) as raised:
            checks.http(url)()
        thread.join()
    assert type(raised.value).__name__ in ("RemoteDisconnected", "BadStatusLine")


def test_a_server_that_never_answers_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(TimeoutError):
            checks.http(url, timeout=0.05)()


def test_certificates_are_verified_unless_a_context_says_otherwise(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as (port, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            checks.http(f"https://localhost:{port}/")()
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert checks.http(f"https://localhost:{port}/", context=trusting)().status == "ok"
        with pytest.raises(ssl.SSLCertVerificationError):  # its name is another
            checks.http(f"https://127.0.0.1:{port}/", context=trusting)()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:80",
        "ftp://host/",
        "http://",
        "http://host:port/",
        "http://host:99999/",
        "http://[::1/",
        "http://host/a b",
        "http://host/ä",
        "http://host/\r\nHeader: x",
        "http://user:secret@host/",
        None,
        b"http://host/",
    ],
)
def test_what_is_no_url_is_refused_when_the_check_is_made(url: Any) -> None:
    with pytest.raises(ValueError, match=r"(?i)url"):
        checks.http(url)


TEXTS = ["", "host", "host:", ":80", "host:0", "host:65536", "host:x", "::1:80", "[::1]"]


@pytest.mark.parametrize("address", [*TEXTS, ("host",), ("host", "80"), ("", 80), 80, None])
def test_what_is_no_address_is_refused_when_the_check_is_made(address: Any) -> None:
    with pytest.raises(ValueError, match="address must look like"):
        checks.tcp(address)


def test_other_bad_arguments_are_refused_when_the_check_is_made() -> None:
    with pytest.raises(ValueError, match="slow"):
        checks.http("http://host/", slow=0)
    with pytest.raises(ValueError, match="slow"):
        checks.tcp("host:80", slow=-1)
    with pytest.raises(ValueError, match="timeout"):
        checks.tcp("host:80", timeout=0)
    for headers in ({"A b": "c"}, {"A:": "c"}, {"A": "c\r\nd"}, {"A": 1}, {"": ""}, {1: "a"}):
        with pytest.raises(ValueError, match="header"):
            checks.http("http://host/", headers=headers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="context needs an https URL"):
        checks.http("http://host/", context=ssl.create_default_context())
