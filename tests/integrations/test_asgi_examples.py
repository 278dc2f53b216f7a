"""The ASGI examples run as they are written: four workers, one of which reports."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.server import _Connection
from tests.processes import flocks_of, until

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("asgi_*.py"))
SCRIPTS = Path(sysconfig.get_path("scripts"))


class Example:
    """The command in an example's first line, on a socket of its own."""

    def __init__(self, example: Path, directory: Path) -> None:
        self.directory = directory
        self.output = directory / "output"
        program, *arguments = example.read_text().splitlines()[0].removeprefix("# ").split()
        self.socket = directory / "http"
        where = ["-b", f"unix:{self.socket}"] if program == "hypercorn" else ["--uds", str(self.socket)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [SCRIPTS / program, *where, *arguments],
                cwd=ROOT,
                env={**os.environ, "LEADERLOCK_DIR": str(directory)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def get(self) -> str:
        """What a worker answers; "" if none does yet."""
        connection = _Connection(str(self.socket), 30)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode().strip('"')  # of FastAPI's JSON
        except (FileNotFoundError, ConnectionError):
            return ""
        finally:
            connection.close()

    def standing(self) -> list[tuple[int, bool]]:
        return [entry for lock in self.directory.glob("report-*") for entry in flocks_of(lock)]

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        print(self.output.read_text())


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Iterator[Example]:
    # Not tmp_path, which may be too long for a socket's path.
    with tempfile.TemporaryDirectory(prefix="leaderlock-test-") as name:
        server = Example(request.param, Path(name))
        try:
            yield server
        finally:
            server.end()


def test_one_worker_reports_while_all_serve_and_another_one_when_it_is_gone(example: Example) -> None:
    until(lambda: len(example.standing()) == 4, "four workers to stand")
    until(lambda: example.get() in ("leads: True", "leads: False"), "an answer")
    until(lambda: "term 1: all is well, for 0 s" in example.output.read_text(), "the report")
    [leader] = [pid for pid, waits in example.standing() if not waits]
    # Hypercorn, and Granian as it is here, would end the others, too, as soon as one has gone.
    os.kill(example.process.pid, signal.SIGSTOP)
    os.kill(leader, signal.SIGTERM)
    until(lambda: re.search("term [2-9]: all is well, for 0 s", example.output.read_text()), "another")


def test_no_example_is_longer_than_twenty_lines() -> None:
    assert EXAMPLES
    assert {path.name for path in EXAMPLES if len(path.read_text().splitlines()) > 20} == set()
