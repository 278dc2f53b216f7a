"""A leader that hangs, in real gunicorn: the kernel kills it, and another worker leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.server import Server
from tests.processes import until
from tests.test_deadman import INSIST_EARLIER

HANGS: dict[str, list[str]] = {
    "stop": [],  # whoever is stopped prints nothing
    "hold_the_gil": ["in hold_the_gil"],
    "deadlock": ["in deadlock", "in take"],
    "loop_without_beating": ["in loop_without_beating"],
}
LEASE = 5  # of which a fifth is for the stacks to be printed in


@pytest.mark.parametrize("worker_class", ["sync", "gevent"])
@pytest.mark.parametrize("hang", HANGS)
def test_a_leader_that_hangs_is_killed_and_another_leads(
    tmp_path: Path, hang: str, worker_class: str
) -> None:
    lock = str(tmp_path / "leader.lock")
    hook = f"post_fork = in_one_worker(HangsInItsFirstTerm({hang}), path={lock!r}, lease={LEASE})"
    if hang == "hold_the_gil":
        hook = f"{INSIST_EARLIER}\n{hook}"
    # gunicorn's own watch over its workers would find a stopped one, too.
    with Server(tmp_path, worker_class, hook, timeout=60) as server:
        until(lambda: len(server.terms()) == 2, "another leader")
        first, second = server.terms()
        assert second.pid != first.pid
        (hung,) = [note for note in server.notes() if note.event == "hang"]
        assert hung.pid == first.pid
        assert second.time - hung.time > LEASE * 0.9 * 1e9  # it had beaten just before
        until(lambda: "SIGKILL" in server.log(), "gunicorn to notice")
        server.until_complete()
        # Green threads that wait are on no thread's stack: gevent's hub is in their place.
        if worker_class == "sync" or hang == "hold_the_gil":
            for frame in HANGS[hang]:
                assert frame in server.output()
        server.check_one_leader_at_any_time()


def test_a_leader_that_beats_is_left_in_peace(tmp_path: Path) -> None:
    lock = str(tmp_path / "leader.lock")
    hook = f"post_fork = in_one_worker(lead, path={lock!r}, lease=2)"
    with Server(tmp_path, "sync", hook) as server:
        leader = server.leader()
        until(lambda: server.notes()[-1].time - leader.time > 5e9, "two leases to pass")
        assert [note.pid for note in server.terms()] == [leader.pid]
