"""The logrotate entry: by the real logrotate, on a real gunicorn under `leaderlock run`."""

from __future__ import annotations

import grp
import gzip
import http.client
import os
import pwd
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import until
from tests.test_run import LEADERLOCK

CONTRIB = Path(__file__).parent.parent / "contrib"
ENTRY = (CONTRIB / "logrotate.d" / "myapp").read_text()
LOGROTATE = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin:/sbin")
SIGNAL = "systemctl kill --kill-whom=main --signal=USR1 myapp.service"

WORKERS = 2

pytestmark = pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not installed")

APPLICATION = """\
with open("loaded", "a") as file:  # by a worker that has set its signal handlers
    file.write("1")

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def entry_for(logs: Path, send: str) -> str:
    """The entry for a directory of this user's, with another way to send the signal."""
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    assert SIGNAL in ENTRY
    return (
        ENTRY.replace("/var/log/myapp/*.log {", f"{logs}/*.log {{")
        .replace("myapp myapp", f"{user} {group}")
        .replace(SIGNAL, send)
    )


def rotate(entry: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert LOGROTATE is not None
    configuration = directory / "entry"
    configuration.write_text(entry)
    configuration.chmod(0o644)
    words = [LOGROTATE, *options, "--state", str(directory / "state"), str(configuration)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir(mode=0o755)
    return directory


def test_logrotate_understands_every_line(tmp_path: Path, logs: Path) -> None:
    (logs / "access.log").write_text("a line\n")
    checked = rotate(entry_for(logs, "true"), tmp_path, "--debug")
    assert checked.returncode == 0
    assert "error" not in checked.stderr
    assert "considering log" in checked.stderr
    assert (logs / "access.log").read_text() == "a line\n", "it only looked"
    wrong = rotate(entry_for(logs, "true").replace("maxsize", "maxsice"), tmp_path, "--debug")
    assert "error" in wrong.stderr


def test_the_signal_goes_to_the_main_process_by_systemd() -> None:
    assert ENTRY.count("systemctl") == 1
    if shutil.which("systemctl"):
        help_text = subprocess.run(["systemctl", "--help"], capture_output=True, text=True).stdout
        assert "--kill-whom" in help_text


def lines_of(logs: Path) -> list[str]:
    """The lines of access.log and of all that it was."""
    found: list[str] = []
    for path in logs.glob("access.log*"):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found += text.decode().splitlines()
    return found


class Served:
    """gunicorn under `leaderlock run`, which logs each request."""

    def __init__(self, directory: Path, logs: Path) -> None:
        (directory / "application.py").write_text(APPLICATION)
        self.process = psutil.Popen(
            [
                *LEADERLOCK, "run", "--lock", str(directory / "a.lock"), "--",
                "gunicorn", "--bind", "127.0.0.1:0", "--workers", str(WORKERS), "--threads", "2",
                "--access-logfile", str(logs / "access.log"), "--access-logformat", "%(U)s",
                "--error-logfile", str(logs / "error.log"), "application:app",
            ],
            cwd=directory,
            env={**os.environ, "PATH": f"{Path(LEADERLOCK[0]).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        self.port = 0
        self._logs = logs
        self._loaded = directory / "loaded"

    def wait_until_it_serves(self) -> None:
        """Wait for its port, and until a signal to any of its workers is not lost."""
        log = self._logs / "error.log"

        def found() -> bool:
            _, _, rest = log.read_text().partition("Listening at: http://127.0.0.1:")
            self.port = int(rest.split()[0]) if " " in rest else 0
            return self.port > 0

        until(lambda: log.exists() and found(), "gunicorn to listen")
        until(lambda: self._loaded.exists() and self._loaded.stat().st_size == WORKERS, "its workers")

    def until_reopened(self) -> None:
        """Wait until none of its processes has the file open that the access log was."""
        log = str(self._logs / "access.log")

        def opened() -> set[str]:
            family = self.process.children(recursive=True)
            return {file.path for process in family for file in process.open_files()}

        until(lambda: {path for path in opened() if path.startswith(log)} == {log}, "a reopening")

    def answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        finally:
            connection.close()


@pytest.fixture
def served(tmp_path: Path, logs: Path) -> Iterator[Served]:
    served = Served(tmp_path, logs)
    try:
        served.wait_until_it_serves()
        yield served
    finally:
        family = [served.process, *served.process.children(recursive=True)]
        served.process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=60)
        for process in alive:
            process.kill()


def test_no_line_is_lost_by_a_rotation(served: Served, tmp_path: Path, logs: Path) -> None:
    entry = entry_for(logs, f"kill -USR1 {served.process.pid}")
    asked: list[str] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            path = f"/request-{len(asked)}"
            assert served.answers(path)
            asked.append(path)

    client = threading.Thread(target=ask)
    client.start()
    try:
        for rotation in range(1, 4):
            so_far = len(asked)
            until(lambda: len(asked) > so_far + 20, "requests before it")  # noqa: B023
            done = rotate(entry, tmp_path, "--force")
            assert (done.returncode, done.stderr) == (0, "")
            assert len(list(logs.glob("access.log.*"))) == rotation
            # The next one compresses this one's file, which nobody may write to any more.
            served.until_reopened()
            until(lambda: (logs / "access.log").stat().st_size > 0, "lines in the new file")
    finally:
        enough.set()
        client.join()
    assert len(asked) > 60
    until(lambda: set(asked) <= set(lines_of(logs)), "a line for each request")
    assert sorted(lines_of(logs)) == sorted(asked), "none twice"
    (old,) = [path for path in logs.glob("access.log.*") if path.suffix != ".gz"]
    assert old.name == "access.log.1", "the last one is not compressed yet"
