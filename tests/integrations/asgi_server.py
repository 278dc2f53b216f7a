"""Real ASGI servers with four workers each, and what their task has noted."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import time
from pathlib import Path

from tests.integrations.server import WORKERS, Server
from tests.processes import PATIENCE, until

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = sysconfig.get_path("scripts")

COMMANDS = {
    "uvicorn": "uvicorn --uds {socket} --workers",
    "hypercorn": "hypercorn -b unix:{socket} --workers",
    "hypercorn-uvloop": "hypercorn -k uvloop -b unix:{socket} --workers",
    "hypercorn-trio": "hypercorn -k trio -b unix:{socket} --workers",
    "granian": "granian --interface asgi --uds {socket} --respawn-failed-workers --workers",
    "granian-plain": "granian --interface asgi --uds {socket} --workers",
    "gunicorn": "gunicorn -k asgi -b unix:{socket} --no-control-socket -w",
    "uvicorn-worker": (
        "gunicorn -k uvicorn_worker.UvicornWorker -b unix:{socket} --no-control-socket -w"
    ),
}
SERVERS = [kind for kind in COMMANDS if kind != "granian-plain"]
END_WITH_A_WORKER = ("hypercorn", "hypercorn-uvloop", "hypercorn-trio", "granian-plain")
"""They do not replace a worker that has died, but end. Hypercorn's status says nothing of it."""


class AsgiServer(Server):
    """A server in a session of its own, all of whose processes are killed in the end.

    Args:
        kind: a key of `COMMANDS`.
        task, app: names in `served_asgi`; under Trio the task is a plain function by default.
        more: arguments of the server's.
    """

    def __init__(
        self,
        directory: Path,
        kind: str,
        task: str = "",
        app: str = "full",
        *more: str,
        module: str = "tests.integrations.served_asgi:app",
        **environment: str,
    ) -> None:
        self.directory = directory
        self.kind = kind
        self.lock = directory / "leader.lock"
        self._notes = directory / "notes"
        self._log = directory / "no log but the output"
        self._socket = directory / "http"
        program, *arguments = COMMANDS[kind].format(socket=self._socket).split()
        self._command = [os.path.join(SCRIPTS, program), *arguments, str(WORKERS), *more, module]
        self._environment = {
            "PYTHONPATH": str(ROOT),
            "NOTES": str(self._notes),
            "LOCK": str(self.lock),
            "TASK": task or ("lead" if kind == "hypercorn-trio" else "lead_in_loop"),
            "APP": app,
            **environment,
        }
        self._sessions: set[int] = set()
        self._started: list[subprocess.Popen[bytes]] = []
        self.arbiter = 0

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        return super().start(*arguments, **{**self._environment, **environment})

    def __enter__(self) -> AsgiServer:
        super().__enter__()
        return self

    @staticmethod
    def now() -> int:
        """On the clock of the notes."""
        return time.monotonic_ns()

    def until_begun(self) -> None:
        """Wait for all workers to stand, and for one of them to begin the task."""
        until(lambda: len(self.candidates()) == WORKERS and self.terms(), "the task to begin")

    def wait(self) -> int:
        """Wait for the server's end; its status."""
        return self._started[-1].wait(PATIENCE)

    def until_serving(self) -> int:
        """Wait for an answer: the PID of the worker that gives it."""
        answers: list[int] = []

        def answered() -> bool:
            try:
                answers.append(self.get())
            except (FileNotFoundError, ConnectionError):
                return False
            return True

        until(answered, "the server to serve")
        return answers[0]

    def said(self, *texts: str) -> None:
        until(lambda: all(text in self.output() for text in texts), f"the server to say {texts}")
