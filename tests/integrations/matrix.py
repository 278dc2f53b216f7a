"""Which server can do what with a leader among its workers: the rows and columns of docs/matrix.md.

    make matrix

runs `test_matrix.py`, one test for each cell, and writes the page from what the tests have noted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.integrations.asgi_server import AsgiServer
from tests.integrations.fleet import Fleet
from tests.integrations.server import WORKERS, Server
from tests.integrations.uwsgi_server import ACCEPTS, BUILDS

PAGE = Path(__file__).parent.parent.parent / "docs" / "matrix.md"
COLUMNS = {
    "start": "one leader at start",
    "failover": "failover after SIGKILL, median",
    "reload": "graceful reload",
    "recycling": "workers recycled",
    "hung": "a leader that hangs, with a lease",
}
LEASE = 2.0
REQUESTS_EACH = 10
"""After so many a worker is recycled."""

UWSGI_APP = """\
import os
from leaderlock.integrations.uwsgi import in_one_worker
from served import *

lease = float(os.environ["LEASE"]) if "LEASE" in os.environ else None
task = HangsInItsFirstTerm(loop_without_beating) if lease else lead
in_one_worker(task, path=os.environ["LOCK"], lease=lease)
application = wsgi
"""


class Row(NamedTuple):
    """One server with one kind of worker.

    Attributes:
        make: a server that is not started: of a directory, whether its leader hangs, and whether it
            recycles its workers.
        ends_with_a_worker: it does not replace a worker that has died, but ends.
    """

    name: str
    make: Callable[[Path, bool, bool], Server]
    ends_with_a_worker: bool = False


def _gunicorn(worker_class: str) -> Callable[[Path, bool, bool], Server]:
    def make(directory: Path, hangs: bool, recycles: bool) -> Server:
        lock = directory / "leader.lock"
        task = "HangsInItsFirstTerm(loop_without_beating)" if hangs else "lead"
        lease = LEASE if hangs else None
        hook = (
            f"post_fork = in_one_worker({task}, path={str(lock)!r}, lease={lease}, backoff=(0.05, 0.2))"
        )
        more = {"max_requests": REQUESTS_EACH} if recycles else {}
        return Server(directory, worker_class, hook, **more)

    return make


def _asgi(kind: str, *recycling: str) -> Callable[[Path, bool, bool], Server]:
    def make(directory: Path, hangs: bool, recycles: bool) -> Server:
        more = recycling if recycles else ()
        if hangs:
            return AsgiServer(directory, kind, "block_the_loop", "full", *more, LEASE=str(LEASE))
        return AsgiServer(directory, kind, "", "full", *more)

    return make


class Uwsgi(Fleet):
    """uWSGI from PyPI, with the notes and the application of the other servers' tests."""

    def __init__(self, directory: Path, mode: list[str], hangs: bool, recycles: bool) -> None:
        build = BUILDS["pypi"]()
        (directory / "app.py").write_text(UWSGI_APP)
        lock = directory / "leader.lock"
        super().__init__(
            directory,
            [
                *(build.program, *build.options, "--master", "--die-on-term", "--enable-threads"),
                *("--hook-accepting", f"print:{ACCEPTS}"),
                *("--http-socket", directory / "http", "-p", WORKERS, "--wsgi-file", "app.py", *mode),
                *(("--max-requests", REQUESTS_EACH, "--min-worker-lifetime", 0) if recycles else ()),
            ],
            LOCK=str(lock),
            **({"LEASE": str(LEASE)} if hangs else {}),
        )
        self.lock = lock
        self._socket = directory / "http"
        self._seen: set[int] = set()

    def _standing_and_ready(self) -> set[int]:
        standing = self.candidates()
        self._seen |= standing
        accepted = self.output().splitlines().count(ACCEPTS)
        return standing if accepted >= len(self._seen) else set()


def _uwsgi(*mode: str) -> Callable[[Path, bool, bool], Server]:
    return lambda directory, hangs, recycles: Uwsgi(directory, list(mode), hangs, recycles)


ROWS = [
    *(
        Row(f"gunicorn, {worker_class}", _gunicorn(worker_class))
        for worker_class in ("sync", "gthread", "gevent", "asgi")
    ),
    Row("gunicorn, uvicorn-worker", _gunicorn("uvicorn_worker.UvicornWorker")),
    Row("uWSGI", _uwsgi()),
    Row("uWSGI, lazy-apps", _uwsgi("--lazy-apps")),
    Row("uvicorn --workers", _asgi("uvicorn", "--limit-max-requests", str(REQUESTS_EACH))),
    Row("granian --workers", _asgi("granian", "--workers-max-rss", "1", "--rss-sample-interval", "1")),
    Row(
        "hypercorn --workers",
        _asgi("hypercorn", "--max-requests", str(REQUESTS_EACH)),
        ends_with_a_worker=True,
    ),
]
ENDS = "–: hypercorn ends when a worker has died"
EXPLAINED = {
    ("hypercorn --workers", "failover"): ENDS,
    ("hypercorn --workers", "hung"): ENDS + " (it does, at the end of the lease)",
}
"""Cells that say something else than yes, and the words."""


def note_cell(row: str, column: str, text: str) -> None:
    """What a test has shown, for the page; in one write, since tests run side by side."""
    path = os.environ.get("MATRIX")
    if path:
        line = json.dumps([row, column, text]) + "\n"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.encode())
        os.close(fd)


def page(cells: dict[tuple[str, str], str]) -> str:
    """docs/matrix.md."""
    lines = [
        "# Which server can do what",
        "",
        "Each cell is a test with the real server and four workers",
        "(`integrations/test_matrix.py::test_cell`); `make matrix` runs them and writes this page.",
        "At no time did two lead. A failover is from the kill to the first line of the next leader's",
        f"task; a leader that hangs has a lease of {LEASE:g} s, and the time is from when it hangs.",
        "",
        "| server, workers | " + " | ".join(COLUMNS.values()) + " |",
        "| --- " * (len(COLUMNS) + 1) + "|",
    ]
    for row in ROWS:
        found = [cells.get((row.name, column), "") for column in COLUMNS]
        lines.append(f"| {row.name} | " + " | ".join(found) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page from the notes in the file that is named."""
    noted = (json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines())
    PAGE.write_text(page({(row, column): text for row, column, text in noted}))


if __name__ == "__main__":
    main()
