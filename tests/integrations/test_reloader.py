"""Werkzeug's reloader: its parent never leads, and a reload moves the leadership in good order."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.integrations.fleet import EXAMPLES, Fleet, edit, free_port, get_page
from tests.processes import until

EXAMPLE = [sys.executable, EXAMPLES / "werkzeug_reloader.py"]

SITE = """
import os
from werkzeug.serving import is_running_from_reloader, run_simple
from werkzeug.wrappers import Response
from leaderlock import Election
from tests.integrations.served import lead

if is_running_from_reloader():
    Election(name="example").start(lead)
app = Response(str(os.getpid()))
run_simple("127.0.0.1", int(os.environ["PORT"]), app, use_reloader=True, reloader_type="stat")
"""


def test_the_example_in_three_processes(tmp_path: Path) -> None:
    with Fleet(tmp_path, EXAMPLE, PORT=str(free_port())) as fleet:
        for _ in range(2):
            fleet.start(*map(str, EXAMPLE), PORT=str(free_port()))
        parents = {fleet.process(number).pid for number in range(3)}
        fleet.check_failover(3)
        assert not parents & {note.pid for note in fleet.notes()}


def test_a_reload_ends_the_task_before_the_next_one_begins(tmp_path: Path) -> None:
    own = tmp_path / "my_site.py"
    own.write_text(SITE)
    port = free_port()
    with Fleet(tmp_path, [sys.executable, own], PORT=str(port)) as fleet:
        for _ in range(2):
            [child] = fleet.until_standing(1)
            assert child in fleet.workers()
            assert get_page(port) == str(child)
            edit(own)  # only once: a second edit could reload the next child too
            until(lambda child=child: fleet.leaders() - {child}, "a reload")  # type: ignore[misc]
            fleet.leader(not_among=[child])
            assert [note.event for note in fleet.notes() if note.pid == child][-1] == "stop"
        fleet.check_one_leader_at_any_time()


def test_without_the_condition_the_parent_leads_and_the_child_says_so(tmp_path: Path) -> None:
    own = tmp_path / "my_site.py"
    own.write_text(SITE.replace("if is_running_from_reloader():", "if True:"))
    with Fleet(tmp_path, [sys.executable, own], PORT=str(free_port())) as fleet:
        fleet.until_standing(2)
        assert fleet.leaders() == {fleet.arbiter}
        assert f"process {fleet.arbiter}, the parent of the reloader, leads" in fleet.output()


def test_a_killed_child_leaves_no_leader_behind(tmp_path: Path) -> None:
    with Fleet(tmp_path, EXAMPLE, PORT=str(free_port())) as fleet:
        [child] = fleet.until_standing(1)
        os.kill(child, signal.SIGKILL)
        fleet.process().wait(60)  # Werkzeug's parent ends when its child dies of anything but a reload
        assert not fleet.candidates()
