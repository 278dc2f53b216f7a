"""The candidates that are programs (`leaderlock run`, gunicorn, uWSGI), and the table of processes."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
WORKERS = 3
_SCRIPTS = Path(sysconfig.get_path("scripts"))

_GUNICORN = """\
import os
from leaderlock.integrations.gunicorn import in_one_worker
from tests.chaos.served import task

control_socket_disable = True
workers = {workers}
worker_class = {worker_class!r}
timeout = 30
graceful_timeout = 5
post_fork = in_one_worker(task, path=os.environ["CHAOS_LOCK"], backoff=(0.02, 0.1))
"""


def _run(_directory: Path, _number: int, lock: Path) -> list[str | Path]:
    command = [sys.executable, "-m", "tests.chaos.served"]
    return [sys.executable, "-m", "leaderlock", "run", "--lock", lock, "--", *command]


def _gunicorn(directory: Path, number: int, _lock: Path) -> list[str | Path]:
    configuration = directory / f"gunicorn{number}.py"
    worker_class = ("sync", "gevent", "gthread")[number % 3]
    configuration.write_text(
        _GUNICORN.format(workers=WORKERS, worker_class=worker_class), encoding="ascii"
    )
    # Not `-m gunicorn`: see tests/integrations/server.py.
    socket = f"unix:{directory}/http{number}"
    return [
        *(sys.executable, _SCRIPTS / "gunicorn", "-c", configuration, "-b", socket),
        *("--error-logfile", os.devnull, "tests.chaos.served:application"),
    ]


def _uwsgi(directory: Path, number: int, _lock: Path) -> list[str | Path]:
    program = _SCRIPTS / "uwsgi"
    script = program.read_bytes()[:200].partition(b"\n")[0]
    # A reload executes the interpreter, but not the venv's by itself.
    options = ["--binary-path", os.fsdecode(script[2:].strip())] if script.startswith(b"#!") else []
    modes = ([], ["--lazy-apps"])[number % 2]
    return [
        program,
        *(*options, "--master", "--processes", str(WORKERS), "--enable-threads"),
        *("--no-orphans", "--die-on-term", "--worker-reload-mercy", "5", "--http-socket"),
        *(f"{directory}/uwsgi{number}", "--module", "tests.chaos.served:application", *modes),
        *("--disable-logging", "--logto", os.devnull),
    ]


COMMANDS: dict[str, Callable[[Path, int, Path], list[str | Path]]] = {
    "run": _run,
    "gunicorn": _gunicorn,
    "uwsgi": _uwsgi,
}


def children(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii")
            found += [int(child) for child in text.split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def start_time(pid: int) -> int:
    """When a process started, in ticks since the boot; 0 if it has ended, reaped or not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def processes_of(sessions: set[int]) -> set[int]:
    """All that live in these sessions, zombies left out."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/stat").read_text(encoding="ascii")
            except (FileNotFoundError, ProcessLookupError):
                continue
            fields = text.rpartition(")")[2].split()
            if fields[0] not in "ZX" and int(fields[3]) in sessions:
                found.add(int(name))
    return found
