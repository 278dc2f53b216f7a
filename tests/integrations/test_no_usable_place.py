"""A server on a machine without a usable place for named locks: it serves, and logs the remedy."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.integrations.fleet import BIN, Fleet, free_port, get_page
from tests.integrations.test_callbacks import COMMANDS, HOOK, MODULES
from tests.own_run import in_own_run
from tests.processes import until
from tests.test_directory import NOWHERE

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.slow,
]

# gunicorn and the rehearsal need some place for temporary files, which no name may have.
BEFORE = (
    f"mount -t tmpfs tmpfs /mnt; export TMPDIR=/mnt; {NOWHERE}; unset LEADERLOCK_DIR RUNTIME_DIRECTORY"
)
REMEDY = "set LEADERLOCK_DIR to a directory"


@pytest.mark.parametrize("room", ["gunicorn", "uwsgi", "asgi"])
def test_a_hook_without_a_usable_place_logs_the_remedy_in_one_line_and_the_worker_serves(
    tmp_path: Path, room: str
) -> None:
    hook, more = MODULES[room]
    (tmp_path / "my_site.py").write_text(HOOK.format(room=room, hook=hook, more=more))
    port = free_port()
    program, *arguments = COMMANDS[room](port)
    command = [*in_own_run(BEFORE), sys.executable, "-B", BIN / str(program), *arguments]
    fleet = Fleet(tmp_path, command)
    fleet.environment["PYTHONPATH"] += f":{tmp_path}"
    with fleet:
        until(lambda: REMEDY in fleet.output(), "the remedy in the log")
        assert get_page(port) is not None
        fleet.process().send_signal(signal.SIGTERM)
        fleet.process().wait()
        assert fleet.notes() == []
    lines = [line for line in fleet.output().splitlines() if REMEDY in line]
    assert all("/run/lock/leaderlock-0: Read-only file system" in line for line in lines)
    assert "Traceback" not in fleet.output()


def test_the_status_page_is_served_without_a_usable_place(tmp_path: Path) -> None:
    port = free_port()
    serve = [sys.executable, "-B", "-m", "leaderlock", "serve", "--bind", f"127.0.0.1:{port}"]
    with Fleet(tmp_path, [*in_own_run(BEFORE), *serve]) as fleet:
        assert "<html" in get_page(port)
        fleet.process().send_signal(signal.SIGTERM)
        assert fleet.process().wait() == 0
    assert "Traceback" not in fleet.output()
