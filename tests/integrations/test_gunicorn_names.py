"""gunicorn's default lock: one for each configuration file, whatever its path is written like."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.fleet import BIN, Fleet, free_port
from tests.processes import until

CONFIGURATION = """
from served import *
from leaderlock.integrations.gunicorn import in_one_worker
control_socket_disable = True
workers = 2
post_fork = in_one_worker(lead)
"""


# Python makes the path of a file with its own suffix absolute, and leaves others as they are.
@pytest.mark.parametrize("name", ["gunicorn.conf.py", "gunicorn.conf"])
def test_servers_with_equal_relative_paths_in_two_directories_have_a_leader_each(
    tmp_path: Path, name: str
) -> None:
    commands: list[list[object]] = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / name).write_text(CONFIGURATION)
        gunicorn = [BIN / "gunicorn", "-c", name, "-b", f"127.0.0.1:{free_port()}", "served:wsgi"]
        commands.append(["env", "-C", tmp_path / place, *gunicorn])
    with Fleet(tmp_path, *commands) as fleet:
        until(lambda: len({note.pid for note in fleet.terms()}) == 2, "a leader in each server")
        assert len(list(fleet.lock.parent.glob("*.lock"))) == 2
