"""An election among the children of `multiprocessing` and `concurrent.futures`: each start method."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from leaderlock import Election, LeaderLock, Leadership
from tests.integrations.fleet import EXAMPLES, Fleet
from tests.processes import PATIENCE, flocks_of, until

METHODS = ["fork", "spawn", "forkserver"]
by_every_method = pytest.mark.parametrize("method", METHODS)


def lead(notes: Path, leadership: Leadership) -> None:
    """Note the begin of the term and its end, if there is one that is noted."""
    with notes.open("ab", buffering=0) as file:
        file.write(f"start {os.getpid()} {leadership.term}\n".encode())
        leadership.stopping.wait()
        file.write(f"stop {os.getpid()} {leadership.term}\n".encode())


def lead_and_return(election: Election, notes: Path) -> None:
    election.start(partial(lead, notes))
    until(notes.exists, "the task to begin")


def lead_and_fail(election: Election, notes: Path) -> None:
    lead_and_return(election, notes)
    sys.exit(7)


def start(election: Election, notes: Path) -> None:
    """A pool's initializer."""
    election.start(partial(lead, notes))


def start_what_never_stops(election: Election, notes: Path) -> None:
    logging.getLogger("leaderlock").addHandler(logging.FileHandler(notes.with_suffix(".log")))
    election.start(partial(never_stop, notes))
    until(notes.exists, "the task to begin")


def never_stop(notes: Path, _leadership: Leadership) -> None:
    notes.write_text("start")
    threading.Event().wait()


def noted(notes: Path) -> list[list[str]]:
    return [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []


@contextlib.contextmanager
def running(processes: list[Any]) -> Iterator[list[BaseProcess]]:
    """Start them, and kill in the end what is left."""
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


@pytest.mark.slow
@by_every_method
def test_the_example_has_one_leader_and_another_one_when_that_is_killed(
    tmp_path: Path, method: str
) -> None:
    with Fleet(tmp_path, [sys.executable, EXAMPLES / "process_pool.py", method]) as fleet:
        fleet.check_failover(4, replaced=True)
        assert fleet.process().pid not in {note.pid for note in fleet.notes()}


@by_every_method
def test_a_process_may_campaign_in_the_foreground(tmp_path: Path, path: Path, method: str) -> None:
    notes = tmp_path / "notes"
    context: Any = multiprocessing.get_context(method)
    election = Election(path)
    targets = [context.Process(target=election.run, args=[partial(lead, notes)]) for _ in range(3)]
    with running(targets) as processes:
        alive = {process.pid for process in processes}
        for term in (1, 2, 3):
            until(lambda term=term: len(noted(notes)) == term, f"the leader of term {term}")  # type: ignore[misc]
            pid = int(noted(notes)[-1][1])
            assert {holder for holder, waits in flocks_of(path) if not waits} == {pid}
            assert pid in alive
            os.kill(pid, signal.SIGKILL)
            alive.remove(pid)
    assert [line[2] for line in noted(notes)] == ["1", "2", "3"]


@by_every_method
def test_a_terminated_child_is_cut_off_and_another_one_leads(
    tmp_path: Path, path: Path, method: str
) -> None:
    notes = tmp_path / "notes"
    context: Any = multiprocessing.get_context(method)
    election = Election(path)
    targets = [context.Process(target=election.run, args=[partial(lead, notes)]) for _ in range(2)]
    with running(targets) as processes:
        until(lambda: len(noted(notes)) == 1, "a leader")
        [leader] = [process for process in processes if str(process.pid) == noted(notes)[0][1]]
        leader.terminate()
        until(lambda: len(noted(notes)) == 2, "another leader")
    assert [line[0] for line in noted(notes)] == ["start", "start"]


@by_every_method
@pytest.mark.parametrize(("target", "status"), [(lead_and_return, 0), (lead_and_fail, 7)])
def test_a_child_that_comes_to_its_end_asks_its_task_to_stop(
    tmp_path: Path, path: Path, method: str, target: Any, status: int
) -> None:
    notes = tmp_path / "notes"
    context: Any = multiprocessing.get_context(method)
    with running([context.Process(target=target, args=(Election(path), notes))]) as [process]:
        process.join(PATIENCE)
        assert process.exitcode == status
    assert [line[0] for line in noted(notes)] == ["start", "stop"]


@by_every_method
def test_the_workers_of_an_executor_ask_their_task_to_stop(
    tmp_path: Path, path: Path, method: str
) -> None:
    notes = tmp_path / "notes"
    arguments = (Election(path), notes)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context, initializer=start, initargs=arguments) as pool:
        assert list(pool.map(abs, range(20), chunksize=1)) == list(range(20))
        until(notes.exists, "a worker to lead")
    # As one worker ends, another may lead for the moment until it ends too.
    lines = noted(notes)
    assert [line[0] for line in lines] == ["start", "stop"] * (len(lines) // 2)
    assert not flocks_of(path)


@by_every_method
def test_a_killed_worker_breaks_an_executor_whose_successor_leads(
    tmp_path: Path, path: Path, method: str
) -> None:
    notes = tmp_path / "notes"
    arguments = (Election(path), notes)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context, initializer=start, initargs=arguments) as pool:
        pool.submit(abs, 1).result()
        until(lambda: notes.exists() and noted(notes), "a worker to lead")
        os.kill(int(noted(notes)[0][1]), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            until(lambda: pool.submit(abs, 1).result() != 1, "the pool to break")
    before = noted(notes)
    with ProcessPoolExecutor(2, context, initializer=start, initargs=arguments) as pool:
        pool.submit(abs, 1).result()
        until(lambda: len(noted(notes)) > len(before), "a worker of the second pool to lead")
    terms = [int(line[2]) for line in noted(notes) if line[0] == "start"]
    assert terms == sorted(set(terms))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_task_that_does_not_stop_is_waited_for_only_once(
    tmp_path: Path, path: Path, method: str
) -> None:
    notes = tmp_path / "notes"
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=start_what_never_stops, args=(Election(path), notes))
    with running([process]):
        process.join(PATIENCE)
        assert process.exitcode == 0
    assert notes.with_suffix(".log").read_text().count("did not stop") == 1


def test_forked_children_share_an_anonymous_lock_and_spawned_ones_are_refused_it(
    tmp_path: Path,
) -> None:
    notes = tmp_path / "notes"
    election = Election(LeaderLock.anonymous())
    fork: Any = multiprocessing.get_context("fork")
    targets = [fork.Process(target=election.run, args=[partial(lead, notes)]) for _ in range(2)]
    with running(targets):
        for term in (1, 2):
            until(lambda term=term: len(noted(notes)) == term, f"the leader of term {term}")  # type: ignore[misc]
            os.kill(int(noted(notes)[-1][1]), signal.SIGKILL)
    with pytest.raises(TypeError, match="use a path or a name"):
        multiprocessing.get_context("spawn").Process(target=election.run, args=(print,)).start()


def test_a_parent_that_leads_does_not_make_leaders_of_its_children(tmp_path: Path, path: Path) -> None:
    notes = tmp_path / "notes"
    candidate = Election(path).start(partial(lead, notes))
    try:
        until(notes.exists, "the parent to lead")
        for method in METHODS:
            with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
                assert not pool.submit(LeaderLock(path).acquire, False).result()
        assert len(noted(notes)) == 1
    finally:
        candidate.stop()
    assert [line[0] for line in noted(notes)] == ["start", "stop"]
