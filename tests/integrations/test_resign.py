"""`leaderlock resign` of a name for which a server's workers stand by its hook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock.history.reading import history_of
from tests.integrations.fleet import BIN, Fleet, free_port
from tests.integrations.test_callbacks import CALLBACKS, COMMANDS, HOOK, MODULES
from tests.test_resign import until_heeded

WORKERS = {"gunicorn": ["-w", "2"], "uwsgi": ["-p", "2"]}


@pytest.mark.parametrize("room", WORKERS)
def test_the_leader_among_the_workers_resigns_the_next_one_leads_and_it_stands_again(
    tmp_path: Path, room: str
) -> None:
    hook, more = MODULES[room]
    more = more.replace(CALLBACKS, f"{CALLBACKS}, backoff=(0.05, 0.2)")
    (tmp_path / "my_site.py").write_text(HOOK.format(room=room, hook=hook, more=more))
    program, *arguments = COMMANDS[room](free_port())
    fleet = Fleet(tmp_path, [sys.executable, BIN / str(program), *arguments, *WORKERS[room]])
    fleet.environment["PYTHONPATH"] += f":{tmp_path}"
    with fleet:
        stood = fleet.until_standing(2)
        for options in ([], ["--wait"]):
            first = fleet.leader()
            until_heeded(fleet.lock, first.term)
            asked = subprocess.run(
                [sys.executable, "-m", "leaderlock", "resign", "example", *options],
                env=fleet.environment,
                capture_output=True,
                text=True,
            )
            assert (asked.returncode, asked.stderr) == (0, "")
            assert f"asked process {first.pid}" in asked.stdout
            [successor] = stood - {first.pid}
            second = fleet.leader(among=[successor])
            assert second.term == first.term + 1
            if options:
                assert f"process {successor} leads now" in asked.stdout
            assert fleet.until_standing(2) == stood
            of_term = [note.event for note in fleet.notes() if note.term == first.term]
            assert [event for event in of_term if event != "tick"] == [
                *("elected", "start", "stop", "resigned")
            ]
        fleet.check_one_leader_at_any_time()
    assert [term.ended for term in history_of(fleet.lock).terms[:2]] == ["resigned on request"] * 2
