"""Real servers of the status page, and a client that reads their events."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.processes import PATIENCE, until

REPOSITORY = Path(__file__).parent.parent.parent

GUNICORN = ["-m", "gunicorn", "-c", "{configuration}", "-b", "127.0.0.1:0"]
COMMANDS = {
    "serve": ["-m", "leaderlock", "serve", "--bind", "127.0.0.1:0", "--health", "{health}", "{lock}"],
    "sync": [*GUNICORN, "-k", "sync", "tests.web.served:validated"],
    "gthread": [*GUNICORN, "-k", "gthread", "--threads", "8", "tests.web.served:validated"],
    "gevent": [*GUNICORN, "-k", "gevent", "tests.web.served:wsgi"],
    "mounted": [*GUNICORN, "-k", "gthread", "--threads", "8", "tests.web.served:mounted"],
    "uvicorn": ["-m", "uvicorn", "--port", "0", "tests.web.served:asgi"],
    "uvicorn-root": [
        *("-m", "uvicorn", "--port", "0", "--root-path", "/ops/leader", "tests.web.served:asgi")
    ],
}


class Server:
    """A server on a free port of 127.0.0.1.

    Attributes:
        pid: of its first process.
        port: where it listens.
    """

    def __init__(self, kind: str, lock: Path, directory: Path, **environment: object) -> None:
        configuration, self._output = directory / "gunicorn.conf.py", directory / f"{kind}.output"
        configuration.write_text("control_socket_disable = True\n")
        self.health = directory / "health.json"
        places = {"configuration": configuration, "health": self.health, "lock": lock}
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *(word.format(**places) for word in COMMANDS[kind])],
                cwd=REPOSITORY,
                env={
                    **os.environ,
                    "LOCK": str(lock),
                    "HEALTH": str(self.health),
                    **{name: str(value) for name, value in environment.items()},
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.port = 0

    def output(self) -> str:
        return self._output.read_text()

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.output()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.output())
        self.port = int(found[1]) if found else 0
        return bool(found)

    def __enter__(self) -> Server:
        try:
            until(self._listens, "the server to listen")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended, and was waited for
        self._process.wait()
        if kind is not None:  # pytest shows it with a failure
            print(self.output())

    def end(self) -> int:
        """Ask it to end, and wait until it has."""
        self._process.terminate()
        return self._process.wait(PATIENCE)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(
        self, path: str = "/", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by their names in lower case, and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return response.status, names, response.read()
        finally:
            connection.close()


class Events:
    """An open event stream."""

    def __init__(self, server: Server, path: str = "/events") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self._connection.request("GET", path)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.type = self._response.getheader("Content-Type")

    def next(self) -> dict[str, str] | None:
        """The fields of the next block; None at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self._response.readline().decode():
            if line == "\n":
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        return None

    def leader(self) -> int | None:
        """The leader's process ID in the next status that is sent."""
        while fields := self.next():
            if fields.get("event") == "status":
                [lock] = json.loads(fields["data"])["locks"]
                holder: dict[str, Any] | None = lock["holder"]
                return None if holder is None else int(holder["pid"])
        raise EOFError("the stream has ended")

    def until_leader(self, pid: int | None) -> None:
        while self.leader() != pid:
            pass

    def close(self) -> None:
        """Go away."""
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
