"""Every server and kind of worker, through everything that happens to a leader: see docs/matrix.md."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.matrix import COLUMNS, ENDS, EXPLAINED, PAGE, ROWS, Row, note_cell
from tests.integrations.server import CUT_OFF, Server
from tests.processes import until

KILLS = 5
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@contextlib.contextmanager
def started(row: Row, *, hangs: bool = False, recycles: bool = False) -> Iterator[Server]:
    """The server, all of whose workers stand; one that recycles them may never be complete."""
    directory = Path(tempfile.mkdtemp(prefix="leaderlock-test-"))  # a short path, for the socket
    server = row.make(directory, hangs, recycles)
    error: BaseException | None = None
    try:
        server.start()
        until(server.terms, "a leader")
        if not hangs and not recycles:
            server.until_complete()
        yield server
    except BaseException as raised:
        error = raised
        raise
    finally:
        server.__exit__(None if error is None else type(error), error, None)
        shutil.rmtree(directory)


def start(row: Row) -> str:
    with started(row) as server:
        assert len(server.terms()) == 1
        server.check_one_leader_at_any_time()
    return "yes"


def failover(row: Row) -> str:
    if row.ends_with_a_worker:
        with started(row) as server:
            os.kill(server.leader().pid, signal.SIGKILL)
            until(lambda: server.arbiter not in server.processes(), "the server to end")
        return ENDS
    milliseconds = []
    with started(row) as server:
        for _ in range(KILLS):
            first = server.leader()
            killed = time.monotonic_ns()
            os.kill(first.pid, signal.SIGKILL)
            until(lambda term=first.term: server.terms()[-1].term > term, "another leader")  # type: ignore[misc]
            milliseconds.append((server.terms()[-1].time - killed) / 1e6)
            server.until_gone([first.pid])
            server.until_complete()
        server.check_one_leader_at_any_time()
    return f"{statistics.median(milliseconds):.1f} ms"


def reload(row: Row) -> str:
    with started(row) as server:
        server.get()
        old = {pid for pid in server.processes() if pid != server.arbiter}
        os.kill(server.arbiter, signal.SIGHUP)
        server.leader(not_among=old)
        server.until_complete()
        server.check_one_leader_at_any_time()
    return "yes"


def recycling(row: Row) -> str:
    with started(row, recycles=True) as server:

        def three_have_led() -> bool:
            with contextlib.suppress(*CUT_OFF):
                for _ in range(10):  # a worker that ends may drop a connection
                    server.get()
            return len(server.terms()) >= 3

        until(three_have_led, "three workers to have led")
        server.check_one_leader_at_any_time()
    return "yes"


def hung(row: Row) -> str:
    with started(row, hangs=True) as server:
        if row.ends_with_a_worker:
            until(lambda: server.arbiter not in server.processes(), "the server to end")
            return EXPLAINED[row.name, "hung"]
        until(lambda: len(server.terms()) > 1, "another leader")
        hangs = next(note for note in server.notes() if note.event == "hang")
        following = server.terms()[1]
        server.check_one_leader_at_any_time()
    return f"{(following.time - hangs.time) / 1e9:.2f} s"


CELLS = {"start": start, "failover": failover, "reload": reload, "recycling": recycling, "hung": hung}


@pytest.mark.slow
@every_row
@pytest.mark.parametrize("column", COLUMNS)
def test_cell(row: Row, column: str) -> None:
    note_cell(row.name, column, CELLS[column](row))


def test_the_page_has_every_cell() -> None:
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    cells = {
        words[0]: words[1:] for words in ([c.strip() for c in line[1:-1].split("|")] for line in table)
    }
    assert list(cells) == [row.name for row in ROWS]
    assert all(len(found) == len(COLUMNS) and all(found) for found in cells.values())
